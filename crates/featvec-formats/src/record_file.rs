//! TFRecord files whose records are read in any order.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::read::{MultiGzDecoder, ZlibDecoder};

use crate::files::open_file;
use crate::limits::check_limit;
use crate::tfrecord::{HEADER_BYTES, RecordReader, is_header};
use crate::{Error, Limits, Result};

/// A TFRecord file, plain or compressed as a whole (gzip, zlib), with the places of its records.
///
/// A plain file stays on disk, and opening it reads a few bytes a record; a compressed one is unpacked into memory.
#[derive(Debug)]
pub struct RecordFile {
    path: PathBuf,
    unpacked: Option<Vec<u8>>,
    offsets: Vec<u64>,
    limits: Limits,
}

impl RecordFile {
    /// Opens the file `path` and finds its records.
    ///
    /// # Errors
    /// No such file; no TFRecord file, or one that ends within a record; a compressed file that unpacks to more than
    /// `archive_bytes` of [`Limits`].
    pub fn open(path: &Path, limits: &Limits) -> Result<RecordFile> {
        let place = path.display().to_string();
        let mut file = open_file(path)?;
        let unpacked = unpack(&mut file, &place, limits)?;
        let offsets = match &unpacked {
            Some(bytes) => offsets(Cursor::new(bytes), bytes.len() as u64, (&place, limits)),
            None => {
                let length = file.metadata().map_err(|error| Error::io(&place, error))?.len();
                file.seek(SeekFrom::Start(0)).map_err(|error| Error::io(&place, error))?;
                offsets(BufReader::with_capacity(HEADER_BYTES, file), length, (&place, limits))
            }
        }?;
        Ok(RecordFile { path: path.to_owned(), unpacked, offsets, limits: limits.clone() })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// The record `index`, with its checksums verified.
    ///
    /// # Errors
    /// A damaged record; a file that is no longer there.
    ///
    /// # Panics
    /// If there is no such record.
    pub fn read(&self, index: usize) -> Result<Vec<u8>> {
        let (offset, place) = (self.offsets[index], self.path.display().to_string());
        let record = match &self.unpacked {
            Some(bytes) => RecordReader::at(&bytes[offset as usize..], (&place, offset), &self.limits).next(),
            None => {
                let mut file = File::open(&self.path).map_err(|error| Error::io(&place, error))?;
                file.seek(SeekFrom::Start(offset)).map_err(|error| Error::io(&place, error))?;
                RecordReader::at(file, (&place, offset), &self.limits).next()
            }
        };
        record.unwrap_or_else(|| Err(Error::corrupt(place, "it became shorter while it was being read")))
    }
}

/// The bytes of a compressed `file`; none if it is a plain one.
fn unpack(file: &mut File, place: &str, limits: &Limits) -> Result<Option<Vec<u8>>> {
    let io = |error| Error::io(place, error);
    let mut head = Vec::new();
    file.take(HEADER_BYTES as u64).read_to_end(&mut head).map_err(io)?;
    // The first bytes of a plain file are a length, which may be those of a compressed file by chance.
    if is_header(&head) {
        return Ok(None);
    }
    let stream = Cursor::new(&head).chain(&*file);
    let stream: Box<dyn Read> = match head[..] {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(stream)),
        // The two bytes as one number are a multiple of 31.
        [method, flags, ..] if method & 0xf == 8 && (u16::from(method) << 8 | u16::from(flags)) % 31 == 0 => {
            Box::new(ZlibDecoder::new(stream))
        }
        _ => return Ok(None),
    };
    let (_, most) = limits.archive_bytes();
    let mut bytes = Vec::new();
    stream.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| {
        Error::corrupt(place, format!("it cannot be unpacked: {error}"))
            .with_hint("a TFRecord file is plain, or compressed as a whole with gzip or zlib")
    })?;
    check_limit(place, "bytes unpacked, at the least", bytes.len() as u64, limits.archive_bytes())?;
    Ok(Some(bytes))
}

/// Where the records of `stream`, of `length` bytes, begin.
fn offsets(stream: impl Read + Seek, length: u64, (place, limits): (&str, &Limits)) -> Result<Vec<u64>> {
    let mut reader = RecordReader::new(stream, place, limits);
    let mut offsets = Vec::new();
    loop {
        let offset = reader.offset();
        if !reader.pass_over(length)? {
            return Ok(offsets);
        }
        offsets.push(offset);
    }
}
