//! Files and folders that appear whole or not at all.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use featvec::{Error, ErrorKind, Result};

/// The code with which shells report a program that was interrupted.
const INTERRUPTED: i32 = 130;

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
            discard(&self.temporary);
        }
        unfinished().remove(&self.temporary);
    }
}

/// Has `write` make a folder beside `target`, and gives it its real name when that went well. A folder that is there is
/// moved out of the way at the last moment, and then removed.
///
/// # Errors
/// Those of `write`; a folder above that is not there or cannot be written to.
pub fn write_folder(target: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let at_target = |error| Error::io(target.display().to_string(), error);
    let [temporary, replaced] = [temporary_beside(target), temporary_beside(target)];
    remove_when_interrupted();
    unfinished().insert(temporary.clone());
    let written = write(&temporary).and_then(|()| {
        // From here on Ctrl-C comes too early or too late.
        let mut unfinished = unfinished();
        let had_one = target.exists();
        if had_one {
            fs::rename(target, &replaced).map_err(at_target)?;
        }
        if let Err(error) = fs::rename(&temporary, target) {
            if had_one {
                let _ = fs::rename(&replaced, target);
            }
            return Err(at_target(error));
        }
        unfinished.remove(&temporary);
        Ok(())
    });
    discard(&temporary);
    discard(&replaced);
    unfinished().remove(&temporary);
    written
}

/// A name for what will become `target`.
fn temporary_beside(target: &Path) -> PathBuf {
    let mut temporary = target.as_os_str().to_owned();
    // In a container, a process that was killed and the next one often have the same number.
    temporary.push(format!(".{:016x}.part", RandomState::new().build_hasher().finish()));
    PathBuf::from(temporary)
}

/// Removes a file or folder, if it is there; what cannot be removed stays.
fn discard(path: &Path) {
    let _ = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
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
            unfinished().iter().for_each(|path| discard(path));
            std::process::exit(INTERRUPTED);
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
