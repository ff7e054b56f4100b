//! V2 checkpoints ("tensor bundles"): an index table that says where in which shard each tensor's bytes lie.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::catalog::{Catalog, Stored, tensor_place};
use crate::checkpoint::Entry;
use crate::error::DAMAGED;
use crate::files::Files;
use crate::limits::check_limit;
use crate::protobuf::{Message, Writer};
use crate::tensor::{self, decode_strings, element_count, memory_bytes};
use crate::tensor_proto::{parse_known_shape, write_shape};
use crate::tensor_slice::{Region, TensorSlice, check_partition, check_slice_count};
use crate::whole::{with_ending, write_file};
use crate::{
    DataType, Error, ErrorKind, Limits, Result, Tensor, TensorData, grouped, masked_crc32c, ordered_code,
    table,
};

/// An opened V2 checkpoint. Tensors are read from the shards when they are asked for.
#[derive(Clone, Debug)]
pub(crate) struct Bundle {
    files: Files,
    index: String,
    shards: Vec<String>,
    tensors: Catalog<Content>,
}

/// Where the values of a tensor are.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Whole(Span),
    /// A partitioned variable: its parts, which cover it exactly.
    Slices(Vec<(Region, Span)>),
}

/// A range of bytes in a shard, and their checksum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    shard: usize,
    offset: u64,
    bytes: u64,
    crc32c: u32,
}

/// A BundleEntryProto.
struct RawEntry {
    dtype: DataType,
    shape: Vec<usize>,
    span: Span,
    slices: Vec<TensorSlice>,
}

/// The text file beside checkpoints that names the latest.
pub(crate) const STATE: &str = "checkpoint";

/// The shard `shard` of `count` of the checkpoint `prefix`.
pub(crate) fn shard_name(prefix: &str, shard: usize, count: usize) -> String {
    format!("{prefix}.data-{shard:05}-of-{count:05}")
}

/// The files of the checkpoint `prefix` that has one shard: the shard, then the index.
pub fn bundle_files(prefix: &Path) -> [PathBuf; 2] {
    [shard_name("", 0, 1), ".index".to_owned()].map(|ending| with_ending(prefix, &ending))
}

impl Bundle {
    /// Opens the checkpoint whose index is `prefix` and `.index` among `files`.
    pub(crate) fn open(files: Files, prefix: &str, limits: &Limits) -> Result<Bundle> {
        let index = format!("{prefix}.index");
        let bytes = files.read(&index, limits.file_bytes())?;
        let opened = Index::parse(&bytes, limits).map_err(|error| error.within(&files.place(&index)))?;
        drop(bytes);

        let mut shards = Vec::with_capacity(opened.shards.min(1 << 10));
        let mut lengths = Vec::with_capacity(opened.shards.min(1 << 10));
        for shard in 0..opened.shards {
            let name = shard_name(prefix, shard, opened.shards);
            if !files.contains(&name) {
                let message = "this shard of the checkpoint is missing";
                return Err(Error::corrupt(files.place(&name), message)
                    .with_hint("keep the .index file and all its .data files together"));
            }
            let length = files.length(&name)?;
            check_limit(&files.place(&name), "bytes", length, limits.file_bytes())?;
            lengths.push(length);
            shards.push(name);
        }
        let place = files.place(&index);
        let tensors = opened.resolve(&lengths, limits).map_err(|error| error.within(&place))?;
        Ok(Bundle { files, index, shards, tensors: Catalog(tensors) })
    }

    /// Where the checkpoint is.
    pub(crate) fn place(&self) -> String {
        self.files.place(&self.index)
    }

    pub(crate) fn tensors(&self) -> &Catalog<Content> {
        &self.tensors
    }

    /// Reads the tensor `name` and verifies its checksum; `None` if there is none of that name.
    pub(crate) fn read(&self, name: &str) -> Option<Result<Tensor>> {
        self.tensors.read(name, |stored| self.read_stored(stored))
    }

