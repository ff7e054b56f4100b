//! Arrays of nothing but vectors: numpy's, and a tensor of safetensors. Their keys stand in a file of their own.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use featvec::{DataType, Error, ErrorKind, Result, npy};
use serde_json::{Map, Value, json};

use super::lines::bounded_line;
use super::staged::Staged;
use super::{Batches, Format};
use crate::Dtype;
use crate::layout::MOST_VALUES;
use crate::line;

/// The name of the tensor.
const TENSOR: &str = "vectors";
/// Most bytes of a header of safetensors that is read.
const MOST_HEADER_BYTES: u64 = 1 << 20;
/// Most bytes of a key that is read.
const MOST_KEY_BYTES: u64 = 1 << 20;

/// Writes `rows` vectors, each of the sizes `shape`, to `file`, and their keys to `paths`.
pub(super) fn write(
    batches: &mut Batches<'_>,
    (format, dtype): (Format, Dtype),
    shape: &[usize],
    [mut file, mut paths]: [Staged; 2],
) -> Result<[Staged; 2]> {
    let header = header(format, dtype, shape)?;
    file.write_all(&header).map_err(|error| file.error(error))?;
    let mut bytes = Vec::new();
    for batch in batches {
        let batch = batch?;
        let columns = super::columns(&batch, file.target())?;
        for row in 0..batch.num_rows() {
            bytes.clear();
            columns.vector_bytes(row, &mut bytes);
            file.write_all(&bytes).map_err(|error| file.error(error))?;
            let name = [&line::field(columns.keys.value(row).as_ref())[..], b"\n"].concat();
            paths.write_all(&name).map_err(|error| paths.error(error))?;
        }
    }
    Ok([file, paths])
}

fn header(format: Format, dtype: Dtype, shape: &[usize]) -> Result<Vec<u8>> {
    if format == Format::Npy {
        let dtype = match dtype {
            Dtype::F32 => DataType::F32,
            Dtype::F16 => DataType::F16,
        };
        return npy::header(dtype, shape);
    }
    let bytes = shape.iter().product::<usize>() * dtype.bytes();
    let tensor = json!({"dtype": dtype.name().to_uppercase(), "shape": shape, "data_offsets": [0, bytes]});
    let mut json = json!({TENSOR: tensor}).to_string().into_bytes();
    // So that the numbers are aligned.
    json.resize(json.len().next_multiple_of(8), b' ');
    Ok([&(json.len() as u64).to_le_bytes(), &json[..]].concat())
}

/// Reads vectors and their keys back.
pub(super) struct Vectors {
    file: BufReader<File>,
    /// Without it keys are the rows' numbers.
    paths: Option<BufReader<File>>,
    /// Numbers in a vector.
    pub values: usize,
    pub dtype: Dtype,
    next: usize,
    rows: usize,
}

impl Vectors {
    /// Reads the file `path`, opened as `file`, in `format`; keys are in `paths`, if there is such a file.
    pub fn open(format: Format, file: File, paths: &Path) -> Result<Vectors> {
        let mut file = BufReader::new(file);
        let (dtype, mut shape) =
            if format == Format::Npy { npy::read_header(&mut file)? } else { tensor(&mut file)? };
        let dtype = match dtype {
            DataType::F32 => Dtype::F32,
            DataType::F16 => Dtype::F16,
            other => {
                return Err(Error::unsupported(
                    "",
                    format!("vectors of {other}; featvec reads 32- and 16-bit floats"),
                ));
            }
        };
        if shape.len() < 2 {
            return Err(Error::unsupported(
                "",
                format!("an array of {shape:?}, which are no rows of vectors"),
            ));
        }
        let rows = shape.remove(0);
        let values = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        let values = values.filter(|values| *values <= MOST_VALUES).ok_or_else(|| {
            Error::new(
                ErrorKind::Limit,
                "",
                format!("vectors of {shape:?}, and the limit is {MOST_VALUES} numbers"),
            )
        })?;
        let paths = match File::open(paths) {
            Ok(file) => Some(BufReader::new(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io(paths.display().to_string(), error)),
        };
        Ok(Vectors { file, paths, values, dtype, next: 0, rows })
    }

    /// The next row; nothing at the end, where nothing may follow.
    pub fn next(&mut self) -> Result<Option<(String, Vec<f32>)>> {
        let at = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::corrupt("", "fewer vectors than its header promises"),
            _ => Error::io("", error),
        };
        if self.next == self.rows {
            let over = self.file.fill_buf().map_err(at)?;
            let message = "more bytes than its header promises";
            return if over.is_empty() { Ok(None) } else { Err(Error::corrupt("", message)) };
        }
        let mut bytes = Vec::new();
        let length = self.values * self.dtype.bytes();
        (&mut self.file).take(length as u64).read_to_end(&mut bytes).map_err(at)?;
        if bytes.len() < length {
            return Err(at(io::ErrorKind::UnexpectedEof.into()));
        }
        let vector = self.dtype.numbers(&bytes);
        let key = match &mut self.paths {
            Some(paths) => bounded_line(paths, MOST_KEY_BYTES)
                .map_err(|error| Error::io("the names of its rows", error))?
                .ok_or_else(|| Error::corrupt("", "fewer names than rows"))?,
            None => self.next.to_string(),
        };
        self.next += 1;
        Ok(Some((key, vector)))
    }
}

/// Reads the header of a safetensors file of one tensor.
fn tensor(file: &mut impl Read) -> Result<(DataType, Vec<usize>)> {
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(|_| Error::corrupt("header", "it is cut short"))?;
    let length = u64::from_le_bytes(length);
    if length > MOST_HEADER_BYTES {
        return Err(Error::new(ErrorKind::Limit, "header", format!("{length} bytes long")));
    }
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header).map_err(|error| Error::io("header", error))?;
    let tensors: Map<String, Value> =
        serde_json::from_slice(&header).map_err(|error| Error::corrupt("header", error.to_string()))?;
    let foreign =
        || Error::unsupported("", format!("other tensors than the one that featvec writes, {TENSOR:?}"));
    let tensor =
        tensors.get(TENSOR).filter(|_| tensors.keys().all(|name| name == TENSOR || name == "__metadata__"));
    let tensor = tensor.ok_or_else(foreign)?;
    let shape: Option<Vec<usize>> = tensor["shape"].as_array().and_then(|sizes| {
        sizes.iter().map(|size| size.as_u64().and_then(|size| usize::try_from(size).ok())).collect()
    });
    let dtype = match tensor["dtype"].as_str() {
        Some("F32") => DataType::F32,
        Some("F16") => DataType::F16,
        _ => DataType::Unknown(0),
    };
    let shape = shape.filter(|shape| !shape.is_empty()).ok_or_else(foreign)?;
    Ok((dtype, shape))
}
