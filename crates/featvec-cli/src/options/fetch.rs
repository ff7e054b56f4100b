//! Where modules are kept, where they come from, and how much of their bytes is believed.

use std::path::PathBuf;

use clap::Args;
use featvec::fetch::FetchOptions;
use featvec::{Cache, Limits, Result};

use super::parse_bytes;

/// Options of every command that may download a module.
#[derive(Args)]
#[command(next_help_heading = "Downloads")]
pub struct FetchArgs {
    /// Folder of downloaded modules [default: $TFHUB_CACHE_DIR, or featvec in the user's cache folder]
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,

    /// Use what the cache has, and never ask a server
    #[arg(long, conflicts_with = "mirror")]
    offline: bool,

    /// Ask this server too: a URL with {path} for the handle's path; may be repeated
    #[arg(long, value_name = "TEMPLATE")]
    mirror: Vec<String>,

    /// Raise or lower a limit that an error names, like tensor_bytes=4G; may be repeated
    #[arg(long, value_name = "NAME=NUMBER", value_parser = parse_limit)]
    limit: Vec<(LimitName, u64)>,
}

impl FetchArgs {
    /// The cache, default or not.
    pub fn cache(&self) -> Result<Cache> {
        match &self.cache_dir {
            Some(folder) => Ok(Cache::at(folder)),
            None => Cache::open_default(),
        }
    }

    /// The environment's options, changed by these. The user's mirrors come before the environment's.
    pub fn options(&self) -> FetchOptions {
        let environment = FetchOptions::from_env();
        FetchOptions {
            offline: self.offline,
            mirrors: self.mirror.iter().cloned().chain(environment.mirrors).collect(),
            limits: self.limits(),
            ..environment
        }
    }

    /// The limits for reading files.
    pub fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        for (set, number) in &self.limit {
            set(&mut limits, *number);
        }
        limits
    }
}

/// A field of [`Limits`], by what sets it.
type LimitName = fn(&mut Limits, u64);

/// The fields of [`Limits`] by the names that errors use.
const LIMITS: [(&str, LimitName); 9] = [
    ("file_bytes", |limits, n| limits.file_bytes = n),
    ("graph_bytes", |limits, n| limits.graph_bytes = n),
    ("archive_bytes", |limits, n| limits.archive_bytes = n),
    ("archive_entries", |limits, n| limits.archive_entries = saturated(n)),
    ("tensors", |limits, n| limits.tensors = saturated(n)),
    ("tensor_bytes", |limits, n| limits.tensor_bytes = n),
    ("name_bytes", |limits, n| limits.name_bytes = saturated(n)),
    ("message_depth", |limits, n| limits.message_depth = saturated(n)),
    ("graph_nodes", |limits, n| limits.graph_nodes = saturated(n)),
];

fn saturated(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn parse_limit(text: &str) -> std::result::Result<(LimitName, u64), String> {
    let (name, number) = text.split_once('=').ok_or("write it NAME=NUMBER, like tensor_bytes=4G")?;
    let Some((_, set)) = LIMITS.iter().find(|(known, _)| *known == name) else {
        let names: Vec<_> = LIMITS.iter().map(|(name, _)| *name).collect();
        return Err(format!("there is no limit {name:?}: there are {}", names.join(", ")));
    };
    Ok((*set, parse_bytes(number)?))
}
