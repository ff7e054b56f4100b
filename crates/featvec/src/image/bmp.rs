//! Windows and OS/2 bitmaps: 1 to 32 bits a pixel, palettes, bit fields, run lengths.

use std::borrow::Cow;

use featvec_formats::{Error, ErrorKind, Result};

use super::format::Format;
use super::limits::ImageLimits;
use super::little_endian::{u16_at, u32_at};
use super::orientation::Orientation;
use super::rgb8::{CHANNELS, Rgb8};

/// Bytes in front of the information header.
const FILE_HEADER_BYTES: usize = 14;
/// Bytes of OS/2's first information header: 16-bit sides, palette entries of 3 bytes.
const CORE_HEADER_BYTES: usize = 12;
/// Bytes of Windows' first information header; masks of bit fields may follow it, later headers contain them.
const INFO_HEADER_BYTES: usize = 40;
/// What the compression field says.
const UNCOMPRESSED: u32 = 0;
const RUNS_OF_8_BITS: u32 = 1;
const RUNS_OF_4_BITS: u32 = 2;
const BIT_FIELDS: u32 = 3;
const BIT_FIELDS_WITH_ALPHA: u32 = 6;

struct Header {
    width: usize,
    height: usize,
    top_down: bool,
    /// Bits of a pixel.
    bits: u16,
    colours: Colours,
    /// Where the pixels start.
    offset: usize,
}

/// What the bits of a pixel say.
enum Colours {
    /// An index of a palette.
    Indexed { palette: Vec<[u8; CHANNELS]>, is_runs: bool },
    /// Red, green and blue, each under a mask.
    Masked([u32; CHANNELS]),
}

pub(super) fn decode(bytes: &[u8], limits: &ImageLimits) -> Result<(Rgb8, Orientation)> {
    let header = Header::read(bytes)?;
    let (width, height) = (header.width, header.height);
    // Runs are unpacked to one index a pixel first.
    let pixels = limits.check(Format::Bmp, (width, height), CHANNELS + 1)?;
    let stored = bytes.get(header.offset..).unwrap_or_default();
    let (stored, bits, alignment) = match header.colours {
        Colours::Indexed { is_runs: true, .. } => {
            (Cow::Owned(unpack_runs(stored, header.bits == 4, width, pixels)?), 8, 1)
        }
        _ => (Cow::Borrowed(stored), usize::from(header.bits), 4),
    };

    let row_bytes = (width * bits).div_ceil(8);
    let stride = row_bytes.next_multiple_of(alignment);
    // The padding of the last row is often left out.
    let needed = stride * (height - 1) + row_bytes;
    if stored.len() < needed {
        let message = format!("{needed} bytes of pixels promised, {} are there", stored.len());
        return Err(corrupt(message).with_hint("is the file complete?"));
    }
    let mut data = Vec::with_capacity(pixels * CHANNELS);
    for y in 0..height {
        let y = if header.top_down { y } else { height - 1 - y };
        let row = &stored[y * stride..][..row_bytes];
        match &header.colours {
            Colours::Indexed { palette, .. } => {
                let mask = ((1u16 << bits) - 1) as u8;
                data.extend((0..width).map(|x| x * bits).flat_map(|bit| {
                    let index = row[bit / 8] >> (8 - bits - bit % 8) & mask;
                    // Colours that the palette lacks are black.
                    palette.get(usize::from(index)).copied().unwrap_or_default()
                }));
            }
            Colours::Masked(masks) => {
                data.extend(row.chunks_exact(bits / 8).flat_map(|pixel| {
                    let mut word = [0; 4];
                    word[..pixel.len()].copy_from_slice(pixel);
                    masks.map(|mask| masked(u32::from_le_bytes(word), mask))
                }));
            }
        }
    }
    Ok((Rgb8::from_counted(width, height, data), Orientation::Normal))
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Header> {
        Header::parse(bytes).unwrap_or_else(|| Err(corrupt("the data ends within the header")))
    }

    /// The header, or `None` if the data ends before it does.
    fn parse(bytes: &[u8]) -> Option<Result<Header>> {
        let offset = usize::try_from(u32_at(bytes, 10)?).ok()?;
        let info = bytes.get(FILE_HEADER_BYTES..)?;
        let info_bytes = usize::try_from(u32_at(info, 0)?).ok()?;
        let core = info_bytes == CORE_HEADER_BYTES;
        if !core && !(INFO_HEADER_BYTES..=124).contains(&info_bytes) {
            return Some(Err(unsupported(format!("an information header of {info_bytes} bytes"))));
        }
        let sides_at = if core { 2 } else { 4 };
        let (width, height) = if core {
            (i32::from(u16_at(info, 4)?), i32::from(u16_at(info, 6)?))
        } else {
            (u32_at(info, 4)? as i32, u32_at(info, 8)? as i32)
        };
        let bits = u16_at(info, 4 + 2 * sides_at + 2)?;
        let compression = if core { UNCOMPRESSED } else { u32_at(info, 16)? };
        if width < 0 {
            return Some(Err(corrupt(format!("a width of {width}"))));
        }

        let masks_at = INFO_HEADER_BYTES;
        let after_header = FILE_HEADER_BYTES + info_bytes;
        let colours = match (compression, bits) {
            (UNCOMPRESSED, 1 | 2 | 4 | 8) | (RUNS_OF_8_BITS, 8) | (RUNS_OF_4_BITS, 4) => {
                let used = if core { 0 } else { u32_at(info, 32)? };
                let most = 1 << bits;
                let count = usize::try_from(used).ok().filter(|&used| used != 0).unwrap_or(most).min(most);
                let entries = bytes.get(after_header..)?.chunks_exact(if core { 3 } else { 4 });
                let palette = entries.take(count).map(|bgr| [bgr[2], bgr[1], bgr[0]]).collect();
                Colours::Indexed { palette, is_runs: compression != UNCOMPRESSED }
            }
            (UNCOMPRESSED, 16) => Colours::Masked([0x7c00, 0x03e0, 0x001f]),
            (UNCOMPRESSED, 24 | 32) => Colours::Masked([0x00ff_0000, 0x0000_ff00, 0x0000_00ff]),
            (BIT_FIELDS | BIT_FIELDS_WITH_ALPHA, 16 | 32) => Colours::Masked([
                u32_at(info, masks_at)?,
                u32_at(info, masks_at + 4)?,
                u32_at(info, masks_at + 8)?,
            ]),
            _ => {
                return Some(Err(unsupported(format!("{bits} bits a pixel with compression {compression}"))));
            }
        };
        Some(Ok(Header {
            width: width.unsigned_abs() as usize,
            height: height.unsigned_abs() as usize,
            top_down: height < 0,
            bits,
            colours,
            offset,
        }))
    }
}

