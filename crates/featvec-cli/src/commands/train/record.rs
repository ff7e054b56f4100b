//! What is written about a run beside its checkpoints: the options it was begun with, labels, TensorBoard's events.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use featvec::events::{EventWriter, event_file_name};
use featvec::labels::LABELS_FILE;
use featvec::training::Step;
use featvec::{Error, ErrorKind, Result};

use crate::staged::Staged;

/// The options that a run depends on, as they were the last time.
const OPTIONS: &str = "options.json";

/// Options by name.
pub type Options = BTreeMap<String, String>;

/// Whether a run has written its options to `folder`.
pub fn is_in(folder: &Path) -> bool {
    folder.join(OPTIONS).is_file()
}

/// Those of `options` that an earlier run in `folder` had otherwise, a sentence each.
pub fn changed(folder: &Path, options: &Options) -> Vec<String> {
    // What cannot be read says nothing.
    let text = fs::read_to_string(folder.join(OPTIONS)).unwrap_or_default();
    let before: Options = serde_json::from_str(&text).unwrap_or_default();
    let changed = options.iter().filter_map(|(name, value)| {
        let old = before.get(name).filter(|old| *old != value)?;
        Some(format!("{name} was {old} and is {value}"))
    });
    changed.collect()
}

/// Writes `options` to the folder of a run.
///
/// # Errors
/// A folder that cannot be written to.
pub fn options(folder: &Path, options: &Options) -> Result<()> {
    let text = serde_json::to_string_pretty(options).expect("texts by name");
    write(&folder.join(OPTIONS), text.as_bytes())
}

/// Writes the labels of a run to its folder.
///
/// # Errors
/// Other labels there; a folder that cannot be written to.
pub fn labels(folder: &Path, classes: &[String]) -> Result<()> {
    let path = folder.join(LABELS_FILE);
    let text: String = classes.iter().map(|class| format!("{class}\n")).collect();
    match fs::read_to_string(&path) {
        Ok(before) if before == text => Ok(()),
        Ok(_) => {
            let message = "the run in this folder was begun with other classes";
            Err(Error::new(ErrorKind::Mismatch, path.display().to_string(), message)
                .with_hint("give another folder with --output"))
        }
        Err(_) => write(&path, text.as_bytes()),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = Staged::create(path)?;
    file.write_all(bytes).map_err(|error| file.error(error))?;
    Staged::commit_all(vec![file])
}

/// A file of events for TensorBoard.
pub struct Events {
    writer: EventWriter<File>,
    path: PathBuf,
}

impl Events {
    /// Begins a new file in `folder`, beside those of earlier runs.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    pub fn create(folder: &Path) -> Result<Events> {
        let now = SystemTime::now();
        let host = gethostname::gethostname();
        let path = folder.join(event_file_name(now, &host.to_string_lossy()));
        let at = |error| Error::io(path.display().to_string(), error);
        let file = File::options().create(true).append(true).open(&path).map_err(at)?;
        let writer = EventWriter::new(file, now).map_err(at)?;
        Ok(Events { writer, path })
    }

    /// Adds what `step` came to.
    ///
    /// # Errors
    /// A full disk.
    pub fn add(&mut self, step: &Step, pictures_per_second: f64) -> Result<()> {
        let mut scalars = vec![
            ("total_loss", step.loss),
            ("losses/data", step.data_loss),
            ("losses/regularization", step.regularization_loss),
            ("learning_rate", step.learning_rate),
            ("pictures_per_second", pictures_per_second as f32),
        ];
        scalars.extend(step.accuracy().map(|share| ("accuracy", share as f32)));
        let written = self.writer.scalars(SystemTime::now(), step.number as i64, &scalars);
        written.map_err(|error| Error::io(self.path.display().to_string(), error))
    }
}
