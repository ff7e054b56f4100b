//! The folder of downloaded modules, shared with Python's `tensorflow_hub`.

mod adopt;
mod check;
mod entry;
mod lock;
mod manifest;
mod prune;
mod staging;
mod visit;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use featvec_formats::Limits;

use crate::fetch::{FetchOptions, Progress};
use crate::handle::Handle;
use crate::{Error, ErrorKind, Result};
use entry::{Entry, is_key};
use manifest::Manifest;
use visit::Visit;

pub use prune::{Prune, Pruned};

/// A folder with one subfolder for each module, named by [`Handle::key`].
///
/// Layout, keys and locks are those of `tensorflow_hub`, so that both can use one folder at the same time. Ours beside
/// are `K.manifest.json` (where a module came from, and the hash of every file) and the folder `.locks`.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
    adopt_from: Option<PathBuf>,
}

/// A module in a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedModule {
    /// [`Handle::key`].
    pub key: String,
    /// The handle, where something in the cache tells it.
    pub handle: Option<String>,
    /// The folder of the module.
    pub path: PathBuf,
    /// Bytes of all its files.
    pub bytes: u64,
    /// When it came into the cache.
    pub fetched: Option<SystemTime>,
    /// SHA-256 of the archive in hexadecimal, where featvec downloaded it.
    pub sha256: Option<String>,
    /// Where the archive came from after redirects.
    pub url: Option<String>,
}

/// Who is told what happens.
type Watch<'a> = &'a mut dyn FnMut(Progress<'_>);

impl Cache {
    /// The folder that `TFHUB_CACHE_DIR` names, or else `featvec` in the user's cache folder. Modules that Python
    /// has downloaded to its own default folder are copied from there.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] where the environment names neither a cache folder nor a home.
    pub fn open_default() -> Result<Cache> {
        let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = match var("TFHUB_CACHE_DIR") {
            Some(folder) => folder,
            None => user_cache(var).map(|folder| folder.join("featvec")).ok_or_else(|| {
                Error::new(ErrorKind::Argument, "cache", "this user has no home folder to keep modules in")
                    .with_hint("name a folder with TFHUB_CACHE_DIR")
            })?,
        };
        Ok(Cache::at(root).adopting(std::env::temp_dir().join("tfhub_modules")))
    }

    /// The cache in the folder `root`, which is made when something is put there.
    pub fn at(root: impl Into<PathBuf>) -> Cache {
        Cache { root: root.into(), adopt_from: None }
    }

    /// Takes over complete modules from another cache, `folder`, by copying, when they are asked for here.
    #[must_use]
    pub fn adopting(mut self, folder: impl Into<PathBuf>) -> Cache {
        self.adopt_from = Some(folder.into());
        self
    }

    /// The folder of the cache.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the module of `handle` lies or would lie.
    pub fn path(&self, handle: &Handle) -> PathBuf {
        match handle.path() {
            Some(path) => path.to_path_buf(),
            None => self.entry(handle).module(),
        }
    }

    /// The module's place in the file system, downloaded if need be. A handle that is a path is returned as it is.
    ///
    /// What is in the cache is used if it is as it was when it was verified, by the lengths and times of its files. If
    /// not, or if Python put it there, all of it is verified, and replaced where it is damaged.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where no server hands the module out (the message lists each), or with
    /// [`offline`](FetchOptions::offline) the cache has none; [`ErrorKind::Corrupt`], [`ErrorKind::Unsupported`] or
    /// [`ErrorKind::Limit`] for a download that is no sound module. The cache is then as before.
    pub fn resolve(&self, handle: &Handle, options: &FetchOptions, progress: Watch<'_>) -> Result<PathBuf> {
        if let Some(path) = handle.existing_path()? {
            return Ok(path.to_path_buf());
        }
        let entry = self.entry(handle);
        let unchanged = Manifest::read(&entry).is_some_and(|known| known.is_unchanged(&entry.module()));
        if entry.is_present() && unchanged {
            return Ok(entry.module());
        }
        Visit::new(self, handle, options, progress).obtain()
    }

    /// [`resolve`](Cache::resolve)s `handle` and gives its path to `read`. If `read` finds a cached module corrupt, the
    /// module is verified byte by byte, replaced where it is damaged, and read once more.
    ///
    /// # Errors
    /// Those of `resolve` and of `read`.
    pub fn load<T>(
        &self,
        handle: &Handle,
        options: &FetchOptions,
        progress: Watch<'_>,
        mut read: impl FnMut(&Path) -> Result<T>,
    ) -> Result<T> {
        let path = self.resolve(handle, options, progress)?;
        match read(&path) {
            Err(error) if error.kind() == ErrorKind::Corrupt && handle.url().is_some() => {
                Visit::new(self, handle, options, progress).obtain()?;
                read(&path)
            }
            read => read,
        }
    }

    /// Puts the module in `file`, an archive or a folder, into the cache under the name `handle`, in place of what is
    /// there: for modules that no server hands out any more.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a handle that is no URL; those of [`resolve`](Cache::resolve) for a bad archive.
    pub fn import(
        &self,
        handle: &Handle,
        file: &Path,
        options: &FetchOptions,
        progress: Watch<'_>,
    ) -> Result<PathBuf> {
        if handle.url().is_none() {
            return Err(Error::new(
                ErrorKind::Argument,
                handle.as_str(),
                "only what has a URL needs a place in the cache",
            )
            .with_hint("give the URL under which the module is to be found"));
        }
        Visit::new(self, handle, options, progress).replace(file)
    }

    /// All modules in the cache, by key.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where the folder cannot be read; one that does not exist is empty.
    pub fn list(&self) -> Result<Vec<CachedModule>> {
        let mut modules: Vec<CachedModule> =
            self.entries()?.iter().filter(|entry| entry.is_present()).map(CachedModule::of).collect();
        modules.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(modules)
    }

    /// Verifies every byte of every module against what was downloaded and against the checksums in it.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where the folder cannot be read; what is wrong with a module stands beside it.
    pub fn verify(&self, limits: &Limits) -> Result<Vec<(CachedModule, Result<()>)>> {
        Ok(self
            .list()?
            .into_iter()
            .map(|module| (module.clone(), self.verify_module(&module, limits)))
            .collect())
    }

    fn verify_module(&self, module: &CachedModule, limits: &Limits) -> Result<()> {
        let entry = Entry { root: self.root.clone(), key: module.key.clone() };
        if let Some(manifest) = Manifest::read(&entry) {
            manifest.check_contents(&module.path)?;
        }
        check::check_module(&module.path, limits)
    }

    fn entry(&self, handle: &Handle) -> Entry {
        Entry::new(&self.root, handle)
    }

    /// Every key that any file in the cache belongs to.
    fn entries(&self) -> Result<Vec<Entry>> {
        let mut keys: Vec<String> =
            self.names()?.into_iter().filter_map(|name| Some(key_of(&name)?.into())).collect();
        keys.sort();
        keys.dedup();
        Ok(keys.into_iter().map(|key| Entry { root: self.root.clone(), key }).collect())
    }

    /// The names of all files in the cache.
    fn names(&self) -> Result<Vec<String>> {
        let files = match fs::read_dir(&self.root) {
            Ok(files) => files,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io(self.root.display().to_string(), error)),
        };
        Ok(files.flatten().filter_map(|file| file.file_name().into_string().ok()).collect())
    }
}

