//! Arrow's files and streams, the former of which are the latter between two marks.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::reader::{read_dictionary, read_record_batch};
use arrow_ipc::{Message, root_as_message};
use arrow_schema::{ArrowError, Schema, SchemaRef};
use featvec::{Error, ErrorKind, Result};
use featvec_formats::Skip;

use super::columns;
use super::footer::Footer;
use super::layout::{Layout, Rows};
use super::lost::Lost;
use super::place::Place;
use super::soundness::{batch_of, has_rows_of_columns, unpacked_bytes};
use super::stream::Stream;
use super::unpack::{Compression, Peeked, broken};
use super::{Draft, Source, SourceOptions, Wanted};
use crate::guard::guarded;

/// The mark at both ends of a file.
pub(super) const MAGIC: &[u8] = b"ARROW1";
/// What files of Feather begin with that are not of Arrow: version 2 is.
pub(super) const FEATHER_1: &[u8] = b"FEA1";
/// The mark is made as long as a multiple of this, at most eight times as long.
const ALIGNMENT: usize = 8;
/// What each message begins with.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// Longest description of a batch or of columns.
pub(super) const MOST_MESSAGE_BYTES: u64 = 64 << 20;
/// Most rows of a batch.
const MOST_BATCH_ROWS: u64 = 1 << 22;

/// A file or stream being read, a batch at a time.
pub(super) struct Arrow {
    batches: Batches,
    layout: Layout,
    place: Place,
    key: String,
    wanted_columns: SchemaRef,
    /// Rows in the batches before.
    rows_before: u64,
    next_batch: u64,
    /// The batch being given, and the rows of it that are wanted.
    rows: Option<(Rows, std::vec::IntoIter<u64>, u64)>,
    lost: Option<Lost>,
    is_over: bool,
}

impl Arrow {
    pub(super) fn open(place: &Place, options: &SourceOptions, columns: &SchemaRef) -> Result<Arrow> {
        let (batches, layout) = open(place, options)?;
        columns::check(&layout.carried, columns)?;
        Ok(Arrow {
            batches,
            layout,
            place: place.clone(),
            key: place.key(),
            wanted_columns: columns.clone(),
            rows_before: 0,
            next_batch: 0,
            rows: None,
            lost: None,
            is_over: false,
        })
    }

    /// Reads the next batch of which a row is wanted. The rows of one that cannot be used are lost.
    ///
    /// # Errors
    /// What comes after cannot be told apart, so it is over.
    fn advance(&mut self, wanted: &mut Wanted<'_>) -> Result<()> {
        let Some((rows, body)) = self.batches.header().inspect_err(|_| self.is_over = true)? else {
            self.is_over = true;
            return Ok(());
        };
        self.next_batch += 1;
        let first = self.rows_before;
        self.rows_before = first.saturating_add(rows);
        let key = |row: &u64| format!("{}#{row}", self.key);
        let wanted: Vec<u64> = (first..self.rows_before).filter(|row| wanted(&key(row))).collect();
        if wanted.is_empty() {
            return self.batches.skip(body).inspect_err(|_| self.is_over = true);
        }
        let decoded = self.batches.decode(body).and_then(|batch| match batch.num_rows() as u64 == rows {
            true => guarded(|| self.layout.rows(&batch, &self.wanted_columns)),
            false => Err(Error::corrupt("", "another number of rows than it says")),
        });
        let wanted = wanted.into_iter();
        match decoded {
            Ok(rows) => self.rows = Some((rows, wanted, first)),
            Err(error) => {
                let error = error.within(&format!("batch {}", self.next_batch - 1));
                let lost = self.lost.insert(Lost::new(wanted, error));
                self.is_over = self.batches.is_lost;
                if self.is_over {
                    return Err(lost.error());
                }
            }
        }
        Ok(())
    }
}

impl Source for Arrow {
    fn next(&mut self, wanted: &mut Wanted<'_>) -> Option<Draft> {
        loop {
            if let Some(draft) = self.lost.as_mut().and_then(|lost| lost.next(&self.key)) {
                return Some(draft);
            }
            if let Some((rows, numbers, first)) = &mut self.rows {
                if let Some(row) = numbers.next() {
                    let key = format!("{}#{row}", self.key);
                    let of = (&self.place, self.batches.most_bytes);
                    return Some(rows.draft((row - *first) as usize, key, of));
                }
                self.rows = None;
            }
            if self.is_over {
                return None;
            }
            if let Err(error) = self.advance(wanted)
                && wanted(&self.key)
            {
                return Some(Draft::failed(self.key.clone(), error));
            }
        }
    }
}