    fn read_stored(&self, stored: &Stored<Content>) -> Result<Tensor> {
        let Entry { dtype, ref shape, .. } = stored.entry;
        let data = match &stored.content {
            Content::Whole(span) if dtype == DataType::String => self.read_strings(span, shape)?,
            Content::Whole(span) => TensorData::from_le_bytes(dtype, &self.read_span(span)?),
            Content::Slices(slices) => {
                let element_bytes = dtype.element_bytes().unwrap_or(0);
                let mut whole = vec![0; element_count(shape).unwrap_or(0) * element_bytes];
                for (region, span) in slices {
                    tensor::place(&mut whole, shape, (region, &self.read_span(span)?), element_bytes);
                }
                TensorData::from_le_bytes(dtype, &whole)
            }
        };
        let unreadable =
            || Error::unsupported("", format!("a tensor of {dtype}, which featvec does not read"));
        Tensor::new(shape.clone(), data.ok_or_else(unreadable)?)
    }

    fn read_span(&self, span: &Span) -> Result<std::borrow::Cow<'_, [u8]>> {
        let bytes = self.span_bytes(span)?;
        if masked_crc32c(&bytes) != span.crc32c {
            return Err(self.wrong_checksum(span));
        }
        Ok(bytes)
    }

    fn read_strings(&self, span: &Span, shape: &[usize]) -> Result<Option<TensorData>> {
        // The index says how many strings, the shard how long they are: both were counted when it was opened.
        let values = decode_strings(&self.span_bytes(span)?, element_count(shape).unwrap_or(usize::MAX))?;
        if masked_crc32c(&tensor::checksummed_strings(&values)) != span.crc32c {
            return Err(self.wrong_checksum(span));
        }
        Ok(Some(TensorData::Strings(values)))
    }

    fn span_bytes(&self, span: &Span) -> Result<std::borrow::Cow<'_, [u8]>> {
        let length = usize::try_from(span.bytes).unwrap_or(usize::MAX);
        match self.shards.get(span.shard) {
            Some(shard) => self.files.read_range(shard, span.offset, length),
            None => Err(Error::corrupt("", format!("no shard {}", span.shard))),
        }
    }

    fn wrong_checksum(&self, span: &Span) -> Error {
        let shard = self.shards.get(span.shard).map_or("", String::as_str);
        let (bytes, offset) = (grouped(span.bytes), grouped(span.offset));
        Error::corrupt("", format!("wrong checksum of {bytes} bytes at {offset} of {shard}"))
            .with_hint(DAMAGED)
    }
}

/// The index as it is written, before it is compared with the shards.
struct Index {
    shards: usize,
    whole: BTreeMap<String, RawEntry>,
    /// By the encoded name and slice.
    slices: BTreeMap<Vec<u8>, RawEntry>,
}

impl Index {
    fn parse(bytes: &[u8], limits: &Limits) -> Result<Index> {
        let mut index = Index { shards: 0, whole: BTreeMap::new(), slices: BTreeMap::new() };
        table::visit_records(bytes, limits, |_, key, _, value| {
            if key.is_empty() {
                index.shards = parse_header(value, limits)?;
                return Ok(());
            }
            if index.shards == 0 {
                return Err(no_header());
            }
            let count = index.whole.len() + index.slices.len() + 1;
            check_limit("", "tensors", count as u64, limits.tensors())?;
            check_limit("", "bytes of a name", key.len() as u64, limits.name_bytes())?;
            if key.first() == Some(&0) {
                let (name, _) = ordered_code::parse_slice_key(key)
                    .ok_or_else(|| Error::corrupt("", "a key that is neither a name nor a slice"))?;
                let entry = parse_entry(value, limits).map_err(|error| error.within(&tensor_place(&name)))?;
                index.slices.insert(key.to_vec(), entry);
            } else {
                let name = std::str::from_utf8(key)
                    .map_err(|_| Error::corrupt("", "a tensor's name that is not UTF-8"))?;
                let entry = parse_entry(value, limits).map_err(|error| error.within(&tensor_place(name)))?;
                index.whole.insert(name.to_owned(), entry);
            }
            Ok(())
        })?;
        if index.shards == 0 {
            return Err(no_header());
        }
        Ok(index)
    }

