//! Where a module and what belongs to it lie in a cache.

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};

use crate::handle::Handle;

/// The names around one key `K`, as Python's `tensorflow_hub` has them, with ours beside.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub root: PathBuf,
    pub key: String,
}

impl Entry {
    pub fn new(root: &Path, handle: &Handle) -> Entry {
        Entry { root: root.to_path_buf(), key: handle.key() }
    }

    /// `K/`, the module itself: there only when complete, because it gets there by a rename.
    pub fn module(&self) -> PathBuf {
        self.root.join(&self.key)
    }

    /// `K.descriptor.txt`, for people: which handle this is.
    pub fn descriptor(&self) -> PathBuf {
        self.named("descriptor.txt")
    }

    /// `K.lock`, there while somebody downloads.
    pub fn lock(&self) -> PathBuf {
        self.named("lock")
    }

    /// `K.<task>.tmp/`, a download in progress; others see from its size that it is alive.
    pub fn staging(&self, task: &str) -> PathBuf {
        self.named(&format!("{task}.tmp"))
    }

    /// `K.<task>.bad/`, a damaged module that was moved out of the way.
    pub fn quarantine(&self, task: &str) -> PathBuf {
        self.named(&format!("{task}.bad"))
    }

    /// `K.manifest.json`, ours: what was downloaded, and what every file must be.
    pub fn manifest(&self) -> PathBuf {
        self.named("manifest.json")
    }

    /// `.locks/K`, ours: held by the operating system for as long as a featvec process works on the entry.
    pub fn owner(&self) -> PathBuf {
        self.root.join(".locks").join(&self.key)
    }

    /// Whether there is a module, complete or not. Python takes an empty folder for none.
    pub fn is_present(&self) -> bool {
        fs::read_dir(self.module()).is_ok_and(|mut files| files.next().is_some())
    }

    fn named(&self, suffix: &str) -> PathBuf {
        self.root.join(format!("{}.{suffix}", self.key))
    }
}

/// Whether `text` can be the key of an entry: 40 lowercase hexadecimal digits.
pub(super) fn is_key(text: &str) -> bool {
    is_hex(text, 40)
}

/// Whether `text` can be a task's name: 32 lowercase hexadecimal digits.
pub(super) fn is_task(text: &str) -> bool {
    is_hex(text, 32)
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A name that no other task has: 32 hexadecimal digits.
pub(super) fn new_task() -> String {
    // The standard library seeds its hash tables from the operating system: enough to be unique, not to be secret.
    let half = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", half(), half())
}

/// Writes `text` to `path` so that no reader ever sees half of it.
pub(super) fn write_atomically(path: &Path, text: &str) -> io::Result<()> {
    let temporary = temporary_beside(path);
    fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, path)).inspect_err(|_| {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
    })
}

/// A name for a file that will become `path`; what ends in `.tmp` and has no owner can be pruned.
pub(super) fn temporary_beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", new_task()));
    PathBuf::from(name)
}

/// Bytes of all files below `folder`, or of the file itself.
pub(super) fn size(path: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return 0;
    };
    if !meta.is_dir() {
        return meta.len();
    }
    fs::read_dir(path).map_or(0, |files| files.flatten().map(|file| size(&file.path())).sum())
}