/// The columns of the file beside the pictures.
pub(super) fn schema(place: &Place, options: &SourceOptions) -> Result<SchemaRef> {
    open(place, options).map(|(_, layout)| layout.carried)
}

fn open(place: &Place, options: &SourceOptions) -> Result<(Batches, Layout)> {
    let mut stream = Peeked::new(place.stream(options)?, 9 * ALIGNMENT)?;
    if stream.head().starts_with(FEATHER_1) {
        return Err(Error::unsupported("", "Feather of version 1, which is not read")
            .with_hint("write it with version 2, or as Parquet"));
    }
    let mut footer = None;
    let stream: Box<dyn Stream> = if stream.head().starts_with(MAGIC) {
        let parts = stream.head().chunks(ALIGNMENT).skip(1);
        let padding = parts.take_while(|part| part.iter().all(|byte| *byte == 0)).count();
        let start = (1 + padding) * ALIGNMENT;
        // What says first what the columns are is no message in files of Polars: nothing says how long it is.
        if stream.head().get(start..).is_none_or(|first| !first.starts_with(&CONTINUATION)) {
            footer = Some(Footer::read(place.seekable(options)?)?);
        }
        let start = footer.as_ref().map_or(start as u64, |footer| footer.first);
        stream.skip(start).map_err(|error| broken(&error))?;
        Box::new(stream)
    } else {
        match Compression::of(stream.head()) {
            Some(compression) => compression.unpack(stream)?,
            None => Box::new(stream),
        }
    };
    let mut batches = Batches {
        stream,
        schema: Arc::new(Schema::empty()),
        dictionaries: HashMap::new(),
        have_marks: None,
        message: Vec::new(),
        most_bytes: options.max_picture_bytes,
        is_lost: false,
    };
    match footer {
        Some(footer) => batches.schema = Arc::new(footer.schema),
        None => batches.read_schema()?,
    }
    let layout = Layout::of(&batches.schema, options)?;
    Ok((batches, layout))
}

/// The messages of a stream. Each is looked at before it is decoded, which would allocate what it promises.
struct Batches {
    stream: Box<dyn Stream>,
    schema: SchemaRef,
    dictionaries: HashMap<i64, ArrayRef>,
    /// Whether messages begin with a mark, as those before did. Old programs write none.
    have_marks: Option<bool>,
    /// The message read last.
    message: Vec<u8>,
    most_bytes: u64,
    /// Whether the place of the next message is unknown.
    is_lost: bool,
}

impl Batches {
    /// Reads the first message, which says what the columns are.
    fn read_schema(&mut self) -> Result<()> {
        let none =
            || Error::corrupt("", "no columns at its start").with_hint("is it a file or stream of Arrow?");
        let body = self.next_message()?.ok_or_else(none)?;
        self.skip(body)?;
        let schema = self.message()?.header_as_schema().ok_or_else(none)?;
        self.schema = Arc::new(guarded(|| try_fb_to_schema(schema).map_err(arrow_error))?);
        Ok(())
    }

    /// The number of rows of the next batch, and the bytes of its body, which is yet to be read; none at the end.
    fn header(&mut self) -> Result<Option<(u64, u64)>> {
        loop {
            let Some(body) = self.next_message()? else { return Ok(None) };
            let message = self.message()?;
            if let Some(batch) = message.header_as_record_batch() {
                // Where the picture of a row begins takes four bytes, which may compress well.
                let most = if batch.compression().is_some() { body.saturating_mul(250) } else { body / 4 };
                if !has_rows_of_columns(&batch, self.schema.fields()) {
                    let message = format!(
                        "a batch of {} rows whose columns have other numbers of them",
                        batch.length()
                    );
                    return Err(Error::corrupt("", message).with_hint("fetch or copy it again"));
                }
                let rows = u64::try_from(batch.length()).ok();
                return match rows.filter(|rows| *rows <= most.min(MOST_BATCH_ROWS)) {
                    Some(rows) => Ok(Some((rows, body))),
                    None => {
                        Err(Error::corrupt("", format!("a batch of {} rows in {body} bytes", batch.length())))
                    }
                };
            }
            if message.header_as_dictionary_batch().is_none() {
                return Err(damaged("neither a batch nor a dictionary"));
            }
            self.dictionary(body)?;
        }
    }

