//! Whether a folder holds a whole module.

use std::path::Path;

use featvec_formats::{Limits, Source, source};

use crate::{Error, ErrorKind, Result};

/// Reads what is in `folder` and compares every checksum in it.
pub(super) fn check_module(folder: &Path, limits: &Limits) -> Result<()> {
    match source::open(folder, limits)? {
        Source::HubModule(module) => module.checkpoint().map_or(Ok(()), |checkpoint| checkpoint.verify()),
        Source::Checkpoint(checkpoint) => checkpoint.verify(),
        // It has no checksums; that it could be parsed is all there is to know.
        Source::Caffemodel(_) => Ok(()),
    }
}

/// Whether `error`, from reading `folder`, means that a part of a module is broken or missing. A sound module of a kind
/// that only Python reads is not to be touched.
pub(super) fn is_damage(error: &Error, folder: &Path) -> bool {
    match error.kind() {
        ErrorKind::Corrupt => true,
        ErrorKind::Unsupported => !folder.join("saved_model.pb").exists(),
        _ => false,
    }
}
