//! `K.<task>.tmp/`: where a module grows until it is complete.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use featvec_formats::{Limits, archive};

use super::entry::{Entry, write_atomically};
use super::lock::{Claim, remove};
use super::manifest::Manifest;
use crate::{Error, Result};

/// A folder that is gone when this is dropped.
pub(super) struct Staging {
    folder: PathBuf,
}

impl Staging {
    pub fn create(entry: &Entry, claim: &Claim) -> Result<Staging> {
        let folder = entry.staging(&claim.task);
        fs::create_dir_all(&folder).map_err(|error| Error::io(folder.display().to_string(), error))?;
        Ok(Staging { folder })
    }

    /// Where the archive is downloaded to.
    pub fn archive(&self) -> PathBuf {
        self.folder.join("archive")
    }

    /// The module that will become `K/`.
    pub fn module(&self) -> PathBuf {
        self.folder.join("module")
    }

    /// Makes the module from an archive, in place of what an earlier attempt has left.
    pub fn unpack(&self, file: &Path, limits: &Limits) -> Result<()> {
        let place = file.display().to_string();
        self.restart()?;
        let file = File::open(file).map_err(|error| Error::io(&place, error))?;
        archive::extract(file, &self.module(), limits).map(drop)
    }

    /// Makes the module from a folder.
    pub fn copy(&self, folder: &Path) -> Result<()> {
        self.restart()?;
        copy_files(folder, &self.module())
    }

    /// Moves the verified module to its place in the cache.
    pub fn install(self, entry: &Entry, manifest: &Manifest) -> Result<()> {
        let (from, to) = (self.module(), entry.module());
        let failed = |error| Error::io(to.display().to_string(), error);
        write_atomically(&entry.descriptor(), &descriptor(&manifest.handle)).map_err(failed)?;
        manifest.write(entry)?;
        // An empty folder is what Python leaves when it is interrupted; not everywhere can a rename replace it.
        if to.is_dir() && !entry.is_present() {
            fs::remove_dir(&to).map_err(failed)?;
        }
        fs::rename(&from, &to).map_err(failed)
    }

    fn restart(&self) -> Result<()> {
        let module = self.module();
        remove(&module)?;
        fs::create_dir(&module).map_err(|error| Error::io(module.display().to_string(), error))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Left behind only if the file system fails; `prune` finds it.
        let _ = remove(&self.folder);
    }
}

/// Copies folders and regular files; links are not followed, for they may point anywhere.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    let failed = |path: &Path, error| Error::io(path.display().to_string(), error);
    for item in fs::read_dir(from).map_err(|error| failed(from, error))? {
        let item = item.map_err(|error| failed(from, error))?;
        let (source, target) = (item.path(), to.join(item.file_name()));
        let kind = item.file_type().map_err(|error| failed(&source, error))?;
        if kind.is_dir() {
            fs::create_dir(&target).map_err(|error| failed(&target, error))?;
            copy_files(&source, &target)?;
        } else if kind.is_file() {
            fs::copy(&source, &target).map_err(|error| failed(&source, error))?;
        } else {
            return Err(Error::corrupt(source.display().to_string(), "neither a file nor a folder"));
        }
    }
    Ok(())
}

/// What Python's `tensorflow_hub` writes beside a module, with the time in UTC.
fn descriptor(handle: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let host = gethostname::gethostname();
    format!(
        "Module: {handle}\nDownload Time: {}\nDownloader Hostname: {} (PID:{})",
        datetime(now.as_secs(), now.subsec_micros()),
        host.to_string_lossy(),
        std::process::id()
    )
}

/// Seconds since 1970 as `2026-11-22 16:13:46.012345+00:00`.
fn datetime(seconds: u64, micros: u32) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years begin in March here, so that leap days come last; day 0 is the first of March of the year 0.
    let day = days + 719_468;
    let (era, day_of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}+00:00")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // By `date -u -d @SECONDS`.
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_709_251_200, "2024-03-01 00:00:00"),
            (1_798_761_599, "2026-12-31 23:59:59"),
            (4_107_542_400, "2100-03-01 00:00:00"),
        ] {
            assert_eq!(datetime(seconds, 42), format!("{expected}.000042+00:00"));
        }
    }
}
