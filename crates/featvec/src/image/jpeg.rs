//! JPEG by our own decoder, whose pixels are TensorFlow's.

use featvec_formats::{Error, ErrorKind, Result};
use featvec_jpeg::{Decoder, Idct, Options, Scale};

use super::exif;
use super::fidelity::Fidelity;
use super::format::Format;
use super::limits::ImageLimits;
use super::orientation::Orientation;
use super::rgb8::{CHANNELS, Rgb8};
use super::sampled::{Reader, Sampled};
use super::{DecodeOptions, ExifPolicy};

pub(super) fn decode(bytes: &[u8], idct: Idct, limits: &ImageLimits) -> Result<(Rgb8, Orientation)> {
    let decoder = Decoder::new(bytes).map_err(error)?;
    let info = decoder.info();
    limits.check(Format::Jpeg, (info.width, info.height), CHANNELS)?;
    let options = Options { idct, max_memory_bytes: limits.max_memory_bytes, ..Options::default() };
    let data = decoder.decode(&options).map_err(error)?;
    Ok((Rgb8::from_counted(info.width, info.height, data), orientation(&decoder)))
}

/// The pixels that `reader` reads, upright if `options` say so.
pub(super) fn decode_sampled(
    bytes: &[u8],
    options: &DecodeOptions,
    reader: &impl Reader,
) -> Result<(Sampled, Orientation)> {
    let decoder = Decoder::new(bytes).map_err(error)?;
    let info = decoder.info();
    let limits = &options.limits;
    // How much memory it takes is for the decoder to check, which knows how little that may be.
    limits.check(Format::Jpeg, (info.width, info.height), 0)?;
    let orientation = orientation(&decoder);
    let turn = match options.exif {
        ExifPolicy::Apply => orientation,
        ExifPolicy::Ignore => Orientation::Normal,
    };
    let stored_size = |scale: Scale| (scale.of(info.width), scale.of(info.height));
    let scale = match options.fidelity {
        Fidelity::Exact => Scale::Full,
        Fidelity::Fast => {
            let serves = |scale: &Scale| reader.is_served_by(turn.turned(stored_size(*scale)));
            Scale::ALL.into_iter().find(serves).unwrap_or(Scale::Full)
        }
    };
    let size = turn.turned(stored_size(scale));
    let grid = reader.reads(size);
    let max_memory_bytes = limits.max_memory_bytes;
    let options = Options { idct: options.idct, scale, max_memory_bytes, ..Options::default() };
    let ((width, height), data) = match &grid {
        None => (stored_size(scale), decoder.decode(&options)),
        Some(grid) => {
            let grid = turn.stored(grid, size);
            ((grid.columns().len(), grid.rows().len()), decoder.decode_grid(&options, &grid))
        }
    };
    let mut pixels = Rgb8::from_counted(width, height, data.map_err(error)?);
    if turn != Orientation::Normal {
        limits.check_memory(Format::Jpeg, 2 * pixels.data().len() as u64)?;
        pixels = turn.apply(pixels);
    }
    Ok((Sampled { pixels, grid, size }, orientation))
}

fn orientation(decoder: &Decoder<'_>) -> Orientation {
    decoder.exif().map(exif::orientation).unwrap_or_default()
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
