//! The first frame of a GIF by the crate `gif`, put on the canvas as TensorFlow does it.

use featvec_formats::{Error, ErrorKind, Result};
use gif::{ColorOutput, DecodeOptions, Decoder, DecodingError, MemoryLimit};

use super::format::Format;
use super::limits::ImageLimits;
use super::orientation::Orientation;
use super::rgb8::{CHANNELS, Rgb8};

pub(super) fn decode(bytes: &[u8], limits: &ImageLimits) -> Result<(Rgb8, Orientation)> {
    let (width, height) = canvas(bytes)?;
    // Beside the canvas a palette index for each pixel of the frame.
    let pixels = limits.check(Format::Gif, (width, height), CHANNELS + 1)?;
    let mut decoder = open(bytes, false)?;
    let global = decoder.global_palette().map(<[u8]>::to_vec);
    let frame = decoder
        .read_next_frame()
        .map_err(error)?
        .ok_or_else(|| Error::corrupt(Format::Gif.name(), "there is no frame in it"))?;
    let palette = frame.palette.as_ref().or(global.as_ref());
    let palette = palette.ok_or_else(|| Error::corrupt(Format::Gif.name(), "there is no palette in it"))?;

    let mut data = vec![0; pixels * CHANNELS];
    let (left, top) = (usize::from(frame.left), usize::from(frame.top));
    let rows = data.chunks_exact_mut(width * CHANNELS).skip(top);
    for (row, indices) in rows.zip(frame.buffer.chunks_exact(usize::from(frame.width))) {
        for (pixel, &index) in row.chunks_exact_mut(CHANNELS).skip(left).zip(indices) {
            if frame.transparent == Some(index) {
                continue;
            }
            let colour = palette.chunks_exact(CHANNELS).nth(usize::from(index)).ok_or_else(|| {
                Error::corrupt(Format::Gif.name(), format!("colour {index} is not in the palette"))
            })?;
            pixel.copy_from_slice(colour);
        }
    }
    Ok((Rgb8::from_counted(width, height, data), Orientation::Normal))
}

/// The size of the canvas by TensorFlow's rule: the largest frame, whatever the file's header says. Frames
/// after damage do not count.
fn canvas(bytes: &[u8]) -> Result<(usize, usize)> {
    let mut decoder = open(bytes, true)?;
    let mut frame = decoder.next_frame_info().map_err(error)?;
    let mut canvas = (0, 0);
    while let Some(info) = frame {
        canvas = (canvas.0.max(usize::from(info.width)), canvas.1.max(usize::from(info.height)));
        frame = decoder.next_frame_info().unwrap_or(None);
    }
    Ok(canvas)
}

fn open(bytes: &[u8], skip_pixels: bool) -> Result<Decoder<&[u8]>> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    // The size was held against the caller's limits.
    options.set_memory_limit(MemoryLimit::Unlimited);
    options.skip_frame_decoding(skip_pixels);
    options.read_info(bytes).map_err(error)
}

fn error(error: DecodingError) -> Error {
    Error::new(ErrorKind::Corrupt, Format::Gif.name(), error.to_string())
        .with_hint("is the file complete?")
        .with_source(error)
}
