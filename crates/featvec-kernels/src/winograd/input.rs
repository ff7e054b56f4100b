//! From windows of pixels to points.

use core::ops::Range;

use super::tiles::TransformedMap;
use super::{OUT, WINDOW, gradient_transform, input_transform};
use crate::group::Group;
use crate::kernels::Kernels;
use crate::map::Map;
use crate::prefetch;
use crate::simd::Simd;

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

/// One block of channels of one row of tiles to be transformed.
pub(crate) struct InputRow {
    /// The first pixel of the first tile's window.
    pub(super) input: *const f32,
    pub(super) pitch: usize,
    /// Rows and columns of pixels that can be read from there.
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// The first tile's first point.
    pub(super) tiles: *mut f32,
    pub(super) point_step: usize,
    pub(super) count: usize,
}

/// Windows of 6x6 pixels to 36 points; pixels beyond the halo count as zero.
///
/// # Safety
/// The rows and columns named can be read, and `count` tiles be written.
#[inline(always)]
pub(crate) unsafe fn input_row<S: Simd>(simd: S, row: &InputRow) {
    // SAFETY: forwarded to the caller.
    unsafe { transform_row::<S, WINDOW, WINDOW>(simd, row, S::LANES) }
}

/// Tiles of 4x4 pixels of the gradient of the output to 36 points; pixels outside the map count as zero.
///
/// # Safety
/// As [`input_row`].
#[inline(always)]
pub(crate) unsafe fn gradient_row<S: Simd>(simd: S, row: &InputRow) {
    // SAFETY: forwarded to the caller.
    unsafe { transform_row::<S, OUT, WINDOW>(simd, row, S::LANES) }
}

/// The first `SIDE` numbers of a line, evaluated at the points: those of the input, or those of the gradient of the
/// output.
// No function as an argument: what is called through one is compiled without the instruction set.
#[inline(always)]
fn transform<S: Simd, const SIDE: usize, const N: usize>(simd: S, line: [S::V; N]) -> [S::V; N] {
    if SIDE == N { input_transform(simd, line) } else { gradient_transform(simd, line) }
}

/// Windows of `SIDE` x `SIDE` pixels of `pixel` elements, four pixels apart, to `N` x `N` points.
///
/// # Safety
/// As [`input_row`].
#[inline(always)]
// Indices, not iterators, as in `conv::accumulate`.
#[allow(clippy::needless_range_loop)]
pub(super) unsafe fn transform_row<S: Simd, const SIDE: usize, const N: usize>(
    simd: S,
    row: &InputRow,
    pixel: usize,
) {
    let zero = simd.splat(0.0);
    for tile in 0..row.count {
        let column = tile * OUT;
        let columns = row.columns - column;
        let mut half = [[zero; N]; N];
        for y in 0..SIDE {
            if y >= row.rows {
                break;
            }
            let mut window = [zero; N];
            // SAFETY: row `y` and the columns below `columns` can be read (contract).
            unsafe {
                let line = row.input.add(y * row.pitch + column * pixel);
                if columns >= SIDE {
                    for x in 0..SIDE {
                        window[x] = simd.load(line.add(x * pixel));
                    }
                } else {
                    for x in 0..SIDE {
                        if x < columns {
                            window[x] = simd.load(line.add(x * pixel));
                        }
                    }
                }
            }
            let line = transform::<S, SIDE, N>(simd, window);
            for x in 0..N {
                half[x][y] = line[x];
            }
        }
        for x in 0..N {
            let points = transform::<S, SIDE, N>(simd, half[x]);
            for y in 0..N {
                let to = row.tiles.wrapping_add(tile * S::LANES + (y * N + x) * row.point_step);
                // The points are too many places for the processor to see by itself where it goes.
                prefetch::near(to.wrapping_add(2 * S::LANES));
                // SAFETY: point `y, x` of a tile that can be written (contract).
                unsafe { simd.store(to, points[y]) };
            }
        }
    }
}
