//! Filters at the points, and the way back for their gradients.

use core::ops::Range;
use std::sync::Arc;

use super::products::panels;
use super::{IMAGE_FILTER, IMAGE_WINDOW, OUT, POINTS, WINDOW, filter_transform};
use crate::arena::Aligned;
use crate::conv::{Filter, MAX_VECTORS};
use crate::kernels::Kernels;
use crate::map::checked_end;
use crate::simd::MAX_LANES;
use crate::team::Team;

/// A 3x3 filter, or one of the picture, transformed and packed for one instruction set:
/// `[panel][points][depth][vectors][lanes]`, and its bias.
#[derive(Clone)]
pub struct TransformedFilter {
    pub(super) packed: Arc<Aligned>,
    pub(super) bias: Arc<Aligned>,
    /// Rows and columns of the filter.
    pub(super) taps: usize,
    /// Input channels that there is room for, and vectors of output channels.
    pub(super) depth: usize,
    pub(super) vectors: usize,
    /// The micro-kernel whose panels it is packed in.
    pub(super) tile_name: &'static str,
    pub(super) channels: [usize; 2],
}

impl TransformedFilter {
    /// Transforms `filter` in `f64`, so that each number is rounded once.
    ///
    /// # Panics
    /// Where the filter is not 3x3, or its numbers do not fit its shape.
    pub fn new(kernels: &Kernels, filter: Filter<'_>) -> TransformedFilter {
        let [kh, kw, ic, oc] = filter.shape;
        assert_eq!([kh, kw], [3, 3], "only 3x3 filters are transformed");
        filter.check();
        TransformedFilter::zeroed(kernels, [ic, oc]).filled(kernels, filter)
    }

    /// The filter, `[7, 7, 3, oc]`, of a picture in [squares](crate::Image::squares), over which it steps with stride
    /// 2: there it is a filter of 4x4 squares with stride 1, whose eighth row and column are zero.
    ///
    /// # Panics
    /// Where the filter has another shape, or its numbers do not fit it.
    pub fn of_image(kernels: &Kernels, filter: Filter<'_>) -> TransformedFilter {
        let [kh, kw, ic, oc] = filter.shape;
        assert_eq!([kh, kw, ic], IMAGE_FILTER, "only 7x7 filters of pictures are transformed");
        filter.check();
        let (taps, channels) = (IMAGE_WINDOW + 1 - OUT, [4 * ic, oc]);
        let mut weights = vec![0.0; taps * taps * channels[0] * oc];
        for (index, from) in filter.weights.chunks_exact(oc).enumerate() {
            let (y, x, c) = (index / (kw * ic), index / ic % kw, index % ic);
            let tap = y / 2 * taps + x / 2;
            let channel = (y % 2 * 2 + x % 2) * ic + c;
            weights[(tap * channels[0] + channel) * oc..][..oc].copy_from_slice(from);
        }
        let filter = Filter { weights: &weights, shape: [taps, taps, channels[0], oc], ..filter };
        TransformedFilter::with_room(kernels, (taps, channels[0]), channels).filled(kernels, filter)
    }

    /// With the numbers of `filter`.
    fn filled(mut self, kernels: &Kernels, filter: Filter<'_>) -> TransformedFilter {
        let (taps, channels) = (self.taps, self.channels);
        for (columns, to) in self.panels_mut(kernels) {
            FilterPanel { weights: filter.weights, taps, channels, columns, to }.transform(kernels);
        }
        let mut bias = Aligned::zeroed(self.vectors * kernels.lanes());
        bias[..filter.bias.len()].copy_from_slice(filter.bias);
        TransformedFilter { bias: bias.into(), ..self }
    }

    /// Room for a 3x3 filter from `ic` to `oc` channels, all zero.
    ///
    /// # Panics
    /// Where it ends beyond the address space.
    pub(crate) fn zeroed(kernels: &Kernels, [ic, oc]: [usize; 2]) -> TransformedFilter {
        let depth = ic.checked_next_multiple_of(kernels.lanes()).expect("a filter beyond the address space");
        TransformedFilter::with_room(kernels, (WINDOW + 1 - OUT, depth), [ic, oc])
    }

