//! Feature vectors that have been computed before, in one file that grows.
//!
//! The file is a TFRecord file: a record that says what it is, then one for each vector, its key and its numbers. A
//! record that a killed program left half-written is cut off by whoever opens the file next. Several processes can use
//! one file: each takes a lock while it reads or appends.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use featvec_formats::Limits;
use featvec_formats::tfrecord::{RecordReader, RecordWriter};
use sha2::{Digest, Sha256};

use crate::extractor::FeatureExtractor;
use crate::image::{ExifPolicy, Fidelity};
use crate::pictures::Preparation;
use crate::variables::Variables;
use crate::{Error, ErrorKind, Result};

/// The first record.
const HEADER: &[u8] = b"featvec features 1: key (SHA-256), numbers (f32, little-endian)";

/// What a vector depends on: the module, how pictures are prepared, and what computes.
#[derive(Clone, Debug)]
pub struct FeatureSource(Sha256);

/// The name of a vector: the hash of a [`FeatureSource`] and of a picture's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FeatureKey([u8; KEY_BYTES]);

const KEY_BYTES: usize = 32;

/// What to do about a file that cannot be used.
const ELSEWHERE: &str = "name another file with --feature-cache";

/// What a record ends with.
const CHECKSUM_BYTES: u64 = 4;

impl FeatureSource {
    /// Vectors of `extractor`'s network for pictures that `preparation` prepares. The instruction set counts too: results
    /// of two differ in their last bits, and a run with vectors from the file is to give what a run without it gives.
    pub fn new(extractor: &FeatureExtractor, preparation: &Preparation) -> FeatureSource {
        let mut hash = Sha256::new();
        let Preparation { preset, decode, size: [h, w] } = preparation;
        let exif = decode.exif == ExifPolicy::Apply;
        let precision = extractor.precision();
        let isa = extractor.kernels().name();
        hash.update(format!("{preset} {:?} exif {exif} {h}x{w} {precision} {isa}\n", decode.idct));
        if decode.fidelity == Fidelity::Fast {
            hash.update("decoded fast\n");
        }
        hash_network(extractor.variables(), &mut hash);
        FeatureSource(hash)
    }

    /// The key of the picture whose file holds `bytes`.
    pub fn key(&self, bytes: &[u8]) -> FeatureKey {
        FeatureKey(self.0.clone().chain_update(bytes).finalize().into())
    }
}

/// All that a feature vector depends on: not the classifying layer.
fn hash_network(variables: &Variables, hash: &mut Sha256) {
    let Variables { network, affine, epsilon, convs, .. } = variables;
    hash.update(format!("{:?} {:?} {:?} {epsilon}\n", network.variant, affine.scale, affine.offset));
    let mut bytes = Vec::new();
    for (_, values) in convs.iter().flat_map(|conv| conv.named()) {
        bytes.clear();
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        hash.update(&bytes);
    }
}

/// An open file of feature vectors.
#[derive(Debug)]
pub struct FeatureCache {
    file: File,
    path: PathBuf,
    /// Where each vector's numbers begin, and how many there are.
    index: HashMap<FeatureKey, (u64, usize)>,
    /// As far as the file has been read or written.
    end: u64,
}

impl FeatureCache {
    /// Opens `path`, or makes it, with the folders above it.
    ///
    /// # Errors
    /// A place that cannot be written to; a file that is something else.
    pub fn open(path: &Path) -> Result<FeatureCache> {
        let failed = |error| Error::io(path.display().to_string(), error).with_hint(ELSEWHERE);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        let mut cache = FeatureCache { file, path: path.to_owned(), index: HashMap::new(), end: 0 };
        cache.locked(FeatureCache::catch_up)?;
        Ok(cache)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many vectors it holds.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Whether it holds the vector called `key`, of `len` numbers.
    pub fn contains(&self, key: &FeatureKey, len: usize) -> bool {
        self.index.get(key).is_some_and(|(_, held)| *held == len)
    }

    /// The vector called `key`, if it has `len` numbers.
    ///
    /// # Errors
    /// A file that cannot be read any more.
    pub fn get(&self, key: &FeatureKey, len: usize) -> Result<Option<Vec<f32>>> {
        let Some(&(offset, _)) = self.index.get(key).filter(|(_, held)| *held == len) else {
            return Ok(None);
        };
        let mut bytes = vec![0; len * 4];
        let mut file = &self.file;
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|e| self.failed(e))?;
        Ok(Some(bytes.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect()))
    }

