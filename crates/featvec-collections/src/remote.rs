//! Pictures and shards behind addresses: object stores (`s3://`, `gs://`, `az://`) and `http(s)://`.
//!
//! ```no_run
//! use std::collections::VecDeque;
//!
//! use featvec_collections::remote::{Location, Remote, RemoteOptions};
//!
//! let remote = Remote::new(RemoteOptions::from_env())?;
//! let mut coming = VecDeque::new();
//! for entry in remote.list(&Location::parse("s3://bucket/photos/")?) {
//!     let location = entry?.location;
//!     coming.push_back((location.key().to_string(), remote.fetch(&location)));
//!     if coming.len() == remote.options().requests
//!         && let Some((key, picture)) = coming.pop_front()
//!     {
//!         println!("{key}: {} bytes", picture.wait()?.len());
//!     }
//! }
//! # featvec::Result::Ok(())
//! ```
//!
//! Everything here waits for the network and returns when it is done; the asynchronous machinery beneath runs on one
//! thread, which a [`Remote`] and all that is made from it share and which ends with the last of them.

mod answer;
mod client;
mod failure;
mod hosts;
mod listing;
mod location;
mod machinery;
mod opener;
mod patience;
mod picture;
mod ranged;
mod store;
mod stream;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use featvec::Result;
use featvec::fetch::{FetchOptions, Proxies};

pub use listing::{Entry, Listing};
pub use location::Location;
pub use opener::RemoteOnDemand;
pub use picture::Fetching;
pub use ranged::RemoteFile;
pub use stream::RemoteStream;

use hosts::Hosts;
use machinery::Machinery;
use store::Stores;

/// How servers and stores are asked. Names and defaults are those of [`FetchOptions`], by which modules are downloaded,
/// where both have the same.
#[derive(Clone, Debug)]
pub struct RemoteOptions {
    /// How many pictures should be asked for before the first of them is taken; whoever asks sees to it.
    pub requests: usize,
    /// How many requests for pictures one web server gets at once; a bucket gets [`requests`](RemoteOptions::requests).
    pub requests_per_host: usize,
    /// How many failed attempts in a row one object gets beyond the first, where trying again may help.
    pub retries: u32,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// Most bytes of one picture, so that pictures on their way take at most `requests` times as many.
    pub picture_bytes: u64,
    /// Through which proxies servers are reached.
    pub proxies: Proxies,
    /// A PEM file with certificates to trust instead of Mozilla's, as `SSL_CERT_FILE` names one.
    pub certificates: Option<PathBuf>,
    /// Credentials and endpoints of object stores.
    pub environment: Environment,
}

/// How long to wait for what, and between attempts.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// Finding the server and connecting to it, encryption included.
    pub connect: Duration,
    /// How long an answer may stay away or a body stand still.
    pub stall: Duration,
    /// How long one attempt at a picture may take in all.
    pub whole: Duration,
    /// The pause before the first retry, more or less; each further one is twice as long, up to a hundredfold.
    pub backoff: Duration,
    /// The longest wait that a server's `Retry-After` can impose.
    pub retry_after_max: Duration,
}

/// The variables by which object stores are configured: those that begin with `AWS_`, `GOOGLE_` or `AZURE_`, as
/// Amazon's, Google's and Microsoft's own programs read them, and `STORAGE_EMULATOR_HOST`.
///
/// Where they give no credentials and the machine has no identity in the cloud, requests are not signed, as public
/// buckets allow.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Default for RemoteOptions {
    fn default() -> RemoteOptions {
        let FetchOptions { retries, proxies, certificates, .. } = FetchOptions::default();
        RemoteOptions {
            requests: 16,
            requests_per_host: 4,
            retries,
            timeouts: Timeouts::default(),
            picture_bytes: 64 << 20,
            proxies,
            certificates,
            environment: Environment::default(),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        let of_modules = featvec::fetch::Timeouts::default();
        Timeouts {
            connect: of_modules.connect,
            stall: of_modules.stall,
            whole: Duration::from_secs(300),
            backoff: of_modules.backoff,
            retry_after_max: of_modules.retry_after_max,
        }
    }
}

impl RemoteOptions {
    /// The defaults, changed by `SSL_CERT_FILE`, the variables of [`Proxies::from_vars`] and those of [`Environment`].
    pub fn from_env() -> RemoteOptions {
        let FetchOptions { proxies, certificates, .. } = FetchOptions::from_env();
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        RemoteOptions {
            proxies,
            certificates,
            environment: Environment::from_vars(variables),
            ..RemoteOptions::default()
        }
    }
}

impl Environment {
    /// Those of `variables` that are for stores.
    pub fn from_vars(variables: impl IntoIterator<Item = (String, String)>) -> Environment {
        let is_for_stores = |name: &str| {
            ["aws_", "google_", "azure_"].iter().any(|prefix| name.starts_with(prefix))
                || ["storage_emulator_host", "home"].contains(&name)
        };
        let variables = variables.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value));
        Environment(variables.filter(|(name, value)| is_for_stores(name) && !value.is_empty()).collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values are secrets.
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The way to servers and stores. Clones share connections and the thread.
#[derive(Clone, Debug)]
pub struct Remote {
    network: Arc<Network>,
    machinery: Arc<Machinery>,
}

/// What tasks need.
#[derive(Debug)]
struct Network {
    client: reqwest::Client,
    stores: Stores,
    hosts: Hosts,
    options: RemoteOptions,
}

impl Remote {
    /// Nothing is asked for yet.
    ///
    /// # Errors
    /// A file of certificates that cannot be used; no thread to be had.
    pub fn new(options: RemoteOptions) -> Result<Remote> {
        let machinery = Arc::new(Machinery::start()?);
        let client = client::client(&options)?;
        let stores = Stores::new(client.clone(), &options);
        Ok(Remote {
            network: Arc::new(Network { client, stores, hosts: Hosts::default(), options }),
            machinery,
        })
    }

    /// The options that were given.
    pub fn options(&self) -> &RemoteOptions {
        &self.network.options
    }
}

impl Network {
    fn host(&self, location: &Location) -> Arc<hosts::Host> {
        let at_once = match location.place {
            location::Place::Web(_) => self.options.requests_per_host,
            location::Place::Object { .. } => self.options.requests,
        };
        self.hosts.get(location.host(), at_once)
    }
}
