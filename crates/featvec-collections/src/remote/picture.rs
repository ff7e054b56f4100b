//! A whole object in memory.

use featvec::{ErrorKind, Result};
use futures_util::StreamExt;

use super::answer::Part;
use super::failure::{Attempt, Failure};
use super::machinery::Coming;
use super::patience::Patience;
use super::{Location, Network, Remote};

/// A picture that was asked for. Dropping it gives it up.
#[derive(Debug)]
pub struct Fetching {
    location: Location,
    coming: Coming<Attempt<Vec<u8>>>,
}

impl Remote {
    /// Asks for the picture at `location` and returns at once; many are asked for before the first of them is taken.
    pub fn fetch(&self, location: &Location) -> Fetching {
        self.fetch_at_most(location, self.options().picture_bytes)
    }

    pub(super) fn fetch_at_most(&self, location: &Location, limit: u64) -> Fetching {
        let (network, wanted) = (self.network.clone(), location.clone());
        let coming = self.machinery.run(async move { network.picture(&wanted, limit).await });
        Fetching { location: location.clone(), coming }
    }
}

impl Fetching {
    /// Waits for its bytes.
    ///
    /// # Errors
    /// What the server answers, with its status and the remedy; [`ErrorKind::Limit`] for more than
    /// [`picture_bytes`](super::RemoteOptions::picture_bytes).
    pub fn wait(self) -> Result<Vec<u8>> {
        self.coming.wait()?.map_err(|failure| failure.of(&self.location))
    }
}

impl Network {
    /// The bytes at `location`, at most `limit`.
    async fn picture(&self, location: &Location, limit: u64) -> Attempt<Vec<u8>> {
        let host = self.host(location);
        let mut patience = Patience::default();
        loop {
            let attempt = {
                let _permit = host.enter().await;
                tokio::time::timeout(self.options.timeouts.whole, self.attempt(location, limit)).await
            };
            let failure = match attempt {
                Ok(Ok(bytes)) => return Ok(bytes),
                Ok(Err(failure)) => failure,
                // A server that drips would be as slow the next time.
                Err(_) => {
                    let message = format!("not all of it came within {:?}", self.options.timeouts.whole);
                    Failure::last(ErrorKind::Io, message).with_hint("the server is too slow; try again later")
                }
            };
            patience.bear(failure, 0, &host, &self.options).await?;
        }
    }

    async fn attempt(&self, location: &Location, limit: u64) -> Attempt<Vec<u8>> {
        let mut answer = self.ask(location, Part::default()).await?;
        let announced = answer.total.unwrap_or(0);
        if announced > limit {
            return Err(too_long(limit, &format!("the server announces {announced} bytes")));
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(announced as usize).map_err(|_| too_long(limit, "no memory is left"))?;
        while let Some(chunk) = answer.chunks.next().await {
            let chunk = chunk?;
            if (bytes.len() + chunk.len()) as u64 > limit {
                return Err(too_long(limit, "the server keeps sending"));
            }
            bytes.extend_from_slice(&chunk);
        }
        match answer.total {
            Some(total) if total != bytes.len() as u64 => {
                Err(Failure::passing(format!("the connection ended after {} of {total} bytes", bytes.len())))
            }
            _ => Ok(bytes),
        }
    }
}

fn too_long(limit: u64, message: &str) -> Failure {
    Failure::last(ErrorKind::Limit, format!("{message}, and the limit for a picture is {limit}"))
        .with_hint("download it first")
}
