//! PNG by the crate `png`, read as libpng reads it for TensorFlow.

use std::borrow::Cow;
use std::io::Cursor;

use featvec_formats::{Error, ErrorKind, Result};
use png::{ColorType, Decoder, DecodingError, Info, Limits, Transformations};

use super::exif;
use super::format::Format;
use super::limits::ImageLimits;
use super::orientation::Orientation;
use super::rgb8::{CHANNELS, Rgb8};

pub(super) fn decode(bytes: &[u8], limits: &ImageLimits) -> Result<(Rgb8, Orientation)> {
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: limits.memory() });
    // Palettes and small depths to bytes; of 16 bits the high byte stays.
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let header = decoder.read_header_info().map_err(error)?;
    let size = (header.width, header.height);
    limits.check(Format::Png, size, CHANNELS)?;

    let mut reader = decoder.read_info().map_err(error)?;
    check_palette(reader.info())?;
    let channels = reader.output_color_type().0.samples();
    let pixels = limits.check(Format::Png, size, channels + CHANNELS)?;
    let mut samples = vec![0; pixels * channels];
    let frame = reader.next_frame(&mut samples).map_err(error)?;
    // The chunks behind the pixels: a file without its end is damaged, and the orientation may be there.
    reader.finish().map_err(error)?;

    let data = match frame.color_type {
        ColorType::Rgb => samples,
        ColorType::Rgba => samples.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect(),
        ColorType::GrayscaleAlpha => samples.chunks_exact(2).flat_map(|pixel| [pixel[0]; CHANNELS]).collect(),
        ColorType::Grayscale | ColorType::Indexed => {
            samples.iter().flat_map(|&grey| [grey; CHANNELS]).collect()
        }
    };
    let orientation = reader.info().exif_metadata.as_ref().map(|block: &Cow<[u8]>| exif::orientation(block));
    let (width, height) = (frame.width as usize, frame.height as usize);
    Ok((Rgb8::from_counted(width, height, data), orientation.unwrap_or_default()))
}

/// The crate takes a palette's colours for whole, and panics where the last one is not. Where no pixel uses the
/// palette, libpng takes no notice of it either.
fn check_palette(info: &Info<'_>) -> Result<()> {
    match &info.palette {
        Some(palette) if info.color_type == ColorType::Indexed && palette.len() % CHANNELS != 0 => {
            let message = format!("a palette of {} bytes, not of three for each colour", palette.len());
            Err(Error::corrupt(Format::Png.name(), message))
        }
        _ => Ok(()),
    }
}

fn error(error: DecodingError) -> Error {
    let (kind, hint) = match &error {
        DecodingError::LimitsExceeded => (ErrorKind::Limit, "--max-memory raises the limit on memory"),
        _ => (ErrorKind::Corrupt, "is the file complete?"),
    };
    Error::new(kind, Format::Png.name(), error.to_string()).with_hint(hint).with_source(error)
}
