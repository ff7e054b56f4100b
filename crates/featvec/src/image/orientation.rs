//! How a camera was held, and turning its picture upright.

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

    /// The upright picture.
    pub fn apply(self, image: Rgb8) -> Rgb8 {
        use Orientation::{MirrorHorizontal, MirrorVertical, Rotate90, Rotate180, Rotate270, Transverse};
        if self == Orientation::Normal {
            return image;
        }
        let (stored_width, stored_height) = (image.width(), image.height());
        let (width, height) =
            if self.swaps_axes() { (stored_height, stored_width) } else { (stored_width, stored_height) };
        // Where the stored pixel of an upright one is counted from the far end.
        let from_right = matches!(self, MirrorHorizontal | Rotate180 | Rotate270 | Transverse);
        let from_bottom = matches!(self, MirrorVertical | Rotate180 | Rotate90 | Transverse);
        let mut data = Vec::with_capacity(image.data().len());
        for y in 0..height {
            for x in 0..width {
                let (mut from_x, mut from_y) = if self.swaps_axes() { (y, x) } else { (x, y) };
                if from_right {
                    from_x = stored_width - 1 - from_x;
                }
                if from_bottom {
                    from_y = stored_height - 1 - from_y;
                }
                let at = (from_y * stored_width + from_x) * CHANNELS;
                data.extend_from_slice(&image.data()[at..at + CHANNELS]);
            }
        }
        Rgb8::from_counted(width, height, data)
    }
}
