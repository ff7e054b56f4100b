//! TensorFlow's protobuf forms of shapes and tensors.

use std::iter;

use crate::limits::check_limit;
use crate::protobuf::{Field, Message, Writer};
use crate::tensor::{check_size, element_count};
use crate::{DataType, Error, Limits, PartialShape, Result, Tensor, TensorData, grouped};

/// A constant as a graph holds it, not yet decoded: most constants of a graph are of no interest, and few bytes may
/// stand for many elements.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorProto {
    /// The elements' type.
    pub dtype: DataType,
    /// The sizes of the dimensions.
    pub shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl TensorProto {
    pub(crate) fn parse(field: &Field<'_>, limits: &Limits) -> Result<TensorProto> {
        let mut message = field.message("TensorProto")?;
        let mut proto =
            TensorProto { dtype: DataType::Unknown(0), shape: Vec::new(), bytes: field.bytes()?.to_vec() };
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => proto.dtype = DataType::from_code(field.int32()?),
                2 => proto.shape = parse_known_shape(&field, limits)?,
                _ => {}
            }
        }
        Ok(proto)
    }

    /// `tensor` as a constant.
    pub fn of(tensor: &Tensor) -> TensorProto {
        TensorProto::new((tensor.dtype(), tensor.shape().to_vec()), |writer| match tensor.data() {
            TensorData::Strings(values) => values.iter().for_each(|value| {
                writer.bytes(8, value);
            }),
            data => {
                writer.bytes(4, data.to_le_bytes());
            }
        })
    }

    /// A constant of `shape` whose elements are all `value`.
    pub fn repeat(shape: Vec<usize>, value: f32) -> TensorProto {
        TensorProto::new((DataType::F32, shape), |writer| {
            writer.packed_float(5, &[value]);
        })
    }

    fn new((dtype, shape): (DataType, Vec<usize>), values: impl FnOnce(&mut Writer)) -> TensorProto {
        let mut writer = Writer::new();
        writer.int64(1, dtype.code().into()).message(2, |writer| write_shape(&shape, writer));
        values(&mut writer);
        TensorProto { dtype, shape, bytes: writer.finish() }
    }

    /// The message's bytes.
    pub(crate) fn encoded(&self) -> &[u8] {
        &self.bytes
    }

    /// The tensor itself.
    ///
    /// # Errors
    /// A type that featvec does not read, a size beyond [`field@Limits::tensor_bytes`], or values that do not fit the
    /// shape.
    pub fn decode(&self, limits: &Limits) -> Result<Tensor> {
        let data = decode_values(&self.bytes, (self.dtype, &self.shape), Missing::Repeat, limits)?;
        Tensor::new(self.shape.clone(), data)
    }
}

/// What it means if there are fewer values than elements.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The last value goes on to the end; without any, all are zero.
    Repeat,
    /// Damage.
    Refuse,
}

