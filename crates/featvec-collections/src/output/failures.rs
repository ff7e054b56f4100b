//! Pictures that failed, of outputs that have no rows for them: `x.failed.txt` has their keys and the reasons, the
//! manifest their places among the rows.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use arrow_array::RecordBatch;
use featvec::{Error, Result};

use super::{failed_row, good_row};
use crate::layout::Layout;
use crate::manifest::Manifest;
use crate::{Row, Status};

/// A picture that failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// Its place among all rows.
    pub row: u32,
    pub key: String,
    pub status: Status,
    pub reason: String,
}

/// The failures in the file `list`, of which `manifest` knows the places, in their order. Without a manifest there are none:
/// the list may be of another output.
pub(super) fn read(list: &Path, manifest: Option<&Manifest>) -> Result<VecDeque<Failure>> {
    let mut places = Vec::new();
    for (name, rows) in manifest.iter().flat_map(|manifest| &manifest.failed) {
        let status = Status::from_name(name).filter(|status| *status != Status::Ok);
        let status = status.ok_or_else(|| Error::corrupt("manifest", format!("an unknown status {name}")))?;
        places.extend(rows.iter().map(|row| (*row, status)));
    }
    if places.is_empty() {
        return Ok(VecDeque::new());
    }
    places.sort_by_key(|(row, _)| *row);
    let at = |error: io::Error| Error::io(list.display().to_string(), error);
    let mut lines = BufReader::new(File::open(list).map_err(at)?).lines();
    let mut failures = VecDeque::with_capacity(places.len());
    for (row, status) in places {
        let line = lines.next().transpose().map_err(at)?.unwrap_or_default();
        let (key, reason) = line.split_once('\t').ok_or_else(|| {
            Error::corrupt(
                list.display().to_string(),
                "fewer pictures that failed than the manifest tells of",
            )
        })?;
        failures.push_back(Failure { row, key: key.to_string(), status, reason: reason.to_string() });
    }
    Ok(failures)
}

/// Rows with vectors, and between them those that failed.
pub(super) struct WithFailures<I> {
    good: I,
    failures: VecDeque<Failure>,
    row: u32,
}

impl<I> WithFailures<I> {
    pub fn new(good: I, failures: VecDeque<Failure>) -> WithFailures<I> {
        WithFailures { good, failures, row: 0 }
    }
}

impl<I: Iterator<Item = Result<(String, Vec<f32>)>>> Iterator for WithFailures<I> {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        let row = self.row;
        self.row += 1;
        if self.failures.front().is_some_and(|failure| failure.row == row) {
            return self.failures.pop_front().map(|failure| Ok(failed_row(failure)));
        }
        match self.good.next() {
            Some(row) => Some(row.map(good_row)),
            None => self.failures.pop_front().map(|failure| Ok(failed_row(failure))),
        }
    }
}

/// `rows` in record batches. Errors name `place`.
pub(super) fn batches(
    mut rows: impl Iterator<Item = Result<Row>>,
    layout: Layout,
    place: String,
) -> impl Iterator<Item = Result<RecordBatch>> {
    std::iter::from_fn(move || {
        let rows = rows.by_ref().take(layout.batch_rows()).collect::<Result<Vec<_>>>();
        let batch = rows.and_then(|rows| {
            rows.iter().try_for_each(|row| layout.check(row))?;
            if rows.is_empty() { Ok(None) } else { layout.batch(&rows.iter().collect::<Vec<_>>()).map(Some) }
        });
        batch.map_err(|error| error.within(&place)).transpose()
    })
}
