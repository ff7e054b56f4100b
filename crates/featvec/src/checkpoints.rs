//! The checkpoints of a training run: a folder of V2 checkpoints as TensorFlow's `Saver` leaves it.

use std::fs;
use std::path::{Path, PathBuf};

use featvec_formats::{BundleWriter, Source, bundle_files, source, write_checkpoint_state};

use crate::train::NamedTensor;
use crate::{Error, ErrorKind, Limits, Result};

/// What TF-Slim calls its checkpoints, before the number of the step.
const PREFIX: &str = "model.ckpt-";
/// What the index of a checkpoint ends in. It is written last, so that a checkpoint with an index is whole.
const INDEX: &str = ".index";
/// What files end in that are being written, or were when their writer was killed.
const UNFINISHED: &str = ".part";

/// A folder with the last few checkpoints of a run.
#[derive(Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    keep: usize,
    /// Ascending.
    steps: Vec<u64>,
}

impl Checkpoints {
    /// Looks for checkpoints in `folder`, which is made if it is not there, and removes what a killed run left
    /// unfinished. At least one and at most `keep` are kept from now on.
    ///
    /// # Errors
    /// A folder that cannot be made, read or written to.
    pub fn open(folder: &Path, keep: usize) -> Result<Checkpoints> {
        let io = |error| Error::io(folder.display().to_string(), error);
        fs::create_dir_all(folder).map_err(io)?;
        let mut steps = Vec::new();
        for entry in fs::read_dir(folder).map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.ends_with(UNFINISHED) && (name.starts_with(PREFIX) || name.starts_with("checkpoint.")) {
                fs::remove_file(entry.path()).map_err(io)?;
            } else if let Some(step) = step_of(name) {
                steps.push(step);
            }
        }
        steps.sort_unstable();
        Ok(Checkpoints { folder: folder.to_owned(), keep: keep.max(1), steps })
    }

    /// The step of the latest one.
    pub fn latest(&self) -> Option<u64> {
        self.steps.last().copied()
    }

    /// Reads the latest one.
    ///
    /// # Errors
    /// Damage.
    pub fn read_latest(&self) -> Result<Option<Vec<NamedTensor>>> {
        let Some(step) = self.latest() else { return Ok(None) };
        let path = self.folder.join(format!("{PREFIX}{step}{INDEX}"));
        let place = path.display().to_string();
        // What this program wrote is as large as it is.
        let limits = Limits { file_bytes: u64::MAX, tensor_bytes: u64::MAX, ..Limits::default() };
        let read = match source::open(&path, &limits)? {
            Source::Checkpoint(checkpoint) => {
                let names = checkpoint.entries().map(|entry| entry.name.clone());
                names.map(|name| checkpoint.read(&name).map(|tensor| (name, tensor))).collect::<Result<_>>()
            }
            _ => Err(Error::new(ErrorKind::Mismatch, place, "no checkpoint")),
        };
        read.map(Some).map_err(|error| match self.steps.len() {
            0 | 1 => error,
            _ => error.with_hint("remove this checkpoint to go on from the one before it"),
        })
    }

    /// Writes the checkpoint of `step`, and removes the oldest ones beyond those that are kept. It appears whole or not
    /// at all, and nothing is removed before it is there.
    ///
    /// # Errors
    /// A full disk, a folder that is no longer there.
    pub fn save(&mut self, step: u64, state: &[NamedTensor]) -> Result<()> {
        let mut writer = BundleWriter::new();
        for (name, tensor) in state {
            writer.add(name, tensor)?;
        }
        writer.write(&self.folder.join(format!("{PREFIX}{step}"))).map_err(|error| match self.latest() {
            Some(last) => error.with_hint(format!("the checkpoint of step {last} is kept, to go on from")),
            None => error,
        })?;
        self.steps.retain(|known| *known != step);
        self.steps.push(step);
        let surplus = self.steps.len().saturating_sub(self.keep);
        let removed: Vec<u64> = self.steps.drain(..surplus).collect();
        let prefixes: Vec<String> = self.steps.iter().map(|step| format!("{PREFIX}{step}")).collect();
        write_checkpoint_state(&self.folder, &prefixes.iter().map(String::as_str).collect::<Vec<_>>())?;
        for step in removed {
            // The index first: a checkpoint without its index is none.
            let [shard, index] = bundle_files(&self.folder.join(format!("{PREFIX}{step}")));
            for path in [index, shard] {
                fs::remove_file(&path).map_err(|error| Error::io(path.display().to_string(), error))?;
            }
        }
        Ok(())
    }
}

/// The step whose index the file `name` is.
fn step_of(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.strip_suffix(INDEX)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use featvec_formats::{Tensor, TensorData};

    use super::*;

    fn state(value: f32) -> Vec<NamedTensor> {
        vec![("v".to_string(), Tensor::new(vec![2], TensorData::F32(vec![value; 2])).unwrap())]
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_last_few_are_kept_and_the_latest_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let mut checkpoints = Checkpoints::open(&path, 2).unwrap();
        assert!(checkpoints.read_latest().unwrap().is_none());
        for step in [5, 90, 100] {
            checkpoints.save(step, &state(step as f32)).unwrap();
        }
        let expected = [90, 100].map(|step| {
            [format!("model.ckpt-{step}.data-00000-of-00001"), format!("model.ckpt-{step}.index")]
        });
        let mut expected = [&["checkpoint".to_string()][..], &expected.concat()].concat();
        expected.sort();
        assert_eq!(names(&path), expected);
        let again = Checkpoints::open(&path, 2).unwrap();
        assert_eq!(again.latest(), Some(100));
        assert_eq!(again.read_latest().unwrap().unwrap(), state(100.0));
        let text = fs::read_to_string(path.join("checkpoint")).unwrap();
        assert!(text.starts_with("model_checkpoint_path: \"model.ckpt-100\"\n"), "{text}");
        assert!(!text.contains("ckpt-5\"") && text.contains("all_model_checkpoint_paths: \"model.ckpt-90\""));
    }

    #[test]
    fn what_a_killed_run_left_unfinished_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        Checkpoints::open(folder.path(), 3).unwrap().save(7, &state(7.0)).unwrap();
        // Killed while the data, the index, or the list of the next one was written.
        for name in [
            "model.ckpt-8.data-00000-of-00001.0123456789abcdef.part",
            "model.ckpt-8.index.0123456789abcdef.part",
            "checkpoint.0123456789abcdef.part",
        ] {
            fs::write(folder.path().join(name), b"half of it").unwrap();
        }
        fs::write(folder.path().join("model.ckpt-8.data-00000-of-00001"), b"all of it").unwrap();
        fs::write(folder.path().join("mine.part"), b"somebody else's").unwrap();
        let checkpoints = Checkpoints::open(folder.path(), 3).unwrap();
        assert_eq!(checkpoints.read_latest().unwrap().unwrap(), state(7.0));
        let left: Vec<_> = names(folder.path()).into_iter().filter(|name| name.ends_with("part")).collect();
        assert_eq!(left, ["mine.part"]);
    }

    #[test]
    fn damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut checkpoints = Checkpoints::open(folder.path(), 3).unwrap();
        checkpoints.save(1, &state(1.0)).unwrap();
        checkpoints.save(2, &state(2.0)).unwrap();
        let data = folder.path().join("model.ckpt-2.data-00000-of-00001");
        let mut bytes = fs::read(&data).unwrap();
        bytes[0] ^= 1;
        fs::write(&data, bytes).unwrap();
        let error = Checkpoints::open(folder.path(), 3).unwrap().read_latest().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("go on from the one before it"), "{error}");
    }
}
