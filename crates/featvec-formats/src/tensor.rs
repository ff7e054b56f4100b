//! Tensors: a shape and the elements, and how TensorFlow lays them out in bytes.

use crate::tensor_slice::Region;
use crate::{DataType, Error, ErrorKind, Limits, Result, checksum, grouped, limits, varint};

/// A shape of which parts may be unknown: `None` is an unknown rank, an inner `None` an unknown size.
pub type PartialShape = Option<Vec<Option<u64>>>;

/// A dense tensor, row-major: the last dimension varies fastest.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: TensorData,
}

impl Tensor {
    /// A tensor of `shape` with the elements `data`.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] unless there are as many elements as the shape says.
    pub fn new(shape: Vec<usize>, data: TensorData) -> Result<Tensor> {
        if element_count(&shape) != Some(data.len()) {
            let message = format!("{} elements do not make a tensor of {shape:?}", data.len());
            return Err(Error::new(ErrorKind::Mismatch, "", message));
        }
        Ok(Tensor { shape, data })
    }

    /// The sizes of the dimensions; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements' type.
    pub fn dtype(&self) -> DataType {
        self.data.dtype()
    }

    /// The elements.
    pub fn data(&self) -> &TensorData {
        &self.data
    }

    /// The elements, without the shape.
    pub fn into_data(self) -> TensorData {
        self.data
    }

    /// The elements, if they are 32-bit floats.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.data {
            TensorData::F32(values) => Some(values),
            _ => None,
        }
    }

    /// The elements of a floating-point tensor as 32-bit floats: 16-bit ones exactly, 64-bit ones rounded.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] for any other type.
    pub fn into_f32(self) -> Result<Vec<f32>> {
        match self.data {
            TensorData::F32(values) => Ok(values),
            TensorData::F64(values) => Ok(values.into_iter().map(|value| value as f32).collect()),
            TensorData::F16(bits) => Ok(bits.into_iter().map(f32_from_f16).collect()),
            TensorData::BF16(bits) => {
                Ok(bits.into_iter().map(|bits| f32::from_bits(u32::from(bits) << 16)).collect())
            }
            data => {
                let message = format!("floats expected, {} found", data.dtype());
                Err(Error::new(ErrorKind::Mismatch, "", message))
            }
        }
    }

    /// The integers of an integer tensor.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] for any other type, or a `uint64` that does not fit.
    pub fn to_i64(&self) -> Result<Vec<i64>> {
        let mismatch = |message: String| Error::new(ErrorKind::Mismatch, "", message);
        Ok(match &self.data {
            TensorData::I8(values) => values.iter().map(|&value| value.into()).collect(),
            TensorData::I16(values) => values.iter().map(|&value| value.into()).collect(),
            TensorData::I32(values) => values.iter().map(|&value| value.into()).collect(),
            TensorData::I64(values) => values.clone(),
            TensorData::U8(values) => values.iter().map(|&value| value.into()).collect(),
            TensorData::U16(values) => values.iter().map(|&value| value.into()).collect(),
            TensorData::U32(values) => values.iter().map(|&value| value.into()).collect(),
            TensorData::U64(values) => values
                .iter()
                .map(|&value| i64::try_from(value))
                .collect::<std::result::Result<_, _>>()
                .map_err(|_| mismatch("an integer beyond 63 bits".into()))?,
            data => return Err(mismatch(format!("integers expected, {} found", data.dtype()))),
        })
    }
}

