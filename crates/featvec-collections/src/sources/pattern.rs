//! What matches a pattern: `photos/*.jpg`, `data/**/*.parquet`, `s3://bucket/shards/*.tar`.

use std::path::{Path, PathBuf};

use featvec::{Error, ErrorKind, Result};
use globset::{GlobBuilder, GlobMatcher};

use super::folder::walker;
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
    let names_hidden = parts.iter().skip(fixed).any(|part| part.as_os_str().as_encoded_bytes()[0] == b'.');
    let mut walker = walker(&base, options)?;
    walker.hidden(!names_hidden && !options.hidden);
    if !deep {
        walker.max_depth(Some(parts.len() - fixed));
    }
    Ok(Box::new(walker.build().filter_map(move |entry| {
        // What a pattern cannot look into it does not match.
        let entry = entry.ok().filter(|entry| entry.depth() > 0)?;
        let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
        let path = entry.into_path();
        let path = if here { path.strip_prefix(".").map_or(path.clone(), Path::to_owned) } else { path };
        let place = Place::Path(path.clone());
        let fits = match deep {
            true => !is_folder && Kind::of_name(&place.name()).is_some_and(|kind| kind != Kind::List),
            false => true,
        };
        (fits && matcher.is_match(&path)).then_some(Named { place, found: Ok(()) })
    })))
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
