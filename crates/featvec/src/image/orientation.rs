//! How a camera was held, and turning its picture upright.

use featvec_jpeg::PixelGrid;

use super::rgb8::{CHANNELS, Rgb8};

/// The EXIF orientation of a picture: what has to be done to the stored pixels to see it upright.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Orientation {
    /// Nothing.
    #[default]
    Normal,
    /// Swap left and right.
    MirrorHorizontal,
    /// Turn by half.
    Rotate180,
    /// Swap top and bottom.
    MirrorVertical,
    /// Swap rows and columns: mirror along the diagonal from the top left.
    Transpose,
    /// Turn a quarter clockwise.
    Rotate90,
    /// Mirror along the diagonal from the top right.
    Transverse,
    /// Turn a quarter counterclockwise.
    Rotate270,
}

impl Orientation {
    /// The orientation that EXIF writes as `value`, 1 to 8.
    pub fn from_exif(value: u16) -> Option<Orientation> {
        Some(match value {
            1 => Orientation::Normal,
            2 => Orientation::MirrorHorizontal,
            3 => Orientation::Rotate180,
            4 => Orientation::MirrorVertical,
            5 => Orientation::Transpose,
            6 => Orientation::Rotate90,
            7 => Orientation::Transverse,
            8 => Orientation::Rotate270,
            _ => return None,
        })
    }

    /// Whether upright rows are stored columns.
    fn swaps_axes(self) -> bool {
        use Orientation::{Rotate90, Rotate270, Transpose, Transverse};
        matches!(self, Transpose | Rotate90 | Transverse | Rotate270)
    }

    /// Whether the stored pixels of an upright row or column are counted from the right.
    fn is_from_right(self) -> bool {
        use Orientation::{MirrorHorizontal, Rotate180, Rotate270, Transverse};
        matches!(self, MirrorHorizontal | Rotate180 | Rotate270 | Transverse)
    }

    /// Whether they are counted from the bottom.
    fn is_from_bottom(self) -> bool {
        use Orientation::{MirrorVertical, Rotate90, Rotate180, Transverse};
        matches!(self, MirrorVertical | Rotate180 | Rotate90 | Transverse)
    }

    /// Width and height of the upright picture that is stored with `size`, and the other way round.
    pub(super) fn turned(self, (width, height): (usize, usize)) -> (usize, usize) {
        if self.swaps_axes() { (height, width) } else { (width, height) }
    }

    /// Where the pixels of `grid` are stored, which belong to an upright picture of `size`. Applied to them alone,
    /// side by side, the orientation gives those of `grid` in their order.
    pub(super) fn stored(self, grid: &PixelGrid, size: (usize, usize)) -> PixelGrid {
        let (width, height) = self.turned(size);
        let (rows, columns) = match self.swaps_axes() {
            true => (grid.columns(), grid.rows()),
            false => (grid.rows(), grid.columns()),
        };
        let counted = |positions: &[usize], from_end: bool, side: usize| {
            positions.iter().map(|&at| if from_end { side - 1 - at } else { at }).collect()
        };
        PixelGrid::new(
            counted(rows, self.is_from_bottom(), height),
            counted(columns, self.is_from_right(), width),
        )
    }

    /// The upright picture.
    pub fn apply(self, image: Rgb8) -> Rgb8 {
        if self == Orientation::Normal {
            return image;
        }
        let (stored_width, stored_height) = (image.width(), image.height());
        let (width, height) = self.turned((stored_width, stored_height));
        let mut data = Vec::with_capacity(image.data().len());
        for y in 0..height {
            for x in 0..width {
                let (mut from_x, mut from_y) = if self.swaps_axes() { (y, x) } else { (x, y) };
                if self.is_from_right() {
                    from_x = stored_width - 1 - from_x;
                }
                if self.is_from_bottom() {
                    from_y = stored_height - 1 - from_y;
                }
                let at = (from_y * stored_width + from_x) * CHANNELS;
                data.extend_from_slice(&image.data()[at..at + CHANNELS]);
            }
        }
        Rgb8::from_counted(width, height, data)
    }
}
