//! From the paths that a user names to the files with pictures.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::is_array;
use crate::{Error, ErrorKind};

/// What the names of pictures end in, in any case; in folders only these are looked at.
pub const EXTENSIONS: [&str; 11] =
    ["jpg", "jpeg", "jpe", "jfif", "png", "gif", "bmp", "dib", "webp", "tif", "tiff"];

/// What was found under a path.
#[derive(Debug)]
pub enum Found {
    /// A file that should hold a picture; its content will tell.
    Picture(PathBuf),
    /// A numpy file (`.npy`) that should hold a batch of images.
    Array(PathBuf),
    /// A path that leads nowhere, and why.
    Failed(PathBuf, Error),
}

/// The files that `named` stands for, in its order: a file stands for itself whatever its name; a folder for the files
/// in it and in its folders whose names end in one of [`EXTENSIONS`], sorted by name, without hidden ones.
///
/// Symbolic links are followed, but never back into a folder that is being walked.
pub fn find(named: impl IntoIterator<Item = PathBuf>) -> Vec<Found> {
    let mut walk = Walk::default();
    for path in named {
        match fs::metadata(&path) {
            Err(error) => walk.found.push(Found::Failed(path, Error::io("", error))),
            Ok(meta) if meta.is_dir() => {
                let before = walk.found.len();
                walk.folder(&path);
                if walk.found.len() == before {
                    let error = Error::new(ErrorKind::Argument, "", "no pictures in this folder")
                        .with_hint(format!("looked for names that end in {}", EXTENSIONS.join(", ")));
                    walk.found.push(Found::Failed(path, error));
                }
            }
            Ok(_) if is_array(&path) => walk.found.push(Found::Array(path)),
            Ok(_) => walk.found.push(Found::Picture(path)),
        }
    }
    walk.found
}

#[derive(Default)]
struct Walk {
    found: Vec<Found>,
    /// The folders between the one that was named and the one being read, without links.
    parents: Vec<PathBuf>,
}

impl Walk {
    fn folder(&mut self, path: &Path) {
        let entries = fs::canonicalize(path).and_then(|real| {
            let entries: std::io::Result<Vec<_>> = fs::read_dir(path)?.collect();
            Ok((real, entries?))
        });
        let (real, mut entries) = match entries {
            Ok(entries) => entries,
            Err(error) => {
                self.found.push(Found::Failed(path.to_owned(), Error::io("", error)));
                return;
            }
        };
        if self.parents.contains(&real) {
            return;
        }
        self.parents.push(real);
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            if !is_hidden(&entry.file_name()) {
                self.entry(entry.path());
            }
        }
        self.parents.pop();
    }

    fn entry(&mut self, path: PathBuf) {
        match fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => self.folder(&path),
            Ok(meta) if meta.is_file() && is_picture(&path) => self.found.push(Found::Picture(path)),
            Err(error) if is_picture(&path) => self.found.push(Found::Failed(path, Error::io("", error))),
            _ => {}
        }
    }
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

fn is_picture(path: &Path) -> bool {
    path.extension().is_some_and(|found| EXTENSIONS.iter().any(|known| found.eq_ignore_ascii_case(known)))
}
