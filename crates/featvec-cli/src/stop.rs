//! How a command ends.

use std::io;

use featvec::{Error, ErrorKind};

/// How a command ended that ran to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All inputs gave results.
    Done,
    /// Some inputs failed and were reported.
    SomeFailed,
    /// It was interrupted, and can go on from there.
    Interrupted,
}

/// The code with which shells report a program that was interrupted.
pub const INTERRUPTED: u8 = 130;

impl Outcome {
    /// The outcome of a command in which `failed` inputs failed.
    pub fn of(failed: usize) -> Outcome {
        if failed == 0 { Outcome::Done } else { Outcome::SomeFailed }
    }
}

/// Why a command ended early.
#[derive(Debug)]
pub enum Stop {
    /// It cannot go on.
    Error(Error),
    /// Whoever reads stdout has seen enough.
    BrokenPipe,
}

impl Stop {
    /// What a failed write to stdout means.
    pub fn from_stdout(error: io::Error) -> Stop {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Stop::BrokenPipe,
            _ => Stop::Error(Error::io("stdout", error)),
        }
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Error(error)
    }
}

/// The error for options that do not go together or make no sense.
pub fn wrong_usage(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Argument, "", message)
}
