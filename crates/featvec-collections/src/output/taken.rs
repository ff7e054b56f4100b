//! Files that an output must not take the place of.

use std::fs;
use std::path::{Path, PathBuf};

use featvec::{Error, ErrorKind, Result};

use super::{Format, companion, folder_of, real};
use crate::manifest::Manifest;

/// Refuses an output `target` in `format` that would replace one of `inputs`, or a file that belongs to another output:
/// by itself, by its manifest, or by the lists beside it.
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
    let refused = |place: &Path, message: String| {
        Err(Error::new(ErrorKind::Argument, place.display().to_string(), message)
            .with_hint("name another output, or one in another folder"))
    };
    if files.is_empty() {
        return Ok(());
    }
    if let Some(input) = inputs.into_iter().find(|input| is_taken(input)) {
        return refused(input, "it is an input, and cannot be the output too or a file beside it".into());
    }
    for other in outputs_beside(&target) {
        // One that cannot be read says nothing of its files.
        let manifest = Manifest::read(&other).ok().flatten();
        let names = manifest.iter().flat_map(|manifest| &manifest.files).map(|record| &record.name);
        if let Some(file) = names.map(|name| other.with_file_name(name)).find(|file| is_taken(file)) {
            return refused(&file, format!("it belongs to the output {}", other.display()));
        }
    }
    Ok(())
}

/// What is written for the output `target`, or removed.
fn files_of(target: &Path, format: Format) -> Vec<PathBuf> {
    let mut files = vec![target.to_owned(), Manifest::path_of(target)];
    if !format.has_failed_rows() {
        files.push(companion(target, "failed"));
    }
    if format.has_paths() {
        files.push(companion(target, "paths"));
    }
    files
}

/// Other outputs in the folder of `target` whose names begin as its own does, by their manifests.
fn outputs_beside(target: &Path) -> Vec<PathBuf> {
    let name = |path: &Path| path.file_name().unwrap_or_default().as_encoded_bytes().to_owned();
    let begin = |path: &Path| name(path).split(|byte| *byte == b'.').next().map(<[u8]>::to_owned);
    let entries = fs::read_dir(folder_of(target)).into_iter().flatten().flatten();
    let outputs = entries.filter_map(|entry| {
        let manifest = entry.path();
        let stem = manifest.with_extension("");
        let output = stem.with_extension("");
        let is_one = manifest.extension() == Some("json".as_ref())
            && stem.extension() == Some("manifest".as_ref())
            && begin(&output) == begin(target)
            && name(&output) != name(target)
            && output.exists();
        is_one.then_some(output)
    });
    outputs.collect()
}
