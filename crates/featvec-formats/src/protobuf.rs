//! Protobuf on the wire: a reader that trusts no length, and a writer.
//!
//! There are no generated types. A message is a loop over its fields; whoever reads it names the message, so that an
//! error can say `BundleEntryProto field 5`. Fields that nobody asks about are skipped.

use crate::error::TRUNCATED;
use crate::limits::{Limit, check_limit};
use crate::{Error, Limits, Result, varint};

/// A message being read, field by field.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    name: &'static str,
    rest: &'a [u8],
    depth: u64,
    most_depth: Limit,
}

/// One field of a [`Message`]. Its accessors fail where the bytes are of another wire type than asked for.
#[derive(Clone, Debug)]
pub struct Field<'a> {
    /// The field's number in the message's definition, 1 to 2^29 - 1.
    pub number: u32,
    message: &'static str,
    value: Value<'a>,
    depth: u64,
    most_depth: Limit,
}

#[derive(Clone, Debug)]
enum Value<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

impl<'a> Message<'a> {
    /// Reads `bytes` as the message type `name`, the outermost one.
    pub fn new(name: &'static str, bytes: &'a [u8], limits: &Limits) -> Message<'a> {
        Message { name, rest: bytes, depth: 0, most_depth: limits.message_depth() }
    }

    /// The next field, or `None` at the end of the message.
    ///
    /// # Errors
    /// A truncated field, a field number that cannot be, a group (deprecated, never used by TensorFlow or Caffe).
    pub fn next_field(&mut self) -> Result<Option<Field<'a>>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = varint::take(&mut self.rest).ok_or_else(|| self.error("a field's tag is cut short"))?;
        let number = u32::try_from(tag >> 3).unwrap_or(0);
        if number == 0 || number >= 1 << 29 {
            return Err(self.error("no field number where one must be"));
        }
        let in_field = |message: String| Error::corrupt(format!("{} field {number}", self.name), message);
        let truncated = |promised: u64, left: usize| {
            in_field(format!("{promised} bytes promised, {left} left")).with_hint(TRUNCATED)
        };
        let value = match tag & 7 {
            0 => Value::Varint(
                varint::take(&mut self.rest).ok_or_else(|| in_field("not a whole number".into()))?,
            ),
            1 => {
                let (bytes, rest) =
                    self.rest.split_first_chunk().ok_or_else(|| truncated(8, self.rest.len()))?;
                self.rest = rest;
                Value::Fixed64(*bytes)
            }
            2 => {
                let length =
                    varint::take(&mut self.rest).ok_or_else(|| in_field("its length is cut short".into()))?;
                let (bytes, rest) = usize::try_from(length)
                    .ok()
                    .and_then(|length| self.rest.split_at_checked(length))
                    .ok_or_else(|| truncated(length, self.rest.len()))?;
                self.rest = rest;
                Value::Bytes(bytes)
            }
            5 => {
                let (bytes, rest) =
                    self.rest.split_first_chunk().ok_or_else(|| truncated(4, self.rest.len()))?;
                self.rest = rest;
                Value::Fixed32(*bytes)
            }
            wire_type => return Err(in_field(format!("wire type {wire_type} is not in use"))),
        };
        let Message { name, depth, most_depth, .. } = *self;
        Ok(Some(Field { number, message: name, value, depth, most_depth }))
    }

    fn error(&self, message: &str) -> Error {
        Error::corrupt(self.name, message)
    }
}

