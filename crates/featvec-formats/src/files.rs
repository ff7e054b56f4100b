//! A set of named files: a folder on disk, or an archive unpacked into memory.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::limits::{Limit, check_limit};
use crate::{Error, ErrorKind, Result};

/// Files by their names relative to a root, with `/` between folders.
#[derive(Clone, Debug)]
pub(crate) enum Files {
    /// The files below a folder.
    Folder(PathBuf),
    /// The members of an archive, and the archive's path for messages.
    Memory { archive: PathBuf, members: BTreeMap<String, Vec<u8>> },
}

impl Files {
    /// The folder's or the archive's path.
    pub(crate) fn root(&self) -> &Path {
        match self {
            Files::Folder(path) => path,
            Files::Memory { archive, .. } => archive,
        }
    }

    /// Where `name` is, in words.
    pub(crate) fn place(&self, name: &str) -> String {
        match self {
            Files::Folder(path) => path.join(name).display().to_string(),
            Files::Memory { archive, .. } => format!("{}: {name}", archive.display()),
        }
    }

    /// Whether there is a file `name`.
    pub(crate) fn contains(&self, name: &str) -> bool {
        match self {
            Files::Folder(path) => path.join(name).is_file(),
            Files::Memory { members, .. } => members.contains_key(name),
        }
    }

    /// The names of the files in `folder`, sorted, without those in folders below it. The root is `""`; a folder that
    /// does not exist is empty.
    pub(crate) fn list(&self, folder: &str) -> Result<Vec<String>> {
        let mut names = Vec::new();
        match self {
            Files::Folder(path) => {
                let path = path.join(folder);
                if !path.is_dir() {
                    return Ok(names);
                }
                let place = || path.display().to_string();
                for entry in path.read_dir().map_err(|error| Error::io(place(), error))? {
                    let entry = entry.map_err(|error| Error::io(place(), error))?;
                    if let (Ok(name), true) = (entry.file_name().into_string(), entry.path().is_file()) {
                        names.push(name);
                    }
                }
                names.sort();
            }
            Files::Memory { members, .. } => {
                let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
                let inside = members.keys().filter_map(|name| name.strip_prefix(&prefix));
                names.extend(inside.filter(|name| !name.contains('/')).map(str::to_owned));
            }
        }
        Ok(names)
    }

    /// The length of the file `name` in bytes.
    pub(crate) fn length(&self, name: &str) -> Result<u64> {
        match self {
            Files::Folder(_) => {
                let file = self.open(name)?;
                Ok(file.metadata().map_err(|error| Error::io(self.place(name), error))?.len())
            }
            Files::Memory { .. } => Ok(self.member(name)?.len() as u64),
        }
    }

    /// The whole file `name`, if it has at most `limit` bytes (the limit's name comes first).
    pub(crate) fn read(&self, name: &str, limit: Limit) -> Result<Cow<'_, [u8]>> {
        let place = self.place(name);
        match self {
            Files::Folder(path) => Ok(Cow::Owned(read_file(&path.join(name), limit)?)),
            Files::Memory { .. } => {
                let bytes = self.member(name)?;
                check_limit(&place, "bytes", bytes.len() as u64, limit)?;
                Ok(Cow::Borrowed(bytes))
            }
        }
    }

    /// The `length` bytes of the file `name` from `offset` on, which the caller has compared with the file's length.
    pub(crate) fn read_range(&self, name: &str, offset: u64, length: usize) -> Result<Cow<'_, [u8]>> {
        match self {
            Files::Folder(_) => {
                let mut file = self.open(name)?;
                let mut bytes = vec![0; length];
                file.seek(SeekFrom::Start(offset))
                    .and_then(|_| file.read_exact(&mut bytes))
                    .map_err(|error| Error::io(self.place(name), error))?;
                Ok(Cow::Owned(bytes))
            }
            Files::Memory { .. } => usize::try_from(offset)
                .ok()
                .and_then(|offset| self.member(name).ok()?.get(offset..)?.get(..length))
                .map(Cow::Borrowed)
                .ok_or_else(|| Error::corrupt(self.place(name), "the file ends too early")),
        }
    }

    fn open(&self, name: &str) -> Result<File> {
        open_file(&self.root().join(name))
    }

    fn member(&self, name: &str) -> Result<&[u8]> {
        let missing = || Error::new(ErrorKind::Corrupt, self.place(name), "the archive has no such file");
        match self {
            Files::Folder(_) => Err(missing()),
            Files::Memory { members, .. } => members.get(name).map(Vec::as_slice).ok_or_else(missing),
        }
    }
}

/// Opens a regular file; a device or a pipe would never end.
pub(crate) fn open_file(path: &Path) -> Result<File> {
    let io = |error| Error::io(path.display().to_string(), error);
    // Asked before opening, since opening a pipe waits for its writer.
    if !path.metadata().map_err(io)?.is_file() {
        return Err(Error::new(ErrorKind::Argument, path.display().to_string(), "not a regular file"));
    }
    File::open(path).map_err(io)
}

/// Reads a regular file of at most `limit` bytes.
pub(crate) fn read_file(path: &Path, limit: Limit) -> Result<Vec<u8>> {
    let place = path.display().to_string();
    let io = |error| Error::io(&*place, error);
    let file = open_file(path)?;
    let length = file.metadata().map_err(io)?.len();
    check_limit(&place, "bytes", length, limit)?;
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    // The file may have grown since it was asked for its length.
    file.take(limit.1.saturating_add(1)).read_to_end(&mut bytes).map_err(io)?;
    check_limit(&place, "bytes", bytes.len() as u64, limit)?;
    Ok(bytes)
}
