//! The products at the points, and the way back to pixels.

use core::ops::Range;

use super::filter::TransformedFilter;
use super::tiles::TransformedMap;
use super::{OUT, WINDOW, output_transform};
use crate::conv::{LINE, MAX_ROWS, MAX_VECTORS, Tile};
use crate::group::Group;
use crate::kernels::Kernels;
use crate::map::Map;
use crate::simd::Simd;

/// The products and the transform back, made ready to run: an item is a panel of output channels over the tiles of
/// all images of a group, so that each number of the filter is read once a group.
pub(crate) struct Products {
    tiles: TransformedMap,
    filter: TransformedFilter,
    output: Map,
    floor: f32,
    panels: Vec<Range<usize>>,
    /// Where the segments of channels begin in a point of the transformed map.
    segments: Vec<usize>,
}

/// Micro-kernels' heights of tiles whose sums are held at a time; they should stay in the second-level cache.
const HELD: usize = 5;

/// Tiles whose sums are held at a time, at most.
pub(super) fn held(kernels: &Kernels) -> usize {
    HELD * kernels.tiles.rows()
}

impl Products {
    /// Products over a transformed map.
    pub(crate) fn new(
        kernels: &Kernels,
        tiles: TransformedMap,
        (filter, output, relu): (TransformedFilter, Map, bool),
    ) -> Products {
        let [_, h, w] = output.shape();
        assert_eq!([h, w], [tiles.h, tiles.w], "the output map does not fit");
        Products::over_tiles(kernels, tiles, (filter, output, relu))
    }

