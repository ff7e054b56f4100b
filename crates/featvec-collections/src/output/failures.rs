//! Pictures that failed, of outputs that have no rows for them: the list beside it has their keys and the reasons, the
//! manifest their places among the rows.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::iter::Peekable;
use std::path::PathBuf;

use arrow_array::RecordBatch;
use featvec::{Error, Result};

use super::lines::bounded_line;
use super::{failed_row, good_row};
use crate::layout::Layout;
use crate::manifest::Manifest;
use crate::{Row, Status, line};

/// Most bytes of a line that is read.
const MOST_LINE_BYTES: u64 = 2 << 20;

/// The pictures that failed, of which the manifest knows the places among all rows, in their order.
pub(super) struct Failures {
    places: Peekable<std::vec::IntoIter<(u32, Status)>>,
    /// Their keys and reasons; nothing if there are none.
    lines: Option<BufReader<File>>,
    list: PathBuf,
}

impl Failures {
    /// The failures in the file `list`, of which `manifest` knows the places. Without a manifest there are none: the list may
    /// be of another output.
    pub fn open(list: PathBuf, manifest: Option<&Manifest>) -> Result<Failures> {
        let mut places = Vec::new();
        for (name, rows) in manifest.iter().flat_map(|manifest| &manifest.failed) {
            let status = Status::from_name(name).filter(|status| *status != Status::Ok);
            let status =
                status.ok_or_else(|| Error::corrupt("manifest", format!("an unknown status {name}")))?;
            places.extend(rows.iter().map(|row| (*row, status)));
        }
        places.sort_unstable_by_key(|(row, _)| *row);
        let file = (!places.is_empty()).then(|| File::open(&list)).transpose();
        let file = file.map_err(|error| Error::io(list.display().to_string(), error))?;
        Ok(Failures { places: places.into_iter().peekable(), lines: file.map(BufReader::new), list })
    }

    /// Whether the next one is at the place `row`.
    fn is_at(&mut self, row: u32) -> bool {
        self.places.peek().is_some_and(|(place, _)| *place == row)
    }

    fn row(&mut self, status: Status) -> Result<Row> {
        let place = || self.list.display().to_string();
        let line = self.lines.as_mut().map_or(Ok(None), |lines| bounded_line(lines, MOST_LINE_BYTES));
        let line = line.map_err(|error| Error::io(place(), error))?;
        let (key, reason) = line.as_deref().and_then(|line| line.split_once('\t')).ok_or_else(|| {
            Error::corrupt(place(), "fewer pictures that failed than the manifest tells of")
        })?;
        Ok(failed_row(key, status, reason))
    }
}

impl Iterator for Failures {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        let (_, status) = self.places.next()?;
        Some(self.row(status))
    }
}

/// Rows with vectors, and between them those that failed.
pub(super) struct WithFailures<I> {
    good: I,
    failures: Failures,
    /// The true keys of rows whose keys no line can hold.
    keys: BTreeMap<u32, String>,
    row: u32,
}

impl<I> WithFailures<I> {
    pub fn new(good: I, failures: Failures, keys: BTreeMap<u32, String>) -> WithFailures<I> {
        WithFailures { good, failures, keys, row: 0 }
    }

    /// The row at the place `row`, with its true key.
    fn named(&self, row: u32, found: Row) -> Result<Row> {
        match self.keys.get(&row) {
            Some(key) if line::field(key.as_ref()) == found.key.as_bytes() => {
                Ok(Row { key: key.clone(), ..found })
            }
            Some(_) => {
                let message = format!("its key of the row {row} is not {}", found.key);
                Err(Error::corrupt("manifest", message))
            }
            None => Ok(found),
        }
    }
}

impl<I: Iterator<Item = Result<(String, Vec<f32>)>>> Iterator for WithFailures<I> {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        let row = self.row;
        self.row = row.saturating_add(1);
        let good = if self.failures.is_at(row) { None } else { self.good.next() };
        let found = good.map(|found| found.map(good_row)).or_else(|| self.failures.next())?;
        Some(found.and_then(|found| self.named(row, found)))
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
