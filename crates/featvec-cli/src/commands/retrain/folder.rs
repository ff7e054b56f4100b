//! The output folder: all of it, or nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use featvec::events::event_file_name;
use featvec::export::{GraphOptions, to_checkpoint_v2, to_hub_module};
use featvec::module::Notes;
use featvec::variables::Variables;
use featvec::{Error, ErrorKind};
use serde_json::Value;

use crate::staged::StagedFolder;
use crate::stop::wrong_usage;

/// Where the variables are in TF-Slim's form, to train on from.
const CHECKPOINTS: &str = "checkpoint";
const CHECKPOINT: &str = "model.ckpt";

/// A place where the results may go.
#[derive(Debug)]
pub struct OutputFolder {
    path: PathBuf,
}

/// What is written.
pub struct Results {
    /// The network with its new head.
    pub variables: Variables,
    /// What its graphs have beside, with the names of the classes.
    pub graph: GraphOptions,
    /// How pictures were prepared.
    pub notes: Notes,
    /// All figures.
    pub metrics: Value,
    /// The page.
    pub report: String,
    /// Event files of training and of validation.
    pub events: [Vec<u8>; 2],
}

impl OutputFolder {
    /// Checks that results may go to `path`: that it is free, or an earlier result that `force` allows to replace.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a place that holds anything else, or lies among the pictures in `pictures`.
    pub fn check(path: &Path, pictures: &Path, force: bool) -> Result<OutputFolder, Error> {
        let refused = |message: &str, hint: &str| {
            Err(Error::new(ErrorKind::Argument, path.display().to_string(), message).with_hint(hint))
        };
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let place = parent.canonicalize().map_err(|error| Error::io(parent.display().to_string(), error))?;
        if pictures.canonicalize().is_ok_and(|pictures| place.starts_with(pictures)) {
            return refused(
                "among the pictures, where the next run would take it for a class",
                "write it elsewhere",
            );
        }
        match fs::read_dir(path).map(|mut files| files.next().is_none()) {
            Ok(true) => {}
            Ok(false) if !Notes::are_in(path) => {
                return refused("a folder with other things in it", "name a folder that is not there yet");
            }
            Ok(false) if !force => return refused("it is there already", "--force replaces it"),
            Ok(false) => {}
            Err(_) if fs::symlink_metadata(path).is_ok() => {
                return refused("not a folder", "name a folder that is not there yet");
            }
            Err(_) => {}
        }
        match path.file_name() {
            Some(_) => Ok(OutputFolder { path: path.to_owned() }),
            None => Err(wrong_usage(format!("{} has no name that a folder could be given", path.display()))),
        }
    }

    /// A folder beside it for what a long run goes on from.
    pub fn beside(&self, purpose: &str) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{purpose}"));
        self.path.with_file_name(name)
    }

    /// Writes `results`; the folder appears, or takes the place of the earlier one, when all of it is on the disk.
    ///
    /// # Errors
    /// A full disk; a folder above that is no longer there.
    pub fn write(&self, results: &Results) -> Result<(), Error> {
        let staged = StagedFolder::beside(&self.path)?;
        results.write(&staged.path())?;
        staged.commit("")
    }
}

impl Results {
    fn write(&self, folder: &Path) -> Result<(), Error> {
        to_hub_module(&self.variables, &self.graph, folder)?;
        let file = |name: PathBuf, bytes: &[u8]| {
            let path = folder.join(name);
            let parent = path.parent().unwrap_or(folder);
            fs::create_dir_all(parent)
                .and_then(|()| fs::write(&path, bytes))
                .map_err(|error| Error::io(path.display().to_string(), error))
        };
        let now = SystemTime::now();
        let event_name = event_file_name(now, &gethostname::gethostname().to_string_lossy());
        for (part, events) in ["train", "validation"].into_iter().zip(&self.events) {
            file(Path::new("events").join(part).join(&event_name), events)?;
        }
        file("metrics.json".into(), format!("{:#}\n", self.metrics).as_bytes())?;
        file("report.html".into(), self.report.as_bytes())?;
        let checkpoints = folder.join(CHECKPOINTS);
        fs::create_dir(&checkpoints).map_err(|error| Error::io(checkpoints.display().to_string(), error))?;
        to_checkpoint_v2(&self.variables, &checkpoints.join(CHECKPOINT))?;
        self.notes.write(folder)
    }
}
