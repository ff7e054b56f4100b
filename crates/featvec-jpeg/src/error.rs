//! What can be wrong with a picture, and where in the file.

use std::fmt;

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The file ends before the picture does.
    Truncated,
    /// The bytes contradict the format.
    Corrupt,
    /// A valid JPEG of a kind that this decoder (like TensorFlow's) does not decode.
    Unsupported,
    /// Decoding would exceed a limit of [`Options`](crate::Options).
    Limit,
}

/// A picture that could not be decoded: what was wrong and at which byte of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    offset: usize,
    message: String,
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn truncated(offset: usize, message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Truncated, offset, message: message.into() }
    }

    pub(crate) fn corrupt(offset: usize, message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Corrupt, offset, message: message.into() }
    }

    pub(crate) fn unsupported(offset: usize, message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Unsupported, offset, message: message.into() }
    }

    pub(crate) fn limit(offset: usize, message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Limit, offset, message: message.into() }
    }

    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Byte of the file at which the problem was noticed.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// What is wrong, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JPEG, byte {}: {}", self.offset, self.message)
    }
}

impl std::error::Error for Error {}