    /// Room for a filter of so many `taps` either way, and input channels up to `depth`.
    fn with_room(
        kernels: &Kernels,
        (taps, depth): (usize, usize),
        channels: [usize; 2],
    ) -> TransformedFilter {
        let lanes = kernels.lanes();
        let vectors = channels[1].div_ceil(lanes);
        let len = checked_end(0, [points(taps), depth, vectors, lanes].map(Some));
        TransformedFilter {
            packed: Aligned::zeroed(len).into(),
            bias: Aligned::zeroed(vectors * lanes).into(),
            taps,
            depth,
            vectors,
            tile_name: kernels.tile_name(),
            channels,
        }
    }

    /// Transforms other `weights`, `[3, 3, ic, oc]`, in the same place, on all threads.
    pub(crate) fn transform(&mut self, kernels: &Kernels, team: &Team, weights: &[f32]) {
        let (taps, channels) = (self.taps, self.channels);
        team.share_out(self.panels_mut(kernels), &|(columns, to)| {
            FilterPanel { weights, taps, channels, columns, to }.transform(kernels);
        });
    }

    /// The output channels of each panel, how many there is room for, and the place.
    fn panels_mut(&mut self, kernels: &Kernels) -> Vec<(Columns, &mut [f32])> {
        let (lanes, oc) = (kernels.lanes(), self.channels[1]);
        let mut rest = &mut Arc::get_mut(&mut self.packed).expect("no convolution runs meanwhile")[..];
        let cut = |panel: Range<usize>| {
            let (place, others) =
                core::mem::take(&mut rest).split_at_mut(points(self.taps) * self.depth * panel.len() * lanes);
            rest = others;
            ((panel.start * lanes..oc.min(panel.end * lanes), panel.len() * lanes), place)
        };
        panels(kernels, self.vectors).map(cut).collect()
    }

    /// Input and output channels.
    pub(crate) fn channels(&self) -> [usize; 2] {
        self.channels
    }
}

impl core::fmt::Debug for TransformedFilter {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TransformedFilter").field("channels", &self.channels).finish_non_exhaustive()
    }
}

/// A panel of a filter to be transformed.
pub(crate) struct FilterPanel<'a> {
    /// `[taps, taps, ic, oc]`.
    weights: &'a [f32],
    taps: usize,
    channels: [usize; 2],
    columns: Columns,
    /// `[points][depth][vectors][lanes]`.
    to: &'a mut [f32],
}

/// Points of a tile, where filters have so many taps either way.
fn points(taps: usize) -> usize {
    (OUT - 1 + taps).pow(2)
}

/// The output channels of a panel, and how many there is room for.
type Columns = (Range<usize>, usize);

impl FilterPanel<'_> {
    fn transform(mut self, kernels: &Kernels) {
        // SAFETY: the processor has the instruction set (`kernels` proves it).
        unsafe { (kernels.winograd_filter)(&mut self) }
    }
}

/// Room for a number of each output channel of a panel.
type Line = [f64; MAX_VECTORS * MAX_LANES];

const EMPTY: Line = [0.0; MAX_VECTORS * MAX_LANES];

/// The sum of `lines`, each times its number. A loop over indices below a length that the compiler does not know, which
/// it makes vectors of; iterators would be calls here, and short loops of known length would be unrolled to single
/// numbers.
#[inline(always)]
#[allow(clippy::needless_range_loop)]
fn dot<const TAPS: usize>(mut lines: [&[f64]; TAPS], g: [f64; TAPS], to: &mut [f64]) {
    let len = to.len();
    for k in 0..TAPS {
        lines[k] = &lines[k][..len];
    }
    for i in 0..len {
        let mut sum = lines[0][i] * g[0];
        for k in 1..TAPS {
            sum += lines[k][i] * g[k];
        }
        to[i] = sum;
    }
}

/// The lines as slices.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // as in `dot`
fn lines<const TAPS: usize>(lines: &[Line; TAPS]) -> [&[f64]; TAPS] {
    let mut slices: [&[f64]; TAPS] = [&[]; TAPS];
    for k in 0..TAPS {
        slices[k] = &lines[k];
    }
    slices
}

#[inline(always)]
#[allow(clippy::needless_range_loop)] // as in `dot`
fn widen(from: &[f32], to: &mut [f64]) {
    let to = &mut to[..from.len()];
    for i in 0..from.len() {
        to[i] = f64::from(from[i]);
    }
}

