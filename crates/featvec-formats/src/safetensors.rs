//! safetensors files: a header in JSON that says where each tensor's bytes lie, then those bytes, all of them used, none
//! twice.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::catalog::{Catalog, Stored, tensor_place};
use crate::checkpoint::Entry;
use crate::limits::check_limit;
use crate::tensor::{check_size, element_count};
use crate::{DataType, Error, ErrorKind, Limits, Result, Tensor, TensorData, grouped};

/// The header's length stands in the first eight bytes.
const LENGTH_BYTES: usize = 8;

/// Where the header may hold what the writer wants to say, in place of a tensor.
const METADATA: &str = "__metadata__";

/// The element types of safetensors that featvec knows, as the header spells them.
const TYPES: &[(&str, DataType)] = &[
    ("BOOL", DataType::Bool),
    ("U8", DataType::U8),
    ("I8", DataType::I8),
    ("U16", DataType::U16),
    ("I16", DataType::I16),
    ("F16", DataType::F16),
    ("BF16", DataType::BF16),
    ("U32", DataType::U32),
    ("I32", DataType::I32),
    ("F32", DataType::F32),
    ("U64", DataType::U64),
    ("I64", DataType::I64),
    ("F64", DataType::F64),
];

/// An opened safetensors file. It is in memory; tensors are decoded when they are asked for.
#[derive(Clone, Debug)]
pub(crate) struct Safetensors {
    place: String,
    file: Vec<u8>,
    tensors: Catalog<std::ops::Range<usize>>,
}

/// What the header says of a tensor.
#[derive(Deserialize, Serialize)]
struct Info {
    dtype: String,
    shape: Vec<usize>,
    /// First and last byte but one, counted from the end of the header.
    data_offsets: [usize; 2],
}

impl Safetensors {
    /// Opens `file`, which errors call `place`.
    pub(crate) fn open(place: String, file: Vec<u8>, limits: &Limits) -> Result<Safetensors> {
        let tensors = list(&file, limits).map_err(|error| error.within(&place))?;
        Ok(Safetensors { place, file, tensors: Catalog(tensors) })
    }

    /// Where the file is.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    pub(crate) fn tensors(&self) -> &Catalog<std::ops::Range<usize>> {
        &self.tensors
    }

    /// Decodes the tensor `name`; `None` if there is none of that name.
    pub(crate) fn read(&self, name: &str) -> Option<Result<Tensor>> {
        self.tensors.read(name, |stored| {
            let Entry { dtype, ref shape, .. } = stored.entry;
            let bytes = self.file.get(stored.content.clone()).unwrap_or_default();
            let unreadable =
                || Error::unsupported("", format!("a tensor of {dtype}, which featvec does not read"));
            Tensor::new(shape.clone(), TensorData::from_le_bytes(dtype, bytes).ok_or_else(unreadable)?)
        })
    }
}

/// Whether `bytes` begin as a safetensors file: after the header's length, which no sane file has in terabytes, comes a
/// JSON object.
pub(crate) fn is_safetensors(bytes: &[u8]) -> bool {
    matches!(bytes, [_, _, _, _, _, 0, 0, 0, b'{', b'"' | b'}', ..])
}

fn list(file: &[u8], limits: &Limits) -> Result<BTreeMap<String, Stored<std::ops::Range<usize>>>> {
    let corrupt = |message: String| Error::corrupt("header", message);
    let (length, rest) = file.split_first_chunk().ok_or_else(|| corrupt("it is cut short".into()))?;
    let length = u64::from_le_bytes(*length);
    let header = usize::try_from(length).ok().and_then(|length| rest.get(..length)).ok_or_else(|| {
        let message = format!("{} bytes promised, {} left", grouped(length), grouped(rest.len() as u64));
        corrupt(message).with_hint(crate::error::TRUNCATED)
    })?;
    let data = &rest[header.len()..];
    let start = LENGTH_BYTES + header.len();

    let mut json = serde_json::Deserializer::from_slice(header);
    let infos = Infos { most: limits.tensors };
    let infos = json
        .deserialize_map(infos)
        .and_then(|infos| json.end().map(|()| infos))
        .map_err(|error| corrupt(error.to_string()))?;
    check_limit("header", "tensors", infos.len() as u64, limits.tensors())?;

    let mut tensors = BTreeMap::new();
    let (mut ranges, mut total) = (Vec::with_capacity(infos.len()), 0u64);
    for (name, info) in infos {
        let place = tensor_place(&name);
        check_limit(&place, "bytes of a name", name.len() as u64, limits.name_bytes())?;
        let (entry, [begin, end]) = check_info(name, info, limits).map_err(|error| error.within(&place))?;
        total = total.saturating_add((end - begin) as u64);
        check_limit("", "bytes of tensors", total, limits.tensor_bytes())?;
        ranges.push((begin, end, place.clone()));
        // Whether it lies in the file is seen below, when all places are known.
        let content = start.saturating_add(begin)..start.saturating_add(end);
        let stored = Stored { entry, content };
        if tensors.insert(stored.entry.name.clone(), stored).is_some() {
            return Err(Error::corrupt(place, "listed twice"));
        }
    }
    ranges.sort();
    let mut covered = 0;
    for (begin, end, place) in ranges {
        if begin != covered {
            let message = format!("its bytes begin at {begin}, where those before end at {covered}");
            return Err(Error::corrupt(place, message));
        }
        covered = end;
    }
    if covered != data.len() {
        let (covered, left) = (grouped(covered as u64), grouped(data.len() as u64));
        return Err(Error::corrupt("", format!("tensors of {covered} bytes together, {left} there"))
            .with_hint(crate::error::TRUNCATED));
    }
    Ok(tensors)
}

