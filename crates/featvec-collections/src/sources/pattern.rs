//! What matches a pattern: `photos/*.jpg`, `data/**/*.parquet`, `s3://bucket/shards/*.tar`.

use std::path::{Path, PathBuf};

use featvec::{Error, ErrorKind, Result};
use globset::{GlobBuilder, GlobMatcher};

use super::folder::{IGNORE_FILE, Missed, is_nowhere, walker};
use super::kind::Kind;
use super::place::{Place, opener};
use super::{Named, Places, SourceOptions};

/// The places that match `pattern`, sorted. One that matches nothing is a missing file of that name.
pub(super) fn places(pattern: &str, options: &SourceOptions) -> Places {
    let found = matcher(pattern).and_then(|matcher| match pattern.contains("://") {
        true => objects(pattern, matcher, options),
        false => files(pattern, matcher, options),
    });
    match found {
        Ok(found) => {
            let mut found = found.peekable();
            match found.peek() {
                Some(_) => Box::new(found),
                None => Box::new(std::iter::once(Named::failed(pattern, nothing()))),
            }
        }
        Err(error) => Box::new(std::iter::once(Named::failed(pattern, error))),
    }
}

fn nothing() -> Error {
    Error::new(ErrorKind::Argument, "", "nothing matches this pattern").with_hint("is it spelled right?")
}

fn matcher(pattern: &str) -> Result<GlobMatcher> {
    let glob = GlobBuilder::new(pattern).literal_separator(true).build();
    let glob = glob.map_err(|error| Error::new(ErrorKind::Argument, "", error.kind().to_string()));
    Ok(glob?.compile_matcher())
}

fn is_special(part: &str) -> bool {
    part.contains(['*', '?', '['])
}

/// Without `**` whatever matches, folders too; with it, files that look like pictures, shards or tables.
fn files(pattern: &str, matcher: GlobMatcher, options: &SourceOptions) -> Result<Places> {
    let parts: Vec<_> = Path::new(pattern).components().collect();
    let is_fixed = |part: &std::path::Component<'_>| !part.as_os_str().to_str().is_some_and(is_special);
    let fixed = parts.iter().take_while(|part| is_fixed(part)).count();
    let base: PathBuf = parts.iter().take(fixed).collect();
    let here = base.as_os_str().is_empty();
    let base = if here { PathBuf::from(".") } else { base };
    let deep = pattern.contains("**");
    let follows = options.follow_links;
    let names_hidden = parts.iter().skip(fixed).any(|part| part.as_os_str().as_encoded_bytes()[0] == b'.');
    let mut walker = walker(&base, options)?;
    walker.hidden(!names_hidden && !options.hidden);
    if !deep {
        walker.max_depth(Some(parts.len() - fixed));
    }
    let named = move |path: PathBuf| match path.strip_prefix(".") {
        Ok(rest) if here => rest.to_owned(),
        _ => path,
    };
    let key = pattern.to_owned();
    let pattern: PathBuf = parts.iter().collect();
    Ok(Box::new(walker.build().filter_map(move |entry| {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let Missed { path, error } = Missed::of(&error)?;
                let Some(path) = path.map(named) else { return Some(Named::failed(&key, error)) };
                let matters = matcher.is_match(&path) || !is_nowhere(&path) && may_lead(&path, &pattern);
                return matters.then(|| Named { place: Place::Path(path), found: Err(error) });
            }
        };
        let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
        let missed = entry.error().and_then(Missed::of);
        let at_base = entry.depth() == 0;
        if entry.path_is_symlink() && !follows && !at_base {
            return None;
        }
        let path = named(entry.into_path());
        let place = Place::Path(path.clone());
        let fits = match deep {
            true => !is_folder && Kind::of_name(&place.name()).is_some_and(|kind| kind != Kind::List),
            false => true,
        };
        if fits && !at_base && matcher.is_match(&path) {
            return Some(Named { place, found: Ok(()) });
        }
        let Missed { error, .. } = missed.filter(|_| may_lead(&path, &pattern))?;
        Some(Named { place: Place::Path(path.join(IGNORE_FILE)), found: Err(error) })
    })))
}

/// Whether what matches `pattern` may lie in the folder `path`.
fn may_lead(path: &Path, pattern: &Path) -> bool {
    let parts = pattern.components().map(|part| part.as_os_str().to_string_lossy());
    let parts = parts.take_while(|part| !part.contains("**"));
    path.components()
        .zip(parts)
        .all(|(name, part)| matcher(&part).is_ok_and(|matcher| matcher.is_match(Path::new(name.as_os_str()))))
}

fn objects(pattern: &str, matcher: GlobMatcher, options: &SourceOptions) -> Result<Places> {
    let special = pattern.find(is_special_char).unwrap_or(pattern.len());
    let folder = pattern[..special].rfind('/').map_or(pattern, |slash| &pattern[..=slash]);
    let listing = opener(options)?.list(folder)?;
    let pattern = pattern.to_owned();
    Ok(Box::new(listing.filter_map(move |url| match url {
        Ok(url) => matcher.is_match(&url).then(|| Named { place: Place::Url(url), found: Ok(()) }),
        Err(error) => Some(Named::failed(&pattern, error)),
    })))
}

fn is_special_char(c: char) -> bool {
    "*?[".contains(c)
}
