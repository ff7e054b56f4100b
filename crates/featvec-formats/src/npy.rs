//! Arrays of numpy (`.npy`).

use std::io::{Read, Seek, SeekFrom, Write};

use crate::tensor::{check_size, element_count};
use crate::error::TRUNCATED;
use crate::{DataType, Error, Limits, Result, Skip, Tensor, TensorData, grouped};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Longest header that is read. numpy itself stops at 10 000 characters.
const MOST_HEADER_BYTES: u32 = 64 << 10;
/// The data begin at a multiple of this.
const ALIGNMENT: usize = 64;
/// Digits that numpy leaves room for in the first size, so that the array may grow in place.
const ROW_DIGITS: usize = 21;

/// What stands before the elements of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Header {
    dtype: DataType,
    fortran_order: bool,
    shape: Vec<usize>,
}

/// The numpy names of the types that are read and written, little-endian.
const DTYPES: [(&str, DataType); 12] = [
    ("<f4", DataType::F32),
    ("<f8", DataType::F64),
    ("<f2", DataType::F16),
    ("|u1", DataType::U8),
    ("|i1", DataType::I8),
    ("|b1", DataType::Bool),
    ("<i2", DataType::I16),
    ("<i4", DataType::I32),
    ("<i8", DataType::I64),
    ("<u2", DataType::U16),
    ("<u4", DataType::U32),
    ("<u8", DataType::U64),
];

/// Reads an array, of either element order, to the end of `stream`.
///
/// # Errors
/// Something that is no array, or one that is truncated or followed by more; a type other than little-endian numbers
/// and booleans; anything beyond `limits`.
pub fn read(mut stream: impl Read, limits: &Limits) -> Result<Tensor> {
    let header = Header::read(&mut stream)?;
    let count = check_size(header.dtype, &header.shape, limits)?;
    let element_bytes = header.dtype.element_bytes().unwrap_or(0);
    let length = (count * element_bytes) as u64;
    let mut bytes = Vec::new();
    stream.take(length.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| Error::io("", error))?;
    if bytes.len() as u64 != length {
        let shape = &header.shape;
        let message = match bytes.len() as u64 > length {
            true => format!("more than the {} bytes of an array of {shape:?}", grouped(length)),
            false => format!(
                "{} bytes promised by {shape:?}, {} found",
                grouped(length),
                grouped(bytes.len() as u64)
            ),
        };
        return Err(Error::corrupt("", message));
    }
    if header.fortran_order {
        bytes = row_major(&bytes, &header.shape, element_bytes);
    }
    let data = TensorData::from_le_bytes(header.dtype, &bytes);
    Tensor::new(header.shape, data.ok_or_else(|| Error::corrupt("", "elements cut short"))?)
}

/// Reads an array row by row: along its first dimension.
#[derive(Debug)]
pub struct RowReader<R> {
    stream: R,
    header: Header,
    row_bytes: u64,
    /// Rows that are left.
    rows: usize,
}

impl<R: Skip> RowReader<R> {
    /// Begins to read the array in `stream`.
    ///
    /// # Errors
    /// Something that is no array, or has no dimensions; a type other than little-endian numbers and booleans; elements
    /// that vary fastest along the first dimension; a row beyond `limits`.
    pub fn new(mut stream: R, limits: &Limits) -> Result<RowReader<R>> {
        let header = Header::read(&mut stream)?;
        let Some((&rows, row_shape)) = header.shape.split_first() else {
            return Err(Error::unsupported("", "an array without dimensions, where rows are expected"));
        };
        if header.fortran_order {
            return Err(Error::unsupported("", "an array in Fortran's order, in which rows are not in one piece")
                .with_hint("in numpy, numpy.ascontiguousarray(array)"));
        }
        let count = check_size(header.dtype, row_shape, limits)?;
        let row_bytes = (count * header.dtype.element_bytes().unwrap_or(0)) as u64;
        Ok(RowReader { stream, header, row_bytes, rows })
    }

