//! Taking modules and the leftovers of dead downloads out of a cache.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::Cache;
use super::entry::{Entry, new_task, size};
use super::lock::{Ownership, remove};
use crate::handle::Handle;
use crate::{Error, Result};

/// What to remove. Leftovers go in any case: half downloads and locks of processes that are gone, damaged modules that
/// were moved aside, notes about modules that are not there. What another process works on is left alone.
#[derive(Clone, Copy, Debug)]
pub enum Prune<'a> {
    /// No whole module.
    Leftovers,
    /// The module of this handle, and nothing of any other.
    Module(&'a Handle),
    /// Modules that came into the cache longer ago than this.
    OlderThan(Duration),
    /// Everything.
    All,
}

/// Something that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// Where it was.
    pub path: PathBuf,
    /// Bytes that it took.
    pub bytes: u64,
}

impl Cache {
    /// Removes what `what` says, a lock of another program after `lock_stale` without a change included.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) for what cannot be read or removed; what came before it is gone.
    pub fn prune(&self, what: Prune<'_>, lock_stale: Duration) -> Result<Vec<Pruned>> {
        let mut pruned = Vec::new();
        for entry in self.entries()? {
            if matches!(what, Prune::Module(handle) if handle.key() != entry.key) {
                continue;
            }
            let Some(ownership) = Ownership::try_acquire(&entry)? else {
                continue;
            };
            if ownership.is_claimed_by_the_living(lock_stale) {
                continue;
            }
            let mut doomed = self.leftovers(&entry)?;
            if entry.module().exists() && is_doomed(&entry, what) {
                doomed.extend([entry.descriptor(), entry.manifest()]);
                pruned.push(remove_module(&entry)?);
            }
            for path in doomed {
                let bytes = size(&path);
                if fs::symlink_metadata(&path).is_ok() {
                    remove(&path)?;
                    pruned.push(Pruned { path, bytes });
                }
            }
        }
        Ok(pruned)
    }

    /// What belongs to `entry` and serves nobody any more.
    fn leftovers(&self, entry: &Entry) -> Result<Vec<PathBuf>> {
        let mut paths = vec![entry.lock()];
        if !entry.is_present() {
            paths.extend([entry.descriptor(), entry.manifest()]);
        }
        let prefix = format!("{}.", entry.key);
        // Python's own temporary files end in `.tmp` and 32 digits.
        let is_remnant =
            |name: &String| name.starts_with(&prefix) && (name.contains(".tmp") || name.ends_with(".bad"));
        paths.extend(self.names()?.into_iter().filter(is_remnant).map(|name| self.root().join(name)));
        Ok(paths)
    }
}

fn is_doomed(entry: &Entry, what: Prune<'_>) -> bool {
    match what {
        Prune::Leftovers => !entry.is_present(),
        Prune::Module(_) | Prune::All => true,
        Prune::OlderThan(age) => fs::metadata(entry.module())
            .and_then(|meta| meta.modified())
            .is_ok_and(|since| SystemTime::now().duration_since(since).is_ok_and(|old| old > age)),
    }
}

/// Removes a module so that nobody ever sees half of it.
fn remove_module(entry: &Entry) -> Result<Pruned> {
    let path = entry.module();
    let bytes = size(&path);
    let aside = entry.staging(&new_task());
    fs::rename(&path, &aside).map_err(|error| Error::io(path.display().to_string(), error))?;
    remove(&aside)?;
    Ok(Pruned { path, bytes })
}
