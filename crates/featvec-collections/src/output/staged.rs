//! A file of an output being written: hashed on the way, synced to the disk, and renamed when all files of the output
//! are so far.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use featvec::{Error, ErrorKind, Result};

use crate::hashing::{Hashing, hex};
use crate::manifest::FileRecord;
use crate::parts::{UNFINISHED, sync_folder};

/// A file that is not in its place yet. Dropped before that, it is removed.
#[derive(Debug)]
pub(crate) struct Staged {
    /// None once it is complete.
    stream: Option<BufWriter<Hashing<File>>>,
    temporary: PathBuf,
    target: PathBuf,
}

impl Staged {
    /// Begins what will be `target`, in the folder `scratch` on the same file system.
    pub fn create(scratch: &Path, target: &Path) -> Result<Staged> {
        let place = target.display().to_string();
        if fs::metadata(target).is_ok_and(|meta| !meta.is_file()) {
            let message = "not a plain file, so it cannot be replaced by one";
            return Err(Error::new(ErrorKind::Argument, place, message));
        }
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(".");
        name.push(UNFINISHED);
        let temporary = scratch.join(name);
        let file = File::create(&temporary).map_err(|error| Error::io(place, error))?;
        Ok(Staged { stream: Some(BufWriter::new(Hashing::new(file))), temporary, target: target.to_owned() })
    }

    /// Puts all bytes on the disk, and tells what they are.
    pub fn complete(mut self) -> Result<(Staged, FileRecord)> {
        let stream = self.stream.take().ok_or_else(|| self.error(io::ErrorKind::NotFound.into()))?;
        let hashing = stream.into_inner().map_err(|error| self.error(error.into_error()))?;
        let (file, bytes, hash) = hashing.finish();
        file.sync_all().map_err(|error| self.error(error))?;
        let name = self.target.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok((self, FileRecord { name, bytes, sha256: hex(&hash) }))
    }

    /// Puts complete files in their places, in their order.
    pub fn commit(files: Vec<Staged>) -> Result<()> {
        for file in &files {
            fs::rename(&file.temporary, &file.target).map_err(|error| file.error(error))?;
        }
        match files.first() {
            Some(file) => sync_folder(folder_of(&file.target)).map_err(|error| file.error(error)),
            None => Ok(()),
        }
    }

    /// `error` with the name of the file.
    pub fn error(&self, error: io::Error) -> Error {
        Error::io(self.target.display().to_string(), error)
    }

    pub fn target(&self) -> &Path {
        &self.target
    }
}

/// The folder in which `path` lies.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.as_mut().ok_or(io::ErrorKind::NotFound)?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Not there if it has been renamed.
        let _ = fs::remove_file(&self.temporary);
    }
}
