//! Rows of a table that were asked for and cannot be read.

use std::vec::IntoIter;

use featvec::Error;

use super::Draft;

/// Rows that are lost together, each of which becomes an item that failed.
pub(super) struct Lost {
    rows: IntoIter<u64>,
    error: Error,
}

impl Lost {
    /// The rows with these numbers, for the reason `error`.
    pub fn new(rows: IntoIter<u64>, error: Error) -> Lost {
        Lost { rows, error }
    }

    /// The next of them, in the table called `table`.
    pub fn next(&mut self, table: &str) -> Option<Draft> {
        let row = self.rows.next()?;
        Some(Draft::failed(format!("{table}#{row}"), self.error()))
    }

    /// Why they are lost.
    pub fn error(&self) -> Error {
        let error = Error::new(self.error.kind(), self.error.place(), self.error.message());
        match self.error.hint() {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}
