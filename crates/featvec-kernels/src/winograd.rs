//! Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray, *Fast Algorithms for Convolutional Neural Networks*,
//! 2015): a 3x3 convolution as 36 matrix products, with a quarter of the multiplications of the direct way.
//!
//! 1. `input_row` turns each window of 6x6 pixels, four pixels apart, into 36 numbers a channel: a [`TransformedMap`].
//! 2. For each of the 36 points, tiles x input channels times input x output channels: the micro-kernel of
//!    `conv.rs`.
//! 3. `output_row` turns the 36 sums of a tile into 4x4 pixels, adds the bias and stores them.
//!
//! The points at which the polynomials are evaluated are 0, 1, -1, 1/2, -2 and infinity. In `f32` they lose less than
//! the usual 0, +-1, +-2: the powers that the result is summed with are the same, those of the input are smaller.

use core::ops::Range;
use std::sync::Arc;

use crate::arena::Aligned;
use crate::conv::{Filter, LINE, MAX_ROWS, MAX_VECTORS, Tile};
use crate::group::Group;
use crate::kernels::Kernels;
use crate::map::{Element, Map, checked_end};
use crate::prefetch;
use crate::simd::{MAX_LANES, Simd};
use crate::team::Team;

/// Rows and columns of pixels that a tile computes.
const OUT: usize = 4;
/// Rows and columns of pixels that a tile reads.
const IN: usize = 6;
pub(crate) const POINTS: usize = IN * IN;

/// `f(points) = G f` for a filter of three taps: each row evaluates it at a point, divided by the product of the
/// distances to the other points.
const FILTER: [[f64; 3]; IN] = [
    [1.0, 0.0, 0.0],
    [1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0],
    [-1.0 / 3.0, 1.0 / 3.0, -1.0 / 3.0],
    [-16.0 / 15.0, -8.0 / 15.0, -4.0 / 15.0],
    [1.0 / 15.0, -2.0 / 15.0, 4.0 / 15.0],
    [0.0, 0.0, 1.0],
];

/// Six numbers of the input, evaluated at the points.
#[inline(always)]
fn input_transform<S: Simd>(simd: S, d: [S::V; IN]) -> [S::V; IN] {
    let splat = |x| simd.splat(x);
    let p = simd.sub(d[3], d[1]);
    let q = simd.sub(d[4], d[2]);
    [
        simd.mul_add(p, splat(1.5), simd.add(simd.sub(d[0], d[2]), q)),
        simd.mul_add(simd.add(d[2], d[3]), splat(1.5), simd.add(p, q)),
        simd.mul_add(simd.sub(d[3], d[2]), splat(1.5), simd.sub(q, p)),
        simd.mul_add(p, splat(2.0), q),
        simd.mul_add(p, splat(-0.5), q),
        simd.mul_add(q, splat(1.5), simd.sub(simd.sub(d[5], d[3]), p)),
    ]
}

/// Four numbers of the result from the products at the points.
#[inline(always)]
fn output_transform<S: Simd>(simd: S, m: [S::V; IN]) -> [S::V; OUT] {
    let splat = |x| simd.splat(x);
    let sum = simd.add(m[1], m[2]);
    let difference = simd.sub(m[1], m[2]);
    [
        simd.add(simd.add(m[0], sum), simd.add(m[3], m[4])),
        simd.mul_add(m[4], splat(-2.0), simd.mul_add(m[3], splat(0.5), difference)),
        simd.mul_add(m[4], splat(4.0), simd.mul_add(m[3], splat(0.25), sum)),
        simd.mul_add(m[4], splat(-8.0), simd.mul_add(m[3], splat(0.125), simd.add(difference, m[5]))),
    ]
}

