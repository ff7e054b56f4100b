//! Where an input is: a file or a URL.

use std::ffi::OsStr;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use featvec::{Error, ErrorKind, Result};
use featvec_formats::FileStream;

use super::SourceOptions;
use super::stream::{Opener, Seekable, Stream};
use crate::address::{is_web, shown};

const BUFFER_BYTES: usize = 64 << 10;

/// A file or folder, or a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On this machine.
    Path(PathBuf),
    /// Elsewhere.
    Url(String),
}

impl Place {
    /// What `word` stands for: what begins like `scheme://` is a URL, all else a path.
    pub fn parse(word: &OsStr) -> Place {
        let is_scheme = |scheme: &str| {
            scheme.starts_with(|first: char| first.is_ascii_alphabetic())
                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        };
        match word.to_str().and_then(|text| Some((text, text.split_once("://")?.0))) {
            Some((url, scheme)) if is_scheme(scheme) => Place::Url(url.to_owned()),
            _ => Place::Path(word.into()),
        }
    }

    /// The name in keys and errors: bytes of a path that are no text are written as `\xff`, secrets in a URL are left out.
    pub fn key(&self) -> String {
        match self {
            Place::Path(path) => text(path.as_os_str().as_encoded_bytes()),
            Place::Url(url) => shown(url),
        }
    }

    /// The last part, without the query of a URL.
    pub(super) fn name(&self) -> String {
        match self {
            Place::Path(path) => {
                path.file_name().map(|name| text(name.as_encoded_bytes())).unwrap_or_default()
            }
            Place::Url(url) => {
                let path = if is_web(url) { url.split(['?', '#']).next().unwrap_or_default() } else { url };
                path.rsplit('/').next().unwrap_or_default().to_owned()
            }
        }
    }

    /// Opens it to be read from front to back. Errors name no place.
    pub(super) fn stream(&self, options: &SourceOptions) -> Result<Box<dyn Stream>> {
        match self {
            Place::Path(path) => {
                let stream = open(path)?;
                let stream = FileStream::new(stream, BUFFER_BYTES).map_err(|error| Error::io("", error))?;
                Ok(Box::new(stream))
            }
            Place::Url(url) => opener(options)?.stream(url),
        }
    }

    /// Opens it to be read in parts. Errors name no place.
    pub(super) fn seekable(&self, options: &SourceOptions) -> Result<Box<dyn Seekable>> {
        match self {
            Place::Path(path) => Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, open(path)?))),
            Place::Url(url) => opener(options)?.seekable(url),
        }
    }
}

/// What opens URLs.
pub(super) fn opener(options: &SourceOptions) -> Result<&dyn Opener> {
    options.opener.as_deref().ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, "", "a URL, and nothing here opens URLs")
            .with_hint("use a featvec with the feature object-store, or fetch it first")
    })
}

/// Opens a file, but never waits for the writer of a named pipe. A pipe that a shell has opened is a link to one.
fn open(path: &Path) -> Result<File> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if path.symlink_metadata().is_ok_and(|metadata| metadata.file_type().is_fifo()) {
            return Err(Error::new(ErrorKind::Argument, "", "a named pipe, whose writer may never come")
                .with_hint("give a file"));
        }
    }
    File::open(path).map_err(|error| Error::io("", error))
}

/// The name that is spelled `name`; bytes that are no text are written as `\xff`.
pub(super) fn text(name: &[u8]) -> String {
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_makes_a_url() {
        for url in ["s3://bucket/a.tar", "https://host/x?y=z"] {
            assert_eq!(Place::parse(OsStr::new(url)), Place::Url(url.to_owned()));
        }
        for path in ["a/b.jpg", "a b://c", "://x", "1a://x", "C:\\x"] {
            assert_eq!(Place::parse(OsStr::new(path)), Place::Path(path.into()));
        }
    }

    #[test]
    fn names_end_before_the_query() {
        assert_eq!(Place::Url("http://h/a/b.tar?x=/c".into()).name(), "b.tar");
        assert_eq!(Place::Url("HTTPS://h/a/b.tar#x".into()).name(), "b.tar");
        assert_eq!(Place::Path("a/b.tar".into()).name(), "b.tar");
    }

    #[test]
    fn names_of_objects_may_have_any_characters() {
        for name in ["cat#1.jpg", "cat#2.jpg", "cat?.jpg", "a&token=b.jpg"] {
            let place = Place::Url(format!("s3://b/a/{name}"));
            assert_eq!((place.name(), place.key()), (name.to_owned(), format!("s3://b/a/{name}")));
        }
    }

    #[cfg(unix)]
    #[test]
    fn paths_that_are_no_text_have_keys_of_their_own() {
        use std::os::unix::ffi::OsStrExt;
        let key = |bytes: &[u8]| Place::parse(OsStr::from_bytes(bytes)).key();
        assert_eq!(key(b"a\xffb.jpg"), "a\\xffb.jpg");
        assert_ne!(key(b"a\xfe"), key(b"a\xff"));
    }
}
