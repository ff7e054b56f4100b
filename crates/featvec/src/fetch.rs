//! Downloading a module's archive: mirrors in turn, redirects, stalls, resumption, retries.

mod download;
mod http;
mod mirrors;
mod proxy;
mod sniff;
mod url;

use std::path::{Path, PathBuf};
use std::time::Duration;

use featvec_formats::Limits;

use crate::handle::Handle;
use crate::{Error, ErrorKind, Result};

pub(crate) use download::Download;
pub use proxy::Proxies;

/// How modules are fetched.
#[derive(Clone, Debug)]
pub struct FetchOptions {
    /// Use what the cache has and never ask a server.
    pub offline: bool,
    /// URL templates with `{path}`, which stands for the path of the handle's URL (`google/…/1`). They are asked
    /// before `tfhub.dev` itself, and after any other server that a handle names.
    pub mirrors: Vec<String>,
    /// How many failed attempts in a row one URL gets beyond the first, where trying again may help.
    pub retries: u32,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// `file_bytes` bounds the download, the rest what is unpacked and read from it.
    pub limits: Limits,
    /// Through which proxies servers are reached.
    pub proxies: Proxies,
    /// A PEM file with certificates to trust instead of Mozilla's, as `SSL_CERT_FILE` names one.
    pub certificates: Option<PathBuf>,
    /// Take any certificate: for test servers, as `TFHUB_DISABLE_CERT_VALIDATION=true`.
    pub disable_cert_validation: bool,
    /// `TFHUB_MODEL_LOAD_FORMAT=UNCOMPRESSED` was asked for; downloads then fail and say why.
    pub uncompressed: bool,
}

/// How long to wait for what, and between attempts.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// Finding the server and connecting to it, encryption included.
    pub connect: Duration,
    /// How long an answer may stay away or a body stand still.
    pub stall: Duration,
    /// The pause before the first retry; each further one is twice as long, up to a hundredfold.
    pub backoff: Duration,
    /// The longest wait that a server's `Retry-After` can impose.
    pub retry_after_max: Duration,
    /// How often to look whether another process has finished its download.
    pub lock_poll: Duration,
    /// A lock of another program whose download has not grown for so long is taken over.
    pub lock_stale: Duration,
}

impl Default for FetchOptions {
    fn default() -> FetchOptions {
        FetchOptions {
            offline: false,
            mirrors: Vec::new(),
            retries: 4,
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            proxies: Proxies::default(),
            certificates: None,
            disable_cert_validation: false,
            uncompressed: false,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(15),
            backoff: Duration::from_millis(250),
            retry_after_max: Duration::from_secs(60),
            lock_poll: Duration::from_millis(500),
            lock_stale: Duration::from_secs(600),
        }
    }
}

impl FetchOptions {
    /// The defaults, changed by the variables `FEATVEC_MIRRORS` (templates separated by commas),
    /// `TFHUB_DISABLE_CERT_VALIDATION`, `TFHUB_MODEL_LOAD_FORMAT`, `SSL_CERT_FILE` and those of [`Proxies::from_vars`].
    pub fn from_env() -> FetchOptions {
        FetchOptions::from_vars(|name| std::env::var(name).ok())
    }

    /// Like [`from_env`](FetchOptions::from_env), with `var` in place of the environment.
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> FetchOptions {
        let set = |name: &str| var(name).filter(|value| !value.is_empty());
        let mirrors = set("FEATVEC_MIRRORS").unwrap_or_default();
        FetchOptions {
            mirrors: mirrors.split(',').map(str::trim).filter(|m| !m.is_empty()).map(String::from).collect(),
            proxies: Proxies::from_vars(&var),
            certificates: set("SSL_CERT_FILE").map(Into::into),
            disable_cert_validation: set("TFHUB_DISABLE_CERT_VALIDATION").as_deref() == Some("true"),
            uncompressed: set("TFHUB_MODEL_LOAD_FORMAT").as_deref() == Some("UNCOMPRESSED"),
            ..FetchOptions::default()
        }
    }
}

/// What a fetch is doing, for whoever tells the user.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// Another process is fetching the same module; `owner` is what its lock says (`host.process.task`).
    Waiting {
        /// The content of the lock; empty where it only verifies what is there.
        owner: &'a str,
    },
    /// The module in the cache is damaged and is being replaced.
    Repairing {
        /// What is wrong with it.
        reason: &'a str,
    },
    /// Bytes are coming in.
    Downloading {
        /// Where from.
        url: &'a str,
        /// Bytes so far.
        downloaded: u64,
        /// Bytes in all, where the server said.
        total: Option<u64>,
    },
    /// An attempt failed and another one follows.
    Retrying {
        /// What was asked for.
        url: &'a str,
        /// Why it failed.
        reason: &'a str,
    },
}

/// One fetch: where the archive goes while it grows, who watches, and who judges it.
pub(crate) struct Job<'a> {
    /// The file that the archive is written to.
    pub archive: &'a Path,
    /// Told about every step.
    pub progress: &'a mut dyn FnMut(Progress<'_>),
    /// Unpacks and verifies the downloaded archive. After [`ErrorKind::Corrupt`] the bytes are asked for once more.
    pub accept: &'a mut dyn FnMut() -> Result<()>,
}

/// Downloads the archive of `handle` from the first place that has it, and has `job.accept` judge it.
pub(crate) fn fetch(handle: &Handle, options: &FetchOptions, job: &mut Job<'_>) -> Result<Download> {
    if options.uncompressed {
        let message =
            "TFHUB_MODEL_LOAD_FORMAT=UNCOMPRESSED reads a module in place from gs://, which featvec cannot";
        return Err(Error::new(ErrorKind::Unsupported, handle.as_str(), message).with_hint(
            "unset the variable or set it to COMPRESSED: featvec downloads the compressed archive",
        ));
    }
    let client = http::Client::new(options);
    let mut failed: Vec<Error> = Vec::new();
    for url in mirrors::sources(handle, &options.mirrors)? {
        match fetch_from(&client, &url, job) {
            Ok(download) => return Ok(download),
            Err(error) => failed.push(error.within(&url)),
        }
    }
    Err(summary(handle, failed))
}

fn fetch_from(client: &http::Client<'_>, url: &str, job: &mut Job<'_>) -> Result<Download> {
    let attempt = |job: &mut Job<'_>| {
        let download = download::download(client, url, job)?;
        sniff::check(job.archive, &download)?;
        (job.accept)().map(|()| download)
    };
    let error = match attempt(job) {
        Err(error) if error.kind() == ErrorKind::Corrupt => error,
        settled => return settled,
    };
    // Bytes can be lost without a sign: no Content-Length, or a resumed part that was another file's.
    (job.progress)(Progress::Retrying { url, reason: &error.to_string() });
    attempt(job).map_err(|error| match error.kind() {
        ErrorKind::Corrupt => {
            error.with_hint("the server sent this twice; name another mirror with --mirror")
        }
        _ => error,
    })
}

/// One error out of those of all sources.
fn summary(handle: &Handle, mut failed: Vec<Error>) -> Error {
    if failed.len() == 1
        && let Some(error) = failed.pop()
    {
        return error;
    }
    let reasons: String = failed.iter().map(|error| format!("\n  {error}")).collect();
    let kind = failed.first().map_or(ErrorKind::Io, Error::kind);
    Error::new(kind, handle.as_str(), format!("none of {} places has it:{reasons}", failed.len())).with_hint(
        "name a mirror with --mirror, or download the archive yourself and use `featvec fetch --from FILE`",
    )
}
