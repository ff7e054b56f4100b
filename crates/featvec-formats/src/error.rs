//! One error type for everything that can be wrong with somebody else's bytes: whose fault it is, the place
//! (file, tensor, offset), what was expected, and what to do about it.

use std::fmt;

/// By whose fault an operation failed.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The operating system or the network refused: a missing file, a full disk, a server that hangs up.
    Io,
    /// The bytes are damaged: truncated, a wrong checksum, a length that cannot be.
    Corrupt,
    /// The bytes are sound, but of a kind that featvec does not read.
    Unsupported,
    /// Reading on would exceed a limit of [`Limits`](crate::Limits); the caller may raise it.
    Limit,
    /// Two things that belong together do not fit: a shape, a missing variable, another architecture.
    Mismatch,
    /// The caller asked for something that does not exist or contradicts itself.
    Argument,
}

/// What went wrong, where, and what to do about it.
///
/// `Display` prints `place: message (hint)`; [`std::error::Error::source`] gives the cause, if another
/// library reported one.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    place: String,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What to do about a file that is not as it was written.
pub(crate) const DAMAGED: &str = "the file is damaged; fetch or copy it again";
/// What to do about a file that ends too early.
pub(crate) const TRUNCATED: &str = "the file may be truncated; fetch or copy it again";

/// A result whose error is [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of `kind` at `place`: the file, or the tensor or field within it, as the user would look for it.
    /// An empty `place` is left out of the printed text.
    pub fn new(kind: ErrorKind, place: impl Into<String>, message: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            kind,
            place: place.into(),
            message: message.into(),
            hint: None,
            source: None,
        }))
    }

    /// Damaged bytes at `place`.
    pub fn corrupt(place: impl Into<String>, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Corrupt, place, message)
    }

    /// Sound bytes at `place` of a kind that featvec does not read.
    pub fn unsupported(place: impl Into<String>, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Unsupported, place, message)
    }

    /// A failed operation of the operating system at `place`.
    pub fn io(place: impl Into<String>, source: std::io::Error) -> Error {
        Error::new(ErrorKind::Io, place, source.to_string()).with_source(source)
    }

    /// Adds what the user can do about it, one short clause.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hint = Some(hint.into());
        self
    }

    /// Says what to do about damage of a file that can be had again, unless there is a better hint already.
    #[must_use]
    pub(crate) fn of_a_file(mut self) -> Error {
        if self.0.kind == ErrorKind::Corrupt {
            self.0.hint.get_or_insert_with(|| DAMAGED.into());
        }
        self
    }

    /// Adds the error of another library that caused this one.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        self.0.source = Some(source.into());
        self
    }

    /// Puts an outer place (a file, an archive) in front of the place that is already there.
    #[must_use]
    pub fn within(mut self, outer: &str) -> Error {
        let inner = &mut *self.0;
        inner.place =
            if inner.place.is_empty() { outer.to_string() } else { format!("{outer}: {}", inner.place) };
        self
    }

    /// By whose fault.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The file, tensor or field; empty where the error has no place.
    pub fn place(&self) -> &str {
        &self.0.place
    }

    /// What is wrong, without place and hint.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to do about it, if there is something to say.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.place.is_empty() {
            write!(f, "{}: ", self.0.place)?;
        }
        f.write_str(&self.0.message)?;
        match &self.0.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
