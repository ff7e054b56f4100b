//! V2 checkpoints: an index of messages, and the numbers that it points into.

use featvec_formats::table::Compression;
use featvec_formats::{DataType, masked_crc32c};

use crate::mutate::message::{Field, Message, Value};
use crate::mutate::table::{self, Record};
use crate::mutate::{bytes, tar};
use crate::rng::Rng;

/// Field numbers of BundleEntryProto.
const DTYPE: u32 = 1;
const SHAPE: u32 = 2;
const OFFSET: u32 = 4;
const SIZE: u32 = 5;
const CHECKSUM: u32 = 6;

/// A checkpoint of one shard.
#[derive(Clone)]
pub struct Checkpoint {
    pub index: Vec<Record>,
    pub shard: Vec<u8>,
}

impl Checkpoint {
    pub fn new(index: &[u8], shard: &[u8]) -> Checkpoint {
        Checkpoint { index: table::read(index), shard: shard.to_vec() }
    }

    /// Changes the index or the shard, and makes the tensors' checksums right again, most of the time.
    pub fn mutate(&mut self, rng: &mut Rng) {
        if rng.one_in(4) {
            bytes::mutate(&mut self.shard, rng);
        } else {
            table::mutate_records(&mut self.index, rng);
        }
        if !rng.one_in(16) {
            self.repair_checksums();
        }
    }

    /// The two files, as members of an archive under `prefix`.
    pub fn members(&self, prefix: &str, rng: &mut Rng) -> [tar::Member; 2] {
        self.members_with(prefix, table::write(&self.index, Compression::None, rng))
    }

    /// The two files as they are.
    #[cfg(test)]
    pub fn sound_members(&self, prefix: &str) -> [tar::Member; 2] {
        self.members_with(prefix, table::write_sound(&self.index, Compression::None))
    }

    fn members_with(&self, prefix: &str, index: Vec<u8>) -> [tar::Member; 2] {
        [
            tar::Member::file(&format!("{prefix}.index"), index),
            tar::Member::file(&format!("{prefix}.data-00000-of-00001"), self.shard.clone()),
        ]
    }

    fn repair_checksums(&mut self) {
        for (_, entry) in self.index.iter_mut().filter(|(key, _)| !key.is_empty()) {
            let offset = usize::try_from(number(entry, OFFSET)).ok();
            let size = usize::try_from(number(entry, SIZE)).ok();
            let content =
                offset.zip(size).and_then(|(offset, size)| self.shard.get_mut(offset..)?.get_mut(..size));
            let Some(content) = content else { continue };
            let checksum = match number(entry, DTYPE) == DataType::String.code() as u64 {
                true => repair_strings(content, elements(entry)),
                false => Some(masked_crc32c(content)),
            };
            let stored = entry.iter_mut().rfind(|field| field.number == CHECKSUM);
            if let (Some(checksum), Some(stored)) = (checksum, stored) {
                stored.value = Value::Fixed32(checksum.to_le_bytes());
            }
        }
    }
}

/// The number in the last field `wanted` of `entry`; 0 without one.
fn number(entry: &[Field], wanted: u32) -> u64 {
    let numbers = entry.iter().rev().filter(|field| field.number == wanted);
    numbers.map(|field| if let Value::Varint(number) = field.value { number } else { 0 }).next().unwrap_or(0)
}

/// The number of elements that the shape of `entry` asks for.
fn elements(entry: &Message) -> usize {
    let Some(Value::Message(shape)) =
        entry.iter().rfind(|field| field.number == SHAPE).map(|field| &field.value)
    else {
        return 1;
    };
    shape
        .iter()
        .filter_map(|dimension| match &dimension.value {
            Value::Message(sizes) => usize::try_from(number(sizes, 1)).ok(),
            _ => None,
        })
        .fold(1, usize::saturating_mul)
}

/// Makes the checksum of the lengths right in `content`, `count` strings as a bundle stores them, and returns the
/// checksum of the whole, which sees each length as four bytes.
fn repair_strings(content: &mut [u8], count: usize) -> Option<u32> {
    let mut fixed = Vec::new();
    let mut at = 0;
    for _ in 0..count {
        let bytes = content.get(at..)?.iter().position(|byte| *byte < 0x80)? + 1;
        let length =
            content[at..][..bytes].iter().rev().fold(0u64, |value, byte| value << 7 | u64::from(byte & 0x7f));
        fixed.extend(u32::try_from(length).ok()?.to_le_bytes());
        at += bytes;
    }
    let checksum = masked_crc32c(&fixed).to_le_bytes();
    content.get_mut(at..at + 4)?.copy_from_slice(&checksum);
    fixed.extend(checksum);
    fixed.extend(&content[at + 4..]);
    Some(masked_crc32c(&fixed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus;

    fn checkpoint(name: &str) -> Checkpoint {
        let file = |end: &str| corpus::fixture(&format!("featvec-formats/tests/fixtures/{name}{end}"));
        Checkpoint::new(&file(".index"), &file(".data-00000-of-00001"))
    }

    /// TensorFlow's own checksums are those that are computed here, of numbers and of strings.
    #[test]
    fn repairing_a_sound_checkpoint_changes_nothing() {
        for name in ["v2.ckpt", "str"] {
            let sound = checkpoint(name);
            let mut repaired = sound.clone();
            repaired.repair_checksums();
            assert_eq!(repaired.index, sound.index, "{name}");
            assert_eq!(repaired.shard, sound.shard, "{name}");
        }
    }

    #[test]
    fn changed_numbers_get_another_checksum() {
        let sound = checkpoint("v2.ckpt");
        let mut changed = sound.clone();
        changed.shard.fill(7);
        changed.repair_checksums();
        assert_ne!(changed.index, sound.index);
    }
}
