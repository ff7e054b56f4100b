//! Which pictures train, which validate and which test: by the hash of their paths, as TensorFlow's `retrain.py` does it.
//!
//! The split is stable: adding pictures moves none of those that were there, so what has been trained on is never tested.

use sha1::{Digest, Sha1};

/// What a picture is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// The head is fitted to it.
    Training,
    /// It decides between heads.
    Validation,
    /// It is held out: the head that is kept is judged by it.
    Test,
}

/// How many of the pictures, in percent, are not for training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentages {
    /// For validation.
    pub validation: f64,
    /// For testing.
    pub test: f64,
}

impl Default for Percentages {
    fn default() -> Percentages {
        Percentages { validation: 10.0, test: 10.0 }
    }
}

/// What follows this in a path does not count, so that pictures of the same thing stay together.
const NO_HASH: &str = "_nohash_";

/// `retrain.py` takes hashes modulo 2^27, which is more pictures than it wants in one class.
const HASH_MASK: u32 = (1 << 27) - 1;

impl Percentages {
    /// The split of the picture at `path`, as `retrain.py` spells it: the folder as the user wrote it, `/`, the class,
    /// `/`, the file.
    pub fn split(self, path: &[u8]) -> Split {
        let percentage = percentage(path);
        if percentage < self.validation {
            Split::Validation
        } else if percentage < self.validation + self.test {
            Split::Test
        } else {
            Split::Training
        }
    }
}

/// Where the hash of `path` lies between 0 and 100.
fn percentage(path: &[u8]) -> f64 {
    let end = path.windows(NO_HASH.len()).position(|window| window == NO_HASH.as_bytes());
    let digest = Sha1::digest(&path[..end.unwrap_or(path.len())]);
    let last = digest.last_chunk().expect("SHA-1 has 20 bytes");
    f64::from(u32::from_be_bytes(*last) & HASH_MASK) * (100.0 / f64::from(HASH_MASK))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By Python's `int(hashlib.sha1(re.sub(r"_nohash_.*$", "", path).encode()).hexdigest(), 16) % 2**27 * (100.0 /
    /// (2**27 - 1))`, with the lines of `retrain.py` that choose the split.
    const BY_PYTHON: &str = include_str!("../tests/fixtures/split_by_hashlib.tsv");

    #[test]
    fn paths_fall_where_python_has_them() {
        let mut splits = [0; 3];
        for line in BY_PYTHON.lines().filter(|line| !line.starts_with('#')) {
            let [path, expected, split] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
            assert_eq!(percentage(path.as_bytes()), expected.parse::<f64>().unwrap(), "{path}");
            let found = Percentages::default().split(path.as_bytes());
            assert_eq!(format!("{found:?}").to_lowercase(), split, "{path}");
            splits[found as usize] += 1;
        }
        assert!(splits.iter().all(|count| *count > 3), "{splits:?}");
    }

    #[test]
    fn everything_trains_where_nothing_is_held_out() {
        let none = Percentages { validation: 0.0, test: 0.0 };
        assert!((0..1000).all(|i| none.split(format!("flowers/rose/{i}.jpg").as_bytes()) == Split::Training));
    }
}
