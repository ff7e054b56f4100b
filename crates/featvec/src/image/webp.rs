//! WebP by the crate `image-webp`, after a walk through the file's chunks for sizes and metadata.

use std::io::Cursor;

use featvec_formats::{Error, ErrorKind, Result};
use image_webp::{DecodingError, WebPDecoder};

use super::exif;
use super::format::Format;
use super::limits::ImageLimits;
use super::little_endian::{u16_at, u32_at};
use super::orientation::Orientation;
use super::rgb8::{CHANNELS, Rgb8};

/// What decoding holds at most: RGBA of canvas and frame, and the working pixels of the lossless decoder. Beside
/// it a damaged lossy file may cost 32 MiB: twice the most that a partition of it can claim.
const BYTES_PER_PIXEL: usize = 4 + 4 + 4;
/// Id and length in front of a chunk's content.
const CHUNK_HEADER_BYTES: usize = 8;
/// Place, size, duration and flags in front of the chunks of an animation's frame.
const FRAME_HEADER_BYTES: usize = 16;

pub(super) fn decode(bytes: &[u8], limits: &ImageLimits) -> Result<(Rgb8, Orientation)> {
    // The decoder takes each chunk's word for the size of its pixels, so all of them are checked.
    let mut orientation = Orientation::Normal;
    let length = u32_at(bytes, 4).and_then(|length| usize::try_from(length).ok());
    let end = length.and_then(|length| length.checked_add(CHUNK_HEADER_BYTES));
    let riff = end.and_then(|end| bytes.get(..end)).ok_or_else(truncated)?;
    for chunk in (Chunks { rest: riff.get(12..).unwrap_or_default() }) {
        let (id, content) = chunk?;
        match id {
            b"EXIF" => orientation = exif::orientation(content),
            b"ANMF" => {
                for chunk in (Chunks { rest: content.get(FRAME_HEADER_BYTES..).unwrap_or_default() }) {
                    let (id, content) = chunk?;
                    check_size(id, content, limits)?;
                }
            }
            _ => check_size(id, content, limits)?,
        }
    }

    let mut decoder = WebPDecoder::new(Cursor::new(riff)).map_err(error)?;
    decoder.set_memory_limit(limits.memory());
    let (width, height) = decoder.dimensions();
    let pixels = limits.check(Format::WebP, (width, height), BYTES_PER_PIXEL)?;
    let has_alpha = decoder.has_alpha();
    let mut data = vec![0; pixels * if has_alpha { 4 } else { CHANNELS }];
    decoder.read_image(&mut data).map_err(error)?;
    if has_alpha {
        data = data.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
    }
    Ok((Rgb8::from_counted(width as usize, height as usize, data), orientation))
}

/// The chunks of a RIFF file in order: id and content.
struct Chunks<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Result<(&'a [u8; 4], &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        // Less than a header at the end is padding.
        let (id, length) = (self.rest.first_chunk()?, u32_at(self.rest, 4)?);
        let content = &self.rest[CHUNK_HEADER_BYTES..];
        let Some(length) = usize::try_from(length).ok().filter(|&length| length <= content.len()) else {
            self.rest = &[];
            return Some(Err(truncated()));
        };
        // Chunks start at even places.
        self.rest = content.get(length.next_multiple_of(2)..).unwrap_or_default();
        Some(Ok((id, &content[..length])))
    }
}

/// Holds the size in a chunk of pixels against the limits; other chunks pass.
fn check_size(id: &[u8; 4], content: &[u8], limits: &ImageLimits) -> Result<()> {
    let size = match id {
        // A frame tag and a start code come first; two bits of each side are a scale for display.
        b"VP8 " => u16_at(content, 6).zip(u16_at(content, 8)).map(|(w, h)| (w & 0x3fff, h & 0x3fff)),
        // Behind a signature 14 bits of width - 1 and of height - 1.
        b"VP8L" => {
            u32_at(content, 1).map(|bits| ((bits & 0x3fff) as u16 + 1, (bits >> 14 & 0x3fff) as u16 + 1))
        }
        _ => return Ok(()),
    };
    limits.check(Format::WebP, size.ok_or_else(truncated)?, BYTES_PER_PIXEL).map(|_| ())
}

fn truncated() -> Error {
    Error::corrupt(Format::WebP.name(), "the data ends before the picture does").with_hint(COMPLETE)
}

fn error(error: DecodingError) -> Error {
    let (kind, hint) = match &error {
        DecodingError::MemoryLimitExceeded => (ErrorKind::Limit, "--max-memory raises the limit on memory"),
        DecodingError::UnsupportedFeature(_) => (ErrorKind::Unsupported, "convert the picture to PNG"),
        _ => (ErrorKind::Corrupt, COMPLETE),
    };
    Error::new(kind, Format::WebP.name(), error.to_string()).with_hint(hint).with_source(error)
}

const COMPLETE: &str = "is the file complete?";
