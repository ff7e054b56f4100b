//! Which pictures, and how they are prepared.

use std::path::PathBuf;

use clap::Args;
use featvec::Result;
use featvec::pictures::Found;

use super::PreparationArgs;
use crate::inputs;
use crate::stop::wrong_usage;

/// Options of every command that reads any number of pictures.
#[derive(Args)]
pub struct PictureArgs {
    /// Pictures, folders (with all below them), patterns, .npy batches [n,h,w,3]; `-` reads a list from stdin
    #[arg(required = true, value_name = "PATH", help_heading = "Arguments")]
    paths: Vec<PathBuf>,

    #[command(flatten)]
    pub prepare: PreparationArgs,
}

impl PictureArgs {
    /// The files that the paths stand for.
    ///
    /// # Errors
    /// Those of [`inputs::expand`]; options for pictures where there are none.
    pub fn find(&self) -> Result<Vec<Found>> {
        let found = inputs::expand(&self.paths)?;
        let arrays_only = !found.is_empty() && found.iter().all(|found| matches!(found, Found::Array(_)));
        if arrays_only && self.prepare.is_for_pictures() {
            return Err(wrong_usage(
                "--preset, --exif and --decode are for pictures, and all inputs are arrays",
            )
            .with_hint("arrays go into the network as they are"));
        }
        Ok(found)
    }
}
