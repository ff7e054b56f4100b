//! featvec's own compact files: named tensors, filters in 11 bits a number, and what the file says of itself. A third
//! of a checkpoint's size, so that a module fits into a program. The bytes are described in docs/formats.md.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::catalog::{Catalog, Stored, tensor_place};
use crate::checkpoint::Entry;
use crate::error::TRUNCATED;
use crate::limits::check_limit;
use crate::tensor::{check_size, element_count};
use crate::{DataType, Error, ErrorKind, Limits, Result, Tensor, TensorData, grouped, masked_crc32c};

/// Not text, and damaged by whatever takes it for text and changes its ends of lines.
const MAGIC: [u8; 8] = *b"\x89FVM\r\n\x1a\n";
/// The only version that there is.
const VERSION: u32 = 1;
/// Magic, version, and the length of the header.
const START_BYTES: usize = MAGIC.len() + 4 + 4;
const CHECKSUM_BYTES: usize = 4;

const BITS: usize = 11;
/// Numbers that are packed together, since eight of them fill whole bytes.
const GROUP: usize = 8;
/// The largest magnitude of a packed number; the smallest has it too, so that zero is in the middle.
const LARGEST: f32 = ((1 << (BITS - 1)) - 1) as f32;

/// What a module's file says of itself, for people: what is told, and the text, in order.
pub type About = Vec<(String, String)>;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Header {
    about: About,
    tensors: Vec<Info>,
}

/// A tensor; its bytes follow those of the one before.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Info {
    name: String,
    shape: Vec<usize>,
    stored: Form,
}

/// How a tensor's numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Form {
    /// As they are.
    F32,
    /// A scale for each index of the last dimension; then integers, which are times those scales.
    I11,
}

impl Form {
    /// Bytes of a tensor of `shape`; none if nothing can have as many.
    fn stored_bytes(self, shape: &[usize]) -> Option<usize> {
        let count = element_count(shape)?;
        match self {
            Form::F32 => count.checked_mul(4),
            Form::I11 => {
                let packed = count.div_ceil(GROUP).checked_mul(BITS)?;
                shape.last()?.checked_mul(4)?.checked_add(packed)
            }
        }
    }
}

/// An opened compact file. Its checksum holds; tensors are decoded when they are asked for.
#[derive(Clone, Debug)]
pub(crate) struct Compact {
    place: String,
    file: Cow<'static, [u8]>,
    about: About,
    tensors: Catalog<(Form, Range<usize>)>,
}

impl Compact {
    /// Opens `file`, which errors call `place`.
    pub(crate) fn open(place: String, file: Cow<'static, [u8]>, limits: &Limits) -> Result<Compact> {
        let (about, tensors) = list(&file, limits).map_err(|error| error.within(&place))?;
        Ok(Compact { place, file, about, tensors: Catalog(tensors) })
    }

    /// Where the file is.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    pub(crate) fn about(&self) -> &About {
        &self.about
    }

    pub(crate) fn tensors(&self) -> &Catalog<(Form, Range<usize>)> {
        &self.tensors
    }

    /// Decodes the tensor `name`; `None` if there is none of that name.
    pub(crate) fn read(&self, name: &str) -> Option<Result<Tensor>> {
        self.tensors.read(name, |stored| {
            let (form, range) = &stored.content;
            let bytes = self.file.get(range.clone()).unwrap_or_default();
            let shape = stored.entry.shape.clone();
            let values = match form {
                Form::F32 => floats(bytes),
                Form::I11 => {
                    let (scales, packed) = bytes.split_at(shape.last().map_or(0, |channels| 4 * channels));
                    unpack(&floats(scales), packed, element_count(&shape).unwrap_or(0))
                }
            };
            Tensor::new(shape, TensorData::F32(values))
        })
    }
}