impl CachedModule {
    fn of(entry: &Entry) -> CachedModule {
        let path = entry.module();
        let manifest = Manifest::read(entry);
        let described = || {
            let text = fs::read_to_string(entry.descriptor()).ok()?;
            text.lines().find_map(|line| line.strip_prefix("Module: ")).map(String::from)
        };
        CachedModule {
            key: entry.key.clone(),
            handle: manifest.as_ref().map(|manifest| manifest.handle.clone()).or_else(described),
            bytes: entry::size(&path),
            fetched: fs::metadata(&path).and_then(|meta| meta.modified()).ok(),
            sha256: manifest.as_ref().and_then(|manifest| manifest.sha256.clone()),
            url: manifest.and_then(|manifest| manifest.url),
            path,
        }
    }
}

/// The key at the beginning of a file's name.
fn key_of(name: &str) -> Option<&str> {
    name.split('.').next().filter(|key| is_key(key))
}

/// The folder in which this system's users keep what can be downloaded again.
fn user_cache(var: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    if cfg!(windows) {
        return var("LOCALAPPDATA");
    }
    let home = || std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    if cfg!(target_os = "macos") {
        return home().map(|home| home.join("Library/Caches"));
    }
    // By its specification a relative XDG_CACHE_HOME is to be ignored.
    var("XDG_CACHE_HOME")
        .filter(|folder| folder.is_absolute())
        .or_else(|| home().map(|home| home.join(".cache")))
}
