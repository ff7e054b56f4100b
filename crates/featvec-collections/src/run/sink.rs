//! Where rows go.

use std::collections::HashSet;

use featvec::{Error, Result};

use crate::parts::{Known, Parts};
use crate::{Row, Status};

/// Where rows go, in the order of their items.
pub trait Sink: Send {
    /// Why a row cannot go there.
    type Error: From<Error> + Send;

    /// Whether a row of `key` is asked for. It is asked once for each item, in their order.
    fn wants(&mut self, _key: &str) -> bool {
        true
    }

    /// What is known of a picture whose bytes have this SHA-256, so that it need not be computed.
    ///
    /// # Errors
    /// What ends the run.
    fn known(&mut self, _content_hash: &[u8; 32]) -> std::result::Result<Option<Known>, Self::Error> {
        Ok(None)
    }

    /// Takes a row.
    ///
    /// # Errors
    /// What ends the run: a full disk.
    fn write(&mut self, row: Row) -> std::result::Result<(), Self::Error>;
}

/// Parts that a run goes on with: keys that have a row are not asked for again, and each key has one row.
pub struct Resumed<'a> {
    parts: &'a mut Parts,
    retry_failed: bool,
    /// Keys whose rows are on their way.
    asked: HashSet<String>,
    passed_over: u64,
}

impl<'a> Resumed<'a> {
    /// Goes on with `parts`; with `retry_failed` pictures that failed are tried again.
    pub fn new(parts: &'a mut Parts, retry_failed: bool) -> Resumed<'a> {
        Resumed { parts, retry_failed, asked: HashSet::new(), passed_over: 0 }
    }

    /// How many items were not asked for, because they have rows.
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }
}

impl Sink for Resumed<'_> {
    type Error = Error;

    fn wants(&mut self, key: &str) -> bool {
        let is_open = match self.parts.status(key) {
            None => true,
            Some(Status::Ok) => false,
            Some(_) => self.retry_failed,
        };
        let wanted = is_open && self.asked.insert(key.to_owned());
        self.passed_over += u64::from(!wanted);
        wanted
    }

    fn known(&mut self, content_hash: &[u8; 32]) -> Result<Option<Known>> {
        self.parts.known(content_hash)
    }

    fn write(&mut self, row: Row) -> Result<()> {
        // A failed row that was tried again keeps its key here: it is not tried a third time.
        if !self.retry_failed {
            self.asked.remove(&row.key);
        }
        self.parts.append(row)
    }
}