/// The first four numbers, of the gradient of the result, evaluated at the points: what [`output_transform`] does, the other way.
#[inline(always)]
fn gradient_transform<S: Simd>(simd: S, g: [S::V; IN]) -> [S::V; IN] {
    let splat = |x| simd.splat(x);
    let even = simd.add(g[0], g[2]);
    let odd = simd.add(g[1], g[3]);
    let half = simd.mul_add(g[2], splat(0.25), simd.mul_add(g[1], splat(0.5), g[0]));
    let two = simd.mul_add(g[2], splat(4.0), simd.mul_add(g[1], splat(-2.0), g[0]));
    [
        g[0],
        simd.add(even, odd),
        simd.sub(even, odd),
        simd.mul_add(g[3], splat(0.125), half),
        simd.mul_add(g[3], splat(-8.0), two),
        g[3],
    ]
}

/// Whether a convolution with this filter, `[kh, kw, ic, oc]`, of a map of `[h, w]` is done by Winograd's algorithm rather than
/// directly. It depends on the shape alone, so that results do not depend on batch or threads.
pub fn pays([kh, kw, ic, oc]: [usize; 4], [h, w]: [usize; 2]) -> bool {
    // Narrow filters leave the products too short to hide the transforms behind; on the smallest maps four times as
    // many numbers of the filter would be read for each image.
    [kh, kw] == [3, 3] && ic >= 32 && oc >= 32 && h >= 2 * OUT && w >= 2 * OUT
}

/// A map transformed for a 3x3 convolution, in the arena, or some rows of tiles of it:
/// `[36][c / lanes][images][tiles][lanes]`, with a vector between one point and the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransformedMap {
    offset: usize,
    lanes: usize,
    blocks: usize,
    h: usize,
    w: usize,
    rows: Range<usize>,
    images: usize,
}

impl TransformedMap {
    /// Rows of tiles that cover a map of `h` rows.
    pub fn rows_of(h: usize) -> usize {
        h.div_ceil(OUT)
    }

    /// The rows of tiles `rows` of `map`, `offset` elements into the arena, with room for `images` images.
    ///
    /// # Panics
    /// Where `rows` are not rows of the map, or the tiles end beyond the address space.
    pub fn new(offset: usize, map: Map, rows: Range<usize>, images: usize) -> TransformedMap {
        let [_, h, w] = map.shape();
        let inside = !rows.is_empty() && rows.end <= TransformedMap::rows_of(h);
        assert!(inside && images > 0, "no rows of tiles, or rows outside the map");
        assert_eq!(map.element(), Element::F32, "bytes where `f32` are expected");
        let tiles = TransformedMap { offset, lanes: map.lanes(), blocks: map.blocks(), h, w, rows, images };
        let vectors = tiles.count().checked_mul(images).and_then(|count| count.checked_add(1));
        checked_end(offset, [Some(POINTS), Some(tiles.blocks), vectors, Some(tiles.lanes)]);
        tiles
    }

    /// Elements that the tiles take in the arena.
    #[allow(clippy::len_without_is_empty)] // there are always tiles
    pub fn len(&self) -> usize {
        POINTS * self.point_step()
    }

    pub(crate) fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.len()
    }

    /// Rows and columns of pixels that the tiles cover.
    pub(crate) fn covered(&self) -> [usize; 2] {
        [self.h.min(self.rows.end * OUT) - self.rows.start * OUT, self.w]
    }

    /// Images that there is room for.
    pub(crate) fn images(&self) -> usize {
        self.images
    }

    fn columns(&self) -> usize {
        self.w.div_ceil(OUT)
    }

    /// Tiles of an image.
    pub(crate) fn count(&self) -> usize {
        self.rows.len() * self.columns()
    }

    /// Elements from one block of channels to the next.
    pub(crate) fn block_step(&self) -> usize {
        self.images * self.count() * self.lanes
    }

    /// Elements from one point to the next. A vector more than the tiles take, because points a multiple of 4096 bytes
    /// apart would push each other out of the first-level cache.
    pub(crate) fn point_step(&self) -> usize {
        self.blocks * self.block_step() + self.lanes
    }
}

