//! An object from its beginning to its end, through connections that break.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use featvec::{ErrorKind, Result};
use featvec_formats::Skip;
use futures_util::StreamExt;
use tokio::time::Instant;

use super::answer::{Answer, Part};
use super::failure::{Attempt, Failure};
use super::machinery::Coming;
use super::patience::Patience;
use super::{Location, Network, Remote};

/// So much is asked for ahead of the reader: what a shard on its way takes is twice this.
const BLOCK_BYTES: usize = 1 << 20;
/// Fewer bytes than this in the time of a stall are one: a server that drips is not to hold us for days.
const DRIP_BYTES: u64 = 1 << 10;
/// Passing over fewer bytes than this by another request would take longer than reading them.
const SKIP_BYTES: u64 = 4 << 20;

/// The bytes of an object, in order. A broken connection is taken up where it broke, as long as the object is the same.
#[derive(Debug)]
pub struct RemoteStream {
    remote: Remote,
    location: Location,
    block: Bytes,
    next: Next,
}

#[derive(Debug)]
enum Next {
    Coming(Coming<(Reading, Attempt<Bytes>)>),
    Nothing,
}

impl Remote {
    /// Opens the object at `location` for reading from beginning to end.
    ///
    /// # Errors
    /// What the server answers to the request. Errors while reading are of [`io::Error`], with an
    /// [`featvec::Error`] inside.
    pub fn open_stream(&self, location: &Location) -> Result<RemoteStream> {
        let mut reading = Reading::new(self.network.clone(), location.clone());
        let opened = self.machinery.run(async move {
            let opened = reading.open().await;
            (reading, opened)
        });
        let (reading, opened) = opened.wait()?;
        opened.map_err(|failure| failure.of(location))?;
        let mut stream = RemoteStream {
            remote: self.clone(),
            location: location.clone(),
            block: Bytes::new(),
            next: Next::Nothing,
        };
        stream.read_ahead(reading);
        Ok(stream)
    }
}

impl RemoteStream {
    fn read_ahead(&mut self, mut reading: Reading) {
        self.next = Next::Coming(self.remote.machinery.run(async move {
            let block = reading.block().await;
            (reading, block)
        }));
    }
}

impl Read for RemoteStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.block.is_empty() {
            // After an error or the end nothing more comes.
            let Next::Coming(coming) = std::mem::replace(&mut self.next, Next::Nothing) else {
                return Ok(0);
            };
            let (reading, block) = coming.wait().map_err(io::Error::other)?;
            self.block = block.map_err(|failure| io::Error::other(failure.of(&self.location)))?;
            if !self.block.is_empty() {
                self.read_ahead(reading);
            }
        }
        let count = buffer.len().min(self.block.len());
        self.block.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

impl Skip for RemoteStream {
    fn skip(&mut self, bytes: u64) -> io::Result<u64> {
        let mut left = bytes;
        // What is here or on its way is passed over first.
        while left > SKIP_BYTES
            && let Next::Coming(coming) = std::mem::replace(&mut self.next, Next::Nothing)
        {
            left = left.saturating_sub(self.block.len() as u64);
            let (mut reading, block) = coming.wait().map_err(io::Error::other)?;
            self.block = block.map_err(|failure| io::Error::other(failure.of(&self.location)))?;
            if !self.block.is_empty() {
                left -= reading.pass(left.saturating_sub(self.block.len() as u64));
                self.read_ahead(reading);
            }
        }
        let read = io::copy(&mut self.take(left), &mut io::sink())?;
        Ok(bytes - left + read)
    }
}

/// How far an object has been read.
struct Reading {
    network: Arc<Network>,
    location: Location,
    patience: Patience,
    answer: Option<Answer>,
    /// How many bytes have been handed out or lie in a block that is being filled.
    have: u64,
    total: Option<u64>,
    version: Option<String>,
}

