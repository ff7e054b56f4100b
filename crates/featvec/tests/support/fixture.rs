//! A cache of its own for a test, and a fetch that waits for nothing.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::path::PathBuf;
use std::time::Duration;

use featvec::Result;
use featvec::cache::Cache;
use featvec::fetch::{FetchOptions, Progress, Timeouts};
use featvec::handle::Handle;

pub struct Fixture {
    pub folder: tempfile::TempDir,
    pub cache: Cache,
    pub options: FetchOptions,
}

impl Fixture {
    pub fn new() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("cache"));
        Fixture {
            folder,
            cache,
            options: FetchOptions { timeouts: brief(), retries: 2, ..FetchOptions::default() },
        }
    }

    pub fn fetch(&self, url: &str) -> Result<PathBuf> {
        self.cache.resolve(&handle(url), &self.options, &mut |_: Progress<'_>| {})
    }

    /// The names of everything in the cache's folder but `.locks`, with `K` for the key of `url`.
    pub fn names(&self, url: &str) -> Vec<String> {
        let Ok(files) = std::fs::read_dir(self.cache.root()) else {
            return Vec::new();
        };
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let key = handle(url).key();
        let mut names: Vec<String> =
            names.filter(|name| name != ".locks").map(|name| name.replace(&key, "K")).collect();
        names.sort();
        names
    }
}

/// What the folder of a cache has when one module is in it and nobody is at work.
pub const AT_REST: [&str; 3] = ["K", "K.descriptor.txt", "K.manifest.json"];

pub fn handle(text: &str) -> Handle {
    Handle::parse(text).unwrap()
}

/// Time-outs for a server on this machine. Only what a test makes run out takes its time.
pub fn brief() -> Timeouts {
    Timeouts {
        connect: Duration::from_secs(5),
        stall: Duration::from_millis(300),
        backoff: Duration::from_millis(1),
        retry_after_max: Duration::from_millis(5),
        lock_poll: Duration::from_millis(1),
        lock_stale: Duration::from_secs(600),
    }
}
