//! Tables of records, written anew with the right checksums.

use std::ops::Range;

use featvec_formats::table::{self, Compression, TableWriter};
use featvec_formats::{Limits, masked_crc32c};

use crate::mutate::bytes;
use crate::mutate::message::{self, Message};
use crate::rng::Rng;

/// A record: its key, and the message that it holds.
pub type Record = (Vec<u8>, Message);

/// The footer's length.
const FOOTER_BYTES: usize = 48;
/// One byte of compression type and the checksum.
const TRAILER_BYTES: usize = 5;

/// The records of a sound table whose values are messages.
pub fn read(file: &[u8]) -> Vec<Record> {
    let records = table::records(file, &Limits::default()).expect("a table of the corpus is sound");
    let parse = |value: &[u8]| message::parse(value).expect("a record of the corpus is a message");
    records.into_iter().map(|(key, value)| (key, parse(&value))).collect()
}

/// Changes keys and messages.
pub fn mutate_records(records: &mut Vec<Record>, rng: &mut Rng) {
    for _ in 0..rng.few() {
        let at = rng.below(records.len());
        let Some((key, value)) = records.get_mut(at) else { return };
        match rng.below(24) {
            0 => {
                records.remove(at);
            }
            1 => {
                let mut copy = records[at].clone();
                copy.0.push(rng.byte());
                records.insert(at, copy);
            }
            2 => bytes::mutate(key, rng),
            3 => {
                let other = records[rng.below(records.len())].1.clone();
                records[at].1 = other;
            }
            _ => message::mutate(value, rng),
        }
    }
    // A writer never breaks the order, a reader must notice if one did.
    if !rng.one_in(40) {
        records.sort_by(|a, b| a.0.cmp(&b.0));
        records.dedup_by(|a, b| a.0 == b.0);
    }
}

/// Writes `records` as a table of small blocks or large ones, now and then with a block damaged.
pub fn write(records: &[Record], compression: Compression, rng: &mut Rng) -> Vec<u8> {
    let block_bytes = rng.pick(&[32, 200, 4 << 10, 256 << 10]);
    let mut file =
        write_blocks(records, TableWriter::new().block_bytes(block_bytes).compression(compression));
    if rng.one_in(12) {
        damage_block(&mut file, rng);
    }
    file
}

/// Writes `records` as a table that is not damaged.
#[cfg(test)]
pub fn write_sound(records: &[Record], compression: Compression) -> Vec<u8> {
    write_blocks(records, TableWriter::new().compression(compression))
}

fn write_blocks(records: &[Record], mut writer: TableWriter) -> Vec<u8> {
    records.iter().for_each(|(key, value)| writer.add(key, &message::encode(value)));
    writer.finish()
}

/// Overwrites something in a block, and makes its checksum right again.
fn damage_block(file: &mut [u8], rng: &mut Rng) {
    let blocks = blocks(file);
    if let Some(block) = blocks.get(rng.below(blocks.len())).cloned() {
        bytes::overwrite(&mut file[block.clone()], rng);
        let checked = block.start..block.end + 1;
        let checksum = masked_crc32c(&file[checked.clone()]);
        file[checked.end..][..4].copy_from_slice(&checksum.to_le_bytes());
    }
}

/// Where the blocks are, without their trailers, as far as the footer says: the first one if it is the only one with
/// data, the meta-index and the index.
fn blocks(file: &[u8]) -> Vec<Range<usize>> {
    let Some(footer_start) = file.len().checked_sub(FOOTER_BYTES) else { return Vec::new() };
    let mut footer = &file[footer_start..];
    let mut number = || {
        let length = footer.iter().position(|byte| *byte < 0x80)? + 1;
        let (number, rest) = footer.split_at(length);
        footer = rest;
        Some(number.iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f)))
    };
    let (Some(meta_start), Some(_), Some(index_start), Some(index_bytes)) =
        (number(), number(), number(), number())
    else {
        return Vec::new();
    };
    let ends = [meta_start, index_start, index_start + index_bytes + TRAILER_BYTES];
    let starts = [0, meta_start, index_start];
    let blocks = starts.into_iter().zip(ends);
    blocks
        .filter(|(start, end)| start + TRAILER_BYTES < *end)
        .map(|(start, end)| start..end - TRAILER_BYTES)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus;

    fn v1() -> Vec<Record> {
        read(&corpus::fixture("featvec-formats/tests/fixtures/v1.ckpt"))
    }

    #[test]
    fn an_unchanged_table_is_read_back() {
        let records = v1();
        for compression in [Compression::None, Compression::Snappy] {
            assert_eq!(read(&write_sound(&records, compression)), records);
        }
    }

    #[test]
    fn damaged_blocks_have_the_right_checksums() {
        let sound = write_sound(&v1(), Compression::None);
        let found = blocks(&sound);
        assert_eq!(found.len(), 3, "data, meta-index, index");
        let mut reached = 0;
        for seed in 0..100 {
            let mut file = sound.clone();
            damage_block(&mut file, &mut Rng::new(seed));
            for block in &found {
                let checked = block.start..block.end + 1;
                let stored = &file[checked.end..][..4];
                assert_eq!(
                    masked_crc32c(&file[checked.clone()]).to_le_bytes(),
                    stored,
                    "seed {seed}, {block:?}"
                );
            }
            reached += usize::from(table::records(&file, &Limits::default()).is_err());
        }
        assert!(reached > 10, "the damage was noticed {reached} times");
    }
}
