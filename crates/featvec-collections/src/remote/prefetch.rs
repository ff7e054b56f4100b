//! Many objects at once, handed out in the order in which they were asked for.

use std::collections::VecDeque;

use featvec::Result;

use super::failure::Attempt;
use super::machinery::Coming;
use super::{Location, Remote};

/// Objects on their way, each with a tag `T` of the caller's.
///
/// At most [`requests`](super::RemoteOptions::requests) are asked for or wait to be taken, so that memory is bounded by
/// that number times [`picture_bytes`](super::RemoteOptions::picture_bytes). Dropping it gives up what is on its way.
#[derive(Debug)]
pub struct Prefetch<T> {
    remote: Remote,
    line: VecDeque<(T, Option<Request>)>,
}

#[derive(Debug)]
struct Request {
    location: Location,
    coming: Coming<Attempt<Vec<u8>>>,
}

impl<T> Prefetch<T> {
    /// None so far.
    pub fn new(remote: &Remote) -> Prefetch<T> {
        Prefetch { remote: remote.clone(), line: VecDeque::new() }
    }

    /// Whether another one can be asked for before one is taken.
    pub fn has_room(&self) -> bool {
        self.line.len() < self.remote.options().requests.max(1)
    }

    /// Asks for the object at `location`.
    pub fn push(&mut self, location: &Location, tag: T) {
        let (network, wanted) = (self.remote.network.clone(), location.clone());
        let coming = self.remote.machinery.run(async move { network.picture(&wanted).await });
        self.line.push_back((tag, Some(Request { location: location.clone(), coming })));
    }

    /// Puts something in line that need not be asked for, so that it keeps its place among the others.
    pub fn push_here(&mut self, tag: T) {
        self.line.push_back((tag, None));
    }

    /// Waits for the first in line: its tag and, if it was asked for, its bytes or why they cannot be had.
    pub fn take(&mut self) -> Option<(T, Option<Result<Vec<u8>>>)> {
        let (tag, request) = self.line.pop_front()?;
        let wait = |Request { location, coming }: Request| coming.wait()?.map_err(|failure| failure.at(&location));
        Some((tag, request.map(wait)))
    }
}
