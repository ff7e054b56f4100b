//! Filters at the points, and the way back for their gradients.

use core::ops::Range;
use std::sync::Arc;

use super::products::panels;
use super::{FILTER, IN, POINTS};
use crate::arena::Aligned;
use crate::conv::{Filter, MAX_VECTORS};
use crate::kernels::Kernels;
use crate::map::checked_end;
use crate::simd::MAX_LANES;
use crate::team::Team;

/// A 3x3 filter transformed and packed for one instruction set: `[panel][36][ic][vectors][lanes]`, and its bias.
#[derive(Clone)]
pub struct TransformedFilter {
    pub(super) packed: Arc<Aligned>,
    pub(super) bias: Arc<Aligned>,
    /// Input and output channels, in whole blocks.
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
        let mut transformed = TransformedFilter::zeroed(kernels, [ic, oc]);
        for (columns, to) in transformed.panels_mut(kernels) {
            FilterPanel { weights: filter.weights, channels: [ic, oc], columns, to }.transform(kernels);
        }
        let lanes = kernels.lanes();
        let mut bias = Aligned::zeroed(oc.next_multiple_of(lanes));
        bias[..oc].copy_from_slice(filter.bias);
        TransformedFilter { bias: bias.into(), ..transformed }
    }

    /// Room for a filter from `ic` to `oc` channels, all zero.
    ///
    /// # Panics
    /// Where it ends beyond the address space.
    pub(crate) fn zeroed(kernels: &Kernels, [ic, oc]: [usize; 2]) -> TransformedFilter {
        let lanes = kernels.lanes();
        let (blocks, vectors) = (ic.div_ceil(lanes), oc.div_ceil(lanes));
        let len = checked_end(0, [POINTS, blocks, lanes, vectors, lanes].map(Some));
        TransformedFilter {
            packed: Aligned::zeroed(len).into(),
            bias: Aligned::zeroed(vectors * lanes).into(),
            depth: blocks * lanes,
            vectors,
            tile_name: kernels.tile_name(),
            channels: [ic, oc],
        }
    }

    /// Transforms other `weights`, `[3, 3, ic, oc]`, in the same place, on all threads.
    pub(crate) fn transform(&mut self, kernels: &Kernels, team: &Team, weights: &[f32]) {
        let channels = self.channels;
        team.share_out(self.panels_mut(kernels), &|(columns, to)| {
            FilterPanel { weights, channels, columns, to }.transform(kernels);
        });
    }

    /// The output channels of each panel, how many there is room for, and the place.
    fn panels_mut(&mut self, kernels: &Kernels) -> Vec<(Columns, &mut [f32])> {
        let (lanes, oc) = (kernels.lanes(), self.channels[1]);
        let mut rest = &mut Arc::get_mut(&mut self.packed).expect("no convolution runs meanwhile")[..];
        let cut = |panel: Range<usize>| {
            let (place, others) =
                core::mem::take(&mut rest).split_at_mut(POINTS * self.depth * panel.len() * lanes);
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
    /// `[3, 3, ic, oc]`.
    weights: &'a [f32],
    channels: [usize; 2],
    columns: Columns,
    /// `[36][ic][vectors][lanes]`.
    to: &'a mut [f32],
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

/// `a g[0] + b g[1] + c g[2]`. A loop over indices below a length that the compiler does not know, which it makes vectors
/// of; iterators would be calls here, and short loops of known length would be unrolled to single numbers.
#[inline(always)]
#[allow(clippy::needless_range_loop)]
fn dot([a, b, c]: [&[f64]; 3], g: [f64; 3], to: &mut [f64]) {
    let len = to.len();
    let (a, b, c) = (&a[..len], &b[..len], &c[..len]);
    for i in 0..len {
        to[i] = a[i] * g[0] + b[i] * g[1] + c[i] * g[2];
    }
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
    let FilterPanel { weights, channels: [ic, oc], columns: (columns, width), to } = panel;
    let (ic, oc, width, len, point_step) = (*ic, *oc, *width, columns.len(), to.len() / POINTS);
    let (mut taps, mut half, mut point) = ([[EMPTY; 3]; 3], [EMPTY; 3], EMPTY);
    for i in 0..ic {
        for tap in 0..9 {
            let from = &weights[(tap * ic + i) * oc + columns.start..][..len];
            widen(from, &mut taps[tap / 3][tap % 3]);
        }
        for y in 0..IN {
            for kx in 0..3 {
                dot([&taps[0][kx], &taps[1][kx], &taps[2][kx]], FILTER[y], &mut half[kx][..len]);
            }
            for x in 0..IN {
                dot([&half[0], &half[1], &half[2]], FILTER[x], &mut point[..len]);
                narrow(&point, &mut to[(y * IN + x) * point_step + i * width..][..len]);
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
    let (mut points, mut half, mut tap) = ([EMPTY; IN], [[EMPTY; IN]; 3], EMPTY);
    let mut first = columns.start;
    while first < columns.end {
        let panel = first / *width * *width;
        let panel_width = (*end - panel).min(*width);
        let len = (panel + panel_width).min(columns.end) - first;
        for (row, i) in channels.clone().enumerate() {
            for x in 0..IN {
                for y in 0..IN {
                    let place = panel * POINTS * *depth + ((y * IN + x) * *depth + i) * panel_width;
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
fn taps_dot(points: &[Line; IN], k: usize, to: &mut [f64]) {
    let [a, b, c, d, e, f] = points;
    let g = |point: usize| FILTER[point][k];
    for i in 0..to.len() {
        to[i] = a[i] * g(0) + b[i] * g(1) + c[i] * g(2) + d[i] * g(3) + e[i] * g(4) + f[i] * g(5);
    }
}
