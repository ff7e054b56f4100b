//! Where modules are kept, where they come from, and how much of their bytes is believed.

use std::path::PathBuf;

use clap::Args;
use featvec::fetch::FetchOptions;
use featvec::{Cache, Limits, Result};

use super::parse_bytes;

/// Options of every command that may download a module.
#[derive(Args, Clone, Default)]
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

    #[command(flatten)]
    limits: LimitArgs,
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
        self.limits.limits()
    }
}

/// How much of a file's bytes is believed.
#[derive(Args, Clone, Default)]
pub struct LimitArgs {
    /// Raise or lower a limit that an error names, like tensor_bytes=4G; may be repeated
    #[arg(long, value_name = "NAME=NUMBER", value_parser = parse_limit)]
    limit: Vec<(String, u64)>,
}

impl LimitArgs {
    /// The default limits, changed by these.
    pub fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        for (name, number) in &self.limit {
            limits.set(name, *number);
        }
        limits
    }
}

fn parse_limit(text: &str) -> std::result::Result<(String, u64), String> {
    let (name, number) = text.split_once('=').ok_or("write it NAME=NUMBER, like tensor_bytes=4G")?;
    if !Limits::NAMES.contains(&name) {
        return Err(format!("there is no limit {name:?}: there are {}", Limits::NAMES.join(", ")));
    }
    Ok((name.to_string(), parse_bytes(number)?))
}