    /// Checks every entry against the shards' `lengths`, and puts partitioned tensors together.
    fn resolve(mut self, lengths: &[u64], limits: &Limits) -> Result<BTreeMap<String, Stored<Content>>> {
        let mut tensors = BTreeMap::new();
        let mut claims = Vec::new();
        let mut total = 0u64;
        for (name, raw) in std::mem::take(&mut self.whole) {
            let within = |error: Error| error.within(&tensor_place(&name));
            total = total.saturating_add(memory_bytes(raw.dtype, &raw.shape).unwrap_or(u64::MAX));
            check_limit("", "bytes of tensors", total, limits.tensor_bytes())?;
            let content = if raw.slices.is_empty() {
                check_span(&raw, lengths).map_err(within)?;
                claims.push((raw.span, name.clone()));
                Content::Whole(raw.span)
            } else {
                let slices = self.take_slices(&name, &raw, lengths).map_err(within)?;
                claims.extend(slices.iter().map(|&(_, span)| (span, name.clone())));
                Content::Slices(slices)
            };
            let entry = Entry { name: name.clone(), dtype: raw.dtype, shape: raw.shape };
            tensors.insert(name, Stored { entry, content });
        }
        if let Some(key) = self.slices.keys().next() {
            let name = ordered_code::parse_slice_key(key).map_or_else(String::new, |(name, _)| name);
            return Err(Error::corrupt(tensor_place(&name), "a slice that its tensor does not mention"));
        }
        check_disjoint(claims)?;
        Ok(tensors)
    }

    fn take_slices(&mut self, name: &str, whole: &RawEntry, lengths: &[u64]) -> Result<Vec<(Region, Span)>> {
        if whole.dtype.element_bytes().is_none() {
            let message = format!("a partitioned tensor of {}, which featvec does not read", whole.dtype);
            return Err(Error::unsupported("", message));
        }
        let mut slices = Vec::with_capacity(whole.slices.len());
        for slice in &whole.slices {
            let region = slice.within(&whole.shape)?;
            let raw = self
                .slices
                .remove(&ordered_code::slice_key(name, slice))
                .ok_or_else(|| Error::corrupt("", "one of its slices is missing, or listed twice"))?;
            if raw.dtype != whole.dtype || raw.shape != region.lengths || !raw.slices.is_empty() {
                let message =
                    format!("a slice of {} {:?} in place of {:?}", raw.dtype, raw.shape, region.lengths);
                return Err(Error::corrupt("", message));
            }
            check_span(&raw, lengths)?;
            slices.push((region, raw.span));
        }
        let regions: Vec<Region> = slices.iter().map(|(region, _)| region.clone()).collect();
        check_partition(&regions, element_count(&whole.shape).unwrap_or(usize::MAX))?;
        Ok(slices)
    }
}

fn no_header() -> Error {
    Error::corrupt("", "a table, but without the header of a V2 checkpoint's index")
}

fn parse_header(value: &[u8], limits: &Limits) -> Result<usize> {
    let mut message = Message::new("BundleHeaderProto", value, limits);
    let (mut shards, mut big_endian, mut min_consumer) = (0, false, 0);
    while let Some(field) = message.next_field()? {
        match field.number {
            1 => shards = field.int32()?,
            2 => big_endian = field.int32()? != 0,
            3 => {
                let mut version = field.message("VersionDef")?;
                while let Some(field) = version.next_field()? {
                    if field.number == 2 {
                        min_consumer = field.int32()?;
                    }
                }
            }
            _ => {}
        }
    }
    if big_endian {
        return Err(Error::unsupported("header", "a checkpoint of a big-endian machine"));
    }
    if min_consumer > 1 {
        let message =
            format!("a checkpoint for readers of version {min_consumer} or later; featvec is one of 1");
        return Err(Error::unsupported("header", message));
    }
    usize::try_from(shards)
        .ok()
        .filter(|shards| (1..=99_999).contains(shards))
        .ok_or_else(|| Error::corrupt("header", format!("{shards} shards")))
}

