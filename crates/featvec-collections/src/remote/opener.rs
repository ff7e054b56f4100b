//! What sources ask for behind URLs.

use featvec::Result;

use super::{Location, Remote};
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
