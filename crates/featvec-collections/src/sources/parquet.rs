//! Parquet files.

use std::io::{Cursor, Read, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

use ::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection,
};
use ::parquet::errors::{ParquetError, Result as ParquetResult};
use ::parquet::file::reader::{ChunkReader, Length};
use arrow_schema::{ArrowError, SchemaRef};
use bytes::Bytes;
use featvec::{Error, ErrorKind, Result};

use super::columns;
use super::guard::guarded;
use super::layout::{Layout, Rows};
use super::place::Place;
use super::stream::Seekable;
use super::unpack::broken;
use super::{Draft, Source, SourceOptions, Wanted};

/// Rows that are decoded at once. Pictures of one page are in memory together with the page anyway.
const BATCH_ROWS: usize = 16;
/// The same where the rows hold paths.
const BATCH_ROWS_OF_PATHS: usize = 1024;
/// Most rows of a row group; writers stop at a 64th of it.
const MOST_GROUP_ROWS: u64 = 1 << 26;

/// A file being read, one row group after another.
pub(super) struct Parquet {
    file: SharedFile,
    metadata: ArrowReaderMetadata,
    layout: Layout,
    place: Place,
    key: String,
    wanted_columns: SchemaRef,
    max_picture_bytes: u64,
    next_group: usize,
    /// Rows in the groups before.
    rows_before: u64,
    group: Option<Group>,
}

/// A row group being read.
struct Group {
    name: String,
    reader: ParquetRecordBatchReader,
    /// The numbers of the rows that are wanted and were not given yet.
    wanted: std::vec::IntoIter<u64>,
    /// The rows that were decoded last, and how many of them were given.
    rows: Option<(Rows, usize, usize)>,
}

impl Parquet {
    pub(super) fn open(place: &Place, options: &SourceOptions, columns: &SchemaRef) -> Result<Parquet> {
        let (file, metadata, layout) = open(place, options)?;
        columns::check(&layout.carried, columns)?;
        Ok(Parquet {
            file,
            metadata,
            layout,
            place: place.clone(),
            key: place.key(),
            wanted_columns: columns.clone(),
            max_picture_bytes: options.max_picture_bytes,
            next_group: 0,
            rows_before: 0,
            group: None,
        })
    }

    /// Opens the next row group of which a row is wanted.
    fn open_group(&mut self, index: usize, wanted: &mut Wanted<'_>) -> Result<Option<Group>> {
        let rows = self.metadata.metadata().row_group(index).num_rows();
        let rows = u64::try_from(rows).ok().filter(|rows| *rows <= MOST_GROUP_ROWS).ok_or_else(|| {
            Error::new(ErrorKind::Limit, "", format!("{rows} rows, of at most {MOST_GROUP_ROWS}"))
                .with_hint("write the file with smaller row groups")
        })?;
        let first = self.rows_before;
        self.rows_before = first.saturating_add(rows);
        let key = |row: u64| format!("{}#{row}", self.key);
        let wanted: Vec<u64> = (first..first + rows).filter(|row| wanted(&key(*row))).collect();
        if wanted.is_empty() {
            return Ok(None);
        }
        let reader = guarded(|| {
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.clone(), self.metadata.clone())
                .with_row_groups(vec![index])
                .with_batch_size(if self.layout.is_of_paths { BATCH_ROWS_OF_PATHS } else { BATCH_ROWS });
            let builder = match wanted.len() as u64 == rows {
                true => builder,
                false => {
                    let chosen = wanted.iter().map(|row| (row - first) as usize).map(|row| row..row + 1);
                    builder.with_row_selection(RowSelection::from_consecutive_ranges(chosen, rows as usize))
                }
            };
            builder.build().map_err(parquet_error)
        })?;
        let name = format!("row group {index}");
        Ok(Some(Group { name, reader, wanted: wanted.into_iter(), rows: None }))
    }
}

impl Group {
    /// The next row that was wanted.
    ///
    /// # Errors
    /// A damaged group; nothing comes after it.
    fn next(&mut self, file: &Parquet) -> Result<Option<Draft>> {
        while self.rows.as_ref().is_none_or(|(_, count, given)| count == given) {
            let Some(batch) = guarded(|| self.reader.next().transpose().map_err(arrow_error))? else {
                return match self.wanted.len() {
                    0 => Ok(None),
                    missing => Err(Error::corrupt("", format!("{missing} rows are missing"))),
                };
            };
            self.rows = Some((file.layout.rows(&batch, &file.wanted_columns)?, batch.num_rows(), 0));
        }
        let Some(row) = self.wanted.next() else { return Err(Error::corrupt("", "more rows than it says")) };
        Ok(self.rows.as_mut().map(|(rows, _, given)| {
            *given += 1;
            rows.draft(*given - 1, format!("{}#{row}", file.key), (&file.place, file.max_picture_bytes))
        }))
    }
}

impl Source for Parquet {
    fn next(&mut self, wanted: &mut Wanted<'_>) -> Option<Draft> {
        loop {
            let (name, error) = match self.group.take() {
                Some(mut group) => match group.next(self) {
                    Ok(Some(draft)) => {
                        self.group = Some(group);
                        return Some(draft);
                    }
                    Ok(None) => continue,
                    Err(error) => (group.name, error),
                },
                None if self.next_group < self.metadata.metadata().num_row_groups() => {
                    self.next_group += 1;
                    match self.open_group(self.next_group - 1, wanted) {
                        Ok(group) => {
                            self.group = group;
                            continue;
                        }
                        Err(error) => (format!("row group {}", self.next_group - 1), error),
                    }
                }
                None => return None,
            };
            let key = format!("{}: {name}", self.key);
            if wanted(&key) {
                return Some(Draft::failed(key, error));
            }
        }
    }
}

