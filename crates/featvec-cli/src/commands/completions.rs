//! `featvec completions`: what shells need to complete the command line.

use std::io::{Write, stdout};

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use crate::cli::Cli;
use crate::stop::{Outcome, Stop};

/// Print a completion script for a shell
#[derive(Args)]
#[command(after_help = "\
Examples:
  featvec completions bash > ~/.local/share/bash-completion/completions/featvec
  featvec completions zsh > ~/.zfunc/_featvec
  featvec completions fish > ~/.config/fish/completions/featvec.fish")]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub fn run(self) -> Result<Outcome, Stop> {
        // The generator panics where it cannot write, so it writes to memory.
        let mut script = Vec::new();
        generate(self.shell, &mut Cli::command(), "featvec", &mut script);
        stdout().write_all(&script).map_err(Stop::from_stdout)?;
        Ok(Outcome::Done)
    }
}
