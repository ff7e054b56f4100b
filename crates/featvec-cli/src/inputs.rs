//! From the paths on the command line to files: `-` is a list on stdin, and globs are expanded for shells that do not.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use featvec::pictures::{Found, find};
use featvec::{Error, Result};
use glob::{MatchOptions, Pattern};

use crate::stop::wrong_usage;

/// The files that `named` stands for, in its order.
///
/// # Errors
/// A list on stdin that cannot be read or is asked for twice.
pub fn expand(named: &[PathBuf]) -> Result<Vec<Found>> {
    if named.iter().filter(|path| is_stdin(path)).count() > 1 {
        return Err(wrong_usage("`-` stands for stdin, which can be read once only"));
    }
    let mut found = Vec::new();
    for path in named {
        if is_stdin(path) {
            found.extend(find(listed(std::io::stdin().lock())?));
        } else {
            found.extend(find(expand_glob(path)));
        }
    }
    Ok(found)
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// The paths in a list, one a line; empty lines do not count.
fn listed(list: impl BufRead) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for line in list.split(b'\n') {
        let mut line = line.map_err(|error| Error::io("stdin", error))?;
        line.pop_if(|last| *last == b'\r');
        if !line.is_empty() {
            paths.push(path_from(line)?);
        }
    }
    Ok(paths)
}

#[cfg(unix)]
fn path_from(bytes: Vec<u8>) -> Result<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    Ok(std::ffi::OsString::from_vec(bytes).into())
}

#[cfg(not(unix))]
fn path_from(bytes: Vec<u8>) -> Result<PathBuf> {
    String::from_utf8(bytes)
        .map(PathBuf::from)
        .map_err(|_| Error::corrupt("stdin", "a path that is no UTF-8"))
}

/// The files that match `path`, if it is a pattern and no file of that very name exists. A pattern that matches nothing
/// stays, to be reported as the missing file that it then is.
pub fn expand_glob(path: &Path) -> Vec<PathBuf> {
    let is_pattern = |text: &str| text.contains(['*', '?', '[']);
    let matches = match path.to_str().filter(|text| is_pattern(text) && !path.exists()) {
        Some(text) if text.contains("**") => {
            let folder = path.iter().take_while(|part| !part.to_str().is_some_and(is_pattern)).collect();
            matches_below(folder, text)
        }
        Some(text) => {
            let paths = glob::glob_with(text, MATCHING).into_iter().flatten();
            paths.filter_map(std::result::Result::ok).collect()
        }
        None => Vec::new(),
    };
    if matches.is_empty() { vec![path.to_owned()] } else { matches }
}

const MATCHING: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// The pictures below `folder` that match `pattern`. The walk of the glob crate would follow links in circles.
fn matches_below(folder: PathBuf, pattern: &str) -> Vec<PathBuf> {
    let Ok(pattern) = Pattern::new(pattern) else {
        return Vec::new();
    };
    let here = folder.as_os_str().is_empty();
    let found = find([if here { PathBuf::from(".") } else { folder }]);
    let paths = found.into_iter().filter_map(|found| match found {
        Found::Picture(path) if here => path.strip_prefix(".").ok().map(Path::to_owned),
        Found::Picture(path) => Some(path),
        Found::Array(_) | Found::Failed(..) => None,
    });
    paths.filter(|path| pattern.matches_path_with(path, MATCHING)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_may_come_from_anywhere() {
        let paths = listed(&b"a b.jpg\r\n\n/c.png\nlast"[..]).unwrap();
        assert_eq!(paths, ["a b.jpg", "/c.png", "last"].map(PathBuf::from));
    }
}
