//! Pictures: from the bytes of a file to 8-bit RGB, with the pixels that TensorFlow's decoders give.
//!
//! [`decode`] recognises JPEG, PNG, GIF, BMP, WebP and TIFF by content. The size that a header claims is held
//! against [`ImageLimits`] before anything of that size is allocated.

use std::panic::{AssertUnwindSafe, catch_unwind};

use featvec_formats::{Error, ErrorKind, Result};

mod bmp;
mod exif;
mod fidelity;
mod format;
mod gif;
mod jpeg;
mod limits;
mod little_endian;
mod orientation;
mod png;
mod rgb8;
mod sampled;
mod tiff;
mod webp;

pub use featvec_jpeg::Idct;
pub(crate) use featvec_jpeg::PixelGrid;
pub use fidelity::Fidelity;
pub use format::Format;
pub use limits::ImageLimits;
pub use orientation::Orientation;
pub use rgb8::Rgb8;
pub(crate) use sampled::{Reader, Sampled, decode_sampled};

/// What to do about the EXIF tag that says how the camera was held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExifPolicy {
    /// Leave the pixels as they are stored, as TensorFlow does; Pillow too, but for TIFF.
    #[default]
    Ignore,
    /// Turn the picture upright, as OpenCV's `imread` and every viewer do.
    Apply,
}

/// How [`decode`] decodes.
#[derive(Clone, Debug, Default)]
pub struct DecodeOptions {
    /// The inverse cosine transform of JPEG; TensorFlow's default is [`Idct::Fast`].
    pub idct: Idct,
    /// Whether large JPEGs may be decoded at a smaller size. [`decode`] gives all pixels whatever this says:
    /// it is for what knows the size of the result, such as [`Preparation`](crate::pictures::Preparation).
    pub fidelity: Fidelity,
    /// Whether the EXIF orientation is followed.
    pub exif: ExifPolicy,
    /// The largest picture that is decoded.
    pub limits: ImageLimits,
}

/// A decoded picture and what is worth knowing about its file.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The pixels; upright if [`ExifPolicy::Apply`] was asked for.
    pub image: Rgb8,
    /// The format of the file.
    pub format: Format,
    /// The orientation found in the file, whether it was followed or not. A caller that ignores one other than
    /// [`Orientation::Normal`] should say so: the network then sees the picture lying on its side.
    pub orientation: Orientation,
}

/// Decodes the picture in `bytes`: of animations the first frame, of documents the first page.
///
/// Alpha is dropped without blending, 16-bit samples lose their low byte, grey becomes three equal channels,
/// CMYK is converted: all as TensorFlow does it. The pixels of WebP and TIFF, which it does not read, are
/// those of Pillow.
///
/// # Errors
///
/// `Unsupported` for what is not a picture or is one of a kind that is not read, with what the bytes look like;
/// `Corrupt` for damaged files; `Limit` for pictures beyond `options.limits`. No error names the file: its
/// place is the format.
pub fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Decoded> {
    let format = Format::of(bytes)
        .ok_or_else(|| Error::new(ErrorKind::Unsupported, "", format::refusal(bytes)).with_hint(SUPPORTED))?;
    let limits = &options.limits;
    let (image, orientation) = match format {
        Format::Jpeg => jpeg::decode(bytes, options.idct, limits),
        Format::Png => guarded(format, || png::decode(bytes, limits)),
        Format::Gif => guarded(format, || gif::decode(bytes, limits)),
        Format::Bmp => bmp::decode(bytes, limits),
        Format::WebP => guarded(format, || webp::decode(bytes, limits)),
        Format::Tiff => guarded(format, || tiff::decode(bytes, limits)),
    }?;
    let image = match options.exif {
        ExifPolicy::Apply if orientation != Orientation::Normal => {
            limits.check(format, (image.width(), image.height()), 2 * rgb8::CHANNELS)?;
            orientation.apply(image)
        }
        _ => image,
    };
    Ok(Decoded { image, format, orientation })
}

/// Calls a decoder of other people's. Fuzzing has found panics in some of them; one must not take a run along.
fn guarded<T>(format: Format, decode: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| {
        Err(Error::corrupt(format.name(), "the decoder gave up on this picture")
            .with_hint("convert it to another format, and please report it together with the picture"))
    })
}

const SUPPORTED: &str =
    "featvec reads JPEG, PNG, GIF, BMP, WebP and TIFF: convert the picture to one of them";
