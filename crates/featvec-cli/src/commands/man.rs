//! `featvec man`: manual pages, for those who package the program.

use std::fs;
use std::path::PathBuf;

use clap::{Args, CommandFactory};
use featvec::Error;

use crate::cli::Cli;
use crate::stop::{Outcome, Stop};

/// Write the manual pages of all commands into a folder
#[derive(Args)]
#[command(hide = true, after_help = "Example:\n  featvec man /usr/local/share/man/man1")]
pub struct Man {
    /// The folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Man {
    pub fn run(self) -> Result<Outcome, Stop> {
        fs::create_dir_all(&self.folder)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), &self.folder))
            .map_err(|error| Error::io(self.folder.display().to_string(), error))?;
        Ok(Outcome::Done)
    }
}