fn parse_entry(value: &[u8], limits: &Limits) -> Result<RawEntry> {
    let mut message = Message::new("BundleEntryProto", value, limits);
    let mut entry = RawEntry {
        dtype: DataType::Unknown(0),
        shape: Vec::new(),
        span: Span { shard: 0, offset: 0, bytes: 0, crc32c: 0 },
        slices: Vec::new(),
    };
    while let Some(field) = message.next_field()? {
        let unsigned = || {
            let value = field.int64()?;
            u64::try_from(value).map_err(|_| field.error(format!("{value} is negative")))
        };
        match field.number {
            1 => entry.dtype = DataType::from_code(field.int32()?),
            2 => entry.shape = parse_known_shape(&field, limits)?,
            3 => entry.span.shard = usize::try_from(unsigned()?).unwrap_or(usize::MAX),
            4 => entry.span.offset = unsigned()?,
            5 => entry.span.bytes = unsigned()?,
            6 => entry.span.crc32c = field.fixed32()?,
            7 => {
                check_slice_count(entry.slices.len() + 1)?;
                entry.slices.push(TensorSlice::parse(field.message("TensorSliceProto")?, limits)?);
            }
            _ => {}
        }
    }
    Ok(entry)
}

/// Checks that the bytes of `raw` are as many as its shape needs, and lie within their shard.
fn check_span(raw: &RawEntry, lengths: &[u64]) -> Result<()> {
    let Span { shard, offset, bytes, .. } = raw.span;
    let Some(&length) = lengths.get(shard) else {
        return Err(Error::corrupt("", format!("in shard {shard} of {}", lengths.len())));
    };
    if let Some(element_bytes) = raw.dtype.element_bytes() {
        let needed = element_count(&raw.shape).and_then(|count| count.checked_mul(element_bytes));
        if needed.map(|needed| needed as u64) != Some(bytes) {
            let message = format!("{} bytes for {} {:?}", grouped(bytes), raw.dtype, raw.shape);
            return Err(Error::corrupt("", message));
        }
    }
    let left = length.saturating_sub(offset);
    if offset > length || bytes > left {
        let message = format!("{} bytes promised, {} left", grouped(bytes), grouped(left));
        return Err(
            Error::corrupt("", message).with_hint("the .data file may be truncated; fetch or copy it again")
        );
    }
    Ok(())
}

/// Checks that no byte belongs to two tensors.
fn check_disjoint(mut claims: Vec<(Span, String)>) -> Result<()> {
    claims.retain(|(span, _)| span.bytes > 0);
    claims.sort_by_key(|(span, _)| (span.shard, span.offset));
    for pair in claims.windows(2) {
        if let [(a, first), (b, second)] = pair
            && a.shard == b.shard
            && a.offset + a.bytes > b.offset
        {
            let message = format!("its bytes overlap those of tensor {first:?}");
            return Err(Error::corrupt(tensor_place(second), message));
        }
    }
    Ok(())
}

/// Writes a V2 checkpoint of one shard into memory.
#[derive(Debug, Default)]
pub struct BundleWriter {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    shard: Vec<u8>,
}

impl BundleWriter {
    /// An empty checkpoint.
    pub fn new() -> BundleWriter {
        BundleWriter::default()
    }

    /// Adds `tensor` as `name`.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for an empty name, one that begins with a zero byte, or one that is there already.
    pub fn add(&mut self, name: &str, tensor: &Tensor) -> Result<()> {
        self.check_new_name(name)?;
        self.insert(name.as_bytes().to_vec(), tensor);
        Ok(())
    }

