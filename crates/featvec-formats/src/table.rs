//! The immutable sorted table (as in LevelDB) that holds a V1 checkpoint, or the index of a V2 one.
//!
//! A file is data blocks, a meta-index block, an index block and a footer, without gaps; every block has a checksum. So
//! every byte of a table is accounted for, and no damaged bit goes unnoticed.

use std::borrow::Cow;
use std::ops::Range;

use crate::error::{DAMAGED, TRUNCATED};
use crate::limits::{Limit, check_limit};
use crate::{Error, Limits, Result, grouped, masked_crc32c, varint};

mod writer;
pub use writer::{Compression, TableWriter};

const MAGIC: u64 = 0xdb47_7524_8b80_fb57;
const FOOTER_BYTES: usize = 48;
/// One byte of compression type and the block's checksum.
const TRAILER_BYTES: usize = 5;
/// The key of a slice holds a name, perhaps with every byte escaped, and a few numbers. Longer keys are refused, since
/// records share prefixes: few bytes of a file could stand for many long keys.
const KEY_BYTES_PER_NAME_BYTE: u64 = 4;

/// Where a block is, without its trailer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockHandle {
    offset: usize,
    length: usize,
}

impl BlockHandle {
    fn take(bytes: &mut &[u8]) -> Option<BlockHandle> {
        let offset = usize::try_from(varint::take(bytes)?).ok()?;
        let length = usize::try_from(varint::take(bytes)?).ok()?;
        // So that no sum below overflows.
        (offset.checked_add(length)?.checked_add(TRAILER_BYTES)? < isize::MAX as usize)
            .then_some(BlockHandle { offset, length })
    }

    fn put(self, bytes: &mut Vec<u8>) {
        varint::put(bytes, self.offset as u64);
        varint::put(bytes, self.length as u64);
    }

    fn end(self) -> usize {
        self.offset + self.length + TRAILER_BYTES
    }
}

/// Whether `bytes` end as a table does.
pub(crate) fn is_table(bytes: &[u8]) -> bool {
    bytes.len() >= FOOTER_BYTES && bytes.ends_with(&MAGIC.to_le_bytes())
}

/// All records of the table `file`, in the order of their keys.
///
/// # Errors
/// Anything that the format forbids, in any block; more records than [`field@Limits::tensors`].
pub fn records(file: &[u8], limits: &Limits) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut records = Vec::new();
    visit_records(file, limits, |_, key, _, value| {
        records.push((key.to_vec(), value.to_vec()));
        check_limit("", "records", records.len() as u64, limits.tensors())
    })?;
    Ok(records)
}

/// Calls `visit` with every record of the table `file` in the order of their keys: the block that holds it, the key,
/// and the value's place in the block and the value itself.
///
/// # Errors
/// Anything that the format forbids, in any block; and whatever `visit` returns.
pub(crate) fn visit_records(
    file: &[u8],
    limits: &Limits,
    mut visit: impl FnMut(BlockHandle, &[u8], Range<usize>, &[u8]) -> Result<()>,
) -> Result<()> {
    let (meta_index, index) = read_footer(file)?;
    let mut next_offset = 0;
    let mut last_key: Option<Vec<u8>> = None;
    let index_block = read_block(file, index, limits)?;
    let mut index_entries = Entries::new(&index_block, index, limits)?;
    while index_entries.advance()? {
        let mut value = index_entries.value();
        let data = BlockHandle::take(&mut value)
            .filter(|data| value.is_empty() && data.offset == next_offset && data.end() <= meta_index.offset)
            .ok_or_else(|| index_entries.error("a data block that is not where the last one ended"))?;
        next_offset = data.end();
        let block = read_block(file, data, limits)?;
        let mut entries = Entries::new(&block, data, limits)?;
        while entries.advance()? {
            if last_key.take().is_some_and(|last| *last >= *entries.key()) {
                return Err(entries.error("its first key does not come after the block before"));
            }
            visit(data, entries.key(), entries.value_range(), entries.value())?;
        }
        if entries.key() > index_entries.key() {
            return Err(entries.error("its last key comes after the index's"));
        }
        last_key = Some(index_entries.key().to_vec());
        // A block's separator may equal its last key, so the next block must begin strictly after it.
    }
    if meta_index.offset != next_offset {
        return Err(Error::corrupt("footer", "a gap between the data and the meta-index"));
    }
    let meta_block = read_block(file, meta_index, limits)?;
    let mut meta = Entries::new(&meta_block, meta_index, limits)?;
    if meta.advance()? {
        return Err(Error::unsupported(
            "meta-index",
            "extra blocks in the table, which TensorFlow does not write",
        ));
    }
    Ok(())
}

fn read_footer(file: &[u8]) -> Result<(BlockHandle, BlockHandle)> {
    let Some((blocks, footer)) = file.split_last_chunk::<FOOTER_BYTES>() else {
        let message = format!("{} bytes are too few for a checkpoint's table", file.len());
        return Err(Error::corrupt("", message).with_hint(TRUNCATED));
    };
    let (mut handles, magic) = footer.split_at(FOOTER_BYTES - 8);
    if magic != MAGIC.to_le_bytes() {
        return Err(Error::corrupt("", "it does not end as a checkpoint's table does").with_hint(TRUNCATED));
    }
    let damaged = || Error::corrupt("footer", "the blocks that it names do not fill the file");
    let meta_index = BlockHandle::take(&mut handles).ok_or_else(damaged)?;
    let index = BlockHandle::take(&mut handles).ok_or_else(damaged)?;
    if meta_index.end() != index.offset
        || index.end() != blocks.len()
        || handles.iter().any(|&byte| byte != 0)
    {
        return Err(damaged());
    }
    Ok((meta_index, index))
}