    /// Products over tiles that may be any of the output's.
    pub(super) fn over_tiles(
        kernels: &Kernels,
        tiles: TransformedMap,
        (filter, output, relu): (TransformedFilter, Map, bool),
    ) -> Products {
        let [oc, _, _] = output.shape();
        assert_eq!(
            [tiles.lanes, output.lanes()],
            [kernels.lanes(); 2],
            "a map in blocks of another instruction set"
        );
        assert_eq!(
            [tiles.depth, tiles.window + 1 - OUT],
            [filter.depth, filter.taps],
            "the filter reads other channels than the tiles have, or other windows"
        );
        assert_eq!(oc, filter.channels[1], "the output map does not fit");
        assert_eq!(filter.tile_name, kernels.tile_name(), "a filter packed for another instruction set");
        let panels = panels(kernels, filter.vectors).collect();
        let place = |channel| channel / tiles.lanes * tiles.block_step() + channel % tiles.lanes;
        let segments = (0..tiles.depth).step_by(tiles.segment).map(place).collect();
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
    pub(crate) fn scratch_len(&self, kernels: &Kernels) -> usize {
        self.tiles.points() * Products::sums_step(kernels, held(kernels))
    }

    /// Computes one item for all images of `group`.
    ///
    /// # Safety
    /// `kernels` are those that the filter was packed for; tiles and output lie inside the group's slots; nobody
    /// writes the tiles, or touches, in this item's channels, the pixels that they cover; `scratch` holds
    /// [`Products::scratch_len`] elements that nobody else touches.
    pub(crate) unsafe fn run(&self, kernels: &Kernels, (group, scratch): (Group, *mut f32), item: usize) {
        // SAFETY: forwarded to the caller.
        unsafe { self.run_at([self.tiles.rows.start, 0], kernels, (group, scratch), item) }
    }

    /// Computes one item where the first tile is that of this row and column of tiles of the output.
    ///
    /// # Safety
    /// As [`Products::run`].
    pub(super) unsafe fn run_at(
        &self,
        first_tile: [usize; 2],
        kernels: &Kernels,
        (group, scratch): (Group, *mut f32),
        item: usize,
    ) {
        let count = self.tiles.count() * group.images;
        let held = count.div_ceil(count.div_ceil(held(kernels)));
        let mut start = 0;
        while start < count {
            let end = count.min(start + held);
            // SAFETY: forwarded to the caller.
            unsafe {
                self.multiply(kernels, (group, scratch), (item, start..end));
                self.transform(first_tile, kernels, (group, scratch), (item, start..end));
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
        let packed = self.tiles.points() * depth * panel.start * lanes;
        let run = kernels.tiles.run;
        let mut tile = Tile {
            rows: [core::ptr::null(); MAX_ROWS],
            segments: &self.segments,
            depth: self.tiles.segment,
            panel: core::ptr::null(),
            next_panel: core::ptr::null(),
            rows_ahead: 0,
            bias: core::ptr::null(),
            factors: core::ptr::null(),
            floor: f32::NEG_INFINITY,
            outputs: [[core::ptr::null_mut(); MAX_ROWS]; MAX_VECTORS],
        };
        for point in 0..self.tiles.points() {
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
        [first_row, first_column]: [usize; 2],
        kernels: &Kernels,
        (group, scratch): (Group, *mut f32),
        (item, range): (usize, Range<usize>),
    ) {
        let lanes = kernels.lanes();
        let transform =
            if self.tiles.window == WINDOW { kernels.winograd_output } else { kernels.winograd_image_output };
        let panel = &self.panels[item];
        let (tiles, output) = (&self.tiles, &self.output);
        let [_, h, w] = output.shape();
        let point_step = Products::sums_step(kernels, range.len());
        let mut start = range.start;
        while start < range.end {
            let (image, tile) = (start / tiles.count(), start % tiles.count());
            let (row, column) = (tile / tiles.columns(), tile % tiles.columns());
            let count = (tiles.columns() - column).min(range.end - start);
            let (y, x) = ((first_row + row) * OUT, (first_column + column) * OUT);
            for (v, block) in panel.clone().enumerate() {
                let to = output.origin(block) + y * output.pitch() + x * lanes;
                // SAFETY: the processor has the instruction set; the sums were written by `multiply`; the pixels are
                // inside the map, and this item's alone (contract).
                unsafe {
                    transform(&OutputRow {
                        sums: scratch.add((v * range.len() + start - range.start) * lanes),
                        point_step,
                        count,
                        bias: self.filter.bias[block * lanes..].as_ptr(),
                        floor: self.floor,
                        output: group.slot(image).at(to),
                        pitch: output.pitch(),
                        rows: h - y,
                        columns: w - x,
                    });
                }
            }
            start += count;
        }
    }
}

/// Vectors of output channels, cut into panels as wide as a micro-kernel.
pub(super) fn panels(kernels: &Kernels, vectors: usize) -> impl Iterator<Item = Range<usize>> {
    let width = kernels.tiles.vectors();
    (0..vectors.div_ceil(width)).map(move |panel| panel * width..vectors.min((panel + 1) * width))
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

/// `N` x `N` sums to 4x4 pixels.
///
/// # Safety
/// `count` vectors can be read at each point, and one at `bias`; the tiles' pixels inside the map can be written.
#[inline(always)]
#[allow(clippy::needless_range_loop)]
pub(crate) unsafe fn output_row<S: Simd, const N: usize>(simd: S, row: &OutputRow) {
    let zero = simd.splat(0.0);
    let floor = simd.splat(row.floor);
    // SAFETY: contract.
    let bias = unsafe { simd.load(row.bias) };
    for tile in 0..row.count {
        let mut half = [[zero; N]; OUT];
        for x in 0..N {
            let mut column = [zero; N];
            for y in 0..N {
                // SAFETY: one of the points (contract).
                column[y] =
                    unsafe { simd.load(row.sums.add((y * N + x) * row.point_step + tile * S::LANES)) };
            }
            let column = output_transform::<S, N>(simd, column);
            for y in 0..OUT {
                half[y][x] = column[y];
            }
        }
        let columns = row.columns - tile * OUT;
        for y in 0..OUT {
            if y >= row.rows {
                break;
            }
            let line = output_transform::<S, N>(simd, half[y]);
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
