//! `featvec cache`: what lies in the folder of downloaded modules.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use featvec::cache::{CachedModule, Prune};
use featvec::handle::Handle;
use featvec::{Cache, ErrorKind, Limits};
use serde_json::json;

use crate::line;
use crate::options::{LimitArgs, TextOrJson};
use crate::stop::{Outcome, Stop};
use crate::talk::Talk;

/// List, find, verify and remove downloaded modules
#[derive(Args)]
#[command(after_help = "\
Examples:
  featvec cache list
  featvec cache path https://tfhub.dev/google/imagenet/inception_v1/feature_vector/1
  featvec cache verify
  featvec cache prune --older-than 90")]
pub struct CacheCommand {
    #[command(subcommand)]
    action: Action,

    /// Folder of downloaded modules [default: $TFHUB_CACHE_DIR, or featvec in the user's cache folder]
    #[arg(long, value_name = "DIR", global = true)]
    cache_dir: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Action {
    /// List the modules: bytes, age, handle
    List {
        /// As text, or a JSON object a line
        #[arg(long, value_enum, default_value_t)]
        format: TextOrJson,
    },
    /// Print where the cache lies, or where the module HANDLE lies or would lie
    Path {
        /// The module
        handle: Option<String>,
    },
    /// Verify every byte of every module; the exit code is 1 if one is damaged or cannot be verified
    Verify {
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// Remove what is left of dead downloads, and modules
    Prune {
        /// The one module to remove
        #[arg(conflicts_with_all = ["older_than", "all"])]
        handle: Option<String>,
        /// Remove modules fetched more than this many days ago
        #[arg(long, value_name = "DAYS", conflicts_with = "all")]
        older_than: Option<u32>,
        /// Remove all modules
        #[arg(long)]
        all: bool,
    },
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl CacheCommand {
    pub fn run(self, talk: &Talk) -> Result<Outcome, Stop> {
        let cache = match &self.cache_dir {
            Some(folder) => Cache::at(folder),
            None => Cache::open_default()?,
        };
        match self.action {
            Action::List { format } => list(&cache, format),
            Action::Path { handle } => path(&cache, handle.as_deref()),
            Action::Verify { limits } => verify(&cache, &limits.limits(), talk),
            Action::Prune { handle, older_than, all } => {
                let handle = handle.map(|handle| Handle::parse(&handle)).transpose()?;
                let what = match (&handle, older_than) {
                    _ if all => Prune::All,
                    (Some(handle), _) => Prune::Module(handle),
                    (None, Some(days)) => Prune::OlderThan(DAY * days),
                    (None, None) => Prune::Leftovers,
                };
                prune(&cache, what, talk)
            }
        }
    }
}

fn list(cache: &Cache, format: TextOrJson) -> Result<Outcome, Stop> {
    for module in cache.list()? {
        match format {
            TextOrJson::Text => {
                let age = module.fetched.and_then(|since| SystemTime::now().duration_since(since).ok());
                let days =
                    age.map_or("-".to_string(), |age| format!("{} days", age.as_secs() / DAY.as_secs()));
                print(format_args!("{:>12} {days:>10}  {}", module.bytes, name(&module)))?;
            }
            TextOrJson::Json => {
                let since_epoch = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).ok();
                print(json!({
                    "key": module.key,
                    "handle": module.handle,
                    "path": module.path.to_string_lossy(),
                    "bytes": module.bytes,
                    "fetched": module.fetched.and_then(since_epoch).map(|time| time.as_secs()),
                    "sha256": module.sha256,
                    "url": module.url,
                }))?;
            }
        }
    }
    Ok(Outcome::Done)
}

fn path(cache: &Cache, handle: Option<&str>) -> Result<Outcome, Stop> {
    let path = match handle {
        Some(handle) => cache.path(&Handle::parse(handle)?),
        None => cache.root().to_owned(),
    };
    print(line::shown(path))?;
    Ok(Outcome::Done)
}

fn verify(cache: &Cache, limits: &Limits, talk: &Talk) -> Result<Outcome, Stop> {
    let (mut damaged, mut unknown) = (0, 0);
    for (module, sound) in cache.verify(limits)? {
        let Err(error) = sound else {
            print(format_args!("sound    {}", name(&module)))?;
            continue;
        };
        if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported | ErrorKind::Mismatch) {
            print(format_args!("damaged  {}", name(&module)))?;
            talk.failure(error);
            damaged += 1;
        } else {
            print(format_args!("unknown  {}", name(&module)))?;
            talk.failure(format_args!("could not be verified: {error}"));
            unknown += 1;
        }
    }
    if damaged > 0 {
        talk.note("the next use of a damaged module fetches it again, as does `featvec fetch HANDLE`");
    }
    Ok(Outcome::of(damaged + unknown))
}

fn prune(cache: &Cache, what: Prune<'_>, talk: &Talk) -> Result<Outcome, Stop> {
    let stale = featvec::fetch::Timeouts::default().lock_stale;
    let pruned = cache.prune(what, stale)?;
    for removed in &pruned {
        print(line::shown(&removed.path))?;
    }
    let bytes: u64 = pruned.iter().map(|removed| removed.bytes).sum();
    talk.note(format_args!("removed {} files and folders, {bytes} bytes", pruned.len()));
    Ok(Outcome::Done)
}

/// What people call a module: its handle, where something tells it.
fn name(module: &CachedModule) -> String {
    module.handle.as_deref().map_or_else(|| line::shown(&module.path), line::shown)
}

fn print(line: impl std::fmt::Display) -> Result<(), Stop> {
    writeln!(stdout(), "{line}").map_err(Stop::from_stdout)
}
