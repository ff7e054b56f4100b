use std::path::Path;

use featvec_formats::{Error, Source, Tensor, TensorData, compact, masked_crc32c, source};

use super::{LIMIT_BYTES, Reached, Target, limits};
use crate::mutate::bytes;
use crate::rng::Rng;

/// Magic, version, and the length of the header.
const START_BYTES: usize = 16;

/// Compact files of a few tensors.
pub struct CompactFile {
    header: Vec<u8>,
    data: Vec<u8>,
}

impl CompactFile {
    pub fn new() -> CompactFile {
        let tensors = [
            ("a/weights", vec![3, 2, 2], vec![0.5; 12]),
            ("a/BatchNorm/beta", vec![2], vec![0.25; 2]),
            ("nothing", vec![0, 9], vec![]),
            ("scalar", vec![], vec![7.0]),
        ]
        .map(|(name, shape, values)| {
            let tensor =
                Tensor::new(shape, TensorData::F32(values)).expect("as many values as the shape says");
            (name.to_string(), tensor)
        });
        let about = vec![("what".to_string(), "a few tensors".to_string())];
        let file = compact(&tensors, &about).expect("these can be written");
        let length = u32::from_le_bytes(file[12..START_BYTES].try_into().expect("four bytes")) as usize;
        let (header, data) = file[START_BYTES..file.len() - 4].split_at(length);
        CompactFile { header: header.to_vec(), data: data.to_vec() }
    }

    /// The file with the header `header`, whose length is right.
    fn file(&self, header: &[u8]) -> Vec<u8> {
        let length = (header.len() as u32).to_le_bytes();
        sealed([b"\x89FVM\r\n\x1a\n\x01\0\0\0", &length[..], header, &self.data].concat())
    }
}

/// `file` with its checksum.
fn sealed(mut file: Vec<u8>) -> Vec<u8> {
    file.extend(masked_crc32c(&file).to_le_bytes());
    file
}

impl Target for CompactFile {
    fn name(&self) -> &'static str {
        "compact"
    }

    fn most_bytes(&self, bytes: &[u8]) -> u64 {
        // The file; a number of a shape or a text takes a few bytes of the header and, in a growing list, some dozens of
        // memory; one tensor.
        LIMIT_BYTES + 32 * bytes.len() as u64
    }

    /// Numbers, names and quotes of the header change, mostly so that it stays JSON; or any bytes, before the checksum is
    /// made.
    fn mutate(&self, rng: &mut Rng) -> Vec<u8> {
        let mut header = self.header.clone();
        for _ in 0..=rng.below(2) {
            // Those of shapes: a form like `i11` with another number is refused at once.
            let begins = |at: &usize| header[*at].is_ascii_digit() && !header[at - 1].is_ascii_alphanumeric();
            let digits: Vec<usize> = (1..header.len()).filter(begins).collect();
            let Some(&at) = digits.get(rng.below(digits.len().max(1))) else { break };
            match rng.below(8) {
                0..5 => header[at] = b'0' + rng.below(10) as u8,
                5 => header.splice(at..at, *b"18446744073709551615").for_each(drop),
                6 => header.splice(at..at, b"1,".repeat(rng.below(1000))).for_each(drop),
                _ => bytes::mutate(&mut header, rng),
            }
        }
        let mut file = self.file(&header);
        if rng.one_in(10) {
            file.truncate(file.len() - 4);
            bytes::mutate(&mut file, rng);
            file = sealed(file);
        }
        if rng.one_in(20) {
            bytes::mutate(&mut file, rng);
        }
        file
    }

    /// The first check is that of the header: errors of after it are about a tensor or the bytes after all of them.
    fn read(&self, input: &Path, _: &[u8], _: &Path) -> Reached {
        let result = source::open(input, &limits()).and_then(|source| match source {
            Source::Checkpoint(checkpoint) => checkpoint.verify(),
            _ => Err(Error::corrupt("", "no longer a compact file")),
        });
        Reached::new(&result, |error| {
            error.place().contains("tensor \"") || error.message().contains("the last tensor")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::tests::read;

    #[test]
    fn the_corpus_is_sound() {
        let target = CompactFile::new();
        assert_eq!(read(&target, &target.file(&target.header)), Reached::End);
    }
}