    /// The shape of the whole array.
    pub fn shape(&self) -> &[usize] {
        &self.header.shape
    }

    /// How many rows are left.
    pub fn rows_left(&self) -> usize {
        self.rows
    }

    /// The next row, of one dimension less than the array; none after the last.
    ///
    /// # Errors
    /// A stream that ends before or after the last row, or fails. No rows come after that.
    pub fn next_row(&mut self) -> Result<Option<Tensor>> {
        let Some(length) = self.next_length()? else { return Ok(None) };
        let mut bytes = Vec::new();
        let read = self.stream.by_ref().take(length).read_to_end(&mut bytes);
        read.map_err(|error| self.failed(error))?;
        self.check_whole(bytes.len() as u64)?;
        let data = TensorData::from_le_bytes(self.header.dtype, &bytes);
        let data = data.ok_or_else(|| Error::corrupt("", "elements cut short"))?;
        Tensor::new(self.header.shape[1..].to_vec(), data).map(Some)
    }

    /// Passes over the next row.
    ///
    /// # Errors
    /// As [`next_row`](RowReader::next_row).
    pub fn pass_over(&mut self) -> Result<()> {
        let Some(length) = self.next_length()? else { return Ok(()) };
        let passed = self.stream.skip(length).map_err(|error| self.failed(error))?;
        self.check_whole(passed)
    }

    fn next_length(&mut self) -> Result<Option<u64>> {
        if self.rows == 0 {
            let more = self.stream.read(&mut [0]).map_err(|error| Error::io("", error))?;
            let message = || format!("more than an array of {:?}", self.header.shape);
            return if more > 0 { Err(Error::corrupt("", message())) } else { Ok(None) };
        }
        self.rows -= 1;
        Ok(Some(self.row_bytes))
    }

    fn check_whole(&mut self, found: u64) -> Result<()> {
        if found == self.row_bytes {
            return Ok(());
        }
        let missing = std::mem::take(&mut self.rows) + 1;
        Err(Error::corrupt("", format!("the array breaks off: {missing} of {} rows are missing", self.header.shape[0]))
            .with_hint(TRUNCATED))
    }

    fn failed(&mut self, error: std::io::Error) -> Error {
        self.rows = 0;
        Error::io("", error)
    }
}

/// Writes an array.
///
/// # Errors
/// A type that numpy does not have; a stream that fails.
pub fn write(mut stream: impl Write, tensor: &Tensor) -> Result<()> {
    let header = Header { dtype: tensor.dtype(), fortran_order: false, shape: tensor.shape().to_vec() };
    let bytes = header.to_bytes()?;
    stream
        .write_all(&bytes)
        .and_then(|()| stream.write_all(&tensor.data().to_le_bytes()))
        .and_then(|()| stream.flush())
        .map_err(|error| Error::io("", error))
}

/// Writes an array of 32-bit floats row by row, when it is not known beforehand how many rows there will be.
#[derive(Debug)]
pub struct RowWriter<W> {
    stream: W,
    header: Header,
    header_bytes: usize,
    row_elements: usize,
    buffer: Vec<u8>,
}

impl<W: Write + Seek> RowWriter<W> {
    /// Begins an array `[rows, row_shape...]` at the stream's start.
    ///
    /// # Errors
    /// A row too large to count its elements; a stream that fails.
    pub fn new(mut stream: W, row_shape: &[usize]) -> Result<RowWriter<W>> {
        let row_elements = element_count(row_shape)
            .ok_or_else(|| Error::new(crate::ErrorKind::Argument, "", format!("a row of {row_shape:?}")))?;
        let mut shape = vec![0];
        shape.extend(row_shape);
        let header = Header { dtype: DataType::F32, fortran_order: false, shape };
        let bytes = header.to_bytes()?;
        stream.write_all(&bytes).map_err(|error| Error::io("", error))?;
        Ok(RowWriter { stream, header, header_bytes: bytes.len(), row_elements, buffer: Vec::new() })
    }

