use std::path::Path;

use featvec_formats::table::Compression;
use featvec_formats::{Error, Source, source};

use super::{LIMIT_BYTES, Reached, Target, limits};
use crate::corpus;
use crate::mutate::checkpoint::Checkpoint;
use crate::mutate::table::{self, Record};
use crate::mutate::{bytes, tar};
use crate::rng::Rng;

/// Checkpoints of an index and a shard, in an archive: numbers, partitioned variables, strings, a TF2 object graph.
pub struct Bundle {
    checkpoints: Vec<Checkpoint>,
}

impl Bundle {
    pub fn new() -> Bundle {
        let checkpoint = |name: &str| {
            let file = |end: &str| corpus::fixture(&format!("featvec-formats/tests/fixtures/{name}{end}"));
            Checkpoint::new(&file(".index"), &file(".data-00000-of-00001"))
        };
        let names = ["v2.ckpt", "str", "tf2_saved_model/variables/variables"];
        Bundle { checkpoints: names.map(checkpoint).into() }
    }
}

impl Target for Bundle {
    fn name(&self) -> &'static str {
        "bundle"
    }

    fn most_bytes(&self, _: &[u8]) -> u64 {
        // The archive's members, and one tensor: as it is stored, and decoded.
        5 * LIMIT_BYTES
    }

    fn mutate(&self, rng: &mut Rng) -> Vec<u8> {
        let mut checkpoint = self.checkpoints[rng.below(self.checkpoints.len())].clone();
        checkpoint.mutate(rng);
        tar::write_sound(checkpoint.members("c", rng))
    }

    fn read(&self, input: &Path, _: &[u8], _: &Path) -> Reached {
        read(input)
    }
}

/// Checkpoints of one file, their blocks compressed or not.
pub struct V1 {
    records: Vec<Record>,
}

impl V1 {
    pub fn new() -> V1 {
        V1 { records: table::read(&corpus::fixture("featvec-formats/tests/fixtures/v1.ckpt")) }
    }
}

impl Target for V1 {
    fn name(&self) -> &'static str {
        "v1_checkpoint"
    }

    fn most_bytes(&self, _: &[u8]) -> u64 {
        // The file, a block unpacked, and one tensor: in parts, and whole.
        5 * LIMIT_BYTES
    }

    fn mutate(&self, rng: &mut Rng) -> Vec<u8> {
        let mut records = self.records.clone();
        table::mutate_records(&mut records, rng);
        let compression = rng.pick(&[Compression::None, Compression::Snappy]);
        let mut file = table::write(&records, compression, rng);
        if rng.one_in(20) {
            bytes::mutate(&mut file, rng);
        }
        file
    }

    fn read(&self, input: &Path, _: &[u8], _: &Path) -> Reached {
        read(input)
    }
}

/// Opens a checkpoint and reads every tensor. The first check is that of the blocks: errors of after it are about a
/// tensor or within a message.
fn read(input: &Path) -> Reached {
    let result = source::open(input, &limits()).and_then(|source| match source {
        Source::Checkpoint(checkpoint) => checkpoint.verify(),
        _ => Err(Error::corrupt("", "no longer a checkpoint")),
    });
    Reached::new(&result, |error| {
        ["tensor \"", "Proto", "Slice", " field "].iter().any(|place| error.place().contains(place))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::tests;

    #[test]
    fn the_corpus_is_sound() {
        let bundle = Bundle::new();
        for checkpoint in &bundle.checkpoints {
            assert_eq!(tests::read(&bundle, &tar::write_sound(checkpoint.sound_members("c"))), Reached::End);
        }
        let v1 = V1::new();
        assert_eq!(tests::read(&v1, &table::write_sound(&v1.records, Compression::Snappy)), Reached::End);
    }
}
