//! `featvec fetch` and `featvec cache`, without a server; downloads are tested in the library.

use std::path::{Path, PathBuf};

use super::support::{Run, featvec};

const HANDLE: &str = "https://tfhub.dev/publisher/model/1";
/// The SHA-1 of the handle.
const KEY_LEN: usize = 40;

/// A small but genuine module.
fn write_module(folder: &Path) {
    std::fs::create_dir_all(folder.join("variables")).unwrap();
    let files: [(&str, &[u8]); 4] = [
        ("tfhub_module.pb", &[0x08, 0x03]),
        ("saved_model.pb", &[0x12, 0x04, 0x0a, 0x00, 0x12, 0x00]),
        ("variables/variables.index", include_bytes!("../../../featvec/tests/support/v2.ckpt.index")),
        (
            "variables/variables.data-00000-of-00001",
            include_bytes!("../../../featvec/tests/support/v2.ckpt.data-00000-of-00001"),
        ),
    ];
    for (name, bytes) in files {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}

struct TestCache(tempfile::TempDir);

impl TestCache {
    /// A cache with one module in it.
    fn with_module() -> (TestCache, PathBuf) {
        let cache = TestCache(tempfile::tempdir().unwrap());
        let source = cache.0.path().join("source");
        write_module(&source);
        let run = cache.run("fetch", &["--from", source.to_str().unwrap(), HANDLE]).exits(0);
        (cache, PathBuf::from(run.stdout.trim_end()))
    }

    fn run(&self, command: &str, args: &[&str]) -> Run {
        let folder = self.0.path().join("cache");
        featvec([&[command, "--cache-dir", folder.to_str().unwrap()], args].concat())
    }
}

#[test]
fn what_was_fetched_is_found_listed_and_sound() {
    let (cache, path) = TestCache::with_module();
    assert!(path.join("saved_model.pb").is_file());
    assert_eq!(path.file_name().unwrap().len(), KEY_LEN);
    assert_eq!(cache.run("fetch", &["--offline", HANDLE]).exits(0).stdout.trim_end(), path.to_str().unwrap());
    assert_eq!(cache.run("cache", &["path", HANDLE]).exits(0).stdout.trim_end(), path.to_str().unwrap());
    assert_eq!(Path::new(cache.run("cache", &["path"]).exits(0).stdout.trim_end()), path.parent().unwrap());

    let list = cache.run("cache", &["list"]).exits(0).stdout;
    assert!(list.ends_with(&format!(" 0 days  {HANDLE}\n")), "{list}");
    let json = cache.run("cache", &["list", "--format", "json"]).exits(0).stdout;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["handle"], HANDLE);
    assert_eq!(cache.run("cache", &["verify"]).exits(0).stdout, format!("sound    {HANDLE}\n"));
}

#[test]
fn damage_is_found() {
    let (cache, path) = TestCache::with_module();
    let data = path.join("variables/variables.data-00000-of-00001");
    let mut bytes = std::fs::read(&data).unwrap();
    bytes[7] ^= 1;
    std::fs::write(&data, bytes).unwrap();
    let run = cache.run("cache", &["verify"]).exits(1).says("variables.data-00000-of-00001");
    assert_eq!(run.stdout, format!("damaged  {HANDLE}\n"));
}

#[test]
fn what_cannot_be_verified_is_not_called_damaged() {
    let (cache, _) = TestCache::with_module();
    let run = cache.run("cache", &["verify", "--limit", "tensor_bytes=1"]).exits(1);
    assert_eq!(run.stdout, format!("unknown  {HANDLE}\n"));
    let run = run.says("could not be verified").says("raise the limit tensor_bytes");
    assert!(!run.stderr.contains("damaged"), "{run:?}");
}

#[test]
fn pruning_takes_what_it_is_told_to() {
    let (cache, path) = TestCache::with_module();
    cache.run("cache", &["prune"]).exits(0);
    cache.run("cache", &["prune", "--older-than", "1"]).exits(0);
    cache.run("cache", &["prune", "https://tfhub.dev/publisher/other/1"]).exits(0);
    assert!(path.exists());
    cache.run("cache", &["prune", HANDLE]).exits(0);
    assert!(!path.exists());
    assert_eq!(cache.run("cache", &["list"]).exits(0).stdout, "");
}

#[test]
fn one_handle_that_fails_does_not_stop_the_rest() {
    let (cache, path) = TestCache::with_module();
    let run = cache.run("fetch", &["--offline", "https://tfhub.dev/publisher/other/1", HANDLE]).exits(1);
    assert_eq!(run.stdout.trim_end(), path.to_str().unwrap());
    run.says("not in the cache, and --offline");
}
