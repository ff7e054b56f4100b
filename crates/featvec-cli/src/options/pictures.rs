//! Which pictures, and how they are prepared.

use std::ffi::OsString;

use clap::Args;
use featvec::Result;
use featvec::pictures::is_array;
use featvec_collections::sources::{Input, Place};

use super::{PreparationArgs, SourceArgs};
use crate::stop::wrong_usage;

/// Options of every command that reads any number of pictures.
#[derive(Args)]
pub struct PictureArgs {
    /// Pictures; folders, with all below them; patterns; shards (.tar, .tar.gz, .tar.zst, .zip, .tfrecord); tables
    /// (.parquet, .arrow); arrays [n,h,w,3] (.npy); lists of paths or URLs (.txt, @FILE); `-` reads a list from stdin
    #[arg(required = true, value_name = "PATH", help_heading = "Arguments")]
    pub paths: Vec<OsString>,

    #[command(flatten)]
    pub sources: SourceArgs,

    #[command(flatten)]
    pub prepare: PreparationArgs,
}

impl PictureArgs {
    /// What the paths stand for.
    ///
    /// # Errors
    /// Those of [`Input::parse`]; stdin twice; options for pictures where there are none.
    pub fn inputs(&self) -> Result<Vec<Input>> {
        let inputs = parse(&self.paths)?;
        if inputs.iter().filter(|input| **input == Input::Stdin).count() > 1 {
            return Err(wrong_usage("`-` stands for stdin, which can be read once only"));
        }
        let arrays_only = inputs.iter().all(|input| path(input).is_some_and(is_array));
        if arrays_only && self.prepare.is_for_pictures() {
            return Err(wrong_usage(
                "--preset, --exif and --decode are for pictures, and all inputs are arrays",
            )
            .with_hint("arrays go into the network as they are"));
        }
        Ok(inputs)
    }
}

/// The inputs that `words` stand for.
///
/// # Errors
/// Those of [`Input::parse`].
pub fn parse(words: &[OsString]) -> Result<Vec<Input>> {
    let inputs: Result<Vec<Vec<Input>>> = words.iter().map(|word| Input::parse(word)).collect();
    Ok(inputs?.concat())
}

/// The one file or folder that `input` is.
pub fn path(input: &Input) -> Option<&std::path::Path> {
    match input {
        Input::Place(Place::Path(path)) => Some(path),
        _ => None,
    }
}
