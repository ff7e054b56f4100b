//! Any part of an object, for formats whose table of contents stands at the end.

use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom};

use bytes::Bytes;
use featvec::{Error, ErrorKind, Result};
use futures_util::StreamExt;
use reqwest::StatusCode;
use tokio::time::Instant;

use super::answer::{Answer, Part};
use super::failure::{Attempt, Failure};
use super::machinery::Coming;
use super::patience::Patience;
use super::{Location, Network, Remote};

/// What is asked for at once.
const BLOCK_BYTES: u64 = 1 << 20;
/// Blocks that are kept or on their way, so that a file takes at most 8 MiB.
const BLOCKS: usize = 8;
/// How many blocks are on their way ahead of a reader that goes from block to block.
const AHEAD: u64 = 3;

/// An object of which any part can be read: by ranged requests, of blocks that are kept for a while.
///
/// The object must not change in the meantime; if it does, reading fails.
#[derive(Debug)]
pub struct RemoteFile {
    remote: Remote,
    location: Location,
    length: u64,
    version: Option<String>,
    position: u64,
    /// The block that was read last, to tell a reader that goes from block to block.
    last: Option<u64>,
    /// With the number of each; the one used last stands at the end.
    blocks: VecDeque<(u64, Block)>,
}

#[derive(Debug)]
enum Block {
    Here(Bytes),
    Coming(Coming<Attempt<Bytes>>),
}

impl Remote {
    /// Opens the object at `location` for reading anywhere.
    ///
    /// # Errors
    /// What the server answers to a request for the last megabyte, [`ErrorKind::Unsupported`] if it sends no parts.
    pub fn open_file(&self, location: &Location) -> Result<RemoteFile> {
        let (network, wanted) = (self.network.clone(), location.clone());
        let opened = self.machinery.run(async move { network.first_block(&wanted).await });
        let (block, length, version) = opened.wait()?.map_err(|failure| failure.of(location))?;
        Ok(RemoteFile {
            remote: self.clone(),
            location: location.clone(),
            length,
            version,
            position: 0,
            last: None,
            blocks: VecDeque::from([(0, Block::Here(block))]),
        })
    }
}

impl RemoteFile {
    fn block(&mut self, number: u64) -> Result<Bytes> {
        if self.last != Some(number) {
            let ahead = if number > 0 && self.last == Some(number - 1) { AHEAD } else { 0 };
            // What is wanted now comes last, so that it is the last to be thrown away.
            for number in (number..=number + ahead).rev() {
                self.want(number);
            }
            self.last = Some(number);
        }
        let gone = || Error::new(ErrorKind::Io, "", "a block has been lost");
        let block = match self.blocks.pop_back().ok_or_else(gone)?.1 {
            Block::Here(block) => block,
            Block::Coming(coming) => coming.wait()?.map_err(|failure| failure.of(&self.location))?,
        };
        self.blocks.push_back((number, Block::Here(block.clone())));
        Ok(block)
    }

    /// Sees to it that the block `number`, if there is such a one, is here or on its way, and moves it to the end.
    fn want(&mut self, number: u64) {
        let first = number * BLOCK_BYTES;
        if first >= self.length {
            return;
        }
        let known = self.blocks.iter().position(|(other, _)| *other == number);
        if let Some(block) = known.and_then(|index| self.blocks.remove(index)) {
            self.blocks.push_back(block);
            return;
        }
        if self.blocks.len() == BLOCKS {
            self.blocks.pop_front();
        }
        let end = Some((first + BLOCK_BYTES).min(self.length));
        let part = Part { first, end, version: self.version.clone() };
        let (network, location, length) = (self.remote.network.clone(), self.location.clone(), self.length);
        let coming = self.remote.machinery.run(async move { network.block(&location, part, length).await });
        self.blocks.push_back((number, Block::Coming(coming)));
    }
}

impl Read for RemoteFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.length || buffer.is_empty() {
            return Ok(0);
        }
        let block = self
            .block(self.position / BLOCK_BYTES)
            .inspect_err(|_| self.last = None)
            .map_err(io::Error::other)?;
        let rest = block.get((self.position % BLOCK_BYTES) as usize..).unwrap_or_default();
        let count = buffer.len().min(rest.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for RemoteFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.length.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "before the beginning of the file"))?;
        Ok(self.position)
    }
}

impl Network {
    /// The first block, the length of the object, and what tells its version.
    async fn first_block(&self, location: &Location) -> Attempt<(Bytes, u64, Option<String>)> {
        let mut patience = Patience::default();
        loop {
            match self.try_first_block(location).await {
                Ok(result) => return Ok(result),
                Err(failure) => patience.bear(failure, 0, &self.host(location), &self.options).await?,
            }
        }
    }

    async fn try_first_block(&self, location: &Location) -> Attempt<(Bytes, u64, Option<String>)> {
        let part = Part { first: 0, end: Some(BLOCK_BYTES), version: None };
        let answer = match self.ask_in_turn(location, part).await {
            // There is no first byte.
            Err(failure) if failure.status == Some(StatusCode::RANGE_NOT_SATISFIABLE) => {
                return Ok(Default::default());
            }
            answer => answer?,
        };
        let total = answer.total.ok_or_else(no_parts)?;
        let version = answer.version.clone();
        Ok((self.filled(answer, 0, total.min(BLOCK_BYTES)).await?, total, version))
    }

    /// The bytes of `part` of an object of so many bytes in all.
    async fn block(&self, location: &Location, part: Part, length: u64) -> Attempt<Bytes> {
        let mut patience = Patience::default();
        loop {
            match self.try_block(location, part.clone(), length).await {
                Ok(block) => return Ok(block),
                Err(failure) => patience.bear(failure, 0, &self.host(location), &self.options).await?,
            }
        }
    }

    async fn try_block(&self, location: &Location, part: Part, length: u64) -> Attempt<Bytes> {
        let answer = self.ask_in_turn(location, part.clone()).await?;
        if answer.version != part.version || answer.total != Some(length) {
            return Err(Failure::last(ErrorKind::Io, "it has changed while it was read")
                .with_hint("run again when nobody changes it"));
        }
        if answer.first != part.first {
            return Err(no_parts());
        }
        self.filled(answer, part.first, part.end.unwrap_or(length)).await
    }

    /// The bytes from `first` to `end`, of which a server may send more or less than it should.
    async fn filled(&self, mut answer: Answer, first: u64, end: u64) -> Attempt<Bytes> {
        let wanted = (end - first) as usize;
        let mut block = Vec::with_capacity(wanted);
        let deadline = Instant::now() + self.options.timeouts.whole;
        while block.len() < wanted {
            let chunk = tokio::time::timeout_at(deadline, answer.chunks.next()).await;
            let chunk = chunk.map_err(|_| Failure::last(ErrorKind::Io, "the server is too slow"))?;
            let Some(chunk) = chunk.transpose()? else {
                let message =
                    format!("the connection ended after {} of {wanted} bytes of a part", block.len());
                return Err(Failure::passing(message));
            };
            block.extend_from_slice(chunk.get(..wanted - block.len()).unwrap_or(&chunk));
        }
        Ok(block.into())
    }
}

fn no_parts() -> Failure {
    Failure::last(ErrorKind::Unsupported, "the server sends no parts of files, which this format needs")
        .with_hint("download the file first")
}
