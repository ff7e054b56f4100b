//! Zip archives.

use std::io::Read;

use ::zip::ZipArchive;
use ::zip::result::ZipError;
use featvec::{Error, ErrorKind, Result};

use super::kind::is_picture;
use super::layout::too_large;
use super::names::Names;
use super::place::Place;
use super::stream::Seekable;
use super::unpack::broken;
use super::{Draft, Located, Source, SourceOptions, Wanted};
use crate::Content;
use crate::guard::guarded;

/// An archive being read. What it says of all its members is in memory, some hundred bytes each.
pub(super) struct Zip {
    archive: ZipArchive<Box<dyn Seekable>>,
    key: String,
    next: usize,
    names: Names,
    has_pictures: bool,
    /// Whether the archive has been read and what is wrong with it as a whole was said.
    is_over: bool,
    max_picture_bytes: u64,
}

impl Zip {
    pub(super) fn open(place: &Place, options: &SourceOptions) -> Result<Zip> {
        let file = place.seekable(options)?;
        let archive = guarded(|| ZipArchive::new(file).map_err(zip_error))?;
        Ok(Zip {
            archive,
            key: place.key(),
            next: 0,
            names: Names::default(),
            has_pictures: false,
            is_over: false,
            max_picture_bytes: options.max_picture_bytes,
        })
    }

    fn read(&mut self, index: usize) -> Result<Vec<u8>> {
        let most_bytes = self.max_picture_bytes;
        guarded(|| {
            let member = self.archive.by_index(index).map_err(zip_error)?;
            if member.size() > most_bytes {
                return Err(too_large(most_bytes));
            }
            // It grows with what is really there; its checksum is verified at its end.
            let mut bytes = Vec::new();
            let read = member.take(most_bytes.saturating_add(1)).read_to_end(&mut bytes);
            read.map_err(|error| broken(&error))?;
            if bytes.len() as u64 > most_bytes { Err(too_large(most_bytes)) } else { Ok(bytes) }
        })
    }
}

impl Source for Zip {
    fn next(&mut self, wanted: &mut Wanted<'_>) -> Option<Draft> {
        while self.next < self.archive.len() {
            let index = self.next;
            self.next += 1;
            let name = guarded(|| Ok(self.archive.name_for_index(index).and_then(std::result::Result::ok)));
            let Ok(Some(name)) = name else { continue };
            let name = name.trim_start_matches("./").to_owned();
            // macOS puts what it knows of a file into a folder beside it, under a name that looks the same.
            if !is_picture(&name) || name.starts_with("__MACOSX/") {
                continue;
            }
            self.has_pictures = true;
            let key = self.names.unique(format!("{}/{name}", self.key));
            if wanted(&key) {
                let content = self.read(index).map(|bytes| Located::Here(Content::Bytes(bytes)));
                return Some(Draft { key, content, columns: None });
            }
        }
        let error = if std::mem::replace(&mut self.is_over, true) {
            return None;
        } else if self.archive.has_duplicate_names() {
            Error::unsupported("", "several members of one name, of which only the last was read")
                .with_hint("write it again with names of their own")
        } else if !self.has_pictures {
            Error::new(ErrorKind::Argument, "", "no pictures in this archive")
                .with_hint("pictures are told by the end of their names; archives in archives are not read")
        } else {
            return None;
        };
        Some(Draft::failed(self.key.clone(), error)).filter(|draft| wanted(&draft.key))
    }
}

fn zip_error(error: ZipError) -> Error {
    match error {
        ZipError::Io(error) => broken(&error),
        ZipError::UnsupportedArchive(what) => {
            Error::unsupported("", format!("a zip archive of an unusual kind: {what}"))
                .with_hint("featvec reads members that are stored or deflated, without a password")
        }
        error => Error::corrupt("", format!("not a sound zip archive: {error}"))
            .with_hint("fetch or copy it again"),
    }
}