    /// Appends one row or several.
    ///
    /// # Errors
    /// [`Argument`](crate::ErrorKind::Argument) if `values` are not whole rows; a stream that fails.
    pub fn append(&mut self, values: &[f32]) -> Result<()> {
        let rows = values.len().checked_div(self.row_elements).unwrap_or(0);
        if rows * self.row_elements != values.len() {
            let message = format!("{} values are not whole rows of {}", values.len(), self.row_elements);
            return Err(Error::new(crate::ErrorKind::Argument, "", message));
        }
        self.buffer.clear();
        self.buffer.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.stream.write_all(&self.buffer).map_err(|error| Error::io("", error))?;
        self.header.shape[0] += rows;
        Ok(())
    }

    /// How many rows there are so far.
    pub fn rows(&self) -> usize {
        self.header.shape[0]
    }

    /// Puts the number of rows into the header, and gives the stream back, positioned at its end. Until then the file
    /// is an array without rows and with trailing bytes, which readers refuse.
    ///
    /// # Errors
    /// A stream that fails.
    pub fn finish(mut self) -> Result<W> {
        let bytes = self.header.to_bytes()?;
        debug_assert_eq!(bytes.len(), self.header_bytes, "the header has room for any number of rows");
        self.stream
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.stream.write_all(&bytes))
            .and_then(|()| self.stream.seek(SeekFrom::End(0)))
            .and_then(|_| self.stream.flush())
            .map_err(|error| Error::io("", error))?;
        Ok(self.stream)
    }
}

impl Header {
    fn read(stream: &mut impl Read) -> Result<Header> {
        let mut fixed = [0; 8];
        fill(stream, &mut fixed)?;
        if !fixed.starts_with(MAGIC) {
            return Err(Error::unsupported("", "not an array of numpy (.npy)"));
        }
        let length = match fixed[6] {
            1 => {
                let mut length = [0; 2];
                fill(stream, &mut length)?;
                u16::from_le_bytes(length).into()
            }
            2 | 3 => {
                let mut length = [0; 4];
                fill(stream, &mut length)?;
                u32::from_le_bytes(length)
            }
            version => {
                return Err(Error::unsupported("", format!("an array in version {version} of the format")));
            }
        };
        if length > MOST_HEADER_BYTES {
            return Err(Error::corrupt("header", format!("{} bytes long", grouped(length.into()))));
        }
        let mut text = vec![0; length as usize];
        fill(stream, &mut text)?;
        let text = String::from_utf8(text).map_err(|_| Error::corrupt("header", "not text"))?;
        Header::parse(&text).map_err(|error| error.within("header"))
    }

