//! TFRecord files of examples (`tf.Example`), as TF-Slim writes them and others: plain, gzip, zlib or zstd.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float32Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use featvec::{Error, ErrorKind, Limits, Result};
use featvec_formats::Example;
use featvec_formats::example::{ENCODED, Value};
use featvec_formats::tfrecord::{RecordReader, is_header};

use super::columns;
use super::layout::too_large;
use super::place::Place;
use super::stream::Stream;
use super::unpack::{Compression, Peeked, broken};
use super::{Draft, Located, Source, SourceOptions, Wanted};
use crate::Content;

/// Bytes of a record's length and its checksum.
const HEADER_BYTES: usize = 12;
/// What a record may have beside the picture.
const MOST_OTHER_BYTES: u64 = 16 << 20;
/// Usual names of features with pictures, beside TF-Slim's.
const USUAL_NAMES: [&str; 5] = ["image", "image_raw", "jpeg", "jpg", "png"];

/// A file being read, a record at a time.
pub(super) struct Records {
    reader: RecordReader<Box<dyn Stream>>,
    key: String,
    next: u64,
    image_column: Option<String>,
    limits: Limits,
    wanted_columns: SchemaRef,
    is_over: bool,
}

impl Records {
    pub(super) fn open(place: &Place, options: &SourceOptions, columns: &SchemaRef) -> Result<Records> {
        let stream = Peeked::new(place.stream(options)?, HEADER_BYTES)?;
        // The first bytes of a plain file are a length, which may be those of a compressed file by chance.
        let compression = Compression::of(stream.head()).filter(|_| !is_header(stream.head()));
        let stream = match compression {
            Some(compression) => compression.unpack(stream)?,
            None => Box::new(stream),
        };
        let tensor_bytes = options.max_picture_bytes.saturating_add(MOST_OTHER_BYTES);
        let limits = Limits { tensor_bytes, ..options.limits.clone() };
        // A record that is too large is passed over here, where the reader would give up the file.
        let any = Limits { tensor_bytes: u64::MAX, ..limits.clone() };
        Ok(Records {
            reader: RecordReader::new(stream, "", &any),
            key: place.key(),
            next: 0,
            image_column: options.image_column.clone(),
            limits,
            wanted_columns: columns.clone(),
            is_over: false,
        })
    }

    /// The next item, whose record is read if it is wanted; none at the end.
    ///
    /// # Errors
    /// A file of which it is unknown where the next record begins.
    fn record(&mut self, wanted: &mut Wanted<'_>) -> Result<Option<Draft>> {
        loop {
            let key = format!("{}#{}", self.key, self.next);
            self.next += 1;
            if !self.reader.has_next()? {
                return if self.next > 1 { Ok(None) } else { Err(no_records()) };
            }
            if !wanted(&key) {
                self.reader.pass_over()?;
                continue;
            }
            if self.reader.next_length().is_some_and(|length| length > self.limits.tensor_bytes) {
                self.reader.pass_over()?;
                return Ok(Some(Draft::failed(key, too_large(self.limits.tensor_bytes))));
            }
            return match self.reader.next() {
                None => Ok(None),
                Some(Ok(record)) => Ok(Some(self.draft(key, &record))),
                Some(Err(error)) if self.reader.is_over() => Err(error),
                Some(Err(error)) => Ok(Some(Draft::failed(key, error))),
            };
        }
    }

    fn draft(&self, key: String, record: &[u8]) -> Draft {
        let read = || {
            let example = Example::parse(record, &self.limits)?;
            let image = image_feature(&example, self.image_column.as_deref())?;
            let bytes = example.bytes(image)?.to_vec();
            let columns = match self.wanted_columns.fields().is_empty() {
                true => None,
                false => Some(columns::conform(&row(&example, image)?, &self.wanted_columns)?),
            };
            Ok((bytes, columns))
        };
        match read() {
            Ok((bytes, columns)) => {
                Draft { columns, ..Draft::located(&key, Located::Here(Content::Bytes(bytes))) }
            }
            Err(error) => Draft::failed(key, error),
        }
    }
}

impl Source for Records {
    fn next(&mut self, wanted: &mut Wanted<'_>) -> Option<Draft> {
        if self.is_over {
            return None;
        }
        match self.record(wanted) {
            Ok(Some(draft)) => Some(draft),
            Ok(None) => {
                self.is_over = true;
                None
            }
            Err(error) => {
                self.is_over = true;
                Some(Draft::failed(self.key.clone(), explained(error))).filter(|draft| wanted(&draft.key))
            }
        }
    }
}

/// An error of the reader of records, to which damage to what was unpacked is a failure of the disk.
fn explained(error: Error) -> Error {
    use io::ErrorKind::{InvalidData, UnexpectedEof};
    let io = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<io::Error>());
    match io {
        Some(io) if error.kind() == ErrorKind::Io && matches!(io.kind(), InvalidData | UnexpectedEof) => {
            broken(io)
        }
        _ => error,
    }
}

fn no_records() -> Error {
    Error::corrupt("", "no records").with_hint("fetch or copy it again")
}

/// The features of the first record beside the picture.
pub(super) fn schema(place: &Place, options: &SourceOptions) -> Result<SchemaRef> {
    let mut records = Records::open(place, options, &Arc::new(Schema::empty()))?;
    records.reader.has_next()?;
    let length = records.reader.next_length().ok_or_else(no_records)?;
    if length > records.limits.tensor_bytes {
        return Err(too_large(records.limits.tensor_bytes));
    }
    let record = records.reader.next().ok_or_else(no_records)??;
    let example = Example::parse(&record, &options.limits)?;
    let image = image_feature(&example, options.image_column.as_deref())?;
    Ok(row(&example, image)?.schema())
}

/// The feature with the picture.
fn image_feature<'a>(example: &Example<'a>, named: Option<&str>) -> Result<&'a str> {
    let find = |wanted: &str| example.names().find(|name| *name == wanted);
    let found = match named {
        Some(name) => find(name),
        None => [ENCODED].into_iter().chain(USUAL_NAMES).find_map(find),
    };
    found.ok_or_else(|| {
        let what = named.map_or("no feature with a picture that can be told".to_owned(), |name| {
            format!("no feature {name:?}")
        });
        let names: Vec<_> = example.names().take(20).map(|name| format!("{name:?}")).collect();
        Error::new(ErrorKind::Mismatch, "", format!("{what}; it has {}", names.join(", ")))
            .with_hint("--image-column names it")
    })
}

/// One row of the features that have one value: numbers, and bytes that are text.
fn row(example: &Example<'_>, image: &str) -> Result<RecordBatch> {
    let (mut fields, mut values): (Vec<Field>, Vec<ArrayRef>) = (Vec::new(), Vec::new());
    let mut names = HashSet::from([image]);
    for name in example.names() {
        if !names.insert(name) {
            continue;
        }
        let (data_type, value): (_, ArrayRef) = match example.only_value(name) {
            Some(Value::Int(value)) => (DataType::Int64, Arc::new(Int64Array::from(vec![value]))),
            Some(Value::Float(value)) => (DataType::Float32, Arc::new(Float32Array::from(vec![value]))),
            Some(Value::Bytes(bytes)) => match std::str::from_utf8(bytes) {
                Ok(text) => (DataType::Utf8, Arc::new(StringArray::from(vec![text]))),
                Err(_) => continue,
            },
            None => continue,
        };
        fields.push(Field::new(name, data_type, true));
        values.push(value);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), values, &options)
        .map_err(|error| Error::corrupt("", error.to_string()))
}
