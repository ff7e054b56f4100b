//! The first page of a TIFF by the crate `tiff`: grey, palette, RGB and CMYK in integers of 1 to 16 bits.

use std::borrow::Cow;
use std::io::Cursor;

use featvec_formats::{Error, ErrorKind, Result};
use tiff::decoder::{BufferLayoutPreference, Decoder, DecodingResult, Limits};
use tiff::tags::Tag;
use tiff::{ColorType, TiffError};

use super::exif::Directory;
use super::format::Format;
use super::limits::ImageLimits;
use super::orientation::Orientation;
use super::rgb8::{CHANNELS, Rgb8};

/// The tag that says what samples mean, and two of its values.
const PHOTOMETRIC: u16 = 262;
const IMAGE_LENGTH: u16 = 257;
const SAMPLES_PER_PIXEL: u16 = 277;
const BLACK_IS_ZERO: u8 = 1;
const PALETTE: u16 = 3;

/// More than any picture has. The crate keeps some dozen bytes for each before anybody can ask for the size.
const MOST_SAMPLES: u32 = 64;

pub(super) fn decode(bytes: &[u8], limits: &ImageLimits) -> Result<(Rgb8, Orientation)> {
    let directory =
        Directory::first(bytes).filter(Directory::counts_are_possible).ok_or_else(no_directory)?;
    check_strips(&directory, limits)?;
    let (bytes, is_indexed) = palette_as_grey(bytes, &directory);
    let mut decoder = Decoder::new(Cursor::new(&*bytes)).map_err(error)?;
    let (width, height) = decoder.dimensions().map_err(error)?;
    let pixels = limits.check(Format::Tiff, (width, height), CHANNELS)?;
    let layout = decoder.image_buffer_layout().map_err(error)?;
    // A strip as large as the picture may be held beside the picture, and its samples as bytes.
    let total = (layout.complete_len as u64).saturating_mul(3).saturating_add((pixels * CHANNELS) as u64);
    limits.check_memory(Format::Tiff, total)?;
    let mut allowed = Limits::default();
    allowed.decoding_buffer_size = limits.memory();
    allowed.intermediate_buffer_size = limits.memory();
    decoder = decoder.with_limits(allowed);

    let orientation = decoder.find_tag_unsigned(Tag::Orientation).unwrap_or(None);
    let orientation = orientation.and_then(Orientation::from_exif).unwrap_or_default();
    let colour = decoder.colortype().map_err(error)?;
    let mut stored = DecodingResult::U8(Vec::new());
    decoder.read_image_to_buffer(&mut stored).map_err(error)?;
    let samples = Samples::new(stored, colour, &layout, pixels)?;

    let data = match colour {
        ColorType::Gray(bits @ ..=8) if is_indexed => {
            let map = decoder.find_tag_unsigned_vec::<u16>(Tag::ColorMap).map_err(error)?.unwrap_or_default();
            let colours = 1 << bits;
            if map.len() != CHANNELS * colours {
                return Err(Error::corrupt(
                    Format::Tiff.name(),
                    "the palette has another size than the depth",
                ));
            }
            samples.to_rgb(|at| {
                let index = usize::from(at(0));
                [map[index], map[colours + index], map[2 * colours + index]].map(high_byte)
            })
        }
        ColorType::Gray(bits @ ..=8) => {
            let white = (1u16 << bits) - 1;
            samples.to_rgb(|at| [(u16::from(at(0)) * 255 / white) as u8; CHANNELS])
        }
        // Grey with alpha is told as bands.
        ColorType::Gray(_) | ColorType::GrayA(_) | ColorType::Multiband { num_samples: 2, .. } => {
            samples.to_rgb(|at| [at(0); CHANNELS])
        }
        ColorType::RGB(_) | ColorType::RGBA(_) => samples.to_rgb(|at| [at(0), at(1), at(2)]),
        ColorType::CMYK(_) => samples.to_rgb(|at| [0, 1, 2].map(|ink| printed(at(ink), at(3)))),
        other => return Err(unsupported(format!("the colours are {other:?}"))),
    };
    Ok((Rgb8::from_counted(width as usize, height as usize, data), orientation))
}

/// The crate multiplies rows and samples, for the number of strips, before anybody can ask for the picture's size.
fn check_strips(directory: &Directory, limits: &ImageLimits) -> Result<()> {
    let most =
        |tag, least: u32| directory.numbers(tag).try_fold(least, |most, number| Some(most.max(number?)));
    let impossible = || Error::corrupt(Format::Tiff.name(), "a number of rows or samples that cannot be");
    let rows = most(IMAGE_LENGTH, 1).ok_or_else(impossible)?;
    limits.check(Format::Tiff, (1, rows), CHANNELS)?;
    let samples = most(SAMPLES_PER_PIXEL, 1).ok_or_else(impossible)?;
    if samples > MOST_SAMPLES {
        return Err(unsupported(format!("{samples} samples a pixel, {MOST_SAMPLES} at most are read")));
    }
    let strips = rows.checked_mul(samples);
    strips.map(drop).ok_or_else(impossible)
}

