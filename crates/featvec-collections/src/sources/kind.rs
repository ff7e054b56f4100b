//! What an input is, by its first bytes or by its name.

use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::path::Path;

use featvec::pictures::EXTENSIONS;
use featvec::{Error, Result};
use featvec_formats::{tar, tfrecord};

use super::arrow::FEATHER_1;
use super::place::Place;
use super::unpack::{Compression, Through};

/// How much of a file is looked at: the first header of a tar archive.
const HEAD_BYTES: u64 = 512;

/// What an input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Picture,
    Folder,
    List,
    Tar,
    Zip,
    Parquet,
    Arrow,
    Records,
    Array,
}

impl Kind {
    /// What is at `place`. Of what looks like a picture by its name nobody asks whether it is there: whoever reads it
    /// will see.
    pub(super) fn of(place: &Place) -> Result<Kind> {
        let name = place.name();
        let by_name = Kind::of_name(&name);
        match (by_name, place) {
            (Some(Kind::Picture), _) => Ok(Kind::Picture),
            (_, Place::Path(path)) => Kind::of_path(path, by_name),
            // Asking a server costs a round trip.
            (_, Place::Url(url)) if url.ends_with('/') || name.is_empty() => Ok(Kind::Folder),
            (by_name, Place::Url(_)) => Ok(by_name.unwrap_or(Kind::Picture)),
        }
    }

    /// What a file called `name` is, if its name says so.
    pub(super) fn of_name(name: &str) -> Option<Kind> {
        let name = name.to_ascii_lowercase();
        let plain = [".gz", ".zst", ".zstd"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
        let kind = match plain.rsplit_once('.').map(|(_, end)| end) {
            Some("tar" | "tgz" | "tzst") => Kind::Tar,
            Some("tfrecord" | "tfrecords") => Kind::Records,
            Some("zip") => Kind::Zip,
            Some("parquet" | "pq") => Kind::Parquet,
            Some("arrow" | "arrows" | "feather" | "ipc") => Kind::Arrow,
            Some("npy") => Kind::Array,
            Some("txt" | "lst") => Kind::List,
            _ if is_picture(&name) => Kind::Picture,
            _ => return None,
        };
        Some(kind)
    }

    fn of_path(path: &Path, by_name: Option<Kind>) -> Result<Kind> {
        let metadata = fs::metadata(path).map_err(|error| Error::io("", error))?;
        if metadata.is_dir() {
            return Ok(Kind::Folder);
        }
        if !metadata.is_file() {
            // Looking into a pipe would take away what is in it.
            return Ok(by_name.unwrap_or(Kind::Picture));
        }
        let mut head = Vec::new();
        File::open(path)
            .and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head))
            .map_err(|error| Error::io("", error))?;
        Ok(Kind::of_head(&head).or(by_name).unwrap_or(Kind::Picture))
    }

    /// What a file that begins with `head` is, if that says so.
    fn of_head(head: &[u8]) -> Option<Kind> {
        let kind = match head {
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Kind::Zip,
            _ if head.starts_with(b"PAR1") => Kind::Parquet,
            _ if head.starts_with(b"ARROW1") || head.starts_with(FEATHER_1) => Kind::Arrow,
            // A message of a stream: a mark, and a length that is a multiple of 8.
            [0xff, 0xff, 0xff, 0xff, length, ..] if length % 8 == 0 => Kind::Arrow,
            _ if head.starts_with(b"\x93NUMPY") => Kind::Array,
            _ if tar::is_tar(head) => Kind::Tar,
            _ if tfrecord::is_header(head) => Kind::Records,
            _ => {
                let unpacked = Compression::of(head)?.unpack(Through(Cursor::new(head.to_vec()))).ok()?;
                let mut inner = Vec::new();
                // It breaks off, because the head does.
                _ = unpacked.take(HEAD_BYTES).read_to_end(&mut inner);
                return Compression::of(&inner).is_none().then(|| Kind::of_head(&inner)).flatten();
            }
        };
        Some(kind)
    }
}

/// Whether the name of a file is that of a picture.
pub(super) fn is_picture(name: &str) -> bool {
    let end = name.rsplit_once('.').map(|(_, end)| end);
    end.is_some_and(|end| EXTENSIONS.iter().any(|known| end.eq_ignore_ascii_case(known)))
}
