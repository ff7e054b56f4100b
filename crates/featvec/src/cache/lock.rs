//! Who may change an entry. Featvec processes exclude each other by a lock of the operating system, which dies with
//! its owner; against Python's `tensorflow_hub`, which knows only `K.lock`, that file is kept as well.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind as IoKind, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use super::entry::{Entry, is_task, new_task, size, temporary_beside};
use crate::fetch::Timeouts;
use crate::{Error, Result};

/// The right to look after an entry, among featvec processes.
pub(super) struct Ownership {
    /// Locked until dropped. Its content is the last `K.lock` that a featvec process made: if such a one is found
    /// while we hold this, the process that made it is dead. Where files cannot be locked it tells nothing.
    ///
    /// The file is never deleted: another process may have it open, and would then hold a lock that nobody sees.
    file: File,
    last_claim: String,
    entry: Entry,
}

impl Ownership {
    /// Waits until no other featvec process works on `entry`.
    pub fn acquire(entry: &Entry, timeouts: &Timeouts, waiting: &mut dyn FnMut(&str)) -> Result<Ownership> {
        loop {
            if let Some(ownership) = Ownership::try_acquire(entry)? {
                return Ok(ownership);
            }
            waiting(&fs::read_to_string(entry.lock()).unwrap_or_default());
            std::thread::sleep(timeouts.lock_poll);
        }
    }

    /// Nothing while another featvec process works on `entry`.
    pub fn try_acquire(entry: &Entry) -> Result<Option<Ownership>> {
        let path = entry.owner();
        let failed = |error| Error::io(path.display().to_string(), error).with_hint(FOLDER_HINT);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(failed)?;
        let locked = file.try_lock();
        Ok(Ownership::after(locked, file, entry))
    }

    /// What it means for `file`, the record of `entry`, that locking it went so.
    fn after(
        locked: std::result::Result<(), TryLockError>,
        mut file: File,
        entry: &Entry,
    ) -> Option<Ownership> {
        let mut last_claim = String::new();
        match locked {
            // A broken record recognises nobody, which is safe.
            Ok(()) => drop((&mut file).take(1024).read_to_string(&mut last_claim)),
            Err(TryLockError::WouldBlock) => return None,
            // Network file systems may have no locks, or none left (ENOLCK). `K.lock` still guards against most
            // collisions, and whoever the record names may be alive.
            Err(TryLockError::Error(_)) => {}
        }
        Some(Ownership { file, last_claim, entry: entry.clone() })
    }

    /// Whether some other program's `K.lock` is there, and it or its download have changed within `stale`.
    pub fn is_claimed_by_the_living(&self, stale: Duration) -> bool {
        let path = self.entry.lock();
        let Ok(content) = fs::read_to_string(&path) else {
            return false;
        };
        let staging = task(&content).map(|task| self.entry.staging(task));
        let changed = last_change(&path).max(staging.and_then(|staging| last_change(&staging)));
        let quiet = changed.and_then(|time| SystemTime::now().duration_since(time).ok()).unwrap_or_default();
        !self.is_of_the_dead(&content) && quiet < stale
    }

    /// Makes `K.lock`, after waiting for whoever holds it. Nothing if meanwhile `done` says that there is no need.
    pub fn claim(
        mut self,
        timeouts: &Timeouts,
        waiting: &mut dyn FnMut(&str),
        done: &dyn Fn() -> bool,
    ) -> Result<Option<Claim>> {
        let mut holder = Holder::unknown();
        loop {
            if let Some((task, content)) = self.try_claim()? {
                return Ok(Some(Claim { task, content, ownership: self }));
            }
            if done() {
                return Ok(None);
            }
            holder.look(&self.entry);
            if self.is_of_the_dead(&holder.content) || holder.unchanged_for() >= timeouts.lock_stale {
                holder.evict(&self.entry)?;
                continue;
            }
            waiting(&holder.content);
            std::thread::sleep(timeouts.lock_poll);
        }
    }

    /// Whether a `K.lock` with this content was left behind by a featvec process.
    fn is_of_the_dead(&self, content: &str) -> bool {
        !content.is_empty() && content == self.last_claim
    }