/// Whether `bytes` begin as a compact file.
pub(crate) fn is_compact(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

type Tensors = BTreeMap<String, Stored<(Form, Range<usize>)>>;

fn list(file: &[u8], limits: &Limits) -> Result<(About, Tensors)> {
    let cut = || Error::corrupt("", "it is cut short").with_hint(TRUNCATED);
    let (start, _) = file.split_first_chunk::<START_BYTES>().ok_or_else(cut)?;
    let number = |at: usize| u32::from_le_bytes([start[at], start[at + 1], start[at + 2], start[at + 3]]);
    if !is_compact(start) {
        return Err(Error::corrupt("", "it does not begin as a compact module"));
    }
    let version = number(MAGIC.len());
    if version != VERSION {
        let message = format!("a compact module of version {version}; version {VERSION} expected");
        return Err(Error::unsupported("", message).with_hint("a newer featvec may read it"));
    }
    let (content, checksum) = file.split_last_chunk::<CHECKSUM_BYTES>().ok_or_else(cut)?;
    if masked_crc32c(content) != u32::from_le_bytes(*checksum) {
        return Err(Error::corrupt("", "wrong checksum of the file"));
    }
    let (promised, rest) = (number(MAGIC.len() + 4), content.get(START_BYTES..).ok_or_else(cut)?);
    let header = usize::try_from(promised).ok().and_then(|length| rest.get(..length)).ok_or_else(|| {
        let (promised, left) = (grouped(promised.into()), grouped(rest.len() as u64));
        Error::corrupt("header", format!("{promised} bytes promised, {left} left")).with_hint(TRUNCATED)
    })?;
    let Header { about, tensors: infos } =
        serde_json::from_slice(header).map_err(|error| Error::corrupt("header", error.to_string()))?;
    check_limit("header", "tensors", infos.len() as u64, limits.tensors())?;

    let mut tensors = Tensors::new();
    let (mut begin, mut decoded) = (START_BYTES + header.len(), 0u64);
    for Info { name, shape, stored } in infos {
        let place = tensor_place(&name);
        check_limit(&place, "bytes of a name", name.len() as u64, limits.name_bytes())?;
        let count = check_shape(&shape, limits).map_err(|error| error.within(&place))?;
        decoded = decoded.saturating_add(4 * count as u64);
        check_limit("", "bytes of tensors", decoded, limits.tensor_bytes())?;
        let bytes = stored.stored_bytes(&shape);
        let end = bytes.and_then(|bytes| begin.checked_add(bytes)).filter(|end| *end <= content.len());
        let Some(end) = end else {
            let left = grouped((content.len() - begin) as u64);
            let message = format!("{stored:?} {shape:?}, and {left} bytes left");
            return Err(Error::corrupt(place, message).with_hint(TRUNCATED));
        };
        let entry = Entry { name: name.clone(), dtype: DataType::F32, shape };
        if tensors.insert(name, Stored { entry, content: (stored, begin..end) }).is_some() {
            return Err(Error::corrupt(place, "listed twice"));
        }
        begin = end;
    }
    if begin != content.len() {
        let left = grouped((content.len() - begin) as u64);
        return Err(Error::corrupt("", format!("{left} bytes after the last tensor")));
    }
    Ok((about, tensors))
}

fn check_shape(shape: &[usize], limits: &Limits) -> Result<usize> {
    if shape.len() > limits.message_depth {
        return Err(Error::corrupt("", "more dimensions than a tensor can have"));
    }
    check_size(DataType::F32, shape, limits)
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&chunk| f32::from_le_bytes(chunk)).collect()
}

/// The first `count` of the `packed` integers, times their scales.
fn unpack(scales: &[f32], packed: &[u8], count: usize) -> Vec<f32> {
    let mut values = vec![0.0; count.next_multiple_of(GROUP)];
    for (numbers, bytes) in values.as_chunks_mut().0.iter_mut().zip(packed.as_chunks().0) {
        *numbers = unpack_group(bytes);
    }
    values.truncate(count);
    for row in values.chunks_exact_mut(scales.len().max(1)) {
        row.iter_mut().zip(scales).for_each(|(value, scale)| *value *= scale);
    }
    values
}

/// Eight integers in two's complement, the first in the lowest bits.
fn unpack_group(bytes: &[u8; BITS]) -> [f32; GROUP] {
    // Two words that overlap, since the loader's time is spent here: the first five numbers are in the one, the others in
    // the other.
    let [a, b, c, d, e, f, g, h, i, j, k] = *bytes;
    let low = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let high = u64::from_le_bytes([d, e, f, g, h, i, j, k]);
    let number = |word: u64, bit: usize| {
        let beyond = 64 - BITS - bit;
        (((word << beyond) as i64) >> (64 - BITS)) as f32
    };
    let skipped = 3 * 8;
    std::array::from_fn(|i| match i {
        0..5 => number(low, i * BITS),
        _ => number(high, i * BITS - skipped),
    })
}

fn pack_group(numbers: &[i16]) -> [u8; BITS] {
    let mut bits = 0u128;
    for (i, number) in numbers.iter().enumerate() {
        bits |= (*number as u128 & ((1 << BITS) - 1)) << (i * BITS);
    }
    std::array::from_fn(|i| (bits >> (8 * i)) as u8)
}

/// The scale with which integers up to [`LARGEST`] reach `largest`. It has as few binary digits as leave the product with
/// any of the integers exact, so that what was unpacked is packed to the same bytes again.
fn scale_for(largest: f32) -> f32 {
    const UNUSED: u32 = (1 << (BITS - 1)) - 1;
    f32::from_bits(((largest / LARGEST).to_bits() + UNUSED) & !UNUSED)
}

