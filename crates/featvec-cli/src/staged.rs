//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use featvec::{Error, ErrorKind, Result};

/// A file being written beside the place where it will appear.
#[derive(Debug)]
pub struct Staged {
    stream: BufWriter<File>,
    temporary: PathBuf,
    target: PathBuf,
    done: bool,
}

impl Staged {
    /// Begins a file that will replace `target`.
    ///
    /// # Errors
    /// A folder that is not there or cannot be written to; a `target` that is no plain file, such as a device.
    pub fn create(target: &Path) -> Result<Staged> {
        let place = target.display().to_string();
        if fs::metadata(target).is_ok_and(|meta| !meta.is_file()) {
            return Err(Error::new(
                ErrorKind::Argument,
                place,
                "not a plain file, so it cannot be replaced by one",
            ));
        }
        // A symbolic link stays one: what it points to is replaced.
        let target = fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
        let mut temporary = target.clone().into_os_string();
        temporary.push(format!(".{}.part", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let file = File::create_new(&temporary).map_err(|error| Error::io(place, error))?;
        Ok(Staged { stream: BufWriter::new(file), temporary, target, done: false })
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// A full disk, or a place that is no longer there.
    pub fn commit(mut self) -> Result<()> {
        self.stream
            .flush()
            .and_then(|()| fs::rename(&self.temporary, &self.target))
            .map_err(|error| self.error(error))?;
        self.done = true;
        Ok(())
    }

    /// `error` with the name of the file.
    pub fn error(&self, error: io::Error) -> Error {
        Error::io(self.target.display().to_string(), error)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Seek for Staged {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.stream.seek(to)
    }
}
