//! Parquet files.

use std::collections::HashMap;
use std::fmt::Display;
use std::io::{self, Cursor, Read, SeekFrom};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
    RowSelection,
};
use ::parquet::basic::Compression;
use ::parquet::errors::{ParquetError, Result as ParquetResult};
use ::parquet::file::reader::{ChunkReader, Length};
use arrow_schema::SchemaRef;
use bytes::Bytes;
use featvec::{Error, ErrorKind, Result};
use flate2::read::MultiGzDecoder;

use super::columns;
use super::layout::{Layout, Rows};
use super::lost::Lost;
use super::place::Place;
use super::stream::Seekable;
use super::unpack::broken;
use super::{Draft, Source, SourceOptions, Wanted};
use crate::guard::guarded;

/// Rows that are decoded at once. Pictures of one page are in memory together with the page anyway.
const BATCH_ROWS: u64 = 16;
/// The same where the rows hold paths.
const BATCH_ROWS_OF_PATHS: u64 = 1024;
/// What the rows that are decoded at once take, if there are several and as far as the file says.
const BATCH_BYTES: u64 = 64 << 20;
/// Most rows of a row group; writers stop at a fourth of it.
const MOST_GROUP_ROWS: u64 = 1 << 22;
/// So many rows may be in a row group whatever its bytes are; of more, each byte can hold only so many.
const FREE_ROWS: u64 = 1 << 16;
const MOST_ROWS_PER_BYTE: u64 = 250;
/// About what a value takes once it is decoded, with what says whether it is there, while vectors of them grow.
const VALUE_BYTES: u64 = 64;

/// What frames of LZ4 begin with, the present ones and those of old. Parquet has other frames, but some programs wrote these.
const LZ4_FRAMES: [[u8; 4]; 2] = [[0x04, 0x22, 0x4d, 0x18], [0x02, 0x21, 0x4c, 0x18]];

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
    lost: Option<Lost>,
}

/// A row group being read.
struct Group {
    name: String,
    reader: Result<ParquetRecordBatchReader>,
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
            lost: None,
        })
    }

    /// Opens the next row group of which a row is wanted.
    fn open_group(&mut self, index: usize, wanted: &mut Wanted<'_>) -> Result<Option<Group>> {
        let group = self.metadata.metadata().row_group(index);
        let rows =
            u64::try_from(group.num_rows()).map_err(|_| Error::corrupt("", "a negative number of rows"))?;
        let first = self.rows_before;
        self.rows_before = first.saturating_add(rows);
        let root = |leaf: usize| group.schema_descr().get_column_root_idx(leaf);
        let of_pictures =
            group.columns().iter().enumerate().filter(|(leaf, _)| root(*leaf) == self.layout.image);
        let packed =
            of_pictures.map(|(_, chunk)| bytes(chunk.compressed_size())).fold(0, u64::saturating_add);
        // They are asked for one by one before the first is read.
        let most = packed.saturating_mul(MOST_ROWS_PER_BYTE).clamp(FREE_ROWS, MOST_GROUP_ROWS);
        if rows > most {
            return Err(Error::new(ErrorKind::Limit, "", format!("{rows} rows, of at most {most}"))
                .with_hint("write the file with smaller row groups"));
        }
        let unpacked = group.columns().iter().map(|chunk| bytes(chunk.uncompressed_size()));
        let row_bytes = unpacked.fold(0, u64::saturating_add).checked_div(rows).unwrap_or(0);
        let usual = if self.layout.is_of_paths { BATCH_ROWS_OF_PATHS } else { BATCH_ROWS };
        let batch_rows = BATCH_BYTES.checked_div(row_bytes).unwrap_or(usual).clamp(1, usual);
        let key = |row: u64| format!("{}#{row}", self.key);
        let wanted: Vec<u64> = (first..self.rows_before).filter(|row| wanted(&key(*row))).collect();
        if wanted.is_empty() {
            return Ok(None);
        }
        // Those of pages that were passed over.
        self.file.opened().pages.clear();
        let reader = guarded(|| {
            let chunks = group.columns().iter().map(|chunk| (chunk.byte_range(), chunk.compression()));
            let file = SharedFile { chunks: chunks.collect(), ..self.file.clone() };
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
                .with_row_groups(vec![index])
                .with_batch_size(batch_rows as usize);
            let builder = match wanted.len() as u64 == rows {
                true => builder,
                false => {
                    let chosen = wanted.iter().map(|row| (row - first) as usize).map(|row| row..row + 1);
                    builder.with_row_selection(RowSelection::from_consecutive_ranges(chosen, rows as usize))
                }
            };
            builder.build().map_err(|error| self.file.explain(error))
        });
        let name = format!("row group {index}");
        Ok(Some(Group { name, reader, wanted: wanted.into_iter(), rows: None }))
    }
}

