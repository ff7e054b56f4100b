//! Getting one module into the cache: who may, from where, and what becomes of a damaged one.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use super::entry::{Entry, new_task};
use super::lock::{self, Claim, Ownership};
use super::manifest::{Manifest, file_sha256};
use super::staging::Staging;
use super::{Cache, Watch, adopt, check};
use crate::fetch::{Download, FetchOptions, Job, Progress, fetch};
use crate::handle::Handle;
use crate::{Error, ErrorKind, Result};

/// Where a module's bytes come from, if they are not in the cache.
enum Source<'a> {
    Servers,
    File(&'a Path),
}

/// One handle being looked after.
pub(super) struct Visit<'a> {
    cache: &'a Cache,
    handle: &'a Handle,
    entry: Entry,
    options: &'a FetchOptions,
    /// Shared by the steps that report, of which only one runs at a time.
    progress: RefCell<Watch<'a>>,
}

impl<'a> Visit<'a> {
    pub fn new(
        cache: &'a Cache,
        handle: &'a Handle,
        options: &'a FetchOptions,
        progress: Watch<'a>,
    ) -> Visit<'a> {
        Visit { cache, handle, entry: cache.entry(handle), options, progress: RefCell::new(progress) }
    }

    /// A verified module, from the cache, from Python's folder, or from a server.
    pub fn obtain(self) -> Result<PathBuf> {
        loop {
            let ownership = match self.own() {
                Ok(ownership) => ownership,
                // A cache that can only be read is still good for reading.
                Err(error) => {
                    return self
                        .verify_present()
                        .and_then(|known| known.map(|_| self.entry.module()).ok_or(error));
                }
            };
            let damage = match self.verify_present() {
                Ok(None) => None,
                Ok(Some(known)) => {
                    // Without it the next visit verifies again, no more.
                    let _ = known.write(&self.entry);
                    return Ok(self.entry.module());
                }
                Err(error) if check::is_damage(&error, &self.entry.module()) => Some(error),
                Err(error) => return Err(error),
            };
            let theirs = self.cache.adopt_from.as_deref().map(|folder| Entry::new(folder, self.handle));
            let theirs = theirs.filter(|theirs| adopt::is_adoptable(theirs, &self.cache.root));
            if self.options.offline && theirs.is_none() {
                return Err(self.refuse_offline(damage));
            }
            let done = || damage.is_none() && self.entry.is_present();
            let Some(claim) = self.claim(ownership, &done)? else {
                continue;
            };
            if damage.is_none() && self.entry.is_present() {
                continue;
            }
            if let Some(damage) = &damage {
                self.tell(Progress::Repairing { reason: &damage.to_string() });
            }
            if let Some(theirs) = theirs
                && self.bring(&claim, &Source::File(&theirs.module())).is_ok()
            {
                return Ok(self.entry.module());
            }
            if self.options.offline {
                return Err(self.refuse_offline(damage));
            }
            self.bring(&claim, &Source::Servers)?;
            return Ok(self.entry.module());
        }
    }

    /// The module in `file`, an archive or a folder, in place of what is in the cache.
    pub fn replace(self, file: &Path) -> Result<PathBuf> {
        let ownership = self.own()?;
        let Some(claim) = self.claim(ownership, &|| false)? else {
            return Ok(self.entry.module());
        };
        self.bring(&claim, &Source::File(file))?;
        Ok(self.entry.module())
    }

    fn own(&self) -> Result<Ownership> {
        Ownership::acquire(&self.entry, &self.options.timeouts, &mut |owner| {
            self.tell(Progress::Waiting { owner })
        })
    }

    fn claim(&self, ownership: Ownership, done: &dyn Fn() -> bool) -> Result<Option<Claim>> {
        ownership.claim(&self.options.timeouts, &mut |owner| self.tell(Progress::Waiting { owner }), done)
    }

    fn tell(&self, progress: Progress<'_>) {
        (self.progress.borrow_mut())(progress);
    }

    /// Reads all of the module that is in the cache; its manifest if it is sound, nothing if there is no module.
    fn verify_present(&self) -> Result<Option<Manifest>> {
        if !self.entry.is_present() {
            return Ok(None);
        }
        let module = self.entry.module();
        let known = Manifest::read(&self.entry);
        if let Some(known) = &known {
            known.check_contents(&module)?;
        }
        check::check_module(&module, &self.options.limits)?;
        let now = Manifest::of(self.handle.as_str(), &module, None)?;
        Ok(Some(match known {
            Some(known) => Manifest { files: now.files, verified: now.verified, ..known },
            None => now,
        }))
    }

    fn refuse_offline(&self, damage: Option<Error>) -> Error {
        let hint = "run without --offline once, or use `featvec fetch --from FILE HANDLE`";
        let place = self.handle.as_str();
        match damage {
            Some(error) => {
                Error::new(error.kind(), place, format!("the module in the cache is damaged: {error}"))
            }
            None => {
                Error::new(ErrorKind::Io, place, "not in the cache, and --offline forbids to download it")
            }
        }
        .with_hint(hint)
    }

    /// Moves the module in the cache out of the way.
    fn quarantine(&self, _: &Claim) -> Result<()> {
        let module = self.entry.module();
        fs::rename(&module, self.entry.quarantine(&new_task()))
            .map_err(|error| Error::io(module.display().to_string(), error))?;
        lock::remove(&self.entry.manifest())
    }

    /// Gets the module of `source`, verifies it, and puts it in its place.
    fn bring(&self, claim: &Claim, source: &Source<'_>) -> Result<()> {
        let staging = Staging::create(&self.entry, claim)?;
        let limits = &self.options.limits;
        let download = match source {
            Source::Servers => Some(self.download(&staging)?),
            Source::File(path) => {
                let place = path.display().to_string();
                let download = if path.is_dir() {
                    staging.copy(path)?;
                    None
                } else {
                    staging.unpack(path, limits).map_err(|error| error.within(&place))?;
                    let bytes = fs::metadata(path).map_err(|error| Error::io(&place, error))?.len();
                    Some(Download {
                        url: place.clone(),
                        sha256: file_sha256(path)?,
                        bytes,
                        etag: None,
                        content_type: None,
                    })
                };
                check::check_module(&staging.module(), limits).map_err(|error| error.within(&place))?;
                download
            }
        };
        let manifest = Manifest::of(self.handle.as_str(), &staging.module(), download.as_ref())?;
        if self.entry.is_present() {
            self.quarantine(claim)?;
        }
        staging.install(&self.entry, &manifest)
    }

    fn download(&self, staging: &Staging) -> Result<Download> {
        let archive = staging.archive();
        let mut job = Job {
            archive: &archive,
            progress: &mut |progress| self.tell(progress),
            accept: &mut || {
                staging.unpack(&archive, &self.options.limits)?;
                check::check_module(&staging.module(), &self.options.limits)
            },
        };
        fetch(self.handle, self.options, &mut job)
    }
}
