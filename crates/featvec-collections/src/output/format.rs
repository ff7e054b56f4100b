//! The formats of outputs.

use std::path::Path;

use featvec::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// How a table of vectors is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Apache Parquet: all columns.
    Parquet,
    /// An Arrow IPC file, also called Feather: all columns.
    Arrow,
    /// A numpy array; keys in `x.paths.txt`.
    Npy,
    /// A tensor `vectors`; keys in `x.safetensors.paths.txt`.
    Safetensors,
    /// Comma-separated values: keys and vectors.
    Csv,
    /// A JSON object a line: key and vector.
    Jsonl,
    /// Lines of key, tab, and the numbers.
    Text,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 7] = [
        Format::Parquet,
        Format::Arrow,
        Format::Npy,
        Format::Safetensors,
        Format::Csv,
        Format::Jsonl,
        Format::Text,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Format::Parquet => "parquet",
            Format::Arrow => "arrow",
            Format::Npy => "npy",
            Format::Safetensors => "safetensors",
            Format::Csv => "csv",
            Format::Jsonl => "jsonl",
            Format::Text => "text",
        }
    }

    /// The format that the name of `path` ends in, if it ends in one; `.feather` and `.ipc` are Arrow's too.
    pub fn of(path: &Path) -> Option<Format> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "parquet" | "pq" => Some(Format::Parquet),
            "arrow" | "feather" | "ipc" => Some(Format::Arrow),
            "npy" => Some(Format::Npy),
            "safetensors" => Some(Format::Safetensors),
            "csv" => Some(Format::Csv),
            "jsonl" => Some(Format::Jsonl),
            "txt" => Some(Format::Text),
            _ => None,
        }
    }

    /// [`Format::of`], or what is wrong with the name.
    pub(crate) fn needed(path: &Path) -> Result<Format> {
        Format::of(path).ok_or_else(|| {
            let message = "its name does not say which format it has";
            let hint = "let it end in .parquet, .arrow, .npy, .safetensors, .csv, .jsonl or .txt";
            Error::new(ErrorKind::Argument, path.display().to_string(), message).with_hint(hint)
        })
    }

    /// Whether pictures that failed have rows; if not, a list beside it tells of them.
    pub fn has_failed_rows(self) -> bool {
        matches!(self, Format::Parquet | Format::Arrow)
    }

    /// Whether keys of rows with vectors are written as they are; if not, without their control characters.
    pub(crate) fn holds_any_key(self) -> bool {
        matches!(self, Format::Parquet | Format::Arrow | Format::Jsonl)
    }

    /// Whether keys are in a list beside it.
    pub(crate) fn has_paths(self) -> bool {
        matches!(self, Format::Npy | Format::Safetensors)
    }
}
