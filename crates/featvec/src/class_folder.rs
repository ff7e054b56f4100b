//! A folder of pictures in which each sub-folder is a class.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::pictures::{Found, find};
use crate::{Error, ErrorKind, Result};

/// The pictures below a folder, by class.
#[derive(Debug, Default)]
pub struct ClassFolder {
    /// The classes that have pictures, by name, in ascending order of its bytes.
    pub classes: Vec<Class>,
    /// Sub-folders without a picture.
    pub empty: Vec<String>,
    /// What cannot be read: sub-folders, links that lead nowhere.
    pub failures: Vec<(PathBuf, Error)>,
}

/// A sub-folder.
#[derive(Debug, PartialEq, Eq)]
pub struct Class {
    /// Its name, which is the class's label.
    pub label: String,
    /// The pictures in it and in its own sub-folders, sorted, each as the folder's path with the rest joined to it.
    pub pictures: Vec<PathBuf>,
}

impl ClassFolder {
    /// Looks through `folder`: for pictures by the ends of their names, as [`find`] does, without opening them.
    ///
    /// # Errors
    /// A folder that cannot be read; a sub-folder whose name cannot be a label: not UTF-8, or with control characters.
    pub fn read(folder: &Path) -> Result<ClassFolder> {
        let mut read = ClassFolder::default();
        for path in sub_folders(folder)? {
            let label = label(&path)?;
            let mut pictures = Vec::new();
            let mut failed = false;
            for found in find([path.clone()]) {
                match found {
                    Found::Picture(picture) => pictures.push(picture),
                    // That there are no pictures.
                    Found::Failed(place, error) if place == path && error.kind() == ErrorKind::Argument => {}
                    Found::Failed(place, error) => {
                        failed = true;
                        read.failures.push((place, error));
                    }
                    Found::Array(_) => unreachable!("only pictures are looked for in folders"),
                }
            }
            match pictures.is_empty() {
                true if failed => {}
                true => read.empty.push(label),
                false => read.classes.push(Class { label, pictures }),
            }
        }
        Ok(read)
    }

    /// The labels of the classes, in their order.
    pub fn labels(&self) -> Vec<String> {
        self.classes.iter().map(|class| class.label.clone()).collect()
    }
}

/// The folders in `folder` that are not hidden, by name.
pub(crate) fn sub_folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error| Error::io(folder.display().to_string(), error);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if !name.as_encoded_bytes().starts_with(b".") && folder.join(&name).is_dir() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names.iter().map(|name| folder.join(name)).collect())
}

fn label(path: &Path) -> Result<String> {
    let name = path.file_name().unwrap_or(OsStr::new(""));
    let label = name.to_str().filter(|name| !name.contains(char::is_control) && name.trim() == *name);
    label.map(String::from).ok_or_else(|| {
        let message = "its name cannot be a label, which is one line of text without spaces around it";
        Error::new(ErrorKind::Argument, format!("folder {path:?}"), message).with_hint("rename the folder")
    })
}
