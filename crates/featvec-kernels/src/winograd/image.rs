//! The first convolution: 7x7 pixels of the picture, with stride 2.
//!
//! Where the picture lies in squares of 2x2 pixels, that is a convolution of 4x4 squares of twelve numbers, with stride
//! 1, whose eighth row and column of taps are zero. F(4x4, 4x4) multiplies a quarter as often as the direct way. So few
//! channels are transformed in no time: an item is a row of tiles, from the picture to the output.
//!
//! Its points are 0, 1, -1, 3/8, -2, 2 and infinity: of those tried, the ones that lose least in `f32`, and 3/8 and its
//! powers are exact.

use core::ops::Range;

use super::filter::TransformedFilter;
use super::input::{InputRow, transform_row};
use super::products::{Products, held};
use super::tiles::TransformedMap;
use super::{IMAGE_FILTER, IMAGE_STRIDE, IMAGE_WINDOW, OUT};
use crate::conv::LINE;
use crate::group::Group;
use crate::kernels::Kernels;
use crate::map::{Image, Map, Pixels};
use crate::simd::Simd;

/// Windows of 7x7 squares to 49 points; squares beyond the picture's padding count as zero.
///
/// # Safety
/// As [`input_row`](super::input_row).
#[inline(always)]
pub(crate) unsafe fn image_row<S: Simd>(simd: S, row: &InputRow) {
    // SAFETY: forwarded to the caller.
    unsafe { transform_row::<S, IMAGE_WINDOW, IMAGE_WINDOW>(simd, row, Image::SQUARE) }
}

/// The convolution made ready to run.
pub(crate) struct ImageProducts {
    image: Image,
    /// Of a row of tiles, or of a part of it, in memory of the member's own.
    products: Products,
    /// Rows and columns of tiles.
    tiles: [usize; 2],
}

impl ImageProducts {
    /// # Panics
    /// Where picture, filter and output do not fit together.
    pub(crate) fn new(
        kernels: &Kernels,
        image: Image,
        (filter, output, relu): (TransformedFilter, Map, bool),
    ) -> ImageProducts {
        let [_, h, w] = output.shape();
        assert!(image.pixels == Pixels::Squares, "a picture that does not lie in squares");
        // The eighth row and column of taps are zero, so their squares may be missing.
        image.check(IMAGE_FILTER, [h, w], IMAGE_STRIDE);
        let tiles = [h, w].map(|len| len.div_ceil(OUT));
        // As few parts of a row as can be held, all of nearly the same length.
        let count = tiles[1].div_ceil(tiles[1].div_ceil(held(kernels)));
        let products = TransformedMap::of_image(kernels.lanes(), count);
        let products = Products::over_tiles(kernels, products, (filter, output, relu));
        ImageProducts { image, products, tiles }
    }

    pub(crate) fn reads(&self) -> Range<usize> {
        self.image.range()
    }

    pub(crate) fn writes(&self) -> Range<usize> {
        self.products.writes()
    }

    pub(crate) fn items(&self) -> usize {
        self.tiles[0]
    }

    /// Elements that a member needs for itself.
    pub(crate) fn scratch_len(&self, kernels: &Kernels) -> usize {
        self.products.tiles().len().next_multiple_of(LINE) + self.products.scratch_len(kernels)
    }

    /// Computes one row of tiles of the first image of `group`.
    ///
    /// # Safety
    /// `kernels` are those that the filter was packed for; picture and output lie inside the group's slot; nobody writes
    /// the picture or touches this item's rows of the output meanwhile; `scratch` holds
    /// [`scratch_len`](ImageProducts::scratch_len) elements that nobody else touches.
    pub(crate) unsafe fn run(&self, kernels: &Kernels, (group, scratch): (Group, *mut f32), item: usize) {
        let (image, tiles) = (&self.image, self.products.tiles());
        let own = Group::new((scratch, scratch), usize::MAX).first;
        let group = Group { tiles: own, images: 1, ..group };
        let sums = scratch.wrapping_add(tiles.len().next_multiple_of(LINE));
        for column in (0..self.tiles[1]).step_by(tiles.count()) {
            // The last part begins where it ends with the row.
            let column = column.min(self.tiles[1] - tiles.count());
            let (y, x) = (item * OUT, column * OUT);
            for block in 0..tiles.blocks {
                let from = image.offset + y * image.pitch() + x * Image::SQUARE + block * tiles.lanes;
                // SAFETY: the processor has the instruction set (`kernels` proves it); `rows` and `columns` end with the
                // picture's padding; the tiles are in memory of the caller's own.
                unsafe {
                    (kernels.winograd_image)(&InputRow {
                        input: group.first.at(from),
                        pitch: image.pitch(),
                        rows: image.lines() - y,
                        columns: image.columns() - x,
                        tiles: scratch.wrapping_add(block * tiles.block_step()),
                        point_step: tiles.point_step(),
                        count: tiles.count(),
                    });
                }
            }
            for panel in 0..self.products.items() {
                // SAFETY: the tiles have just been transformed; and forwarded to the caller.
                unsafe { self.products.run_at([item, column], kernels, (group, sums), panel) };
            }
        }
    }
}
