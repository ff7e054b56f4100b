//! Labelled pictures: a folder of classes, or TFRecord files.

use std::path::{Path, PathBuf};

use clap::Args;
use featvec::examples::Examples;
use featvec::{Limits, Result};

use crate::inputs;
use crate::stop::wrong_usage;

/// Options of commands that read labelled pictures.
#[derive(Args)]
#[command(next_help_heading = "Pictures")]
pub struct ExampleArgs {
    /// A folder in which each sub-folder is a class; or TFRecord files, patterns too, as TF-Slim writes them
    #[arg(required = true, value_name = "PATH", help_heading = "Arguments")]
    paths: Vec<PathBuf>,

    /// A number that is taken off each label in TFRecord files: 1 where they count a background class as 0, and the
    /// network does not
    #[arg(long, value_name = "N", default_value_t, allow_negative_numbers = true)]
    labels_offset: i64,
}

impl ExampleArgs {
    /// The folder of classes; none for TFRecord files.
    ///
    /// # Errors
    /// What is not there; a folder among several paths; an offset for what has no numbers.
    pub fn folder(&self) -> Result<Option<&Path>> {
        match &self.paths[..] {
            [only] if only.is_dir() => {
                if self.labels_offset != 0 {
                    return Err(wrong_usage("--labels-offset is for the labels in TFRecord files"));
                }
                Ok(Some(only))
            }
            paths => match paths.iter().find(|path| path.is_dir()) {
                Some(folder) => Err(wrong_usage(format!(
                    "{} is a folder: give one folder of classes, or TFRecord files only",
                    folder.display()
                ))),
                None => match self.record_files().iter().find(|path| !path.exists()) {
                    Some(missing) => {
                        Err(wrong_usage(format!("{}: no such file or folder", missing.display())))
                    }
                    None => Ok(None),
                },
            },
        }
    }

    /// The files in which to look for records.
    pub fn record_files(&self) -> Vec<PathBuf> {
        self.paths.iter().flat_map(|path| inputs::expand_glob(path)).collect()
    }

    /// The records, for the classes `classes`.
    ///
    /// # Errors
    /// Those of [`Examples::from_tfrecords`].
    pub fn records(&self, classes: Vec<String>, limits: &Limits) -> Result<Examples> {
        Examples::from_tfrecords(&self.record_files(), classes, self.labels_offset, limits)
    }
}
