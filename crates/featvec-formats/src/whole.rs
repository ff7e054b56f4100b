//! Files and folders that appear whole or not at all.

use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Has `write` make a file or folder under a name beside `path`, and gives it its real name when that went well. A file
/// that is there already is replaced; a folder must be empty or not there.
///
/// After an error nothing is left behind; after a crash there may be a leftover whose name ends in `.part`.
///
/// # Errors
/// Those of `write`; a folder that is not there or cannot be written to, a full disk.
pub fn write_whole(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let temporary = temporary_beside(path);
    let written = write(&temporary).and_then(|()| {
        fs::rename(&temporary, path).map_err(|error| Error::io(path.display().to_string(), error))
    });
    if written.is_err() {
        // Either may be there, or neither.
        let _ = fs::remove_file(&temporary).or_else(|_| fs::remove_dir_all(&temporary));
    }
    written
}

/// Has `work` use an empty folder beside `path`, which is then removed with all that is still in it.
///
/// # Errors
/// Those of `work`; a folder that is not there or cannot be written to, a full disk.
pub fn with_scratch_folder(path: &Path, work: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let scratch = temporary_beside(path);
    fs::create_dir(&scratch).map_err(|error| Error::io(path.display().to_string(), error))?;
    let result = work(&scratch);
    // What cannot be removed is called .part, so that nobody takes it for more.
    let _ = fs::remove_dir_all(&scratch);
    result
}

/// Writes the file `path` whole, replacing the one that is there.
///
/// # Errors
/// As of [`write_whole`].
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let at_path = |error| Error::io(path.display().to_string(), error);
    write_whole(path, |temporary| write_new_file(temporary, bytes).map_err(at_path))
}

/// Files by their paths in a folder or an archive, with `/` between folders, in the order in which they are written.
pub type NamedFiles = Vec<(String, Vec<u8>)>;

/// Writes a folder of `files` whole; it must be empty or not there.
///
/// # Errors
/// As of [`write_whole`].
pub fn write_folder(path: &Path, files: &NamedFiles) -> Result<()> {
    let at_path = |error| Error::io(path.display().to_string(), error);
    write_whole(path, |temporary| {
        fs::create_dir(temporary).map_err(at_path)?;
        for (name, bytes) in files {
            let file = temporary.join(name);
            file.parent().map_or(Ok(()), fs::create_dir_all).map_err(at_path)?;
            write_new_file(&file, bytes).map_err(at_path)?;
        }
        Ok(())
    })
}

/// The bytes are on the disk, not only on their way there, when this returns.
fn write_new_file(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A name beside `path` that nothing has, ending in `.part`.
pub fn temporary_beside(path: &Path) -> PathBuf {
    // In a container, a process that was killed and the next one often have the same number.
    with_ending(path, &format!(".{:016x}.part", RandomState::new().build_hasher().finish()))
}

/// `path` with `ending` appended to the name that it ends in, which a slash may follow.
pub(crate) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    path.with_file_name(name)
}