/// Decodes the values of the TensorProto `bytes`, whatever it says about its own type and shape.
pub(crate) fn decode_values(
    bytes: &[u8],
    (dtype, shape): (DataType, &[usize]),
    missing: Missing,
    limits: &Limits,
) -> Result<TensorData> {
    let count = check_size(dtype, shape, limits)?;
    let proto = || Message::new("TensorProto", bytes, limits);
    let mut content: &[u8] = &[];
    let mut fields = proto();
    while let Some(field) = fields.next_field()? {
        if field.number == 4 {
            content = field.bytes()?;
        }
    }
    if !content.is_empty() {
        return decode_content(content, dtype, count);
    }

    let number = match dtype {
        DataType::F32 => 5,
        DataType::F64 => 6,
        DataType::I32 | DataType::I16 | DataType::I8 | DataType::U16 | DataType::U8 => 7,
        DataType::String => 8,
        DataType::I64 => 10,
        DataType::Bool => 11,
        DataType::F16 | DataType::BF16 => 13,
        DataType::U32 => 16,
        DataType::U64 => 17,
        other => return Err(unreadable(other)),
    };
    let values = Values { message: proto(), number, count, missing };
    match dtype {
        DataType::F32 => values.floats(Field::words32, f32::from_le_bytes).map(TensorData::F32),
        DataType::F64 => values.floats(Field::words64, f64::from_le_bytes).map(TensorData::F64),
        DataType::String => values.strings(limits).map(TensorData::Strings),
        DataType::I8 => values.integers(|value| i8::try_from(value).ok()).map(TensorData::I8),
        DataType::I16 => values.integers(|value| i16::try_from(value).ok()).map(TensorData::I16),
        DataType::I32 => values.integers(|value| i32::try_from(value).ok()).map(TensorData::I32),
        DataType::I64 => values.integers(Some).map(TensorData::I64),
        DataType::U8 => values.integers(|value| u8::try_from(value).ok()).map(TensorData::U8),
        DataType::U16 => values.integers(|value| u16::try_from(value).ok()).map(TensorData::U16),
        DataType::U32 => values.integers(|value| u32::try_from(value).ok()).map(TensorData::U32),
        DataType::U64 => values.integers(|value| Some(value.cast_unsigned())).map(TensorData::U64),
        DataType::F16 => values.integers(|value| u16::try_from(value).ok()).map(TensorData::F16),
        DataType::BF16 => values.integers(|value| u16::try_from(value).ok()).map(TensorData::BF16),
        DataType::Bool => values.integers(|value| Some(value != 0)).map(TensorData::Bool),
        other => Err(unreadable(other)),
    }
}

fn decode_content(content: &[u8], dtype: DataType, count: usize) -> Result<TensorData> {
    let Some(element_bytes) = dtype.element_bytes() else { return Err(unreadable(dtype)) };
    if count.checked_mul(element_bytes) != Some(content.len()) {
        let length = grouped(content.len() as u64);
        let message = format!("{length} bytes of content for {count} elements of {dtype}");
        return Err(Error::corrupt("TensorProto field 4", message));
    }
    TensorData::from_le_bytes(dtype, content).ok_or_else(|| unreadable(dtype))
}

fn unreadable(dtype: DataType) -> Error {
    Error::unsupported("TensorProto", format!("a tensor of {dtype}, which featvec does not read"))
}

/// The values in one repeated field of a TensorProto.
struct Values<'a> {
    message: Message<'a>,
    number: u32,
    count: usize,
    missing: Missing,
}

impl<'a> Values<'a> {
    fn integers<T: Clone + Default>(mut self, convert: impl Fn(i64) -> Option<T>) -> Result<Vec<T>> {
        let values = self.found(|field, found| {
            for value in field.varints()? {
                let value = value?.cast_signed();
                let out_of_range = || field.error(format!("{value} is out of its type's range"));
                found.add(iter::once(convert(value).ok_or_else(out_of_range)?))?;
            }
            Ok(())
        })?;
        Ok(self.filled(values))
    }

    fn floats<T: Clone + Default, const N: usize>(
        mut self,
        words: impl for<'f> Fn(&'f Field<'a>) -> Result<&'f [[u8; N]]>,
        convert: fn([u8; N]) -> T,
    ) -> Result<Vec<T>> {
        let values = self.found(|field, found| found.add(words(field)?.iter().map(|&word| convert(word))))?;
        Ok(self.filled(values))
    }

    fn strings(mut self, limits: &Limits) -> Result<Vec<Vec<u8>>> {
        let values = self.found(|field, found| found.add(iter::once(field.bytes()?.to_vec())))?;
        // The count was held against the limit, but not how long the text is that is repeated.
        let last = values.last().map_or(0, Vec::len) as u64;
        let repeated = ((self.count - values.len()) as u64).saturating_mul(last);
        check_limit("", "bytes of text", repeated, limits.tensor_bytes())?;
        Ok(self.filled(values))
    }

