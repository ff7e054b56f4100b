//! Parquet files.

use std::fmt::Display;
use std::io::{self, Cursor, Read, SeekFrom};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
    RowSelection,
};
use ::parquet::errors::{ParquetError, Result as ParquetResult};
use ::parquet::file::reader::{ChunkReader, Length};
use arrow_schema::SchemaRef;
use bytes::Bytes;
use featvec::{Error, ErrorKind, Result};

use super::columns;
use super::layout::{Layout, Rows};
use super::place::Place;
use super::stream::Seekable;
use super::unpack::broken;
use super::{Draft, Source, SourceOptions, Wanted};
use crate::guard::guarded;

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
            let builder =
                ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.clone(), self.metadata.clone())
                    .with_row_groups(vec![index])
                    .with_batch_size(if self.layout.is_of_paths { BATCH_ROWS_OF_PATHS } else { BATCH_ROWS });
            let builder = match wanted.len() as u64 == rows {
                true => builder,
                false => {
                    let chosen = wanted.iter().map(|row| (row - first) as usize).map(|row| row..row + 1);
                    builder.with_row_selection(RowSelection::from_consecutive_ranges(chosen, rows as usize))
                }
            };
            builder.build().map_err(|error| self.file.explain(error))
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
            let Some(batch) =
                guarded(|| self.reader.next().transpose().map_err(|error| file.file.explain(error)))?
            else {
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
    let mut file = SharedFile::new(place.seekable(options)?, options.max_picture_bytes)?;
    let metadata = guarded(|| {
        ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(|error| file.explain(error))
    })?;
    let layout = Layout::of(metadata.schema(), options)?;
    file.has_pages = true;
    Ok((file, metadata, layout))
}

/// A file that the readers of several columns read in turns.
#[derive(Clone)]
struct SharedFile {
    opened: Arc<Mutex<Opened>>,
    length: u64,
    most_bytes: u64,
    /// Whether what is read now are pages, because the description of the file has been read.
    has_pages: bool,
}

struct Opened {
    file: Box<dyn Seekable>,
    /// What was refused here, since the reader of Parquet tells only that something was.
    refusal: Option<Error>,
}

impl SharedFile {
    fn new(mut file: Box<dyn Seekable>, most_bytes: u64) -> Result<SharedFile> {
        let length = file.seek(SeekFrom::End(0)).map_err(|error| broken(&error))?;
        Ok(SharedFile {
            opened: Arc::new(Mutex::new(Opened { file, refusal: None })),
            length,
            most_bytes,
            has_pages: false,
        })
    }

    fn opened(&self) -> MutexGuard<'_, Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self, error: Error) -> ParquetError {
        let message = ParquetError::General(error.to_string());
        self.opened().refusal = Some(error);
        message
    }

    /// The error behind one of the reader of Parquet.
    fn explain(&self, error: impl Display) -> Error {
        self.opened().refusal.take().unwrap_or_else(|| {
            Error::corrupt("", format!("it cannot be read as Parquet: {error}"))
                .with_hint("fetch or copy it again; if it is sound, write it again with snappy or zstd")
        })
    }

    /// The `length` bytes from `start` on, or as many as there are.
    fn read(&self, start: u64, length: u64) -> ParquetResult<Vec<u8>> {
        if length > self.most_bytes {
            let message = format!("{length} bytes at once, and the limit is {}", self.most_bytes);
            return Err(
                self.refuse(Error::new(ErrorKind::Limit, "", message).with_hint("--max-memory raises it"))
            );
        }
        let mut bytes = Vec::new();
        let file = &mut self.opened().file;
        let read = file
            .seek(SeekFrom::Start(start))
            .and_then(|_| file.by_ref().take(length).read_to_end(&mut bytes));
        read.map_err(|error| self.refuse(broken(&error)))?;
        Ok(bytes)
    }

    fn header(&self, start: u64) -> ParquetResult<Cursor<Vec<u8>>> {
        /// Headers are some dozen bytes, unless there are statistics of long texts in them.
        const HEADER_BYTES: u64 = 64 << 10;
        let bytes = self.read(start, HEADER_BYTES.min(self.most_bytes))?;
        match unpacked_page_bytes(&bytes) {
            _ if !self.has_pages => Ok(Cursor::new(bytes)),
            Some(page) if page <= self.most_bytes => Ok(Cursor::new(bytes)),
            Some(page) => {
                let message = format!("a page of {page} bytes, and the limit is {}", self.most_bytes);
                Err(self
                    .refuse(Error::new(ErrorKind::Limit, "", message).with_hint("--max-memory raises it")))
            }
            None => Err(ParquetError::General("no page where one must begin".to_owned())),
        }
    }
}

impl Length for SharedFile {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for SharedFile {
    type T = Header;

    fn get_read(&self, start: u64) -> ParquetResult<Header> {
        Ok(Header { file: self.clone(), start, bytes: None })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let bytes = self.read(start, length as u64)?;
        if bytes.len() < length {
            return Err(ParquetError::EOF(format!("{length} bytes expected, {} left", bytes.len())));
        }
        Ok(bytes.into())
    }
}

/// Where the reader of Parquet reads a short structure: how long the description of the file is, or the header of a page.
/// What the latter promises is allocated, so it is looked at first. It may also read nothing here.
struct Header {
    file: SharedFile,
    start: u64,
    bytes: Option<Cursor<Vec<u8>>>,
}

impl Read for Header {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.bytes {
            Some(bytes) => bytes.read(buffer),
            None => self.bytes.insert(self.file.header(self.start).map_err(io::Error::other)?).read(buffer),
        }
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
    let number = number
        .iter()
        .rev()
        .try_fold(0u64, |value, byte| value.checked_mul(128).map(|value| value | u64::from(byte & 0x7f)))?;
    Some((number, rest))
}
