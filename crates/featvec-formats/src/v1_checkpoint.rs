//! V1 checkpoints, one file each, as TF-Slim published its networks.
//!
//! The first record of the table lists the tensors; each other record holds a slice of one of them, nearly always the
//! whole.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::catalog::{Catalog, Stored, tensor_place};
use crate::checkpoint::Entry;
use crate::limits::check_limit;
use crate::ordered_code::slice_key;
use crate::protobuf::{Field, Message, Writer};
use crate::table::{self, BlockHandle, TableWriter};
use crate::tensor::{self, element_count, memory_bytes};
use crate::tensor_proto::{Missing, decode_values, parse_known_shape, write_shape};
use crate::tensor_slice::{Region, TensorSlice, check_partition, check_slice_count};
use crate::{DataType, Error, ErrorKind, Limits, Result, Tensor, TensorData};

/// An opened V1 checkpoint. Its file is in memory; tensors are decoded when they are asked for.
#[derive(Clone, Debug)]
pub(crate) struct V1Checkpoint {
    place: String,
    file: Vec<u8>,
    tensors: Catalog<Vec<Part>>,
    limits: Limits,
}

/// A slice of a tensor, nearly always the whole.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    slice: TensorSlice,
    region: Region,
    values: Option<Values>,
}

/// The block of a record, and where in the block the TensorProto lies.
#[derive(Clone, Debug)]
struct Values {
    block: BlockHandle,
    range: Range<usize>,
}

impl V1Checkpoint {
    /// Opens the checkpoint `file`, which errors call `place`.
    pub(crate) fn open(place: String, file: Vec<u8>, limits: &Limits) -> Result<V1Checkpoint> {
        let tensors = list(&file, limits).map_err(|error| error.within(&place))?;
        Ok(V1Checkpoint { place, file, tensors: Catalog(tensors), limits: limits.clone() })
    }

    /// Where the checkpoint is.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    pub(crate) fn tensors(&self) -> &Catalog<Vec<Part>> {
        &self.tensors
    }

    /// Reads the tensor `name`, verifying its blocks' checksums; `None` if there is none of that name.
    pub(crate) fn read(&self, name: &str) -> Option<Result<Tensor>> {
        self.tensors.read(name, |stored| self.read_stored(stored))
    }

    fn read_stored(&self, stored: &Stored<Vec<Part>>) -> Result<Tensor> {
        let Entry { dtype, ref shape, .. } = stored.entry;
        let data = match &stored.content[..] {
            [part] if part.region.lengths == *shape => self.read_part(part, dtype)?,
            parts => {
                let unreadable = || {
                    Error::unsupported(
                        "",
                        format!("a partitioned tensor of {dtype}, which featvec does not read"),
                    )
                };
                let element_bytes = dtype.element_bytes().ok_or_else(unreadable)?;
                let mut whole = vec![0; element_count(shape).unwrap_or(0) * element_bytes];
                for part in parts {
                    let piece = self.read_part(part, dtype)?.to_le_bytes();
                    tensor::place(&mut whole, shape, (&part.region, &piece), element_bytes);
                }
                TensorData::from_le_bytes(dtype, &whole).ok_or_else(unreadable)?
            }
        };
        Tensor::new(shape.clone(), data)
    }

    fn read_part(&self, part: &Part, dtype: DataType) -> Result<TensorData> {
        let missing = || Error::corrupt("", "its values are missing");
        let Values { block, range } = part.values.as_ref().ok_or_else(missing)?;
        let block = table::read_block(&self.file, *block, &self.limits)?;
        let proto = block.get(range.clone()).ok_or_else(missing)?;
        decode_values(proto, (dtype, &part.region.lengths), Missing::Refuse, &self.limits)
    }
}

/// Reads through the whole table: the list of tensors, then where the values of each are.
fn list(file: &[u8], limits: &Limits) -> Result<BTreeMap<String, Stored<Vec<Part>>>> {
    let mut tensors = None;
    table::visit_records(file, limits, |block, key, range, value| {
        match &mut tensors {
            None if key.is_empty() => tensors = Some(parse_meta(value, limits)?),
            None => {
                return Err(Error::corrupt(
                    "",
                    "a table, but without the list of tensors of a V1 checkpoint",
                ));
            }
            Some(tensors) => add_values(tensors, value, (block, range), limits)?,
        }
        Ok(())
    })?;
    let tensors = tensors.ok_or_else(|| Error::corrupt("", "a table without records"))?;
    for (name, stored) in &tensors {
        if stored.content.iter().any(|part| part.values.is_none()) {
            return Err(Error::corrupt(tensor_place(name), "listed, but its values are missing"));
        }
    }
    Ok(tensors)
}

fn parse_meta(value: &[u8], limits: &Limits) -> Result<BTreeMap<String, Stored<Vec<Part>>>> {
    let mut tensors = BTreeMap::new();
    let (mut count, mut total) = (0, 0u64);
    let mut message = Message::new("SavedTensorSlices", value, limits);
    while let Some(field) = message.next_field()? {
        if field.number != 1 {
            continue;
        }
        let mut meta = field.message("SavedTensorSliceMeta")?;
        while let Some(field) = meta.next_field()? {
            match field.number {
                1 => {
                    let stored = parse_slice_meta(&field, limits)?;
                    let Entry { name, dtype, shape } = &stored.entry;
                    count += stored.content.len().max(1);
                    check_limit("", "tensors", count as u64, limits.tensors())?;
                    total = total.saturating_add(memory_bytes(*dtype, shape).unwrap_or(u64::MAX));
                    check_limit("", "bytes of tensors", total, limits.tensor_bytes())?;
                    let place = tensor_place(name);
                    if tensors.insert(name.clone(), stored).is_some() {
                        return Err(Error::corrupt(place, "listed twice"));
                    }
                }
                2 => check_version(&field)?,
                _ => {}
            }
        }
    }
    Ok(tensors)
}

