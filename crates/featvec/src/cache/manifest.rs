//! `K.manifest.json`: what was downloaded from where, and what every file of a verified module must be.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::entry::{Entry, write_atomically};
use crate::fetch::Download;
use crate::handle::hex;
use crate::{Error, ErrorKind, Result};

/// Deeper folders are not those of a module, but perhaps a link that leads back to its own parent.
const MAX_DEPTH: usize = 16;
const MAX_FILES: usize = 10_000;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub handle: String,
    /// Where the archive came from after redirects; nothing for a module that Python had downloaded.
    pub url: Option<String>,
    pub etag: Option<String>,
    /// Of the archive.
    pub sha256: Option<String>,
    pub bytes: Option<u64>,
    /// Seconds since 1970.
    pub verified: u64,
    pub files: Vec<FileRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileRecord {
    /// Below the module's folder, with `/`.
    pub path: String,
    pub bytes: u64,
    /// When the file was last written, in nanoseconds since 1970: if this has changed, so may have the content.
    pub modified_ns: u64,
    pub sha256: String,
}

impl Manifest {
    /// Describes the module in `folder` as it is now.
    pub fn of(handle: &str, folder: &Path, download: Option<&Download>) -> Result<Manifest> {
        let mut files = Vec::new();
        for file in files_below(folder)? {
            let sha256 = file_sha256(&folder.join(&file.path))?;
            files.push(FileRecord { sha256, ..file });
        }
        Ok(Manifest {
            handle: handle.to_string(),
            url: download.map(|download| download.url.clone()),
            etag: download.and_then(|download| download.etag.clone()),
            sha256: download.map(|download| download.sha256.clone()),
            bytes: download.map(|download| download.bytes),
            verified: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()),
            files,
        })
    }

    /// The manifest of `entry`; nothing where there is none, or one that cannot be read.
    pub fn read(entry: &Entry) -> Option<Manifest> {
        let text = fs::read(entry.manifest()).ok()?;
        serde_json::from_slice(&text).ok()
    }

    pub fn write(&self, entry: &Entry) -> Result<()> {
        let path = entry.manifest();
        let text = serde_json::to_string_pretty(self).map_err(io::Error::from);
        text.and_then(|text| write_atomically(&path, &(text + "\n")))
            .map_err(|error| Error::io(path.display().to_string(), error))
    }

    /// Whether the module has the same files with the same lengths and times as when it was verified.
    pub fn is_unchanged(&self, folder: &Path) -> bool {
        files_below(folder).is_ok_and(|files| {
            files.len() == self.files.len()
                && files.iter().zip(&self.files).all(|(now, then)| {
                    (&now.path, now.bytes, now.modified_ns) == (&then.path, then.bytes, then.modified_ns)
                })
        })
    }

    /// Compares every byte of the module with what was verified.
    pub fn check_contents(&self, folder: &Path) -> Result<()> {
        let found = files_below(folder)?;
        for expected in &self.files {
            let place = folder.join(&expected.path).display().to_string();
            let Some(file) = found.iter().find(|file| file.path == expected.path) else {
                return Err(Error::corrupt(place, "the file is missing"));
            };
            if file.bytes != expected.bytes {
                let message = format!("{} bytes expected, {} found", expected.bytes, file.bytes);
                return Err(Error::corrupt(place, message));
            }
            if file_sha256(&folder.join(&file.path))? != expected.sha256 {
                return Err(Error::corrupt(place, "the bytes are not those that were downloaded"));
            }
        }
        Ok(())
    }
}

/// All files below `folder`, sorted by path, their `sha256` left empty.
fn files_below(folder: &Path) -> Result<Vec<FileRecord>> {
    let mut files = Vec::new();
    let mut folders = vec![(folder.to_path_buf(), String::new(), 0)];
    while let Some((folder, prefix, depth)) = folders.pop() {
        let place = folder.display().to_string();
        let failed = |error| Error::io(&place, error);
        for item in fs::read_dir(&folder).map_err(failed)? {
            let item = item.map_err(failed)?;
            let name = format!("{prefix}{}", item.file_name().to_string_lossy());
            let meta = fs::metadata(item.path())
                .map_err(|error| Error::io(item.path().display().to_string(), error))?;
            if depth == MAX_DEPTH || files.len() == MAX_FILES {
                return Err(Error::new(ErrorKind::Limit, place, "too many files to be a module"));
            }
            if meta.is_dir() {
                folders.push((item.path(), format!("{name}/"), depth + 1));
            } else {
                let modified = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                files.push(FileRecord {
                    path: name,
                    bytes: meta.len(),
                    modified_ns: modified.and_then(|time| u64::try_from(time.as_nanos()).ok()).unwrap_or(0),
                    sha256: String::new(),
                });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// SHA-256 of a file, in hexadecimal.
pub(super) fn file_sha256(path: &Path) -> Result<String> {
    let mut hasher = Hashing(Sha256::new());
    File::open(path)
        .and_then(|mut file| io::copy(&mut file, &mut hasher))
        .map_err(|error| Error::io(path.display().to_string(), error))?;
    Ok(hex(&hasher.0.finalize()))
}

/// A writer that keeps nothing but the hash.
struct Hashing(Sha256);

impl io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