/// One block of channels of one row of tiles to be transformed.
pub(crate) struct InputRow {
    /// The first pixel of the first tile's window.
    input: *const f32,
    pitch: usize,
    /// Rows and columns of pixels that can be read from there.
    rows: usize,
    columns: usize,
    /// The first tile's first point.
    tiles: *mut f32,
    point_step: usize,
    count: usize,
}

/// Windows of 6x6 pixels to 36 points; pixels beyond the halo count as zero.
///
/// # Safety
/// The rows and columns named can be read, and `count` tiles be written.
#[inline(always)]
pub(crate) unsafe fn input_row<S: Simd>(simd: S, row: &InputRow) {
    // SAFETY: forwarded to the caller.
    unsafe { transform_row::<S, IN>(simd, row) }
}

/// Tiles of 4x4 pixels of the gradient of the output to 36 points; pixels outside the map count as zero.
///
/// # Safety
/// As [`input_row`].
#[inline(always)]
pub(crate) unsafe fn gradient_row<S: Simd>(simd: S, row: &InputRow) {
    // SAFETY: forwarded to the caller.
    unsafe { transform_row::<S, OUT>(simd, row) }
}

/// The first `SIDE` numbers of a line, evaluated at the points: those of the input, or those of the gradient of the output.
// No function as an argument: what is called through one is compiled without the instruction set.
#[inline(always)]
fn transform<S: Simd, const SIDE: usize>(simd: S, line: [S::V; IN]) -> [S::V; IN] {
    if SIDE == IN { input_transform(simd, line) } else { gradient_transform(simd, line) }
}

/// Windows of `SIDE` x `SIDE` pixels, four pixels apart, to 36 points.
///
/// # Safety
/// As [`input_row`].
#[inline(always)]
// Indices, not iterators, as in `conv::accumulate`.
#[allow(clippy::needless_range_loop)]
unsafe fn transform_row<S: Simd, const SIDE: usize>(simd: S, row: &InputRow) {
    let zero = simd.splat(0.0);
    for tile in 0..row.count {
        let column = tile * OUT;
        let columns = row.columns - column;
        let mut half = [[zero; IN]; IN];
        for y in 0..SIDE {
            if y >= row.rows {
                break;
            }
            let mut window = [zero; IN];
            // SAFETY: row `y` and the columns below `columns` can be read (contract).
            unsafe {
                let line = row.input.add(y * row.pitch + column * S::LANES);
                if columns >= SIDE {
                    for x in 0..SIDE {
                        window[x] = simd.load(line.add(x * S::LANES));
                    }
                } else {
                    for x in 0..SIDE {
                        if x < columns {
                            window[x] = simd.load(line.add(x * S::LANES));
                        }
                    }
                }
            }
            let line = transform::<S, SIDE>(simd, window);
            for x in 0..IN {
                half[x][y] = line[x];
            }
        }
        for x in 0..IN {
            let points = transform::<S, SIDE>(simd, half[x]);
            for y in 0..IN {
                let to = row.tiles.wrapping_add(tile * S::LANES + (y * IN + x) * row.point_step);
                // The points are too many places for the processor to see by itself where it goes.
                prefetch::near(to.wrapping_add(2 * S::LANES));
                // SAFETY: point `y, x` of a tile that can be written (contract).
                unsafe { simd.store(to, points[y]) };
            }
        }
    }
}

/// The sums of some tiles of a row and one vector of output channels.
pub(crate) struct OutputRow {
    /// The first tile's first point.
    sums: *const f32,
    /// Elements from one point to the next.
    point_step: usize,
    count: usize,
    bias: *const f32,
    floor: f32,
    /// The first tile's first pixel.
    output: *mut f32,
    pitch: usize,
    /// Rows and columns of pixels from there to the map's end.
    rows: usize,
    columns: usize,
}