macro_rules! tensor_data {
    ($($(#[$doc:meta])* $name:ident($element:ty);)*) => {
        /// A tensor's elements.
        #[derive(Clone, Debug, PartialEq)]
        pub enum TensorData {
            $($(#[$doc])* $name(Vec<$element>),)*
            /// Booleans.
            Bool(Vec<bool>),
            /// Byte strings.
            Strings(Vec<Vec<u8>>),
        }

        impl TensorData {
            /// The number of elements.
            pub fn len(&self) -> usize {
                match self {
                    $(TensorData::$name(values) => values.len(),)*
                    TensorData::Bool(values) => values.len(),
                    TensorData::Strings(values) => values.len(),
                }
            }

            /// Whether there are no elements.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// The elements' type.
            pub fn dtype(&self) -> DataType {
                match self {
                    $(TensorData::$name(_) => DataType::$name,)*
                    TensorData::Bool(_) => DataType::Bool,
                    TensorData::Strings(_) => DataType::String,
                }
            }

            /// Elements of `dtype` from their little-endian bytes; `None` if featvec does not read the type or the
            /// bytes are not whole elements.
            pub(crate) fn from_le_bytes(dtype: DataType, bytes: &[u8]) -> Option<TensorData> {
                match dtype {
                    $(DataType::$name => match bytes.as_chunks() {
                        (chunks, []) => Some(TensorData::$name(
                            chunks.iter().map(|&chunk| <$element>::from_le_bytes(chunk)).collect(),
                        )),
                        _ => None,
                    },)*
                    DataType::Bool => Some(TensorData::Bool(bytes.iter().map(|&byte| byte != 0).collect())),
                    _ => None,
                }
            }

            /// The elements' little-endian bytes; strings as a bundle stores them.
            pub(crate) fn to_le_bytes(&self) -> Vec<u8> {
                match self {
                    $(TensorData::$name(values) => {
                        values.iter().flat_map(|value| value.to_le_bytes()).collect()
                    })*
                    TensorData::Bool(values) => values.iter().map(|&value| u8::from(value)).collect(),
                    TensorData::Strings(values) => encode_strings(values),
                }
            }
        }
    };
}

tensor_data! {
    /// 32-bit floats.
    F32(f32);
    /// 64-bit floats.
    F64(f64);
    /// The bits of IEEE 16-bit floats.
    F16(u16);
    /// The upper halves of 32-bit floats.
    BF16(u16);
    /// Signed bytes.
    I8(i8);
    /// 16-bit integers.
    I16(i16);
    /// 32-bit integers.
    I32(i32);
    /// 64-bit integers.
    I64(i64);
    /// Bytes.
    U8(u8);
    /// Unsigned 16-bit integers.
    U16(u16);
    /// Unsigned 32-bit integers.
    U32(u32);
    /// Unsigned 64-bit integers.
    U64(u64);
}

/// The number of elements of a tensor of `shape`, if it fits a `usize`.
pub(crate) fn element_count(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size))
}

/// The bytes that a tensor of `dtype` and `shape` takes in memory, for a comparison with
/// [`field@Limits::tensor_bytes`]; the strings themselves, of unknown length, come on top.
pub(crate) fn memory_bytes(dtype: DataType, shape: &[usize]) -> Option<u64> {
    let element_bytes = match dtype {
        DataType::String => size_of::<Vec<u8>>(),
        dtype => dtype.element_bytes().unwrap_or(1),
    };
    element_count(shape)?.checked_mul(element_bytes).map(|bytes| bytes as u64)
}

/// Checks that a tensor of `dtype` and `shape` may be decoded at all, and returns its number of elements.
pub(crate) fn check_size(dtype: DataType, shape: &[usize], limits: &Limits) -> Result<usize> {
    let impossible = || Error::corrupt("", format!("more elements than can be counted in {shape:?}"));
    let bytes = memory_bytes(dtype, shape).ok_or_else(impossible)?;
    limits::check_limit("", "bytes of elements", bytes, limits.tensor_bytes())?;
    element_count(shape).ok_or_else(impossible)
}

/// Copies `piece`, the bytes of the part `region`, into `whole`, the bytes of a tensor of `shape`.
pub(crate) fn place(
    whole: &mut [u8],
    shape: &[usize],
    (region, piece): (&Region, &[u8]),
    element_bytes: usize,
) {
    if piece.is_empty() {
        return;
    }
    let row_bytes = region.lengths.last().copied().unwrap_or(1) * element_bytes;
    let mut index = vec![0; shape.len()];
    for row in piece.chunks_exact(row_bytes) {
        let offset = shape
            .iter()
            .zip(&region.starts)
            .zip(&index)
            .fold(0, |offset, ((&size, &start), &index)| offset * size + start + index)
            * element_bytes;
        whole[offset..][..row_bytes].copy_from_slice(row);
        // Counts up all dimensions but the last, which the row covers.
        for d in (0..shape.len().saturating_sub(1)).rev() {
            index[d] += 1;
            if index[d] < region.lengths[d] {
                break;
            }
            index[d] = 0;
        }
    }
}

/// String elements as a bundle stores them: the lengths, a checksum of the lengths, the text.
fn encode_strings(values: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    values.iter().for_each(|value| varint::put(&mut bytes, value.len() as u64));
    bytes.extend(checksum::masked_crc32c(&fixed_lengths(values)).to_le_bytes());
    values.iter().for_each(|value| bytes.extend(value));
    bytes
}

/// The bytes that the tensor checksum of string elements covers: it sees the lengths in their fixed-width form.
pub(crate) fn checksummed_strings(values: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = fixed_lengths(values);
    bytes.extend(checksum::masked_crc32c(&bytes).to_le_bytes());
    values.iter().for_each(|value| bytes.extend(value));
    bytes
}

fn fixed_lengths(values: &[Vec<u8>]) -> Vec<u8> {
    let put = |value: &Vec<u8>| match u32::try_from(value.len()) {
        Ok(length) => length.to_le_bytes().to_vec(),
        Err(_) => (value.len() as u64).to_le_bytes().to_vec(),
    };
    values.iter().flat_map(put).collect()
}

/// Decodes `count` strings from the form in which a bundle stores them. The caller has checked `count` elements
/// against the limits.
pub(crate) fn decode_strings(mut bytes: &[u8], count: usize) -> Result<Vec<Vec<u8>>> {
    let total = bytes.len();
    // Every length takes at least one byte.
    if count > total {
        return Err(Error::corrupt("", format!("{count} strings in {total} bytes")));
    }
    let mut lengths = Vec::with_capacity(count);
    for i in 0..count {
        let length = varint::take(&mut bytes).and_then(|length| usize::try_from(length).ok());
        lengths
            .push(length.ok_or_else(|| Error::corrupt("", format!("the length of string {i} is damaged")))?);
    }
    let Some((checksum, mut text)) = bytes.split_first_chunk::<4>() else {
        return Err(Error::corrupt("", "no room for the checksum of the lengths"));
    };
    let mut values = Vec::with_capacity(count);
    for (i, length) in lengths.into_iter().enumerate() {
        let Some((value, rest)) = text.split_at_checked(length) else {
            let message = format!(
                "string {i}: {} bytes promised, {} left",
                grouped(length as u64),
                grouped(text.len() as u64)
            );
            return Err(Error::corrupt("", message));
        };
        values.push(value.to_vec());
        text = rest;
    }
    if !text.is_empty() {
        return Err(Error::corrupt("", format!("{} bytes after the last string", text.len())));
    }
    if checksum::masked_crc32c(&fixed_lengths(&values)).to_le_bytes() != *checksum {
        return Err(Error::corrupt("", "wrong checksum of the strings' lengths"));
    }
    Ok(values)
}

fn f32_from_f16(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = u32::from(bits & 0x7fff);
    // Widening the exponent field is a shift; the difference of the biases is a product that is exact for
    // subnormal halves too. Infinities and NaNs keep their all-ones exponent.
    let value = f32::from_bits(magnitude << 13) * f32::from_bits((127 + 112) << 23);
    let value = if magnitude >= 0x7c00 { f32::from_bits(magnitude << 13 | 0x7f80_0000) } else { value };
    f32::from_bits(value.to_bits() | sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_widen_exactly() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 2f32.powi(-24)),
            (0x03ff, 1023.0 * 2f32.powi(-24)),
            (0x7c00, f32::INFINITY),
            (0xfc00, f32::NEG_INFINITY),
        ] {
            assert_eq!(f32_from_f16(bits), value, "{bits:#x}");
        }
        assert!(f32_from_f16(0x7e00).is_nan());
        assert!(f32_from_f16(0x8000).is_sign_negative());
    }

    #[test]
    fn a_tensor_has_as_many_elements_as_its_shape_says() {
        assert!(Tensor::new(vec![2, 3], TensorData::U8(vec![0; 6])).is_ok());
        assert!(Tensor::new(vec![], TensorData::U8(vec![0])).is_ok());
        assert!(Tensor::new(vec![0, usize::MAX, 2], TensorData::U8(vec![])).is_ok());
        for shape in [vec![2, 2], vec![], vec![usize::MAX, 2, 2]] {
            assert_eq!(
                Tensor::new(shape, TensorData::U8(vec![0; 6])).unwrap_err().kind(),
                ErrorKind::Mismatch
            );
        }
    }
}
