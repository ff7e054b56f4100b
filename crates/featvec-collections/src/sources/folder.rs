//! The pictures of a folder, found as they are asked for.

use std::ffi::OsStr;
use std::fs;
use std::io;
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
                    return Missed::of(error).map(|missed| Draft::failed(key, missed.error));
                }
                let is_file = entry.file_type().is_some_and(|kind| kind.is_file());
                (is_file && has_picture_name(entry.path())).then(|| {
                    let path = entry.into_path();
                    let key = Place::Path(path.clone()).key();
                    Draft { key, content: Ok(Located::Here(Content::File(path))), columns: None }
                })
            }
            Err(error) => {
                let Missed { path, error } = Missed::of(&error)?;
                // A link that leads nowhere matters if it should be a picture.
                let matters = path.as_ref().is_none_or(|path| !is_nowhere(path) || has_picture_name(path));
                let path = path.unwrap_or_else(|| self.path.clone());
                matters.then(|| Draft::failed(Place::Path(path).key(), error))
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
    let exclusions = exclusions
        .build()
        .map_err(|error| Error::new(ErrorKind::Argument, "--exclude", error.to_string()))?;
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

/// What a walk could not look at, and why.
pub(super) struct Missed {
    /// Without a path it is something in a folder whose entries could not be read to the end.
    pub(super) path: Option<PathBuf>,
    pub(super) error: Error,
}

impl Missed {
    /// What `error` kept from being found. A link back into a folder that is being walked is nothing: its pictures are
    /// there already.
    pub(super) fn of(error: &ignore::Error) -> Option<Missed> {
        use ignore::Error as Walk;
        match error {
            Walk::Loop { .. } => None,
            Walk::WithPath { path, err } => {
                let Missed { error, .. } = Missed::of(err)?;
                // What the system says now, in its own words.
                let again = if path.is_dir() { fs::read_dir(path).err() } else { fs::metadata(path).err() };
                let error = again.map_or(error, |error| Error::io("", error));
                Some(Missed { path: Some(path.clone()), error })
            }
            Walk::WithDepth { err, .. } => Missed::of(err),
            Walk::Io(io) => Some(Missed { path: None, error: Error::new(ErrorKind::Io, "", io.to_string()) }),
            other => {
                Some(Missed { path: None, error: Error::new(ErrorKind::Argument, "", other.to_string()) })
            }
        }
    }
}

/// Whether nothing is at `path`, or a link that leads nowhere.
pub(super) fn is_nowhere(path: &Path) -> bool {
    fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_listed_is_an_item_and_a_circle_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut folder = Folder::open(folder.path().to_owned(), &SourceOptions::default()).unwrap();
        let stale = ignore::Error::Io(io::Error::other("stale handle"));
        let draft = folder.found(Err(ignore::Error::WithDepth { depth: 2, err: Box::new(stale) })).unwrap();
        assert_eq!(draft.key, folder.path.display().to_string());
        let error = draft.content.unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Io, "stale handle"));
        let circle = ignore::Error::Loop { ancestor: "a".into(), child: "a/b".into() };
        assert!(folder.found(Err(circle)).is_none());
    }
}