/// 36 sums to 4x4 pixels.
///
/// # Safety
/// `count` vectors can be read at each point, and one at `bias`; the tiles' pixels inside the map can be written.
#[inline(always)]
#[allow(clippy::needless_range_loop)]
pub(crate) unsafe fn output_row<S: Simd>(simd: S, row: &OutputRow) {
    let zero = simd.splat(0.0);
    let floor = simd.splat(row.floor);
    // SAFETY: contract.
    let bias = unsafe { simd.load(row.bias) };
    for tile in 0..row.count {
        let mut half = [[zero; IN]; OUT];
        for x in 0..IN {
            let mut column = [zero; IN];
            for y in 0..IN {
                // SAFETY: one of the 36 points (contract).
                column[y] =
                    unsafe { simd.load(row.sums.add((y * IN + x) * row.point_step + tile * S::LANES)) };
            }
            let column = output_transform(simd, column);
            for y in 0..OUT {
                half[y][x] = column[y];
            }
        }
        let columns = row.columns - tile * OUT;
        for y in 0..OUT {
            if y >= row.rows {
                break;
            }
            let line = output_transform(simd, half[y]);
            for x in 0..OUT {
                if x < columns {
                    // SAFETY: a pixel inside the map (contract).
                    unsafe {
                        let to = row.output.add(y * row.pitch + (tile * OUT + x) * S::LANES);
                        // In this order, what is not a number comes through, on x86 too.
                        simd.store(to, simd.max(floor, simd.add(line[x], bias)));
                    }
                }
            }
        }
    }
}

/// The transform of a map into tiles, made ready to run: an item is a block of channels of a row of tiles of all images
/// of a group.
pub(crate) struct InputTransform {
    input: Map,
    tiles: TransformedMap,
    /// Pixels by which a window begins outside its tile: one for the input of a convolution, none for a gradient.
    border: usize,
}

impl InputTransform {
    /// The transform of the input of a convolution.
    pub(crate) fn new(input: Map, tiles: TransformedMap) -> InputTransform {
        assert!(input.halo() >= 1, "the halo is too thin for 3x3");
        InputTransform::with_border(1, input, tiles)
    }

    /// The transform of the gradient of the output of a convolution.
    pub(crate) fn of_gradient(gradient: Map, tiles: TransformedMap) -> InputTransform {
        InputTransform::with_border(0, gradient, tiles)
    }

    fn with_border(border: usize, input: Map, tiles: TransformedMap) -> InputTransform {
        let [_, h, w] = input.shape();
        assert_eq!([tiles.lanes, tiles.blocks, tiles.h, tiles.w], [input.lanes(), input.blocks(), h, w]);
        InputTransform { input, tiles, border }
    }

    pub(crate) fn reads(&self) -> Range<usize> {
        self.input.range()
    }

    pub(crate) fn tiles(&self) -> &TransformedMap {
        &self.tiles
    }

    pub(crate) fn items(&self) -> usize {
        self.tiles.rows.len() * self.tiles.blocks
    }

    /// Transforms one item.
    ///
    /// # Safety
    /// Map and tiles lie inside the group's slots, and there is room for as many images; nobody writes the map or
    /// touches this item's tiles meanwhile.
    pub(crate) unsafe fn run(&self, kernels: &Kernels, group: Group, item: usize) {
        let (input, tiles, border) = (&self.input, &self.tiles, self.border);
        let (row, block) = (item / tiles.blocks, item % tiles.blocks);
        let first = (tiles.rows.start + row) * OUT;
        let window = input.origin(block) + first * input.pitch() - border * (input.pitch() + tiles.lanes);
        let transform = if border == 0 { kernels.winograd_gradient } else { kernels.winograd_input };
        for image in 0..group.images {
            let tile = image * tiles.count() + row * tiles.columns();
            // SAFETY: the processor has the instruction set (`kernels` proves it); `rows` and `columns` end with the
            // map, or with the halo, of which there is at least a pixel; the tiles are this item's.
            unsafe {
                transform(&InputRow {
                    input: group.slot(image).at(window),
                    pitch: input.pitch(),
                    rows: tiles.h + 2 * border - first,
                    columns: tiles.w + 2 * border,
                    tiles: group.tiles.at(tiles.offset + block * tiles.block_step() + tile * tiles.lanes),
                    point_step: tiles.point_step(),
                    count: tiles.columns(),
                });
            }
        }
    }
}