    fn parse(text: &str) -> Result<Header> {
        let damaged = || {
            let start: String = text.trim().chars().take(80).collect();
            Error::corrupt("", format!("not understood: {start:?}"))
                .with_hint("write the file with numpy.save")
        };
        let (mut dtype, mut fortran_order, mut shape) = (None, None, None);
        let mut rest =
            text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or_else(damaged)?;
        loop {
            rest = rest.trim_start_matches([' ', ',']);
            if rest.is_empty() {
                break;
            }
            let (key, after) = quoted(rest).ok_or_else(damaged)?;
            let value = after.trim_start().strip_prefix(':').ok_or_else(damaged)?.trim_start();
            rest = match key {
                "descr" if value.starts_with('[') => {
                    return Err(Error::unsupported("", "an array of records; featvec reads plain numbers"));
                }
                "descr" => {
                    let (name, rest) = quoted(value).ok_or_else(damaged)?;
                    dtype = Some(parse_dtype(name)?);
                    rest
                }
                "fortran_order" => {
                    let (order, rest) = value.split_at(value.find([',', ' ']).unwrap_or(value.len()));
                    fortran_order = Some(match order {
                        "True" => true,
                        "False" => false,
                        _ => return Err(damaged()),
                    });
                    rest
                }
                "shape" => {
                    let (sizes, rest) = value
                        .strip_prefix('(')
                        .and_then(|value| value.split_once(')'))
                        .ok_or_else(damaged)?;
                    shape = Some(parse_sizes(sizes).ok_or_else(damaged)?);
                    rest
                }
                _ => return Err(damaged()),
            };
        }
        match (dtype, fortran_order, shape) {
            (Some(dtype), Some(fortran_order), Some(shape)) => Ok(Header { dtype, fortran_order, shape }),
            _ => Err(damaged()),
        }
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        let dtype = self.dtype;
        let name = DTYPES.iter().find(|(_, known)| *known == dtype).map(|(name, _)| *name);
        let name = name.ok_or_else(|| Error::unsupported("", format!("an array of {dtype}")))?;
        let sizes = match &self.shape[..] {
            [size] => format!("{size},"),
            sizes => sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(", "),
        };
        let text = format!("{{'descr': '{name}', 'fortran_order': False, 'shape': ({sizes}), }}");
        let spare = self.shape.first().map_or(0, |rows| ROW_DIGITS - rows.to_string().len());
        // The magic number, the version, the header's length and the line's end belong to the aligned part.
        let total = (10 + text.len() + spare + 1).next_multiple_of(ALIGNMENT);
        let length = u16::try_from(total - 10)
            .map_err(|_| Error::unsupported("", format!("an array of {} dimensions", self.shape.len())))?;
        let mut bytes = Vec::with_capacity(total);
        bytes.extend(MAGIC);
        bytes.extend([1, 0]);
        bytes.extend(length.to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes.resize(total - 1, b' ');
        bytes.push(b'\n');
        Ok(bytes)
    }
}

/// A text in quotes at the start of `text`, and what comes after.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|quote| ['\'', '"'].contains(quote))?;
    text[1..].split_once(quote)
}

fn parse_dtype(name: &str) -> Result<DataType> {
    let plain =
        |known: &str| known == name || known.strip_prefix('|') == Some(name.trim_start_matches(['<', '=']));
    DTYPES.iter().find(|(known, _)| plain(known)).map(|(_, dtype)| *dtype).ok_or_else(|| {
        Error::unsupported("", format!("an array of type {name:?}"))
            .with_hint("featvec reads little-endian numbers; in numpy, array.astype('<f4')")
    })
}

fn parse_sizes(text: &str) -> Option<Vec<usize>> {
    let text = text.trim();
    let text = text.strip_suffix(',').unwrap_or(text);
    if text.is_empty() {
        return Some(Vec::new());
    }
    let sizes = text.split(',').map(|size| size.trim().trim_end_matches('L').parse().ok());
    sizes.collect::<Option<Vec<usize>>>().filter(|sizes| sizes.len() <= 64)
}

fn fill(stream: &mut impl Read, buffer: &mut [u8]) -> Result<()> {
    stream.read_exact(buffer).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Error::corrupt("header", "the file breaks off"),
        _ => Error::io("", error),
    })
}

/// The elements of `bytes`, which vary fastest along the first dimension, in the order in which they vary fastest
/// along the last.
fn row_major(bytes: &[u8], shape: &[usize], element_bytes: usize) -> Vec<u8> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let mut strides = Vec::with_capacity(shape.len());
    let mut stride = element_bytes;
    for &size in shape {
        strides.push(stride);
        stride *= size;
    }
    let mut index = vec![0; shape.len()];
    let mut offset = 0;
    let mut sorted = Vec::with_capacity(bytes.len());
    while sorted.len() < bytes.len() {
        sorted.extend(&bytes[offset..][..element_bytes]);
        for d in (0..shape.len()).rev() {
            index[d] += 1;
            offset += strides[d];
            if index[d] < shape[d] {
                break;
            }
            offset -= strides[d] * shape[d];
            index[d] = 0;
        }
    }
    sorted
}
