use std::path::Path;

use featvec_formats::{Tensor, TensorData, npy};

use super::{LIMIT_BYTES, Reached, Target, limits};
use crate::mutate::bytes;
use crate::rng::Rng;

/// Arrays of numpy.
pub struct Npy {
    arrays: Vec<Vec<u8>>,
}

/// What stands before the text of a header of version 1: the magic number, the version, the text's length.
const FIXED_BYTES: usize = 10;

impl Npy {
    pub fn new() -> Npy {
        let data = [
            (vec![2, 3, 4], TensorData::F32(vec![0.5; 24])),
            (vec![6], TensorData::I64(vec![-1; 6])),
            (vec![], TensorData::F64(vec![0.5])),
            (vec![0, 7], TensorData::U8(vec![])),
            (vec![3, 5], TensorData::F16(vec![0x3c00; 15])),
            (vec![4], TensorData::Bool(vec![true; 4])),
        ];
        let write = |(shape, data)| {
            let mut file = Vec::new();
            let tensor = Tensor::new(shape, data).expect("as many elements as the shape says");
            npy::write(&mut file, &tensor).expect("a type that numpy has");
            file
        };
        Npy { arrays: data.into_iter().map(write).collect() }
    }
}

impl Target for Npy {
    fn name(&self) -> &'static str {
        "npy"
    }

    fn most_bytes(&self, _: &[u8]) -> u64 {
        // The bytes, still growing; sorted and decoded after that.
        4 * LIMIT_BYTES
    }

    fn mutate(&self, rng: &mut Rng) -> Vec<u8> {
        const WORDS: [&str; 16] = [
            "'descr'",
            "'shape'",
            "'fortran_order'",
            "True",
            "False",
            "'<f4'",
            "'>f4'",
            "'|u1'",
            "'<i8'",
            "(",
            ")",
            ",",
            "{",
            "}",
            "18446744073709551615",
            "1048576",
        ];
        let file = &self.arrays[rng.below(self.arrays.len())];
        let (text, data) = file[FIXED_BYTES..].split_at(usize::from(u16::from_le_bytes([file[8], file[9]])));
        let mut text = String::from_utf8_lossy(text).into_owned();
        let mut data = data.to_vec();
        for _ in 0..rng.few() {
            match rng.below(8) {
                0 => {
                    let (from, to) = (rng.pick(&WORDS), rng.pick(&WORDS));
                    text = text.replacen(from, to, 1);
                }
                1 => text = text.replacen(", ", &format!(", {}, ", rng.integer(3)), 1),
                2 => text = text.replacen("False", "True", 1),
                3 => text.insert_str(text.find('}').unwrap_or(0), rng.pick(&WORDS)),
                4 => {
                    let mut bytes = text.into_bytes();
                    bytes::mutate(&mut bytes, rng);
                    text = String::from_utf8_lossy(&bytes).into_owned();
                }
                5 => text.extend(std::iter::repeat_n(' ', rng.below(100))),
                6 => data.resize(rng.below(2 << 20), 1),
                _ => bytes::mutate(&mut data, rng),
            }
        }
        let version = if rng.one_in(16) { rng.byte() } else { 1 };
        let length = if rng.one_in(16) { rng.next() as u16 } else { text.len() as u16 };
        [&b"\x93NUMPY"[..], &[version, 0], &length.to_le_bytes(), text.as_bytes(), &data].concat()
    }

    /// The first check is that of the magic number, the version and the length of the header.
    fn read(&self, _: &Path, bytes: &[u8], _: &Path) -> Reached {
        let result = npy::read(bytes, &limits());
        let is_of_header_length =
            |message: &str| message.ends_with("bytes long") || message.contains("breaks off");
        Reached::new(&result, |error| {
            !is_of_header_length(error.message())
                && !error.message().contains("version")
                && bytes.starts_with(b"\x93NUMPY")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::tests::read;

    #[test]
    fn the_corpus_is_sound() {
        let target = Npy::new();
        for array in &target.arrays {
            assert_eq!(read(&target, array), Reached::End);
        }
    }
}