    /// Adds a partitioned tensor `name` of `shape` as its `slices`, which must all have the same type.
    ///
    /// # Errors
    /// As for [`add`](Self::add); the slices are the caller's to get right.
    pub fn add_partitioned(
        &mut self,
        name: &str,
        shape: &[usize],
        slices: &[(TensorSlice, Tensor)],
    ) -> Result<()> {
        let Some((_, first)) = slices.first() else {
            return Err(Error::new(ErrorKind::Argument, tensor_place(name), "no slices"));
        };
        self.check_new_name(name)?;
        let mut entry = Writer::new();
        entry.int64(1, first.dtype().code().into());
        entry.message(2, |writer| write_shape(shape, writer));
        for (slice, tensor) in slices {
            entry.message(7, |writer| slice.write(writer));
            self.insert(ordered_code::slice_key(name, slice), tensor);
        }
        self.entries.insert(name.as_bytes().to_vec(), entry.finish());
        Ok(())
    }

    fn check_new_name(&self, name: &str) -> Result<()> {
        if name.is_empty() || name.starts_with('\0') || self.entries.contains_key(name.as_bytes()) {
            let message = "no new tensor can be called so";
            return Err(Error::new(ErrorKind::Argument, tensor_place(name), message));
        }
        Ok(())
    }

    fn insert(&mut self, key: Vec<u8>, tensor: &Tensor) {
        let offset = self.shard.len() as u64;
        let bytes = tensor.data().to_le_bytes();
        let checksum = match tensor.data() {
            TensorData::Strings(values) => masked_crc32c(&tensor::checksummed_strings(values)),
            _ => masked_crc32c(&bytes),
        };
        let mut entry = Writer::new();
        entry.int64(1, tensor.dtype().code().into());
        entry.message(2, |writer| write_shape(tensor.shape(), writer));
        if offset != 0 {
            entry.uint64(4, offset);
        }
        if !bytes.is_empty() {
            entry.uint64(5, bytes.len() as u64);
        }
        entry.fixed32(6, checksum);
        self.shard.extend(bytes);
        self.entries.insert(key, entry.finish());
    }

    /// Writes the checkpoint to the disk: first `PREFIX.data-00000-of-00001`, then `PREFIX.index`, each whole. One that
    /// is there already is replaced file by file, so what must survive a crash gets another prefix.
    ///
    /// # Errors
    /// A folder that is not there or cannot be written to, a full disk.
    pub fn write(self, prefix: &Path) -> Result<()> {
        let (index, shard) = self.finish();
        let [shard_path, index_path] = bundle_files(prefix);
        write_file(&shard_path, &shard)?;
        write_file(&index_path, &index)
    }

    /// The bytes of the `.index` file and of the `.data-00000-of-00001` file.
    pub fn finish(self) -> (Vec<u8>, Vec<u8>) {
        let mut header = Writer::new();
        header.uint64(1, 1).message(3, |version| {
            version.uint64(1, 1);
        });
        let mut table = table::TableWriter::new();
        table.add(b"", &header.finish());
        self.entries.iter().for_each(|(key, entry)| table.add(key, entry));
        (table.finish(), self.shard)
    }
}

/// Writes the text file `checkpoint` that tells TensorFlow which checkpoints `folder` holds. `prefixes` are their names
/// relative to it, the oldest first; the last one is the latest.
///
/// # Errors
/// [`ErrorKind::Argument`] for no prefixes; a folder that is not there or cannot be written to, a full disk.
pub fn write_checkpoint_state(folder: &Path, prefixes: &[&str]) -> Result<()> {
    let path = folder.join(STATE);
    let Some(latest) = prefixes.last() else {
        return Err(Error::new(ErrorKind::Argument, path.display().to_string(), "no checkpoint to name"));
    };
    let line = |key: &str, prefix: &str| {
        format!("{key}: \"{}\"\n", prefix.replace('\\', "\\\\").replace('"', "\\\""))
    };
    let mut text = line("model_checkpoint_path", latest);
    prefixes.iter().for_each(|prefix| text += &line("all_model_checkpoint_paths", prefix));
    write_file(&path, text.as_bytes())
}
