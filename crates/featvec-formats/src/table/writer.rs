//! Writing a table, byte for byte as TensorFlow does.

use super::{BlockHandle, FOOTER_BYTES, MAGIC};
use crate::{masked_crc32c, varint};

/// Records between two that hold their whole key.
const RESTART_INTERVAL: usize = 16;

/// How the blocks of a table are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// With Snappy, where that makes them smaller.
    Snappy,
}

/// Writes a table into memory.
#[derive(Debug)]
pub struct TableWriter {
    file: Vec<u8>,
    block: BlockBuilder,
    index: BlockBuilder,
    /// The last block that was finished; its index entry waits for the next key, to separate the two.
    pending: Option<BlockHandle>,
    block_bytes: usize,
    compression: Compression,
}

impl Default for TableWriter {
    fn default() -> TableWriter {
        TableWriter::new()
    }
}

impl TableWriter {
    /// An empty table with blocks of 256 KiB that are not compressed.
    pub fn new() -> TableWriter {
        TableWriter {
            file: Vec::new(),
            block: BlockBuilder::default(),
            index: BlockBuilder::default(),
            pending: None,
            block_bytes: 256 << 10,
            compression: Compression::None,
        }
    }

    /// Starts a new block after about `bytes`.
    #[must_use]
    pub fn block_bytes(mut self, bytes: usize) -> TableWriter {
        self.block_bytes = bytes;
        self
    }

    /// Stores blocks with `compression`.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> TableWriter {
        self.compression = compression;
        self
    }

    /// Adds a record. Keys must come in ascending order: what is written otherwise, no reader accepts.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        if let Some(handle) = self.pending.take() {
            let separator = separator(&self.block.last_key, key);
            self.add_to_index(&separator, handle);
            self.block = BlockBuilder::default();
        }
        self.block.add(key, value);
        if self.block.bytes.len() + 4 * self.block.restarts.len() + 8 >= self.block_bytes {
            self.finish_block();
        }
    }

    /// The table's bytes.
    pub fn finish(mut self) -> Vec<u8> {
        if self.block.count > 0 && self.pending.is_none() {
            self.finish_block();
        }
        if let Some(handle) = self.pending.take() {
            let separator = successor(&self.block.last_key);
            self.add_to_index(&separator, handle);
        }
        let meta_index = self.store(BlockBuilder::default().finish());
        let index = self.index.finish();
        let index = self.store(index);
        let mut footer = Vec::with_capacity(FOOTER_BYTES);
        meta_index.put(&mut footer);
        index.put(&mut footer);
        footer.resize(FOOTER_BYTES - 8, 0);
        footer.extend(MAGIC.to_le_bytes());
        self.file.extend(footer);
        self.file
    }

    fn finish_block(&mut self) {
        let block = self.block.finish();
        self.pending = Some(self.store(block));
    }

    fn add_to_index(&mut self, key: &[u8], handle: BlockHandle) {
        let mut value = Vec::new();
        handle.put(&mut value);
        self.index.add(key, &value);
        // Every index entry is a restart.
        self.index.since_restart = RESTART_INTERVAL;
    }

    fn store(&mut self, block: Vec<u8>) -> BlockHandle {
        let packed = match self.compression {
            Compression::None => None,
            Compression::Snappy => snap::raw::Encoder::new()
                .compress_vec(&block)
                .ok()
                .filter(|packed| packed.len() < block.len()),
        };
        let kind = u8::from(packed.is_some());
        let mut content = packed.unwrap_or(block);
        let handle = BlockHandle { offset: self.file.len(), length: content.len() };
        content.push(kind);
        content.extend(masked_crc32c(&content).to_le_bytes());
        self.file.extend(content);
        handle
    }
}

#[derive(Debug, Default)]
struct BlockBuilder {
    bytes: Vec<u8>,
    restarts: Vec<u32>,
    last_key: Vec<u8>,
    count: usize,
    since_restart: usize,
}

impl BlockBuilder {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        let mut shared = 0;
        if self.count == 0 || self.since_restart >= RESTART_INTERVAL {
            if self.count > 0 {
                self.restarts.push(self.bytes.len() as u32);
            }
            self.since_restart = 0;
        } else {
            shared = self.last_key.iter().zip(key).take_while(|(a, b)| a == b).count();
        }
        varint::put(&mut self.bytes, shared as u64);
        varint::put(&mut self.bytes, (key.len() - shared) as u64);
        varint::put(&mut self.bytes, value.len() as u64);
        self.bytes.extend(&key[shared..]);
        self.bytes.extend(value);
        self.last_key = key.to_vec();
        self.count += 1;
        self.since_restart += 1;
    }

    fn finish(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.extend(0u32.to_le_bytes());
        self.restarts.iter().for_each(|restart| bytes.extend(restart.to_le_bytes()));
        bytes.extend((self.restarts.len() as u32 + 1).to_le_bytes());
        bytes
    }
}

/// A short key at or after `last` and before `next`.
fn separator(last: &[u8], next: &[u8]) -> Vec<u8> {
    let common = last.iter().zip(next).take_while(|(a, b)| a == b).count();
    if let (Some(&a), Some(&b)) = (last.get(common), next.get(common))
        && a < 0xff
        && a + 1 < b
    {
        let mut key = last[..common].to_vec();
        key.push(a + 1);
        return key;
    }
    last.to_vec()
}

/// A short key at or after `last`.
fn successor(last: &[u8]) -> Vec<u8> {
    match last.iter().position(|&byte| byte != 0xff) {
        Some(i) => {
            let mut key = last[..=i].to_vec();
            key[i] += 1;
            key
        }
        None => last.to_vec(),
    }
}