fn check_version(field: &Field<'_>) -> Result<()> {
    let mut version = field.message("VersionDef")?;
    while let Some(field) = version.next_field()? {
        if field.number == 2 && field.int32()? > 1 {
            let message = format!("a checkpoint for readers of version {} or later", field.int32()?);
            return Err(Error::unsupported("", message));
        }
    }
    Ok(())
}

fn parse_slice_meta(field: &Field<'_>, limits: &Limits) -> Result<Stored<Vec<Part>>> {
    let (mut name, mut shape, mut dtype, mut slices) = ("", Vec::new(), DataType::Unknown(0), Vec::new());
    let mut meta = field.message("SavedSliceMeta")?;
    while let Some(field) = meta.next_field()? {
        match field.number {
            1 => name = field.string()?,
            2 => shape = parse_known_shape(&field, limits)?,
            3 => dtype = DataType::from_code(field.int32()?),
            4 => {
                check_slice_count(slices.len() + 1)?;
                slices.push(TensorSlice::parse(field.message("TensorSliceProto")?, limits)?);
            }
            _ => {}
        }
    }
    check_limit("", "bytes of a name", name.len() as u64, limits.name_bytes())?;
    let parts = (|| {
        let regions = slices.iter().map(|slice| slice.within(&shape)).collect::<Result<Vec<_>>>()?;
        check_partition(&regions, element_count(&shape).unwrap_or(usize::MAX))?;
        Ok(slices
            .into_iter()
            .zip(regions)
            .map(|(slice, region)| Part { slice, region, values: None })
            .collect())
    })();
    let parts = parts.map_err(|error: Error| error.within(&tensor_place(name)))?;
    Ok(Stored { entry: Entry { name: name.to_owned(), dtype, shape }, content: parts })
}

/// Notes where the values of the slice in the record `value` are.
fn add_values(
    tensors: &mut BTreeMap<String, Stored<Vec<Part>>>,
    value: &[u8],
    (block, range): (BlockHandle, Range<usize>),
    limits: &Limits,
) -> Result<()> {
    let mut message = Message::new("SavedTensorSlices", value, limits);
    while let Some(field) = message.next_field()? {
        if field.number != 2 {
            continue;
        }
        let (mut name, mut slice, mut proto) = ("", TensorSlice::default(), None);
        let mut saved = field.message("SavedSlice")?;
        while let Some(field) = saved.next_field()? {
            match field.number {
                1 => name = field.string()?,
                2 => slice = TensorSlice::parse(field.message("TensorSliceProto")?, limits)?,
                3 => proto = Some(field.bytes()?),
                _ => {}
            }
        }
        let part = tensors
            .get_mut(name)
            .and_then(|stored| stored.content.iter_mut().find(|part| part.slice == slice))
            .ok_or_else(|| Error::corrupt(tensor_place(name), "values of a slice that is not listed"))?;
        let proto = proto.ok_or_else(|| Error::corrupt(tensor_place(name), "a slice without values"))?;
        // A subslice of `value`, so its place in the block follows from the addresses' distance.
        let start = range.start + (proto.as_ptr().addr() - value.as_ptr().addr());
        let values = Values { block, range: start..start + proto.len() };
        if part.values.replace(values).is_some() {
            return Err(Error::corrupt(tensor_place(name), "the values of a slice are there twice"));
        }
    }
    Ok(())
}

/// The bytes of a V1 checkpoint with `tensors` by name, whole.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a type other than `float32` and `int64`; [`ErrorKind::Argument`] for a name that is
/// there twice.
pub fn v1_checkpoint(tensors: &[(String, Tensor)]) -> Result<Vec<u8>> {
    let mut meta = Writer::new();
    let mut records = BTreeMap::new();
    for (name, tensor) in tensors {
        let slice = TensorSlice::full(tensor.shape().len());
        meta.message(1, |meta| {
            meta.bytes(1, name).message(2, |writer| write_shape(tensor.shape(), writer));
            meta.int64(3, tensor.dtype().code().into()).message(4, |writer| slice.write(writer));
        });
        let mut values = Writer::new();
        match tensor.data() {
            TensorData::F32(floats) => values.packed_float(5, floats),
            TensorData::I64(ints) => values.packed_int64(10, ints),
            data => {
                let message = format!("a tensor of {}; float32 or int64 expected", data.dtype());
                return Err(Error::unsupported(tensor_place(name), message));
            }
        };
        let mut record = Writer::new();
        record.message(2, |saved| {
            saved.bytes(1, name).message(2, |writer| slice.write(writer)).bytes(3, values.finish());
        });
        if records.insert(slice_key(name, &slice), record.finish()).is_some() {
            return Err(Error::new(ErrorKind::Argument, tensor_place(name), "a second tensor of this name"));
        }
    }
    meta.message(2, |version| {
        version.uint64(1, 1);
    });
    let mut list = Writer::new();
    list.bytes(1, meta.finish());
    let mut table = TableWriter::new();
    table.add(b"", &list.finish());
    records.iter().for_each(|(key, record)| table.add(key, record));
    Ok(table.finish())
}
