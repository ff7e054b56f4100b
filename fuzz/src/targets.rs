//! The readers, each with the changes that reach it and the memory that it may take.

use std::path::Path;

use featvec_formats::{Error, Limits};

use crate::rng::Rng;

mod archive;
mod caffemodel;
mod checkpoint;
mod compact;
mod module;
mod npy;
mod onnx;
mod picture;
mod records;
mod safetensors;
mod saved_model;
mod sources;

/// What all limits on bytes are set to, so that a lie about a length is far beyond them.
pub const LIMIT_BYTES: u64 = 1 << 20;

/// How far a reader came with an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// It stopped at its first check: the magic number, the first header, the checksums.
    FirstCheck,
    /// It stopped later.
    Further,
    /// It read everything.
    End,
}

impl Reached {
    /// `has_passed` says whether the error is one of after the first check.
    fn new<T>(result: &Result<T, Error>, has_passed: impl FnOnce(&Error) -> bool) -> Reached {
        match result {
            Ok(_) => Reached::End,
            Err(error) if has_passed(error) => Reached::Further,
            Err(_) => Reached::FirstCheck,
        }
    }
}

/// A reader under test.
pub trait Target: Sync {
    fn name(&self) -> &'static str;

    /// Most bytes that reading the input `bytes` may hold at once, beside the input. The counting allocator sees a growing `Vec` twice, old and new, so
    /// one of n bytes may count for 3 n.
    fn most_bytes(&self, bytes: &[u8]) -> u64;

    /// A new input.
    fn mutate(&self, rng: &mut Rng) -> Vec<u8>;

    /// Reads the file at `input`, which has these `bytes`; whatever is written goes below the empty folder `scratch`.
    fn read(&self, input: &Path, bytes: &[u8], scratch: &Path) -> Reached;
}

/// All targets, in the order in which they run.
pub fn all() -> Vec<Box<dyn Target>> {
    vec![
        Box::new(archive::Archive::new()),
        Box::new(saved_model::SavedModelFile::new()),
        Box::new(checkpoint::Bundle::new()),
        Box::new(checkpoint::V1::new()),
        Box::new(safetensors::SafetensorsFile::new()),
        Box::new(compact::CompactFile::new()),
        Box::new(caffemodel::CaffemodelFile::new()),
        Box::new(onnx::OnnxFile::new()),
        Box::new(picture::Picture::new()),
        Box::new(npy::Npy::new()),
        Box::new(records::Records::new()),
        Box::new(module::LoadedModule::new()),
        Box::new(sources::Shards::new()),
        Box::new(sources::Source::zip()),
        Box::new(sources::Source::parquet()),
        Box::new(sources::Source::arrow()),
    ]
}

/// Small limits on everything.
fn limits() -> Limits {
    Limits {
        file_bytes: LIMIT_BYTES,
        graph_bytes: LIMIT_BYTES,
        archive_bytes: LIMIT_BYTES,
        archive_entries: 100,
        tensors: 1000,
        tensor_bytes: LIMIT_BYTES,
        graph_nodes: 2000,
        ..Limits::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `bytes` with `target`.
    pub fn read(target: &dyn Target, bytes: &[u8]) -> Reached {
        let folder = tempfile::tempdir().unwrap();
        let scratch = folder.path().join("scratch");
        std::fs::create_dir(&scratch).unwrap();
        let input = folder.path().join("input");
        std::fs::write(&input, bytes).unwrap();
        target.read(&input, bytes, &scratch)
    }

    /// If this fails, the changes no longer reach what they are meant to reach.
    #[test]
    fn many_inputs_pass_the_first_check_and_some_are_refused() {
        for target in all() {
            let mut rng = Rng::new(7);
            let inputs = 60;
            let reached: Vec<_> = (0..inputs).map(|_| read(&*target, &target.mutate(&mut rng))).collect();
            let past = reached.iter().filter(|reached| **reached != Reached::FirstCheck).count();
            let ended = reached.iter().filter(|reached| **reached == Reached::End).count();
            assert!(past > inputs / 5, "{}: {past} of {inputs} passed the first check", target.name());
            assert!(ended < inputs * 3 / 4, "{}: {ended} of {inputs} were read to the end", target.name());
        }
    }
}
