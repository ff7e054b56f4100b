//! JPEG by our own decoder, whose pixels are TensorFlow's.

use featvec_formats::{Error, ErrorKind, Result};
use featvec_jpeg::{Decoder, Idct, Options};

use super::exif;
use super::format::Format;
use super::limits::ImageLimits;
use super::orientation::Orientation;
use super::rgb8::{CHANNELS, Rgb8};

pub(super) fn decode(bytes: &[u8], idct: Idct, limits: &ImageLimits) -> Result<(Rgb8, Orientation)> {
    let decoder = Decoder::new(bytes).map_err(error)?;
    let info = decoder.info();
    limits.check(Format::Jpeg, (info.width, info.height), CHANNELS)?;
    let options = Options { idct, max_memory_bytes: limits.max_memory_bytes, ..Options::default() };
    let data = decoder.decode(&options).map_err(error)?;
    let orientation = decoder.exif().map(exif::orientation).unwrap_or_default();
    Ok((Rgb8::from_counted(info.width, info.height, data), orientation))
}

fn error(error: featvec_jpeg::Error) -> Error {
    let (kind, hint) = match error.kind() {
        featvec_jpeg::ErrorKind::Limit => (ErrorKind::Limit, "--max-memory raises the limit on memory"),
        featvec_jpeg::ErrorKind::Unsupported => (ErrorKind::Unsupported, "convert the picture to PNG"),
        _ => (ErrorKind::Corrupt, "is the file complete?"),
    };
    let place = format!("{}, byte {}", Format::Jpeg, error.offset());
    Error::new(kind, place, error.message()).with_hint(hint).with_source(error)
}