/// A 3x3 filter transformed and packed for one instruction set: `[panel][36][ic][vectors][lanes]`, and its bias.
#[derive(Clone)]
pub struct TransformedFilter {
    packed: Arc<Aligned>,
    bias: Arc<Aligned>,
    /// Input and output channels, in whole blocks.
    depth: usize,
    vectors: usize,
    /// The micro-kernel whose panels it is packed in.
    tile_name: &'static str,
    channels: [usize; 2],
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

/// Vectors of output channels, cut into panels as wide as a micro-kernel.
fn panels(kernels: &Kernels, vectors: usize) -> impl Iterator<Item = Range<usize>> {
    let width = kernels.tiles.vectors();
    (0..vectors.div_ceil(width)).map(move |panel| panel * width..vectors.min((panel + 1) * width))
}

/// The products and the transform back, made ready to run: an item is a panel of output channels over the tiles of
/// all images of a group, so that each number of the filter is read once a group.
pub(crate) struct Products {
    tiles: TransformedMap,
    filter: TransformedFilter,
    output: Map,
    floor: f32,
    panels: Vec<Range<usize>>,
    /// Where the blocks of channels begin in a point of the transformed map.
    segments: Vec<usize>,
}

/// Micro-kernels' heights of tiles whose sums are held at a time; they should stay in the second-level cache.
const HELD: usize = 5;

impl Products {
    pub(crate) fn new(
        kernels: &Kernels,
        tiles: TransformedMap,
        (filter, output, relu): (TransformedFilter, Map, bool),
    ) -> Products {
        let [oc, h, w] = output.shape();
        assert_eq!(
            [tiles.lanes, output.lanes()],
            [kernels.lanes(); 2],
            "a map in blocks of another instruction set"
        );
        assert_eq!(
            tiles.blocks * tiles.lanes,
            filter.depth,
            "the filter reads other channels than the tiles have"
        );
        assert_eq!([oc, h, w], [filter.channels[1], tiles.h, tiles.w], "the output map does not fit");
        assert_eq!(filter.tile_name, kernels.tile_name(), "a filter packed for another instruction set");
        let panels = panels(kernels, filter.vectors).collect();
        let segments = (0..tiles.blocks).map(|block| block * tiles.block_step()).collect();
        let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
        Products { tiles, filter, output, floor, panels, segments }
    }

    pub(crate) fn tiles(&self) -> &TransformedMap {
        &self.tiles
    }

    pub(crate) fn writes(&self) -> Range<usize> {
        self.output.range()
    }

    pub(crate) fn items(&self) -> usize {
        self.panels.len()
    }

    /// Elements from one point to the next of the sums of `tiles` tiles; not a multiple of 4096 bytes.
    fn sums_step(kernels: &Kernels, tiles: usize) -> usize {
        tiles * kernels.tiles.vectors() * kernels.lanes() + kernels.lanes()
    }

    /// Elements that a member needs for itself.
    pub(crate) fn scratch_len(kernels: &Kernels) -> usize {
        POINTS * Products::sums_step(kernels, HELD * kernels.tiles.rows())
    }

    /// Computes one item for all images of `group`.
    ///
    /// # Safety
    /// `kernels` are those that the filter was packed for; tiles and output lie inside the group's slots; nobody
    /// writes the tiles or touches the channels of this item's outputs meanwhile; `scratch` holds
    /// [`Products::scratch_len`] elements that nobody else touches.
    pub(crate) unsafe fn run(&self, kernels: &Kernels, (group, scratch): (Group, *mut f32), item: usize) {
        let count = self.tiles.count() * group.images;
        let held = count.div_ceil(count.div_ceil(HELD * kernels.tiles.rows()));
        let mut start = 0;
        while start < count {
            let end = count.min(start + held);
            // SAFETY: forwarded to the caller.
            unsafe {
                self.multiply(kernels, (group, scratch), (item, start..end));
                self.transform(kernels, (group, scratch), (item, start..end));
            }
            start = end;
        }
    }

