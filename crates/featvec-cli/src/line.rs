//! Names of files as one field of one line: they may hold line breaks, tabs, and bytes that are no text.

use std::ffi::OsStr;

pub use featvec_collections::line::field;

/// [`field`] for people.
pub fn shown(name: impl AsRef<OsStr>) -> String {
    String::from_utf8_lossy(&field(name.as_ref())).into_owned()
}
