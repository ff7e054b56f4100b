//! The pictures of a folder, found as they are asked for.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use featvec::pictures::EXTENSIONS;
use featvec::{Error, ErrorKind, Result};
use ignore::overrides::OverrideBuilder;
use ignore::{Walk, WalkBuilder};

use super::kind::is_picture;
use super::place::Place;
use super::{Draft, Located, Source, SourceOptions, Wanted};
use crate::Content;

/// The name of a file with rules, as in a `.gitignore`, for what is not looked at in its folder and below.
pub const IGNORE_FILE: &str = ".featvecignore";

/// A folder's pictures: the files below it whose names say that they are pictures, each folder sorted by name.
pub(super) struct Folder {
    path: PathBuf,
    walk: Walk,
    is_empty: bool,
}

impl Folder {
    /// # Errors
    /// An exclusion that is no pattern.
    pub(super) fn open(path: PathBuf, options: &SourceOptions) -> Result<Folder> {
        let walk = walker(&path, options)?.build();
        Ok(Folder { path, walk, is_empty: true })
    }

    fn found(&mut self, entry: std::result::Result<ignore::DirEntry, ignore::Error>) -> Option<Draft> {
        match entry {
            Ok(entry) => {
                if let Some(error) = entry.error() {
                    let key = Place::Path(entry.path().join(IGNORE_FILE)).key();
                    return Some(Draft::failed(key, walk_error(error).1));
                }
                let is_file = entry.file_type().is_some_and(|kind| kind.is_file());
                (is_file && has_picture_name(entry.path())).then(|| {
                    let path = entry.into_path();
                    let key = Place::Path(path.clone()).key();
                    Draft { key, content: Ok(Located::Here(Content::File(path))), columns: None }
                })
            }
            Err(error) => {
                let (path, error) = walk_error(&error);
                let path = path?;
                // What the system says now, in its own words.
                let again = if path.is_dir() { fs::read_dir(&path).err() } else { fs::metadata(&path).err() };
                let error = again.map_or(error, |error| Error::io("", error));
                // A link that leads nowhere matters if it should be a picture.
                (path.is_dir() || has_picture_name(&path))
                    .then(|| Draft::failed(Place::Path(path).key(), error))
            }
        }
    }
}

impl Source for Folder {
    fn next(&mut self, wanted: &mut Wanted<'_>) -> Option<Draft> {
        while let Some(entry) = self.walk.next() {
            if let Some(draft) = self.found(entry) {
                self.is_empty = false;
                if wanted(&draft.key) {
                    return Some(draft);
                }
            }
        }
        if !std::mem::take(&mut self.is_empty) {
            return None;
        }
        let error = Error::new(ErrorKind::Argument, "", "no pictures in this folder").with_hint(format!(
            "looked for names that end in {}; shards and tables in a folder are named one by one, or by a pattern",
            EXTENSIONS.join(", ")
        ));
        Some(Draft::failed(Place::Path(self.path.clone()).key(), error)).filter(|draft| wanted(&draft.key))
    }
}

/// A walk below `path` in the order of names, as `options` say.
///
/// # Errors
/// An exclusion that is no pattern.
pub(super) fn walker(path: &Path, options: &SourceOptions) -> Result<WalkBuilder> {
    let mut exclusions = OverrideBuilder::new(path);
    for pattern in &options.exclude {
        let bad = |error: ignore::Error| {
            Error::new(ErrorKind::Argument, format!("--exclude {pattern}"), error.to_string())
                .with_hint("patterns are those of a .gitignore: *.png, thumbnails/")
        };
        exclusions.add(&format!("!{pattern}")).map_err(bad)?;
    }
    let exclusions =
        exclusions.build().map_err(|error| Error::new(ErrorKind::Argument, "--exclude", error.to_string()))?;
    let mut walker = WalkBuilder::new(path);
    walker
        .standard_filters(false)
        .hidden(!options.hidden)
        .follow_links(options.follow_links)
        .overrides(exclusions)
        .sort_by_file_name(OsStr::cmp);
    if options.ignore_files {
        walker.add_custom_ignore_filename(IGNORE_FILE);
    }
    Ok(walker)
}

fn has_picture_name(path: &Path) -> bool {
    path.file_name().and_then(OsStr::to_str).is_some_and(is_picture)
        || path.extension().and_then(OsStr::to_str).is_some_and(|end| is_picture(&format!(".{end}")))
}

/// Where a walk failed and why. A link back into a folder that is being walked is nowhere: its pictures are there already.
fn walk_error(error: &ignore::Error) -> (Option<PathBuf>, Error) {
    use ignore::Error as Walk;
    match error {
        Walk::WithPath { path, err } => (Some(path.clone()), walk_error(err).1),
        Walk::WithDepth { err, .. } => walk_error(err),
        _ => (None, Error::new(ErrorKind::Argument, "", error.to_string())),
    }
}
