//! Modules that Python's `tensorflow_hub` has downloaded to its default folder.

use std::fs;
use std::path::Path;

use super::entry::Entry;

/// Whether `theirs` has a module that may be copied into `ours`: there, and put there by the same user. The default
/// folder lies in the system's temporary one, where anybody can leave a module under any name.
pub(super) fn is_adoptable(theirs: &Entry, ours: &Path) -> bool {
    theirs.is_present() && theirs.root != ours && same_owner(&theirs.module(), ours)
}

#[cfg(unix)]
fn same_owner(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (fs::symlink_metadata(a), fs::metadata(b)) {
        (Ok(a), Ok(b)) => a.is_dir() && a.uid() == b.uid(),
        _ => false,
    }
}

/// Elsewhere each user has a temporary folder of his own.
#[cfg(not(unix))]
fn same_owner(a: &Path, _: &Path) -> bool {
    fs::symlink_metadata(a).is_ok_and(|meta| meta.is_dir())
}