    /// Passes over the body of the batch.
    fn skip(&mut self, body: u64) -> Result<()> {
        let passed = self.stream.skip(body).map_err(|error| broken(&error))?;
        if passed < body { Err(cut_off()) } else { Ok(()) }
    }

    /// Reads and decodes the body of the batch.
    fn decode(&mut self, body: u64) -> Result<RecordBatch> {
        let body = self.body(body)?;
        let message = self.message()?;
        let batch = message.header_as_record_batch().ok_or_else(|| Error::corrupt("", "no batch"))?;
        let (schema, version) = (self.schema.clone(), message.version());
        guarded(|| {
            read_record_batch(&body, batch, schema, &self.dictionaries, None, &version).map_err(arrow_error)
        })
    }

    /// Reads and decodes the body of a dictionary, without which no batch can be read.
    fn dictionary(&mut self, body: u64) -> Result<()> {
        let body = self.body(body)?;
        let message = root_as_message(&self.message).map_err(damaged)?;
        let dictionary =
            message.header_as_dictionary_batch().ok_or_else(|| Error::corrupt("", "no dictionary"))?;
        let (schema, version, dictionaries) = (&self.schema, message.version(), &mut self.dictionaries);
        guarded(|| read_dictionary(&body, dictionary, schema, dictionaries, &version).map_err(arrow_error))
    }

    /// Reads the body of a message, if what it says is within the limit.
    fn body(&mut self, length: u64) -> Result<Buffer> {
        self.is_lost = true;
        if length > self.most_bytes {
            self.skip(length)?;
            self.is_lost = false;
            return Err(self.too_large(length));
        }
        let mut bytes = Vec::new();
        self.stream.by_ref().take(length).read_to_end(&mut bytes).map_err(|error| broken(&error))?;
        if (bytes.len() as u64) < length {
            return Err(cut_off());
        }
        self.is_lost = false;
        let batch = batch_of(&self.message()?).ok_or_else(|| Error::corrupt("", "no batch"))?;
        let unpacked = unpacked_bytes(&batch, &bytes)?;
        if unpacked > self.most_bytes {
            return Err(self.too_large(unpacked));
        }
        Ok(Buffer::from_vec(bytes))
    }

    /// Reads the next message, and says how many bytes its body has; none at the end.
    fn next_message(&mut self) -> Result<Option<u64>> {
        let mut frame = Vec::new();
        self.stream.by_ref().take(4).read_to_end(&mut frame).map_err(|error| broken(&error))?;
        if frame.is_empty() {
            // Some writers of streams leave out the end.
            return Ok(None);
        }
        let has_mark = frame == CONTINUATION;
        // Else damage to a length could pass for the end, which has none in old files.
        if *self.have_marks.get_or_insert(has_mark) != has_mark {
            return Err(no_message());
        }
        if has_mark {
            frame.clear();
            self.stream.by_ref().take(4).read_to_end(&mut frame).map_err(|error| broken(&error))?;
        }
        let length = <[u8; 4]>::try_from(&frame[..]).map(u32::from_le_bytes).map_err(|_| cut_off())?;
        if length == 0 {
            return Ok(None);
        }
        let bytes = u64::from(length);
        if bytes > MOST_MESSAGE_BYTES {
            return Err(no_message());
        }
        self.message.clear();
        self.stream.by_ref().take(bytes).read_to_end(&mut self.message).map_err(|error| broken(&error))?;
        if (self.message.len() as u64) < bytes {
            return Err(cut_off());
        }
        u64::try_from(self.message()?.bodyLength())
            .map(Some)
            .map_err(|_| Error::corrupt("", "a message of a negative length"))
    }

    fn message(&self) -> Result<Message<'_>> {
        root_as_message(&self.message).map_err(damaged)
    }

    fn too_large(&self, bytes: u64) -> Error {
        let message = format!("a batch of {bytes} bytes, and the limit is {}", self.most_bytes);
        Error::new(ErrorKind::Limit, "", message)
            .with_hint("--max-memory raises it; better, write smaller batches, or Parquet")
    }
}

pub(super) fn damaged(error: impl std::fmt::Display) -> Error {
    Error::corrupt("", format!("a damaged message: {error}"))
}

fn no_message() -> Error {
    Error::corrupt("", "no message where one must be").with_hint("fetch or copy it again")
}

pub(super) fn cut_off() -> Error {
    Error::corrupt("", "the file breaks off").with_hint("fetch or copy it again")
}

pub(super) fn arrow_error(error: ArrowError) -> Error {
    Error::corrupt("", format!("not sound Arrow data: {error}")).with_hint("fetch or copy it again")
}