    /// # Safety
    /// As [`Products::run`].
    unsafe fn multiply(
        &self,
        kernels: &Kernels,
        (group, scratch): (Group, *mut f32),
        (item, range): (usize, Range<usize>),
    ) {
        let (lanes, depth) = (kernels.lanes(), self.filter.depth);
        let panel = &self.panels[item];
        let width = panel.len() * lanes;
        let kernel = kernels.tiles.of_map[panel.len() - 1];
        let point_step = Products::sums_step(kernels, range.len());
        // As few micro-kernels as cover the tiles, and all of nearly the same height.
        let rows = range.len().div_ceil(range.len().div_ceil(kernels.tiles.rows()));
        let packed = POINTS * depth * panel.start * lanes;
        let run = kernels.tiles.run;
        let mut tile = Tile {
            rows: [core::ptr::null(); MAX_ROWS],
            segments: &self.segments,
            depth: lanes,
            panel: core::ptr::null(),
            next_panel: core::ptr::null(),
            rows_ahead: 0,
            bias: core::ptr::null(),
            factors: core::ptr::null(),
            floor: f32::NEG_INFINITY,
            outputs: [[core::ptr::null_mut(); MAX_ROWS]; MAX_VECTORS],
        };
        for point in 0..POINTS {
            tile.panel = self.filter.packed[packed + point * depth * width..].as_ptr();
            // The first tiles ask for the filter of the next point, each for a part of it.
            tile.next_panel = tile.panel.wrapping_add(depth * width);
            let from = group.tiles.at(self.tiles.offset + point * self.tiles.point_step());
            let to = scratch.wrapping_add(point * point_step);
            let mut start = range.start;
            while start < range.end {
                let count = rows.min(range.end - start);
                tile.rows_ahead = count * lanes;
                for r in 0..count.div_ceil(run) {
                    let index = start + r * run;
                    tile.rows[r] = from.wrapping_add(index * lanes);
                    for (v, output) in tile.outputs[..panel.len()].iter_mut().enumerate() {
                        output[r] = to.wrapping_add((v * range.len() + index - range.start) * lanes);
                    }
                }
                // SAFETY: the processor has the instruction set (`kernels` proves it), all pointers are set for
                // `count` rows, and the panel was packed for as many vectors as `panel` has.
                unsafe { kernel[count - 1](&tile) };
                if start == range.start {
                    tile.next_panel = tile.next_panel.wrapping_add(depth * LINE);
                }
                start += count;
            }
        }
    }

    /// # Safety
    /// As [`Products::run`].
    unsafe fn transform(
        &self,
        kernels: &Kernels,
        (group, scratch): (Group, *mut f32),
        (item, range): (usize, Range<usize>),
    ) {
        let lanes = kernels.lanes();
        let panel = &self.panels[item];
        let (tiles, output) = (&self.tiles, &self.output);
        let point_step = Products::sums_step(kernels, range.len());
        let mut start = range.start;
        while start < range.end {
            let (image, tile) = (start / tiles.count(), start % tiles.count());
            let (row, column) = (tile / tiles.columns(), tile % tiles.columns());
            let count = (tiles.columns() - column).min(range.end - start);
            let (y, x) = ((tiles.rows.start + row) * OUT, column * OUT);
            for (v, block) in panel.clone().enumerate() {
                let to = output.origin(block) + y * output.pitch() + x * lanes;
                // SAFETY: the processor has the instruction set; the sums were written by `multiply`; the pixels are
                // inside the map, and this item's alone (contract).
                unsafe {
                    (kernels.winograd_output)(&OutputRow {
                        sums: scratch.add((v * range.len() + start - range.start) * lanes),
                        point_step,
                        count,
                        bias: self.filter.bias[block * lanes..].as_ptr(),
                        floor: self.floor,
                        output: group.slot(image).at(to),
                        pitch: output.pitch(),
                        rows: tiles.h - y,
                        columns: tiles.w - x,
                    });
                }
            }
            start += count;
        }
    }
}
