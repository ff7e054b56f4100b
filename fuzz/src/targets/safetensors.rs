use std::path::Path;

use featvec_formats::{Error, Source, Tensor, TensorData, safetensors, source};

use super::{LIMIT_BYTES, Reached, Target, limits};
use crate::mutate::bytes;
use crate::rng::Rng;

/// safetensors files of a few tensors.
pub struct SafetensorsFile {
    header: Vec<u8>,
    data: Vec<u8>,
}

impl SafetensorsFile {
    pub fn new() -> SafetensorsFile {
        let tensors = [
            ("a/weights", vec![3, 2, 2], TensorData::F32(vec![0.5; 12])),
            ("global_step", vec![], TensorData::I64(vec![7])),
            ("half", vec![4], TensorData::F16(vec![1; 4])),
            ("nothing", vec![0, 9], TensorData::U8(vec![])),
        ]
        .map(|(name, shape, data)| {
            (name.to_string(), Tensor::new(shape, data).expect("as many elements as the shape says"))
        });
        let file = safetensors(&tensors).expect("these can be written");
        let start = 8 + u64::from_le_bytes(file[..8].try_into().expect("eight bytes")) as usize;
        SafetensorsFile { header: file[8..start].to_vec(), data: file[start..].to_vec() }
    }

    /// The file with the header `header`, whose length is right.
    fn file(&self, header: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes()[..], header, &self.data].concat()
    }
}

impl Target for SafetensorsFile {
    fn name(&self) -> &'static str {
        "safetensors"
    }

    fn most_bytes(&self, bytes: &[u8]) -> u64 {
        // The file; a number of a shape takes two bytes of the header and, in a growing list, 24 of memory; one tensor.
        LIMIT_BYTES + 16 * bytes.len() as u64
    }

    /// Numbers and quotes of the header change, mostly so that it stays JSON.
    fn mutate(&self, rng: &mut Rng) -> Vec<u8> {
        let mut header = self.header.clone();
        for _ in 0..=rng.below(3) {
            let digits: Vec<usize> = (0..header.len()).filter(|i| header[*i].is_ascii_digit()).collect();
            let at = digits[rng.below(digits.len())];
            match rng.below(4) {
                0 => header[at] = b'0' + rng.below(10) as u8,
                1 => header.splice(at..at, *b"18446744073709551615").for_each(drop),
                2 => header.splice(at..at, b"1,".repeat(rng.below(1000))).for_each(drop),
                _ => bytes::mutate(&mut header, rng),
            }
            if !header.iter().any(u8::is_ascii_digit) {
                break;
            }
        }
        let mut file = self.file(&header);
        if rng.one_in(20) {
            bytes::mutate(&mut file, rng);
        }
        file
    }

    /// The first check is that of the header: errors of after it are about a tensor or the bytes of all.
    fn read(&self, input: &Path, _: &[u8], _: &Path) -> Reached {
        let result = source::open(input, &limits()).and_then(|source| match source {
            Source::Checkpoint(checkpoint) => checkpoint.verify(),
            _ => Err(Error::corrupt("", "no longer safetensors")),
        });
        Reached::new(&result, |error| {
            error.place().contains("tensor \"") || error.message().contains("together")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::tests::read;

    #[test]
    fn the_corpus_is_sound() {
        let target = SafetensorsFile::new();
        assert_eq!(read(&target, &target.file(&target.header)), Reached::End);
    }
}