#[inline(always)]
#[allow(clippy::needless_range_loop)] // as in `dot`
fn narrow(from: &[f64], to: &mut [f32]) {
    let from = &from[..to.len()];
    for i in 0..to.len() {
        to[i] = from[i] as f32;
    }
}

/// `G f G'` for each pair of channels, in `f64`.
#[inline(always)]
pub(crate) fn filter_panel(panel: &mut FilterPanel<'_>) {
    if panel.taps == 3 {
        points_of_taps::<3, WINDOW>(panel)
    } else {
        points_of_taps::<4, IMAGE_WINDOW>(panel)
    }
}

#[inline(always)]
#[allow(clippy::needless_range_loop)] // as in `dot`
fn points_of_taps<const TAPS: usize, const N: usize>(panel: &mut FilterPanel<'_>) {
    let FilterPanel { weights, taps: _, channels: [ic, oc], columns: (columns, width), to } = panel;
    let (ic, oc, width, len, point_step) = (*ic, *oc, *width, columns.len(), to.len() / (N * N));
    let transform = const { filter_transform::<TAPS, N>() };
    let (mut taps, mut half, mut point) = ([[EMPTY; TAPS]; TAPS], [EMPTY; TAPS], EMPTY);
    for i in 0..ic {
        for tap in 0..TAPS * TAPS {
            let from = &weights[(tap * ic + i) * oc + columns.start..][..len];
            widen(from, &mut taps[tap % TAPS][tap / TAPS]);
        }
        for y in 0..N {
            for kx in 0..TAPS {
                dot(lines(&taps[kx]), transform[y], &mut half[kx][..len]);
            }
            for x in 0..N {
                dot(lines(&half), transform[x], &mut point[..len]);
                narrow(&point, &mut to[(y * N + x) * point_step + i * width..][..len]);
            }
        }
    }
}

/// Some input channels of the gradient of a filter on the way from the 36 points to its taps.
pub(crate) struct TapRows<'a> {
    /// As a transformed filter: `[panel][36][ic][vectors][lanes]`.
    pub sums: &'a [f32],
    /// Input channels that there is room for.
    pub depth: usize,
    /// Output channels of the first panels, and of all panels.
    pub widths: [usize; 2],
    /// The input channels, and the output channels that are wanted.
    pub wanted: [Range<usize>; 2],
    /// Each `[wanted ic, wanted oc]`.
    pub taps: [&'a mut [f32]; 9],
}

/// `G' s G` for each pair of channels, in `f64`: what [`filter_panel`] does, the other way.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // as in `dot`
pub(crate) fn tap_rows(rows: &mut TapRows<'_>) {
    let TapRows { sums, depth, widths: [width, end], wanted: [channels, columns], taps } = rows;
    let (mut points, mut half, mut tap) = ([EMPTY; WINDOW], [[EMPTY; WINDOW]; 3], EMPTY);
    let mut first = columns.start;
    while first < columns.end {
        let panel = first / *width * *width;
        let panel_width = (*end - panel).min(*width);
        let len = (panel + panel_width).min(columns.end) - first;
        for (row, i) in channels.clone().enumerate() {
            for x in 0..WINDOW {
                for y in 0..WINDOW {
                    let place = panel * POINTS * *depth + ((y * WINDOW + x) * *depth + i) * panel_width;
                    widen(&sums[place + first - panel..][..len], &mut points[y]);
                }
                for ky in 0..3 {
                    taps_dot(&points, ky, &mut half[ky][x][..len]);
                }
            }
            for (index, to) in taps.iter_mut().enumerate() {
                taps_dot(&half[index / 3], index % 3, &mut tap[..len]);
                narrow(&tap, &mut to[row * columns.len() + first - columns.start..][..len]);
            }
        }
        first += len;
    }
}

/// The sum over the points of what each gives to tap `k`.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // as in `dot`
fn taps_dot(points: &[Line; WINDOW], k: usize, to: &mut [f64]) {
    let [a, b, c, d, e, f] = points;
    let transform = const { filter_transform::<3, WINDOW>() };
    let g = |point: usize| transform[point][k];
    for i in 0..to.len() {
        to[i] = a[i] * g(0) + b[i] * g(1) + c[i] * g(2) + d[i] * g(3) + e[i] * g(4) + f[i] * g(5);
    }
}