impl Reading {
    fn new(network: Arc<Network>, location: Location) -> Reading {
        let patience = Patience::default();
        Reading { network, location, patience, answer: None, have: 0, total: None, version: None }
    }

    /// Leaves out the next `bytes`, unless reading them is cheaper or there are fewer; says how many were left out.
    fn pass(&mut self, bytes: u64) -> u64 {
        let left = self.total.map_or(0, |total| total - self.have);
        // Without a version nobody can tell that the rest is of the same object.
        if bytes < SKIP_BYTES || bytes > left || self.version.is_none() {
            return 0;
        }
        self.answer = None;
        self.have += bytes;
        bytes
    }

    async fn open(&mut self) -> Attempt<()> {
        while self.answer.is_none() {
            if let Err(failure) = self.ask().await {
                self.bear(failure).await?;
            }
        }
        Ok(())
    }

    /// The next bytes, none at the end.
    async fn block(&mut self) -> Attempt<Bytes> {
        let mut block = Vec::new();
        let (mut since, mut before) = (Instant::now(), self.have);
        while block.len() < BLOCK_BYTES {
            self.open().await?;
            match self.chunk().await {
                Ok(Some(chunk)) => {
                    self.have += chunk.len() as u64;
                    block.extend_from_slice(&chunk);
                }
                Ok(None) => break,
                Err(failure) => self.bear(failure).await?,
            }
            if since.elapsed() >= self.network.options.timeouts.stall {
                if self.have < before + DRIP_BYTES {
                    let message = format!("after {} bytes the server only drips", self.have);
                    self.bear(Failure::passing(message)).await?;
                }
                (since, before) = (Instant::now(), self.have);
            }
        }
        Ok(block.into())
    }

    async fn bear(&mut self, failure: Failure) -> Attempt<()> {
        self.answer = None;
        let host = self.network.host(&self.location);
        self.patience.bear(failure, self.have, &host, &self.network.options).await
    }

    /// Asks for what is missing.
    async fn ask(&mut self) -> Attempt<()> {
        let part = Part { first: self.have, end: None, version: self.version.clone() };
        let mut answer = self.network.ask_in_turn(&self.location, part).await?;
        if self.have == 0 {
            (self.total, self.version) = (answer.total, answer.version.clone());
        }
        let changed = answer.version != self.version || answer.total != self.total;
        if changed || answer.first > self.have || answer.first < self.have && self.version.is_none() {
            let message =
                format!("the connection broke after {} bytes, and the rest is of another version", self.have);
            return Err(Failure::last(ErrorKind::Io, message).with_hint("run again when nobody changes it"));
        }
        // A server that knows no parts sends all of it again.
        let mut known = self.have - answer.first;
        while known > 0 {
            let Some(chunk) = answer.chunks.next().await else {
                return Err(Failure::passing("the connection ended before it had come as far as the last"));
            };
            let mut chunk = chunk?;
            let skipped = known.min(chunk.len() as u64);
            chunk.advance(skipped as usize);
            known -= skipped;
            if !chunk.is_empty() {
                let rest = futures_util::stream::iter([Ok(chunk)]);
                answer.chunks = rest.chain(answer.chunks).boxed();
            }
        }
        self.answer = Some(answer);
        Ok(())
    }

    async fn chunk(&mut self) -> Attempt<Option<Bytes>> {
        let Some(answer) = &mut self.answer else {
            return Ok(None);
        };
        let chunk = answer.chunks.next().await.transpose()?;
        match (&chunk, self.total) {
            (None, Some(total)) if self.have != total => {
                Err(Failure::passing(format!("the connection ended after {} of {total} bytes", self.have)))
            }
            (Some(chunk), Some(total)) if self.have + chunk.len() as u64 > total => {
                Err(Failure::last(ErrorKind::Corrupt, format!("more than the promised {total} bytes came")))
            }
            _ => Ok(chunk),
        }
    }
}