    /// The values that are there, as `read` finds them in each field: at most as many as there are elements.
    fn found<T>(&mut self, read: impl Fn(&Field<'a>, &mut Found<T>) -> Result<()>) -> Result<Vec<T>> {
        let mut found = Found { values: Vec::new(), number: self.number, most: self.count };
        while let Some(field) = self.message.next_field()? {
            if field.number == self.number {
                read(&field, &mut found)?;
            }
        }
        let values = found.values;
        if values.len() < self.count && self.missing == Missing::Refuse {
            let message = format!("{} values for {} elements", values.len(), self.count);
            return Err(Error::corrupt(format!("TensorProto field {}", self.number), message));
        }
        Ok(values)
    }

    /// `values`, the last of them repeated to the end.
    fn filled<T: Clone + Default>(&self, mut values: Vec<T>) -> Vec<T> {
        let last = values.last().cloned().unwrap_or_default();
        values.resize(self.count, last);
        values
    }
}

/// The values that have been found so far.
struct Found<T> {
    values: Vec<T>,
    number: u32,
    most: usize,
}

impl<T> Found<T> {
    /// Adds `more`, unless there would be more values than elements: a small file may hold very many.
    fn add(&mut self, more: impl ExactSizeIterator<Item = T>) -> Result<()> {
        if more.len() > self.most - self.values.len() {
            let message = format!("too many values for {} elements", self.most);
            return Err(Error::corrupt(format!("TensorProto field {}", self.number), message));
        }
        self.values.extend(more);
        Ok(())
    }
}

/// Reads a `TensorShapeProto`; a size of -1 is unknown.
pub(crate) fn parse_shape(field: &Field<'_>, limits: &Limits) -> Result<PartialShape> {
    let mut message = field.message("TensorShapeProto")?;
    let (mut shape, mut unknown_rank) = (Vec::new(), false);
    while let Some(field) = message.next_field()? {
        match field.number {
            2 => {
                let mut size = 0;
                let mut dim = field.message("TensorShapeProto.Dim")?;
                while let Some(field) = dim.next_field()? {
                    if field.number == 1 {
                        size = field.int64()?;
                    }
                }
                if shape.len() >= limits.message_depth {
                    return Err(field.error("more dimensions than a tensor can have".into()));
                }
                shape.push(match size {
                    -1 => None,
                    size => Some(
                        u64::try_from(size)
                            .map_err(|_| field.error(format!("a dimension of size {size}")))?,
                    ),
                });
            }
            3 => unknown_rank = field.bool()?,
            _ => {}
        }
    }
    Ok((!unknown_rank).then_some(shape))
}

/// Reads a `TensorShapeProto` of a stored tensor, of which every size is known and the elements can be counted.
pub(crate) fn parse_known_shape(field: &Field<'_>, limits: &Limits) -> Result<Vec<usize>> {
    parse_shape(field, limits)?
        .and_then(|sizes| sizes.into_iter().map(|size| usize::try_from(size?).ok()).collect())
        .filter(|shape: &Vec<usize>| element_count(shape).is_some())
        .ok_or_else(|| field.error("a stored tensor of unknown or impossible size".into()))
}

/// Writes a `TensorShapeProto`'s fields.
pub(crate) fn write_shape(shape: &[usize], writer: &mut Writer) {
    for &size in shape {
        writer.message(2, |writer| {
            if size != 0 {
                writer.uint64(1, size as u64);
            }
        });
    }
}

/// Writes a `TensorShapeProto`'s fields, unknown sizes as -1.
pub(crate) fn write_partial_shape(shape: &PartialShape, writer: &mut Writer) {
    let Some(sizes) = shape else {
        writer.uint64(3, 1);
        return;
    };
    for size in sizes {
        writer.message(2, |writer| match size {
            Some(0) => {}
            Some(size) => {
                writer.uint64(1, *size);
            }
            None => {
                writer.int64(1, -1);
            }
        });
    }
}
