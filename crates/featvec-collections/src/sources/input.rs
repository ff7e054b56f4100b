//! What a user names.

use std::ffi::OsStr;
use std::path::PathBuf;

use featvec::Result;

use super::braces;
use super::place::Place;
use crate::address::is_web;

/// One of the inputs that a user names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A picture, folder, shard, table, array or list (`.txt`, `.lst`): what it is, its first bytes or its name tell.
    Place(Place),
    /// What matches a pattern: a path, or a URL of an object store, with `*`, `**`, `?` or `[...]` in it.
    Pattern(String),
    /// A list, one path or URL a line.
    List(Place),
    /// A list on stdin.
    Stdin,
}

impl Input {
    /// What the word `word` of a command line stands for: `-` is [`Stdin`](Input::Stdin), `@FILE` a list,
    /// `{0000..0099}` and `{a,b}` are several inputs. A file that exists by that very name is that file.
    ///
    /// # Errors
    /// Braces that stand for more than a million names.
    pub fn parse(word: &OsStr) -> Result<Vec<Input>> {
        if word == "-" {
            return Ok(vec![Input::Stdin]);
        }
        match word.to_str() {
            Some(text) if !PathBuf::from(word).exists() => {
                Ok(braces::expand(text)?.iter().map(|name| Input::one(name)).collect())
            }
            _ => Ok(vec![Input::Place(Place::parse(word))]),
        }
    }

    /// The key of the row that says that it could not be looked at.
    pub fn key(&self) -> String {
        match self {
            Input::Place(place) | Input::List(place) => place.key(),
            Input::Pattern(pattern) => pattern.clone(),
            Input::Stdin => "-".into(),
        }
    }

    fn one(name: &str) -> Input {
        if let Some(list) = name.strip_prefix('@') {
            return Input::List(Place::parse(OsStr::new(list)));
        }
        let place = Place::parse(OsStr::new(name));
        let is_pattern = match &place {
            Place::Path(path) => name.contains(['*', '?', '[']) && !path.exists(),
            // What is a pattern elsewhere begins the query of a URL on the web.
            Place::Url(url) => !is_web(url) && url.contains(['*', '?', '[']),
        };
        if is_pattern { Input::Pattern(name.to_owned()) } else { Input::Place(place) }
    }
}
