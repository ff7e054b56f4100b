//! The pixels of a picture that somebody reads. Of a large photograph these are few, and a JPEG is decoded in a
//! fraction of the time where only they are wanted.

use featvec_formats::Result;
use featvec_jpeg::PixelGrid;

use super::format::Format;
use super::orientation::Orientation;
use super::rgb8::Rgb8;
use super::{DecodeOptions, decode, jpeg};

/// Somebody who makes something smaller of pictures, and says of which pixels. Sizes are `(width, height)`.
pub(crate) trait Reader {
    /// Whether a picture of `size` is as large as what is made of it, or larger.
    fn is_served_by(&self, size: (usize, usize)) -> bool;

    /// The pixels that are read of a picture of `size`; `None` for all.
    fn reads(&self, size: (usize, usize)) -> Option<PixelGrid>;
}

/// A picture, or those of its pixels that somebody reads.
pub(crate) struct Sampled {
    /// The pixels that are there, side by side.
    pub(crate) pixels: Rgb8,
    /// Where they belong in the picture; `None` if all are there.
    pub(crate) grid: Option<PixelGrid>,
    /// Width and height of the picture.
    pub(crate) size: (usize, usize),
}

impl Sampled {
    pub(super) fn whole(pixels: Rgb8) -> Sampled {
        Sampled { size: (pixels.width(), pixels.height()), pixels, grid: None }
    }
}

/// Like [`decode`], but at least the pixels that `reader` reads, and at the scale that `options` allow for it.
pub(crate) fn decode_sampled(
    bytes: &[u8],
    options: &DecodeOptions,
    reader: &impl Reader,
) -> Result<(Sampled, Orientation)> {
    if Format::of(bytes) == Some(Format::Jpeg) {
        return jpeg::decode_sampled(bytes, options, reader);
    }
    let decoded = decode(bytes, options)?;
    Ok((Sampled::whole(decoded.image), decoded.orientation))
}