impl Group {
    /// The next row that was wanted.
    ///
    /// # Errors
    /// A damaged group; nothing comes after it, and what is `wanted` is lost.
    fn next(&mut self, file: &Parquet) -> Result<Option<Draft>> {
        let reader =
            self.reader.as_mut().map_err(|error| std::mem::replace(error, Error::corrupt("", "")))?;
        while self.rows.as_ref().is_none_or(|(_, count, given)| count == given) {
            file.file.opened().batch_bytes = 0;
            let Some(batch) =
                guarded(|| reader.next().transpose().map_err(|error| file.file.explain(error)))?
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
            if let Some(draft) = self.lost.as_mut().and_then(|lost| lost.next(&self.key)) {
                return Some(draft);
            }
            let (name, error) = match self.group.take() {
                Some(mut group) => match group.next(self) {
                    Ok(Some(draft)) => {
                        self.group = Some(group);
                        return Some(draft);
                    }
                    Ok(None) => continue,
                    Err(error) if group.wanted.len() > 0 => {
                        self.lost = Some(Lost::new(group.wanted, error.within(&group.name)));
                        continue;
                    }
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
    let chunks = metadata.metadata().row_groups().iter().flat_map(|group| group.columns());
    for chunk in chunks {
        match chunk.compression() {
            Compression::BROTLI(_) => return Err(unsupported("brotli")),
            Compression::LZO => return Err(unsupported("LZO")),
            _ => {}
        }
    }
    let layout = Layout::of(metadata.schema(), options)?;
    file.has_pages = true;
    Ok((file, metadata, layout))
}

/// A way of packing that is not read.
fn unsupported(packing: &str) -> Error {
    Error::unsupported("", format!("packed by {packing}, which is not read"))
        .with_hint("write the file with zstd or snappy")
}

/// A number of bytes that a file states.
fn bytes(stated: i64) -> u64 {
    u64::try_from(stated).unwrap_or(0)
}

/// A file that the readers of several columns read in turns.
#[derive(Clone)]
struct SharedFile {
    opened: Arc<Mutex<Opened>>,
    length: u64,
    most_bytes: u64,
    /// Whether what is read now are pages, because the description of the file has been read.
    has_pages: bool,
    /// Where the columns of this row group begin, how long they are, and how they are packed.
    chunks: Arc<[((u64, u64), Compression)]>,
}

struct Opened {
    file: Box<dyn Seekable>,
    /// The pages whose headers were read and whose bodies were not yet, by where the body begins.
    pages: HashMap<u64, Page>,
    /// What the pages unpack to that were read for these rows.
    batch_bytes: u64,
    /// What was refused here, since the reader of Parquet tells only that something was.
    refusal: Option<Error>,
}

impl SharedFile {
    fn new(mut file: Box<dyn Seekable>, most_bytes: u64) -> Result<SharedFile> {
        let length = file.seek(SeekFrom::End(0)).map_err(|error| broken(&error))?;
        Ok(SharedFile {
            opened: Arc::new(Mutex::new(Opened {
                file,
                pages: HashMap::new(),
                batch_bytes: 0,
                refusal: None,
            })),
            length,
            most_bytes,
            has_pages: false,
            chunks: Arc::new([]),
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
        let read = {
            let file = &mut self.opened().file;
            file.seek(SeekFrom::Start(start)).and_then(|_| file.by_ref().take(length).read_to_end(&mut bytes))
        };
        // The file is free again here: whoever refuses takes it.
        read.map_err(|error| self.refuse(broken(&error)))?;
        Ok(bytes)
    }

    fn header(&self, start: u64) -> ParquetResult<Cursor<Vec<u8>>> {
        /// Headers are some dozen bytes, unless there are statistics of long texts in them.
        const HEADER_BYTES: u64 = 64 << 10;
        let bytes = self.read(start, HEADER_BYTES.min(self.most_bytes))?;
        if !self.has_pages {
            return Ok(Cursor::new(bytes));
        }
        let no_page = || ParquetError::General("no page where one must begin".to_owned());
        let (page, length) = Page::parse(&bytes).ok_or_else(no_page)?;
        if page.unpacked > self.most_bytes {
            return Err(self.too_large(page.unpacked));
        }
        let most_values = FREE_ROWS.max(self.most_bytes / VALUE_BYTES);
        if page.values > most_values {
            let message = format!("a page of {} values, of at most {most_values}", page.values);
            return Err(self.refuse(
                Error::new(ErrorKind::Limit, "", message).with_hint("write the file with smaller pages"),
            ));
        }
        self.opened().pages.insert(start.saturating_add(length), page);
        Ok(Cursor::new(bytes))
    }

    /// Whether the body of a page may be unpacked.
    fn check(&self, start: u64, body: &[u8]) -> ParquetResult<()> {
        let Some(page) = self.opened().pages.remove(&start) else {
            return Err(ParquetError::General("a page without a header".to_owned()));
        };
        let batch_bytes = self.opened().batch_bytes.saturating_add(page.unpacked);
        self.opened().batch_bytes = batch_bytes;
        if batch_bytes > self.most_bytes.saturating_add(BATCH_BYTES) {
            return Err(self.too_large(batch_bytes));
        }
        let chunk = self
            .chunks
            .iter()
            .find(|((first, length), _)| (*first..first.saturating_add(*length)).contains(&start));
        let packed = usize::try_from(page.levels).ok().and_then(|levels| body.get(levels..));
        let packed = packed.unwrap_or_default();
        // The reader unpacks all that gzip or a frame of LZ4 holds, whatever the header says; else it stops at what it says.
        match chunk {
            Some((_, Compression::GZIP(_))) => {
                let unpacked = MultiGzDecoder::new(packed).take(page.unpacked.saturating_add(1));
                // A damaged one is found by the reader.
                let found = io::copy(&mut { unpacked }, &mut io::sink()).unwrap_or(0);
                if found > page.unpacked {
                    let message = format!("a page of {} bytes that unpacks to more", page.unpacked);
                    return Err(self.refuse(Error::corrupt("", message)));
                }
            }
            Some((_, Compression::LZ4)) if LZ4_FRAMES.iter().any(|mark| packed.starts_with(mark)) => {
                return Err(self.refuse(unsupported("frames of LZ4")));
            }
            _ => {}
        }
        Ok(())
    }

    fn too_large(&self, bytes: u64) -> ParquetError {
        let message = format!("a page of {bytes} bytes, and the limit is {}", self.most_bytes);
        self.refuse(Error::new(ErrorKind::Limit, "", message).with_hint("--max-memory raises it"))
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
        if self.has_pages {
            self.check(start, &bytes)?;
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

/// What the header of a page says.
struct Page {
    /// Bytes of the body when it is unpacked.
    unpacked: u64,
    /// How many values it has; a few bytes may stand for all of them.
    values: u64,
    /// How many bytes of the body before the values are never packed.
    levels: u64,
}

impl Page {
    /// Parses a header, a Thrift structure in compact form; says also how long it is. Fields must be in order, so that none is
    /// there twice and the reader cannot see another one than we do.
    fn parse(header: &[u8]) -> Option<(Page, u64)> {
        /// Fields of the header, and of the structure within for pages of version 2.
        const UNPACKED: u64 = 2;
        const VERSION_2: u64 = 8;
        const KINDS: [u64; 3] = [5, 7, VERSION_2];
        const VALUES: u64 = 1;
        const LEVELS: [u64; 2] = [5, 6];
        let mut page = Page { unpacked: 0, values: 0, levels: 0 };
        let rest = structure(header, &[], &mut |path, value| match path {
            [UNPACKED] => page.unpacked = value,
            [kind, VALUES] if KINDS.contains(kind) => page.values = page.values.max(value),
            [VERSION_2, field] if LEVELS.contains(field) => page.levels = page.levels.saturating_add(value),
            _ => {}
        })?;
        Some((page, (header.len() - rest.len()) as u64))
    }
}

/// Reads the Thrift structure in compact form that lies in the fields `outer`; `number` gets its numbers, and those in the
/// structures within, with the fields that they are in.
fn structure<'a>(
    mut bytes: &'a [u8],
    outer: &[u64],
    number: &mut dyn FnMut(&[u64], u64),
) -> Option<&'a [u8]> {
    /// Statistics are in the header of version 1 or 2 in that of the page.
    const MOST_DEPTH: usize = 2;
    let mut field = 0u64;
    loop {
        let (head, rest) = bytes.split_first()?;
        if *head == 0 {
            return Some(rest);
        }
        // Without a step, the number of the field would follow: it may go back.
        field += Some(u64::from(head >> 4)).filter(|step| *step > 0)?;
        let path = [outer, &[field]].concat();
        bytes = match head & 0x0f {
            // Booleans are in the head.
            1 | 2 => rest,
            3 => rest.get(1..)?,
            // A negative number is an odd one here; the reader refuses those that matter.
            4..=6 => {
                let (zigzag, rest) = varint(rest)?;
                number(&path, zigzag >> 1);
                rest
            }
            7 => rest.get(8..)?,
            8 => {
                let (length, rest) = varint(rest)?;
                rest.get(usize::try_from(length).ok()?..)?
            }
            12 if path.len() <= MOST_DEPTH => structure(rest, &path, number)?,
            _ => return None,
        };
    }
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