/// A TIFF with a palette, made to say that its indices are shades of grey: the crate refuses the former.
fn palette_as_grey<'a>(bytes: &'a [u8], directory: &Directory) -> (Cow<'a, [u8]>, bool) {
    match directory.short(PHOTOMETRIC) {
        Some((offset, PALETTE)) => {
            let mut patched = bytes.to_vec();
            for byte in &mut patched[offset..offset + 2] {
                *byte = if *byte == 0 { 0 } else { BLACK_IS_ZERO };
            }
            (Cow::Owned(patched), true)
        }
        _ => (Cow::Borrowed(bytes), false),
    }
}

/// The samples of a picture, a byte each.
struct Samples {
    bytes: Vec<u8>,
    pixels: usize,
    /// From a sample to the same one of the next pixel.
    pixel_stride: usize,
    /// From a sample to the next one of the same pixel.
    channel_stride: usize,
}

impl Samples {
    fn new(
        stored: DecodingResult,
        colour: ColorType,
        layout: &BufferLayoutPreference,
        pixels: usize,
    ) -> Result<Samples> {
        let bits = colour.bit_depth();
        let row_bytes = layout.row_stride.map_or(0, usize::from);
        let bytes = match (stored, bits) {
            (DecodingResult::U8(bytes), 8) => bytes,
            (DecodingResult::U16(words), 16) => words.into_iter().map(high_byte).collect(),
            (DecodingResult::U8(bytes), 1 | 2 | 4) if layout.planes == 1 && row_bytes > 0 => {
                let rows = bytes.chunks_exact(row_bytes);
                let width = pixels / rows.len().max(1);
                rows.flat_map(|row| unpack(row, bits).take(width)).collect()
            }
            _ => return Err(unsupported(format!("{bits} bits a sample, {:?}", layout.sample_format))),
        };
        let channels = bytes.len() / pixels;
        if channels * pixels != bytes.len() || channels < usize::from(colour.num_samples()) {
            return Err(unsupported(format!("{} bytes for {pixels} pixels of {colour:?}", bytes.len())));
        }
        let (pixel_stride, channel_stride) = if layout.planes > 1 { (1, pixels) } else { (channels, 1) };
        Ok(Samples { bytes, pixels, pixel_stride, channel_stride })
    }

    /// The picture whose pixels `colour` makes from a function that gives the samples of a pixel.
    fn to_rgb(&self, colour: impl Fn(&dyn Fn(usize) -> u8) -> [u8; CHANNELS]) -> Vec<u8> {
        let pixel =
            |i: usize| colour(&|channel| self.bytes[i * self.pixel_stride + channel * self.channel_stride]);
        (0..self.pixels).flat_map(pixel).collect()
    }
}

/// Samples of less than a byte, the first in the highest bits.
fn unpack(row: &[u8], bits: u8) -> impl Iterator<Item = u8> {
    let in_a_byte = 8 / bits;
    row.iter().flat_map(move |byte| (1..=in_a_byte).map(move |i| byte >> (8 - i * bits) & ((1 << bits) - 1)))
}

fn high_byte(word: u16) -> u8 {
    (word >> 8) as u8
}

/// What is left of white paper's light under an ink and black, rounded as Pillow rounds it.
fn printed(ink: u8, black: u8) -> u8 {
    let light = 255 - u32::from(black);
    let product = u32::from(ink) * light + 128;
    (light - (((product >> 8) + product) >> 8)) as u8
}

/// The crate takes the directory's word for lengths, so one that is beyond the file does not get to it.
fn no_directory() -> Error {
    Error::corrupt(Format::Tiff.name(), "the first directory is damaged, or the file ends before it")
        .with_hint(COMPLETE)
}

fn unsupported(message: String) -> Error {
    Error::new(ErrorKind::Unsupported, Format::Tiff.name(), message).with_hint(CONVERT)
}

fn error(error: TiffError) -> Error {
    let (kind, hint) = match &error {
        TiffError::LimitsExceeded => (ErrorKind::Limit, "--max-memory raises the limit on memory"),
        TiffError::UnsupportedError(_) => (ErrorKind::Unsupported, CONVERT),
        _ => (ErrorKind::Corrupt, COMPLETE),
    };
    Error::new(kind, Format::Tiff.name(), error.to_string()).with_hint(hint).with_source(error)
}

const CONVERT: &str = "convert the picture to PNG";
const COMPLETE: &str = "is the file complete?";