    /// Appends vectors with their keys. A file that cannot take all of them is left as it was.
    ///
    /// # Errors
    /// A full disk.
    pub fn append<'a>(&mut self, vectors: impl IntoIterator<Item = (FeatureKey, &'a [f32])>) -> Result<()> {
        let bytes = framed(vectors.into_iter().map(|(key, values)| {
            let numbers = values.iter().flat_map(|value| value.to_le_bytes());
            key.0.into_iter().chain(numbers).collect::<Vec<u8>>()
        }));
        self.locked(|cache| {
            cache.catch_up()?;
            cache.write(&bytes)?;
            cache.catch_up()
        })
    }

    /// Does `work` while no other process has the file. A process that ends, however it does, gives the lock back.
    fn locked<T>(&mut self, work: impl FnOnce(&mut FeatureCache) -> Result<T>) -> Result<T> {
        // Not every network's file system has locks.
        let lock = self.file.lock();
        lock.map_err(|error| self.failed(error).with_hint(ELSEWHERE))?;
        let result = work(self);
        self.file.unlock().map_err(|error| self.failed(error))?;
        result
    }

    /// Reads what has been appended since, and cuts off a record that nobody will finish.
    fn catch_up(&mut self) -> Result<()> {
        if self.end == 0 {
            self.begin()?;
        }
        let mut file = &self.file;
        let start = self.end;
        file.seek(SeekFrom::Start(start)).map_err(|error| self.failed(error))?;
        let mut records = RecordReader::new(BufReader::new(file), self.place(), &Limits::default());
        while let Some(record) = records.next() {
            match record {
                Ok(record) => {
                    self.end = start + records.offset();
                    if let Some((key, numbers)) = record.split_first_chunk() {
                        let offset = self.end - CHECKSUM_BYTES - numbers.len() as u64;
                        self.index.insert(FeatureKey(*key), (offset, numbers.len() / size_of::<f32>()));
                    }
                }
                Err(error) if error.kind() == ErrorKind::Io => return Err(error),
                Err(_) => self.file.set_len(self.end).map_err(|error| self.failed(error))?,
            }
        }
        Ok(())
    }

    /// Checks that the file is one of ours, or makes it one if it is empty or was left before it was.
    fn begin(&mut self) -> Result<()> {
        let header = framed([HEADER]);
        let mut found = Vec::new();
        let mut file = &self.file;
        file.seek(SeekFrom::Start(0))
            .and_then(|_| file.take(header.len() as u64).read_to_end(&mut found))
            .map_err(|error| self.failed(error))?;
        if !header.starts_with(&found) {
            return Err(Error::new(ErrorKind::Argument, self.place(), "not a file of feature vectors")
                .with_hint(ELSEWHERE));
        }
        if found.len() < header.len() {
            self.write(&header)?;
        }
        self.end = header.len() as u64;
        Ok(())
    }

    /// Writes `bytes`, whole records, at the end.
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let mut file = &self.file;
        let written = file.seek(SeekFrom::Start(self.end)).and_then(|_| file.write_all(bytes));
        if let Err(error) = written {
            // If that fails too, the next reader cuts it off.
            let _ = self.file.set_len(self.end);
            return Err(self.failed(error).with_hint(ELSEWHERE));
        }
        Ok(())
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::io(self.place(), error)
    }
}

/// `records` as the file has them.
fn framed(records: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Vec<u8> {
    let mut framed = RecordWriter::new(Vec::new());
    for record in records {
        framed.write(record.as_ref()).expect("memory takes what is written");
    }
    std::mem::take(framed.get_mut())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(i: u8) -> FeatureKey {
        FeatureKey([i; KEY_BYTES])
    }

    fn add(cache: &mut FeatureCache, i: u8) {
        cache.append([(key(i), &[f32::from(i), -0.0, f32::MIN_POSITIVE][..])]).unwrap();
    }

    fn has(cache: &FeatureCache, i: u8) -> bool {
        let found = cache.get(&key(i), 3).unwrap();
        assert!(found.as_ref().is_none_or(|values| values == &[f32::from(i), -0.0, f32::MIN_POSITIVE]));
        found.is_some()
    }

    #[test]
    fn what_is_appended_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/features");
        let mut cache = FeatureCache::open(&path).unwrap();
        assert!(cache.is_empty() && !has(&cache, 1));
        (1..=3).for_each(|i| add(&mut cache, i));
        assert!((1..=3).all(|i| has(&cache, i)));
        let cache = FeatureCache::open(&path).unwrap();
        assert!(cache.len() == 3 && (1..=3).all(|i| has(&cache, i)));
        assert_eq!(cache.get(&key(1), 4).unwrap(), None);
    }

    #[test]
    fn wherever_a_program_is_killed_whole_records_stay_and_more_can_follow() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("features");
        let mut cache = FeatureCache::open(&path).unwrap();
        let header = cache.end;
        add(&mut cache, 1);
        let first = cache.end;
        add(&mut cache, 2);
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() as u64 {
            fs::write(&path, &whole[..cut as usize]).unwrap();
            let mut cache = FeatureCache::open(&path).unwrap();
            assert_eq!(cache.len(), usize::from(cut >= first), "{cut} of {}", whole.len());
            assert_eq!(cache.end, if cut < first { header } else { first });
            add(&mut cache, 3);
            assert!(has(&FeatureCache::open(&path).unwrap(), 3));
        }
    }

    #[test]
    fn two_that_append_in_turns_lose_nothing_even_if_a_third_dies() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("features");
        let [mut one, mut two] = [(), ()].map(|()| FeatureCache::open(&path).unwrap());
        add(&mut one, 1);
        add(&mut two, 2);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"half a rec").unwrap();
        add(&mut one, 3);
        add(&mut two, 4);
        assert!([1, 2, 3].iter().all(|i| has(&one, *i)) && (1..=4).all(|i| has(&two, i)));
        assert_eq!(FeatureCache::open(&path).unwrap().len(), 4);
    }

    #[test]
    fn a_file_of_another_kind_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("letter.txt");
        fs::write(&path, "Dear reader").unwrap();
        let error = FeatureCache::open(&path).unwrap_err();
        assert!(error.to_string().contains("not a file of feature vectors"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"Dear reader");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_told() {
        let path = PathBuf::from("/dev/full");
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        let mut cache = FeatureCache { file, path, index: HashMap::new(), end: 0 };
        let error = cache.write(b"a record").unwrap_err();
        assert!(error.kind() == ErrorKind::Io && error.to_string().contains("No space left"), "{error}");
    }
}
