//! Files that an output must not take the place of.

use std::fs;
use std::path::{Path, PathBuf};

use featvec::{Error, ErrorKind, Result};

use super::{Format, companion, real};
use crate::manifest::Manifest;

/// Refuses an output `target` in `format` that would replace one of `inputs`: by itself, by its manifest, or by the lists
/// beside it.
///
/// # Errors
/// [`ErrorKind::Argument`], with what would be replaced.
pub fn refuse_overwriting<'a>(
    target: &Path,
    format: Format,
    inputs: impl IntoIterator<Item = &'a Path>,
) -> Result<()> {
    let target = real(target);
    let files: Vec<PathBuf> =
        files_of(&target, format).iter().filter_map(|file| fs::canonicalize(file).ok()).collect();
    let is_taken = |path: &Path| fs::canonicalize(path).is_ok_and(|path| files.contains(&path));
    match inputs.into_iter().find(|input| is_taken(input)) {
        Some(input) => {
            let message = "it is an input, and cannot be the output too or a file beside it";
            Err(Error::new(ErrorKind::Argument, input.display().to_string(), message)
                .with_hint("name another output, or one in another folder"))
        }
        None => Ok(()),
    }
}

/// What is written for the output `target`, or removed: the table, its manifest, the lists beside it.
pub fn files_of(target: &Path, format: Format) -> Vec<PathBuf> {
    let mut files = vec![target.to_owned(), Manifest::path_of(target)];
    if !format.has_failed_rows() {
        files.push(companion(target, "failed"));
    }
    if format.has_paths() {
        files.push(companion(target, "paths"));
    }
    files
}