fn check_info(name: String, info: Info, limits: &Limits) -> Result<(Entry, [usize; 2])> {
    let Info { dtype, shape, data_offsets: [begin, end] } = info;
    let Some(&(_, dtype)) = TYPES.iter().find(|(text, _)| *text == dtype) else {
        return Err(Error::unsupported("", format!("a tensor of {dtype:?}, which featvec does not read")));
    };
    if shape.len() > limits.message_depth {
        return Err(Error::corrupt("", "more dimensions than a tensor can have"));
    }
    let count = check_size(dtype, &shape, limits)?;
    let needed = dtype.element_bytes().and_then(|bytes| count.checked_mul(bytes));
    if end.checked_sub(begin).is_none_or(|bytes| Some(bytes) != needed) {
        return Err(Error::corrupt("", format!("bytes {begin} to {end} for {dtype} {shape:?}")));
    }
    Ok((Entry { name, dtype, shape }, [begin, end]))
}

/// Reads the header's object, in which a tensor may stand twice.
struct Infos {
    most: usize,
}

impl<'de> Visitor<'de> for Infos {
    type Value = Vec<(String, Info)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tensors by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
        let mut infos = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            // One more than the limit, for the caller to say so.
            if infos.len() <= self.most {
                let info =
                    map.next_value().map_err(|error| A::Error::custom(format!("{name:?}: {error}")))?;
                infos.push((name, info));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(infos)
    }
}

/// The bytes of a safetensors file with `tensors` by name, in their order.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for text; [`ErrorKind::Argument`] for a name that is there twice or means something else.
///
/// ```
/// use featvec_formats::{Tensor, TensorData, safetensors};
///
/// let tensor = Tensor::new(vec![2], TensorData::F32(vec![1.0, 2.0]))?;
/// assert_eq!(safetensors(&[("x".to_string(), tensor)])?[8..10], *b"{\"");
/// # Ok::<(), featvec_formats::Error>(())
/// ```
pub fn safetensors(tensors: &[(String, Tensor)]) -> Result<Vec<u8>> {
    let mut infos = BTreeMap::new();
    let mut offset = 0;
    for (name, tensor) in tensors {
        let Some((dtype, _)) = TYPES.iter().find(|(_, dtype)| *dtype == tensor.dtype()) else {
            let message = format!("a tensor of {}, which safetensors do not hold", tensor.dtype());
            return Err(Error::unsupported(tensor_place(name), message));
        };
        let elements = element_count(tensor.shape()).unwrap_or(0);
        let end = offset + elements * tensor.dtype().element_bytes().unwrap_or(0);
        let info =
            Info { dtype: dtype.to_string(), shape: tensor.shape().to_vec(), data_offsets: [offset, end] };
        if name == METADATA || infos.insert(name.as_str(), info).is_some() {
            let message = "no new tensor can be called so";
            return Err(Error::new(ErrorKind::Argument, tensor_place(name), message));
        }
        offset = end;
    }
    let mut header = serde_json::to_vec(&infos).expect("names and numbers can be written as JSON");
    // So that the numbers after it are aligned.
    header.resize(header.len().next_multiple_of(LENGTH_BYTES), b' ');
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.reserve(header.len() + offset);
    file.extend(header);
    tensors.iter().for_each(|(_, tensor)| file.extend(tensor.data().to_le_bytes()));
    Ok(file)
}