/// From one number that a compact file can hold to the next, for each of the `channels` of the last dimension of a tensor
/// with these `values`; each of them is stored as the nearest.
pub fn compact_steps(values: &[f32], channels: usize) -> Vec<f32> {
    let mut largest = vec![0f32; channels];
    for row in values.chunks_exact(channels.max(1)) {
        largest.iter_mut().zip(row).for_each(|(largest, value)| *largest = largest.max(value.abs()));
    }
    largest.into_iter().map(scale_for).collect()
}

fn pack(values: &[f32], channels: usize) -> Vec<u8> {
    let scales = compact_steps(values, channels);
    let mut bytes: Vec<u8> = scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
    let numbers: Vec<i16> = values
        .iter()
        .zip(scales.iter().cycle())
        // A scale of zero leaves zero over zero, which the conversion takes for zero.
        .map(|(value, scale)| (value / scale).round().clamp(-LARGEST, LARGEST) as i16)
        .collect();
    bytes.extend(numbers.chunks(GROUP).flat_map(pack_group));
    bytes
}

/// The bytes of a compact file with `tensors` of 32-bit floats by name, in their order, and with what it says of itself.
/// Tensors of two dimensions and more lose precision: each number is rounded to one of 2047, as [`compact_steps`] says.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for other types; [`ErrorKind::Argument`] for a name that is there twice and for numbers that
/// are not finite.
///
/// ```
/// use featvec_formats::{Checkpoint, Limits, Tensor, TensorData, compact};
///
/// let filter = Tensor::new(vec![2, 1], TensorData::F32(vec![1.0, -0.3]))?;
/// let file = compact(&[("filter".to_string(), filter)], &Vec::new())?;
/// let read = Checkpoint::from_compact("x.fvm", file, &Limits::default())?.read("filter")?;
/// assert!((read.as_f32().unwrap()[1] + 0.3).abs() < 0.5 / 1023.0);
/// # Ok::<(), featvec_formats::Error>(())
/// ```
pub fn compact(tensors: &[(String, Tensor)], about: &About) -> Result<Vec<u8>> {
    let mut header = Header { about: about.clone(), tensors: Vec::new() };
    let mut data = Vec::new();
    for (name, tensor) in tensors {
        let Some(values) = tensor.as_f32() else {
            let message = format!("a tensor of {}, which compact files do not hold", tensor.dtype());
            return Err(Error::unsupported(tensor_place(name), message));
        };
        let argument = |message: &str| Err(Error::new(ErrorKind::Argument, tensor_place(name), message));
        if header.tensors.iter().any(|info| info.name == *name) {
            return argument("no new tensor can be called so");
        }
        if !values.iter().all(|value| value.is_finite()) {
            return argument("its numbers are not all finite");
        }
        let stored = match tensor.shape() {
            [_, .., channels] if *channels > 0 => {
                data.extend(pack(values, *channels));
                Form::I11
            }
            _ => {
                data.extend(tensor.data().to_le_bytes());
                Form::F32
            }
        };
        header.tensors.push(Info { name: name.clone(), shape: tensor.shape().to_vec(), stored });
    }
    let header = serde_json::to_vec(&header).expect("texts and numbers can be written as JSON");
    let header_bytes = u32::try_from(header.len())
        .map_err(|_| Error::new(ErrorKind::Argument, "header", "names and texts of more than 4 GB"))?;
    let numbers = [VERSION, header_bytes].map(u32::to_le_bytes);
    let mut file = [&MAGIC, numbers.as_flattened(), &header, &data].concat();
    file.extend(masked_crc32c(&file).to_le_bytes());
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_integer_comes_back_from_every_place() {
        for number in -1023..=1023i16 {
            for i in 0..GROUP {
                let mut numbers: [i16; GROUP] = std::array::from_fn(|j| [1023, -1023][(i + j) % 2]);
                numbers[i] = number;
                assert_eq!(unpack_group(&pack_group(&numbers)), numbers.map(f32::from));
            }
        }
    }

    #[test]
    fn scales_leave_products_exact() {
        for largest in [0.0, 1.0, 0.1, 3.4e38, 1e-30, 0.7812345] {
            let scale = scale_for(largest);
            assert!(scale * LARGEST >= largest && scale * LARGEST <= largest * 1.0003, "{largest}");
            for number in [1.0, 511.0, 1023.0] {
                assert_eq!(f64::from(scale * number), f64::from(scale) * f64::from(number));
            }
            assert_eq!(scale_for(scale * LARGEST), scale);
        }
    }
}