/// The columns of the file beside the pictures.
pub(super) fn schema(place: &Place, options: &SourceOptions) -> Result<SchemaRef> {
    open(place, options).map(|(_, _, layout)| layout.carried)
}

fn open(place: &Place, options: &SourceOptions) -> Result<(SharedFile, ArrowReaderMetadata, Layout)> {
    let file = SharedFile::new(place.seekable(options)?, options.max_picture_bytes)?;
    let metadata =
        guarded(|| ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(parquet_error))?;
    let layout = Layout::of(metadata.schema(), options)?;
    Ok((file, metadata, layout))
}

fn parquet_error(error: ParquetError) -> Error {
    match error {
        ParquetError::External(source) => match source.downcast::<Refused>() {
            Ok(refused) => refused.0,
            Err(source) => Error::corrupt("", source.to_string()),
        },
        ParquetError::NYI(what) => Error::unsupported("", format!("a Parquet file of an unusual kind: {what}")),
        error => Error::corrupt("", format!("not a sound Parquet file: {error}")).with_hint("fetch or copy it again"),
    }
}

fn arrow_error(error: ArrowError) -> Error {
    match error {
        ArrowError::ExternalError(source) => match source.downcast::<ParquetError>() {
            Ok(error) => parquet_error(*error),
            Err(source) => Error::corrupt("", source.to_string()),
        },
        error => Error::corrupt("", error.to_string()).with_hint("fetch or copy it again"),
    }
}

/// A refusal of ours on its way through the reader of Parquet.
#[derive(Debug)]
struct Refused(Error);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Refused {}

fn refused(error: Error) -> ParquetError {
    ParquetError::External(Box::new(Refused(error)))
}

/// A file that the readers of several columns read in turns.
#[derive(Clone)]
struct SharedFile {
    file: Arc<Mutex<Box<dyn Seekable>>>,
    length: u64,
    most_bytes: u64,
}

impl SharedFile {
    fn new(mut file: Box<dyn Seekable>, most_bytes: u64) -> Result<SharedFile> {
        let length = file.seek(SeekFrom::End(0)).map_err(|error| broken(&error))?;
        Ok(SharedFile { file: Arc::new(Mutex::new(file)), length, most_bytes })
    }

    /// The `length` bytes from `start` on, or as many as there are.
    fn read(&self, start: u64, length: u64) -> ParquetResult<Vec<u8>> {
        if length > self.most_bytes {
            let message = format!("{length} bytes at once, and the limit is {}", self.most_bytes);
            return Err(refused(Error::new(ErrorKind::Limit, "", message).with_hint("--max-memory raises it")));
        }
        let mut bytes = Vec::new();
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(start))
            .and_then(|_| file.by_ref().take(length).read_to_end(&mut bytes))
            .map_err(|error| refused(broken(&error)))?;
        Ok(bytes)
    }
}

impl Length for SharedFile {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for SharedFile {
    type T = Cursor<Vec<u8>>;

    /// What the reader of Parquet reads in this way is the header of a page. What that promises is allocated, so it is
    /// looked at first.
    fn get_read(&self, start: u64) -> ParquetResult<Cursor<Vec<u8>>> {
        /// Headers are some dozen bytes, unless there are statistics of long texts in them.
        const HEADER_BYTES: u64 = 64 << 10;
        let bytes = self.read(start, HEADER_BYTES.min(self.most_bytes))?;
        match unpacked_page_bytes(&bytes) {
            Some(page) if page <= self.most_bytes => Ok(Cursor::new(bytes)),
            Some(page) => {
                let message = format!("a page of {page} bytes, and the limit is {}", self.most_bytes);
                Err(refused(Error::new(ErrorKind::Limit, "", message).with_hint("--max-memory raises it")))
            }
            None => Err(ParquetError::General("no page where one must begin".to_owned())),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let bytes = self.read(start, length as u64)?;
        if bytes.len() < length {
            return Err(ParquetError::EOF(format!("{length} bytes expected, {} left", bytes.len())));
        }
        Ok(bytes.into())
    }
}

/// Bytes of a page, unpacked, by its header: the second field of a Thrift structure in compact form, after the type of
/// the page. Each is a byte that says "an integer, the next field", and the integer.
fn unpacked_page_bytes(header: &[u8]) -> Option<u64> {
    const NEXT_I32: u8 = 0x15;
    let rest = header.strip_prefix(&[NEXT_I32])?;
    let (_, rest) = varint(rest)?;
    let (zigzag, _) = varint(rest.strip_prefix(&[NEXT_I32])?)?;
    // Negative ones are odd here; the reader refuses them.
    Some(zigzag >> 1)
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let end = bytes.iter().take(10).position(|byte| byte & 0x80 == 0)?;
    let (number, rest) = bytes.split_at(end + 1);
    let number = number.iter().rev().try_fold(0u64, |value, byte| {
        value.checked_mul(128).map(|value| value | u64::from(byte & 0x7f))
    })?;
    Some((number, rest))
}
