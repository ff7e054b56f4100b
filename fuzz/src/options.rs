//! The command line.

use std::path::{Path, PathBuf};

pub const USAGE: &str = "usage: featvec-fuzz [--seconds N] [--seed N] [TARGET...]";

#[derive(Debug)]
pub struct Options {
    /// How long each target runs.
    pub seconds: u64,
    /// The same seed gives the same inputs.
    pub seed: u64,
    /// The targets to run; none means all.
    pub targets: Vec<String>,
    /// The folder of a process that runs one target for another process; not for users.
    pub child: Option<PathBuf>,
}

impl Options {
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Options, String> {
        let mut options = Options { seconds: 30, seed: 1, targets: Vec::new(), child: None };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} lacks its value"));
            let number = |text: String| text.parse().map_err(|_| format!("{text:?} is not a number"));
            match argument.as_str() {
                "--seconds" => options.seconds = number(value()?)?,
                "--seed" => options.seed = number(value()?)?,
                "--child" => options.child = Some(value()?.into()),
                option if option.starts_with('-') => return Err(format!("there is no option {option}")),
                _ => options.targets.push(argument),
            }
        }
        Ok(options)
    }
}

/// Where the inputs are kept that `target` has misbehaved with: in the repository, so that they are tried again first
/// in every run.
pub fn crashers(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("crashers").join(target)
}
