//! A rectangle of a picture, read row by row.

use std::ops::Range;

use crate::image::{PixelGrid, Rgb8, Sampled};

/// A rectangle of at least one pixel within a picture.
#[derive(Clone, Copy)]
pub(crate) struct Region<'a> {
    image: &'a Rgb8,
    /// Which rows and columns of the picture `image` has, if not all.
    grid: Option<&'a PixelGrid>,
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

impl<'a> Region<'a> {
    /// The whole picture.
    pub(crate) fn of(image: &'a Rgb8) -> Region<'a> {
        Region { image, grid: None, left: 0, top: 0, width: image.width(), height: image.height() }
    }

    /// The whole picture that `sampled` is of; only the pixels that are there may be read.
    pub(super) fn of_sampled(sampled: &'a Sampled) -> Region<'a> {
        let Sampled { pixels, grid, size: (width, height) } = sampled;
        Region { image: pixels, grid: grid.as_ref(), left: 0, top: 0, width: *width, height: *height }
    }

    /// The rectangle of `size` `(width, height)` whose first pixel is `(left, top)`.
    ///
    /// # Panics
    /// If it has no pixels or does not lie in the picture.
    pub(crate) fn part(
        image: &'a Rgb8,
        (left, top): (usize, usize),
        (width, height): (usize, usize),
    ) -> Region<'a> {
        let lies_in = |start: usize, len: usize, end: usize| len > 0 && start <= end && len <= end - start;
        assert!(lies_in(left, width, image.width()) && lies_in(top, height, image.height()));
        Region { image, grid: None, left, top, width, height }
    }

    /// What lies in these `columns` and `rows` of the region.
    pub(super) fn within(&self, columns: Range<usize>, rows: Range<usize>) -> Region<'a> {
        Region {
            left: self.left + columns.start,
            top: self.top + rows.start,
            width: columns.len(),
            height: rows.len(),
            ..*self
        }
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn height(&self) -> usize {
        self.height
    }

    /// The RGB bytes of row `y`: those of all pixels from the region's first, or of the ones that are there of the
    /// whole picture.
    pub(crate) fn row(&self, y: usize) -> &'a [u8] {
        let Some(grid) = self.grid else {
            let start = ((self.top + y) * self.image.width() + self.left) * 3;
            return &self.image.data()[start..start + self.width * 3];
        };
        let row_len = self.image.width() * 3;
        &self.image.data()[index(grid.rows(), self.top + y) * row_len..][..row_len]
    }

    /// Where in such a row the pixel of column `x` begins.
    pub(super) fn offset(&self, x: usize) -> usize {
        3 * self.grid.map_or(x, |grid| index(grid.columns(), self.left + x))
    }
}

/// The index of a position that is there.
fn index(positions: &[usize], position: usize) -> usize {
    positions.binary_search(&position).expect("only pixels that are there are read")
}