/// Reads the block `handle` of the table `file`: checks it, and unpacks it if it is compressed.
pub(crate) fn read_block<'a>(file: &'a [u8], handle: BlockHandle, limits: &Limits) -> Result<Cow<'a, [u8]>> {
    let place = || format!("block at {}", handle.offset);
    let stored = file.get(handle.offset..handle.end()).ok_or_else(|| {
        let left = file.len().saturating_sub(handle.offset) as u64;
        let message = format!("{} bytes promised, {} left", grouped(handle.length as u64), grouped(left));
        Error::corrupt(place(), message)
    })?;
    let (content, checksum) = stored.split_at(stored.len() - 4);
    if masked_crc32c(content).to_le_bytes() != checksum {
        return Err(Error::corrupt(place(), "wrong checksum").with_hint(DAMAGED));
    }
    match content.split_last() {
        Some((0, block)) => Ok(Cow::Borrowed(block)),
        Some((1, packed)) => unpack(packed, limits).map(Cow::Owned).map_err(|error| error.within(&place())),
        _ => Err(Error::unsupported(place(), "compressed in a way that TensorFlow does not use")),
    }
}

fn unpack(packed: &[u8], limits: &Limits) -> Result<Vec<u8>> {
    let damaged =
        |error: snap::Error| Error::corrupt("", "the compressed block is damaged").with_source(error);
    let length = snap::raw::decompress_len(packed).map_err(damaged)?;
    // Three bytes, the shortest copy of 64, cannot stand for more than 64.
    if length / 64 > packed.len() / 3 + 1 {
        return Err(Error::corrupt("", format!("{} bytes cannot unpack to {length}", packed.len())));
    }
    check_limit("", "bytes unpacked", length as u64, limits.file_bytes())?;
    snap::raw::Decoder::new().decompress_vec(packed).map_err(damaged)
}

/// The records of one block.
struct Entries<'b> {
    handle: BlockHandle,
    /// The records alone, without the array of restarts behind them.
    records: &'b [u8],
    restarts: &'b [[u8; 4]],
    position: usize,
    key: Vec<u8>,
    value: Range<usize>,
    count: usize,
    most_key_bytes: Limit,
}

impl<'b> Entries<'b> {
    fn new(block: &'b [u8], handle: BlockHandle, limits: &Limits) -> Result<Entries<'b>> {
        let (records, restarts) = block
            .split_last_chunk()
            .and_then(|(rest, &count)| {
                let bytes = usize::try_from(u32::from_le_bytes(count)).ok()?.checked_mul(4)?;
                rest.split_at_checked(rest.len().checked_sub(bytes)?)
            })
            .ok_or_else(|| {
                Error::corrupt(
                    format!("block at {}", handle.offset),
                    "its array of restarts does not fit in it",
                )
            })?;
        let (restarts, _) = restarts.as_chunks();
        let (name, most) = limits.name_bytes();
        let most_key_bytes = (name, most.saturating_mul(KEY_BYTES_PER_NAME_BYTE));
        let (position, key, value, count) = (0, Vec::new(), 0..0, 0);
        Ok(Entries { handle, records, restarts, position, key, value, count, most_key_bytes })
    }

    /// Goes on to the next record; false at the end.
    fn advance(&mut self) -> Result<bool> {
        let mut rest = self.records.get(self.position..).unwrap_or(&[]);
        if rest.is_empty() {
            // A block without records still has the restart 0.
            let leftover = self.restarts.iter().any(|restart| u32::from_le_bytes(*restart) != 0);
            return if leftover { Err(self.error("a restart beyond its records")) } else { Ok(false) };
        }
        let parsed = (|| {
            let mut number = || usize::try_from(varint::take(&mut rest)?).ok();
            let (shared, unshared, value_length) = (number()?, number()?, number()?);
            let (suffix, after) = rest.split_at_checked(unshared)?;
            (shared <= self.key.len() && value_length <= after.len()).then_some((
                shared,
                suffix,
                after,
                value_length,
            ))
        })();
        let Some((shared, suffix, after, value_length)) = parsed else {
            return Err(self.error("a record whose lengths do not fit"));
        };
        if let Some((restart, others)) = self.restarts.split_first()
            && u32::from_le_bytes(*restart) as usize == self.position
        {
            if shared != 0 {
                return Err(self.error("a restart at a record that depends on the one before"));
            }
            self.restarts = others;
        }
        // The part that both keys share is equal, so the order is that of the rest.
        if self.count > 0 && self.key[shared..] >= *suffix {
            return Err(self.error("its keys are not in ascending order"));
        }
        let key_bytes = (shared + suffix.len()) as u64;
        check_limit("", "bytes of a key", key_bytes, self.most_key_bytes)
            .map_err(|error| error.within(&self.place()))?;
        self.key.truncate(shared);
        self.key.extend(suffix);
        let start = self.records.len() - after.len();
        self.value = start..start + value_length;
        self.position = self.value.end;
        self.count += 1;
        Ok(true)
    }

    fn key(&self) -> &[u8] {
        &self.key
    }

    fn value_range(&self) -> Range<usize> {
        self.value.clone()
    }

    fn value(&self) -> &'b [u8] {
        self.records.get(self.value.clone()).unwrap_or(&[])
    }

    fn error(&self, message: &str) -> Error {
        Error::corrupt(self.place(), message)
    }

    fn place(&self) -> String {
        format!("block at {}", self.handle.offset)
    }
}
