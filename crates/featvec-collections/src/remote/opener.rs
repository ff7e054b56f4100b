//! What sources ask for behind URLs.

use std::sync::{Mutex, PoisonError};

use featvec::Result;

use super::{Location, Remote, RemoteOptions};
use crate::sources::{Fetch, Listing, Opener, Seekable, Stream};

impl Opener for Remote {
    fn stream(&self, url: &str) -> Result<Box<dyn Stream>> {
        Ok(Box::new(self.open_stream(&Location::parse(url)?)?))
    }

    fn seekable(&self, url: &str) -> Result<Box<dyn Seekable>> {
        Ok(Box::new(self.open_file(&Location::parse(url)?)?))
    }

    fn list(&self, url: &str) -> Result<Listing> {
        let listing = Remote::list(self, &Location::parse(url)?);
        Ok(Box::new(listing.map(|entry| Ok(entry?.location.address()))))
    }

    fn fetch(&self, url: &str, most_bytes: u64) -> Fetch {
        let limit = most_bytes.min(self.options().picture_bytes);
        match Location::parse(url) {
            Ok(location) => {
                let coming = self.fetch_at_most(&location, limit);
                Box::new(|| coming.wait())
            }
            Err(error) => Box::new(|| Err(error)),
        }
    }

    fn parallel(&self) -> usize {
        self.options().requests
    }
}

/// A [`Remote`] that is made when the first URL is opened: what needs no network does not fail for want of it.
#[derive(Debug)]
pub struct RemoteOnDemand {
    options: RemoteOptions,
    remote: Mutex<Option<Remote>>,
}

impl RemoteOnDemand {
    /// One with these options.
    pub fn new(options: RemoteOptions) -> RemoteOnDemand {
        RemoteOnDemand { options, remote: Mutex::new(None) }
    }

    /// The way to servers and stores, made if there is none yet.
    ///
    /// # Errors
    /// As of [`Remote::new`].
    pub fn get(&self) -> Result<Remote> {
        let mut remote = self.remote.lock().unwrap_or_else(PoisonError::into_inner);
        match &*remote {
            Some(remote) => Ok(remote.clone()),
            None => Ok(remote.insert(Remote::new(self.options.clone())?).clone()),
        }
    }
}

impl Opener for RemoteOnDemand {
    fn stream(&self, url: &str) -> Result<Box<dyn Stream>> {
        self.get()?.stream(url)
    }

    fn seekable(&self, url: &str) -> Result<Box<dyn Seekable>> {
        self.get()?.seekable(url)
    }

    fn list(&self, url: &str) -> Result<Listing> {
        Opener::list(&self.get()?, url)
    }

    fn fetch(&self, url: &str, most_bytes: u64) -> Fetch {
        match self.get() {
            Ok(remote) => Opener::fetch(&remote, url, most_bytes),
            Err(error) => Box::new(|| Err(error)),
        }
    }

    fn parallel(&self) -> usize {
        self.options.requests
    }
}
