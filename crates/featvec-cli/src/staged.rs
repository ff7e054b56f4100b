//! Files and folders that appear whole or not at all.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use featvec::{Error, ErrorKind, Result, temporary_beside};

use crate::stop::INTERRUPTED;

/// The files and folders that are not in their places yet.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

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
        let temporary = temporary_beside(&target);
        remove_when_interrupted();
        let mut unfinished = unfinished();
        let file = File::create_new(&temporary).map_err(|error| Error::io(place, error))?;
        unfinished.insert(temporary.clone());
        Ok(Staged { stream: BufWriter::new(file), temporary, target, done: false })
    }

    /// Puts files in their places, in their order, once all of them are written.
    ///
    /// # Errors
    /// A full disk, or a place that is no longer there.
    pub fn commit_all(mut files: Vec<Staged>) -> Result<()> {
        for file in &mut files {
            file.stream.flush().map_err(|error| file.error(error))?;
        }
        for mut file in files {
            fs::rename(&file.temporary, &file.target).map_err(|error| file.error(error))?;
            file.done = true;
        }
        Ok(())
    }

    /// The bytes written so far, as the file has them.
    ///
    /// # Errors
    /// A full disk; a file that somebody else removed.
    pub fn read_back(&mut self) -> Result<Vec<u8>> {
        self.stream.flush().and_then(|()| fs::read(&self.temporary)).map_err(|error| self.error(error))
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
        unfinished().remove(&self.temporary);
    }
}

/// A folder beside a place, in which what will stand there is made.
#[derive(Debug)]
pub struct StagedFolder {
    temporary: PathBuf,
    target: PathBuf,
}

impl StagedFolder {
    /// Begins what will stand at `target`, or have names that begin with it.
    ///
    /// # Errors
    /// A folder that is not there or cannot be written to; a `target` without a name.
    pub fn beside(target: &Path) -> Result<StagedFolder> {
        let place = target.display().to_string();
        if target.file_name().is_none() {
            return Err(Error::new(ErrorKind::Argument, place, "the name of a file or folder expected"));
        }
        let temporary = temporary_beside(target);
        remove_when_interrupted();
        let mut unfinished = unfinished();
        fs::create_dir(&temporary).map_err(|error| Error::io(place, error))?;
        unfinished.insert(temporary.clone());
        Ok(StagedFolder { temporary, target: target.to_owned() })
    }

    /// Where it is made.
    pub fn path(&self) -> PathBuf {
        self.temporary.join(self.target.file_name().unwrap_or_default())
    }

    /// Moves all that was made beside `target`, in the order of the names, but what is called `last` comes last. Files
    /// replace files, a folder replaces a folder.
    ///
    /// # Errors
    /// A place that is no longer there; a file where a folder is, or a folder where a file is.
    pub fn commit(self, last: &str) -> Result<()> {
        let at = |path: &Path, error| Error::io(path.display().to_string(), error);
        // Ctrl-C waits: a folder that was moved away for another one must not be removed before that one is there.
        let _uninterrupted = unfinished();
        let entries = fs::read_dir(&self.temporary).map_err(|error| at(&self.target, error))?;
        let mut names: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
        names.sort_by_key(|name| (name == last, name.clone()));
        for name in names {
            let (made, place) = (self.temporary.join(&name), self.target.with_file_name(&name));
            let replaced = self.temporary.join("replaced.part");
            let replaces_folder = place.is_dir() && made.is_dir();
            if replaces_folder {
                fs::rename(&place, &replaced).map_err(|error| at(&place, error))?;
            }
            if let Err(error) = fs::rename(&made, &place) {
                if replaces_folder {
                    let _ = fs::rename(&replaced, &place);
                }
                return Err(at(&place, error));
            }
        }
        Ok(())
    }
}

impl Drop for StagedFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.temporary);
        unfinished().remove(&self.temporary);
    }
}

fn unfinished() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has Ctrl-C, and what else ends a program in order, remove the unfinished files first.
fn remove_when_interrupted() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // It fails where one of the signals is ignored, as by `nohup`: all are then left as they are.
        let _ = ctrlc::try_set_handler(|| {
            for path in &*unfinished() {
                let _ = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
            }
            std::process::exit(INTERRUPTED.into());
        });
    });
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
