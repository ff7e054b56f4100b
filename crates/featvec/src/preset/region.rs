//! A rectangle of a picture, read row by row.

use crate::image::Rgb8;

/// A rectangle of at least one pixel within a picture.
#[derive(Clone, Copy)]
pub(crate) struct Region<'a> {
    image: &'a Rgb8,
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

impl<'a> Region<'a> {
    /// The whole picture.
    pub(crate) fn of(image: &'a Rgb8) -> Region<'a> {
        Region { image, left: 0, top: 0, width: image.width(), height: image.height() }
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
        Region { image, left, top, width, height }
    }

    /// The middle of the region, `fraction` of each side, rounded as TensorFlow's `central_crop` does.
    pub(super) fn central(&self, fraction: f64) -> Region<'a> {
        let margin = |side: usize| ((side as f64 - side as f64 * fraction) / 2.0) as usize;
        let (left, top) = (margin(self.width), margin(self.height));
        Region {
            image: self.image,
            left: self.left + left,
            top: self.top + top,
            width: self.width - 2 * left,
            height: self.height - 2 * top,
        }
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn height(&self) -> usize {
        self.height
    }

    /// The RGB bytes of row `y`.
    pub(crate) fn row(&self, y: usize) -> &'a [u8] {
        let start = ((self.top + y) * self.image.width() + self.left) * 3;
        &self.image.data()[start..start + self.width * 3]
    }
}