impl<'a> Field<'a> {
    /// A `uint64`.
    pub fn uint64(&self) -> Result<u64> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(self.mismatch("a number")),
        }
    }

    /// An `int64`.
    pub fn int64(&self) -> Result<i64> {
        Ok(self.uint64()?.cast_signed())
    }

    /// An `int32` or an enum.
    pub fn int32(&self) -> Result<i32> {
        let value = self.int64()?;
        i32::try_from(value).map_err(|_| self.error(format!("{value} does not fit 32 bits")))
    }

    /// A `bool`.
    pub fn bool(&self) -> Result<bool> {
        Ok(self.uint64()? != 0)
    }

    /// A `fixed32`.
    pub fn fixed32(&self) -> Result<u32> {
        match self.value {
            Value::Fixed32(bytes) => Ok(u32::from_le_bytes(bytes)),
            _ => Err(self.mismatch("four bytes")),
        }
    }

    /// A `float`.
    pub fn float(&self) -> Result<f32> {
        self.fixed32().map(f32::from_bits)
    }

    /// A `bytes` field.
    pub fn bytes(&self) -> Result<&'a [u8]> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(self.mismatch("bytes")),
        }
    }

    /// A `string`, which must be UTF-8.
    pub fn string(&self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| self.error("a text that is not UTF-8".into()))
    }

    /// A nested message of type `name`.
    ///
    /// # Errors
    /// Also where messages are nested deeper than [`field@Limits::message_depth`].
    pub fn message(&self, name: &'static str) -> Result<Message<'a>> {
        let rest = self.bytes()?;
        let depth = self.depth.saturating_add(1);
        check_limit("", "levels of nested messages", depth, self.most_depth)
            .map_err(|error| error.within(&self.place()))?;
        Ok(Message { name, rest, depth, most_depth: self.most_depth })
    }

    /// One entry of a `map<string, _>`: its key, and the field that holds the value, if it is not the default.
    pub fn map_entry(&self) -> Result<(&'a str, Option<Field<'a>>)> {
        let mut entry = self.message("map entry")?;
        let (mut key, mut value) = ("", None);
        while let Some(field) = entry.next_field()? {
            match field.number {
                1 => key = field.string()?,
                2 => value = Some(field),
                _ => {}
            }
        }
        Ok((key, value))
    }

    /// The values of a repeated `int32`, `int64`, `uint64`, `bool` or enum, packed or not.
    pub fn varints(&self) -> Result<Varints<'a>> {
        let (single, packed) = match self.value {
            Value::Varint(value) => (Some(value), &[][..]),
            Value::Bytes(bytes) => (None, bytes),
            _ => return Err(self.mismatch("numbers")),
        };
        Ok(Varints { message: self.message, number: self.number, single, packed })
    }

    /// The values of a repeated `float` or `fixed32`, packed or not, as their little-endian bytes.
    pub fn words32(&self) -> Result<&[[u8; 4]]> {
        match &self.value {
            Value::Fixed32(word) => Ok(std::slice::from_ref(word)),
            Value::Bytes(bytes) => match bytes.as_chunks() {
                (words, []) => Ok(words),
                _ => Err(self.error(format!("{} bytes are not a multiple of 4", bytes.len()))),
            },
            _ => Err(self.mismatch("four-byte numbers")),
        }
    }

    /// The values of a repeated `double` or `fixed64`, packed or not, as their little-endian bytes.
    pub fn words64(&self) -> Result<&[[u8; 8]]> {
        match &self.value {
            Value::Fixed64(word) => Ok(std::slice::from_ref(word)),
            Value::Bytes(bytes) => match bytes.as_chunks() {
                (words, []) => Ok(words),
                _ => Err(self.error(format!("{} bytes are not a multiple of 8", bytes.len()))),
            },
            _ => Err(self.mismatch("eight-byte numbers")),
        }
    }

    /// Damage in this field.
    pub fn error(&self, message: String) -> Error {
        Error::corrupt(self.place(), message)
    }

    fn place(&self) -> String {
        format!("{} field {}", self.message, self.number)
    }

    fn mismatch(&self, expected: &str) -> Error {
        let found = match self.value {
            Value::Varint(_) => "a number",
            Value::Fixed64(_) => "eight bytes",
            Value::Bytes(_) => "bytes with a length",
            Value::Fixed32(_) => "four bytes",
        };
        self.error(format!("{expected} expected, {found} found"))
    }
}

/// The iterator of [`Field::varints`].
#[derive(Clone, Debug)]
pub struct Varints<'a> {
    message: &'static str,
    number: u32,
    single: Option<u64>,
    packed: &'a [u8],
}

impl Iterator for Varints<'_> {
    type Item = Result<u64>;

    fn next(&mut self) -> Option<Result<u64>> {
        if let Some(value) = self.single.take() {
            return Some(Ok(value));
        }
        if self.packed.is_empty() {
            return None;
        }
        let value = varint::take(&mut self.packed);
        if value.is_none() {
            self.packed = &[];
        }
        Some(value.ok_or_else(|| {
            Error::corrupt(format!("{} field {}", self.message, self.number), "a packed number is cut short")
        }))
    }
}

/// A message being written. Fields appear in the order of the calls; proto3 defaults are the caller's to leave out.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty message.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// The message's bytes.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    fn tag(&mut self, number: u32, wire_type: u32) {
        varint::put(&mut self.bytes, u64::from(number << 3 | wire_type));
    }

    /// A `uint64`, `bool` or enum.
    pub fn uint64(&mut self, number: u32, value: u64) -> &mut Writer {
        self.tag(number, 0);
        varint::put(&mut self.bytes, value);
        self
    }

    /// An `int64` or `int32`.
    pub fn int64(&mut self, number: u32, value: i64) -> &mut Writer {
        self.uint64(number, value.cast_unsigned())
    }

    /// A `fixed32`.
    pub fn fixed32(&mut self, number: u32, value: u32) -> &mut Writer {
        self.tag(number, 5);
        self.bytes.extend(value.to_le_bytes());
        self
    }

    /// A `float`.
    pub fn float(&mut self, number: u32, value: f32) -> &mut Writer {
        self.fixed32(number, value.to_bits())
    }

    /// A `double`.
    pub fn double(&mut self, number: u32, value: f64) -> &mut Writer {
        self.tag(number, 1);
        self.bytes.extend(value.to_le_bytes());
        self
    }

    /// `bytes` or a `string`.
    pub fn bytes(&mut self, number: u32, value: impl AsRef<[u8]>) -> &mut Writer {
        let value = value.as_ref();
        self.tag(number, 2);
        varint::put(&mut self.bytes, value.len() as u64);
        self.bytes.extend(value);
        self
    }

    /// A nested message, filled by `fill`.
    pub fn message(&mut self, number: u32, fill: impl FnOnce(&mut Writer)) -> &mut Writer {
        let mut inner = Writer::new();
        fill(&mut inner);
        self.bytes(number, inner.bytes)
    }

    /// A packed repeated `int64`, `int32`, `bool` or enum.
    pub fn packed_int64(&mut self, number: u32, values: &[i64]) -> &mut Writer {
        let mut packed = Vec::with_capacity(values.len());
        values.iter().for_each(|value| varint::put(&mut packed, value.cast_unsigned()));
        self.bytes(number, packed)
    }

    /// A packed repeated `float`.
    pub fn packed_float(&mut self, number: u32, values: &[f32]) -> &mut Writer {
        self.bytes(number, values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())
    }

    /// A packed repeated `double`.
    pub fn packed_double(&mut self, number: u32, values: &[f64]) -> &mut Writer {
        self.bytes(number, values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())
    }
}