    fn try_claim(&mut self) -> Result<Option<(String, String)>> {
        let task = new_task();
        let host = gethostname::gethostname();
        let content = format!("{}.{}.{task}", host.to_string_lossy(), std::process::id());
        let path = self.entry.lock();
        let failed = |error| Error::io(path.display().to_string(), error).with_hint(FOLDER_HINT);
        if fs::symlink_metadata(&path).is_ok() {
            return Ok(None);
        }
        // First the record, then the lock: whoever dies in between leaves nothing behind.
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .and_then(|_| self.file.write_all(content.as_bytes()))
            .map_err(failed)?;
        self.last_claim.clone_from(&content);
        Ok(create_exclusively(&path, &content).map_err(failed)?.then_some((task, content)))
    }
}

const FOLDER_HINT: &str =
    "the cache must be a folder that you may write to; TFHUB_CACHE_DIR names another one";

/// Creates `path` with all its content at once, unless it exists.
fn create_exclusively(path: &Path, content: &str) -> std::io::Result<bool> {
    let temporary = temporary_beside(path);
    fs::write(&temporary, content)?;
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary)?;
    let created = match linked {
        Err(error) if error.kind() != IoKind::AlreadyExists => {
            // A file system without hard links.
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(path)
                .and_then(|mut file| file.write_all(content.as_bytes()))
        }
        linked => linked,
    };
    match created {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == IoKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// The right to change an entry, among all programs.
pub(super) struct Claim {
    pub task: String,
    content: String,
    ownership: Ownership,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let path = self.ownership.entry.lock();
        // Somebody who took us for dead has a lock of his own there.
        if fs::read_to_string(&path).is_ok_and(|content| content == self.content) {
            // What remains is recognised as ours by the next process.
            let _ = fs::remove_file(&path);
        }
    }
}

/// Another program's hold on an entry, and since when nothing has moved.
struct Holder {
    content: String,
    downloaded: u64,
    since: Instant,
}

impl Holder {
    fn unknown() -> Holder {
        Holder { content: String::new(), downloaded: 0, since: Instant::now() }
    }

    fn look(&mut self, entry: &Entry) {
        let content = fs::read_to_string(entry.lock()).unwrap_or_default();
        let downloaded = task(&content).map_or(0, |task| size(&entry.staging(task)));
        if (&content, downloaded) != (&self.content, self.downloaded) {
            *self = Holder { content, downloaded, since: Instant::now() };
        }
    }

    fn unchanged_for(&self) -> Duration {
        self.since.elapsed()
    }

    /// Removes the lock and the half download of a process that is gone.
    fn evict(&self, entry: &Entry) -> Result<()> {
        if let Some(task) = task(&self.content) {
            remove(&entry.staging(task))?;
        }
        remove(&entry.lock())
    }
}

/// The name of the task in a lock's content.
fn task(content: &str) -> Option<&str> {
    content.trim().rsplit('.').next().filter(|task| is_task(task))
}

/// When anything at or below `path` was last written.
fn last_change(path: &Path) -> Option<SystemTime> {
    let meta = fs::symlink_metadata(path).ok()?;
    let below = if meta.is_dir() { fs::read_dir(path).ok() } else { None };
    let below = below.into_iter().flatten().flatten().filter_map(|item| last_change(&item.path()));
    below.chain(meta.modified()).max()
}

/// Removes a file or folder, which may be gone already.
pub(super) fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != IoKind::NotFound => Err(Error::io(path.display().to_string(), error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_locks_nobody_is_taken_for_dead() {
        let folder = tempfile::tempdir().unwrap();
        let handle = crate::handle::Handle::parse("http://host/m").unwrap();
        let entry = Entry::new(folder.path(), &handle);
        let content = format!("host.1.{}", new_task());
        fs::write(entry.lock(), &content).unwrap();
        let record = folder.path().join("record");
        fs::write(&record, &content).unwrap();
        let after = |locked| Ownership::after(locked, File::open(&record).unwrap(), &entry);

        assert!(after(Err(TryLockError::WouldBlock)).is_none(), "its owner is at work");
        assert!(after(Ok(())).unwrap().is_of_the_dead(&content));
        for error in [IoKind::Unsupported.into(), std::io::Error::other("ENOLCK")] {
            let ownership = after(Err(TryLockError::Error(error))).unwrap();
            assert!(!ownership.is_of_the_dead(&content));
            assert!(ownership.is_claimed_by_the_living(Duration::from_secs(600)));
        }
    }
}