/// The bits under `mask` as one of 256 levels.
fn masked(word: u32, mask: u32) -> u8 {
    let Some(largest) = mask.checked_shr(mask.trailing_zeros()).filter(|&largest| largest > 0) else {
        return 0;
    };
    let value = (word & mask) >> mask.trailing_zeros();
    (u64::from(value) * 255 / u64::from(largest)) as u8
}

/// Run-length pixels as one index a pixel; what the runs skip stays 0.
fn unpack_runs(stored: &[u8], is_4_bits: bool, width: usize, pixels: usize) -> Result<Vec<u8>> {
    let mut indices = vec![0; pixels];
    let mut rest = stored.iter().copied();
    let mut next = || rest.next().ok_or_else(|| corrupt("the runs end before the picture does"));
    let (mut x, mut y) = (0usize, 0usize);
    loop {
        let (count, value) = (next()?, next()?);
        // Of 4-bit pixels the even ones of a run have the high half of its byte.
        let half = |byte: u8, i: u8| match (is_4_bits, i % 2) {
            (false, _) => byte,
            (true, 0) => byte >> 4,
            (true, _) => byte & 0x0f,
        };
        let mut put = |x: usize, index: u8| {
            let at = y.checked_mul(width).and_then(|start| start.checked_add(x)).filter(|_| x < width);
            if let Some(pixel) = at.and_then(|at| indices.get_mut(at)) {
                *pixel = index;
            }
        };
        match (count, value) {
            (0, 0) => (x, y) = (0, y.saturating_add(1)),
            (0, 1) => return Ok(indices),
            (0, 2) => (x, y) = (x + usize::from(next()?), y + usize::from(next()?)),
            (0, literals) => {
                let literal_bytes = if is_4_bits { literals.div_ceil(2) } else { literals };
                let mut byte = 0;
                for i in 0..literals {
                    if !is_4_bits || i % 2 == 0 {
                        byte = next()?;
                    }
                    put(x, half(byte, i));
                    x += 1;
                }
                if literal_bytes % 2 == 1 {
                    next()?;
                }
            }
            (count, byte) => {
                for i in 0..count {
                    put(x, half(byte, i));
                    x += 1;
                }
            }
        }
    }
}

fn corrupt(message: impl Into<String>) -> Error {
    Error::corrupt(Format::Bmp.name(), message)
}

fn unsupported(message: String) -> Error {
    Error::new(ErrorKind::Unsupported, Format::Bmp.name(), message).with_hint("convert the picture to PNG")
}
