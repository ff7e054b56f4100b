//! The formats of vectors, and which one is meant.

use std::path::Path;

use featvec::Error;

use crate::stop::wrong_usage;

/// What `--format` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// The path, a tab, and the values with spaces between
    Text,
    /// A numpy array [n, ...]; the paths go to x.paths.txt
    Npy,
    /// Comma-separated values with a line of headings
    Csv,
    /// A JSON object a line: path, vector, and shape where it has several dimensions
    Jsonl,
}

/// The formats of one line a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineFormat {
    Text,
    Csv,
    Jsonl,
}

impl Format {
    /// The format for `target` (stdout if there is none) where the user may have asked for one.
    ///
    /// # Errors
    /// An array on stdout; a file name that says another format than was asked for, or none.
    pub fn choose(asked: Option<Format>, target: Option<&Path>) -> Result<Format, Error> {
        let Some(target) = target else {
            return match asked {
                Some(Format::Npy) => {
                    Err(wrong_usage("an array cannot go to stdout").with_hint("name a file with -o x.npy"))
                }
                asked => Ok(asked.unwrap_or(Format::Text)),
            };
        };
        let extension = target.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
        let by_name = match extension.as_deref() {
            Some("npy") => Some(Format::Npy),
            Some("csv") => Some(Format::Csv),
            Some("jsonl") => Some(Format::Jsonl),
            Some("txt") => Some(Format::Text),
            _ => None,
        };
        match (asked, by_name) {
            (Some(asked), Some(by_name)) if asked != by_name => {
                let message =
                    format!("--format {} and -o {} contradict each other", asked.name(), target.display());
                Err(wrong_usage(message))
            }
            (None, None) => {
                let message = format!("the name {} does not say which format is meant", target.display());
                Err(wrong_usage(message)
                    .with_hint("let it end in .npy, .csv, .jsonl or .txt, or give --format"))
            }
            (asked, by_name) => Ok(asked.or(by_name).unwrap_or(Format::Text)),
        }
    }

    /// The format of the lines, if it has lines.
    pub fn lines(self) -> Option<LineFormat> {
        match self {
            Format::Npy => None,
            Format::Text => Some(LineFormat::Text),
            Format::Csv => Some(LineFormat::Csv),
            Format::Jsonl => Some(LineFormat::Jsonl),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Format::Text => "text",
            Format::Npy => "npy",
            Format::Csv => "csv",
            Format::Jsonl => "jsonl",
        }
    }
}
