//! TFRecord files: records of bytes one after another, each with its length and two checksums.
//!
//! A record is its length (`u64`), the length's checksum, the bytes, and their checksum; numbers are little-endian.

use std::io::{ErrorKind as IoErrorKind, Read, Write};

use crate::error::{DAMAGED, TRUNCATED};
use crate::limits::check_limit;
use crate::{Error, Limits, Result, Skip, masked_crc32c};

/// Bytes before those of a record: its length and the length's checksum.
pub(crate) const HEADER_BYTES: usize = 12;

/// Bytes of the checksum after those of a record.
const FOOTER_BYTES: u64 = 4;

/// Whether `head` begins a record.
pub fn is_header(head: &[u8]) -> bool {
    head.split_first_chunk::<8>().is_some_and(|(length, rest)| {
        rest.first_chunk().is_some_and(|checksum| masked_crc32c(length) == u32::from_le_bytes(*checksum))
    })
}

/// Writes records to a stream.
#[derive(Debug)]
pub struct RecordWriter<W> {
    stream: W,
}

impl<W: Write> RecordWriter<W> {
    /// A writer of records to `stream`.
    pub fn new(stream: W) -> RecordWriter<W> {
        RecordWriter { stream }
    }

    /// Appends a record.
    ///
    /// # Errors
    /// The stream's own.
    pub fn write(&mut self, record: &[u8]) -> std::io::Result<()> {
        let length = (record.len() as u64).to_le_bytes();
        let mut framed = Vec::with_capacity(record.len() + 16);
        framed.extend(length);
        framed.extend(masked_crc32c(&length).to_le_bytes());
        framed.extend(record);
        framed.extend(masked_crc32c(record).to_le_bytes());
        // In one piece, so that a reader beside us sees whole records where it can.
        self.stream.write_all(&framed)
    }

    /// The stream.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.stream
    }
}

/// Reads records from a stream. After an error it ends, because what follows cannot be told apart, unless it is only the
/// bytes of a record that are damaged.
#[derive(Debug)]
pub struct RecordReader<R> {
    stream: R,
    place: String,
    limits: Limits,
    offset: u64,
    /// The length of the next record, once it has been read.
    next_length: Option<u64>,
    /// Whether it is unknown where the next record begins.
    is_lost: bool,
}

impl<R: Read> RecordReader<R> {
    /// A reader of the records in `stream`; errors name `place`, the file.
    pub fn new(stream: R, place: impl Into<String>, limits: &Limits) -> RecordReader<R> {
        RecordReader {
            stream,
            place: place.into(),
            limits: limits.clone(),
            offset: 0,
            next_length: None,
            is_lost: false,
        }
    }

    /// A reader of a stream that begins at byte `offset` of the file `place`.
    pub(crate) fn at(stream: R, (place, offset): (&str, u64), limits: &Limits) -> RecordReader<R> {
        RecordReader { offset, ..RecordReader::new(stream, place, limits) }
    }

    /// Bytes of the stream read so far: where the next record begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether another record begins.
    ///
    /// # Errors
    /// A damaged length; one beyond `tensor_bytes` of [`Limits`].
    pub fn has_next(&mut self) -> Result<bool> {
        if self.next_length.is_none() && !self.is_lost {
            self.is_lost = true;
            self.next_length = self.length()?;
            self.is_lost = self.next_length.is_none();
        }
        Ok(self.next_length.is_some())
    }

    /// Bytes of the record that [`has_next`](RecordReader::has_next) has found.
    pub fn next_length(&self) -> Option<u64> {
        self.next_length
    }

    /// Whether nothing more will come: the end was reached, or it is unknown where the next record begins.
    pub fn is_over(&self) -> bool {
        self.is_lost
    }

    /// The length of the next record, of which it is unknown from now on where it ends.
    fn begin(&mut self) -> Result<Option<u64>> {
        self.has_next()?;
        self.is_lost = true;
        Ok(self.next_length.take())
    }

    /// The record of `length` has been read or passed over.
    fn end(&mut self, length: u64) {
        self.offset += framed_bytes(length);
        self.is_lost = false;
    }

    fn read(&mut self) -> Result<Option<Vec<u8>>> {
        let Some(length) = self.begin()? else { return Ok(None) };
        // Read as it comes rather than allocated as promised: a short file must not cost what it promises.
        let mut record = Vec::new();
        self.take(length, &mut record)?;
        let mut checksum = Vec::new();
        self.take(FOOTER_BYTES, &mut checksum)?;
        let damage = self.damaged("its checksum is wrong");
        self.end(length);
        if masked_crc32c(&record).to_le_bytes()[..] == checksum[..] { Ok(Some(record)) } else { Err(damage) }
    }

    /// The length of the next record; none at the end of the stream.
    fn length(&mut self) -> Result<Option<u64>> {
        let Some(header) = self.header()? else { return Ok(None) };
        if !is_header(&header) {
            let error = self.damaged("the checksum of its length is wrong");
            return Err(if self.offset > 0 { error } else { error.with_hint("is it a TFRecord file?") });
        }
        let [l0, l1, l2, l3, l4, l5, l6, l7, ..] = header;
        let length = u64::from_le_bytes([l0, l1, l2, l3, l4, l5, l6, l7]);
        check_limit(&self.record(), "bytes in one record", length, self.limits.tensor_bytes())?;
        Ok(Some(length))
    }

    /// Length and checksum of the next record; none at the end of the stream.
    fn header(&mut self) -> Result<Option<[u8; HEADER_BYTES]>> {
        let mut header = [0; HEADER_BYTES];
        let mut filled = 0;
        while filled < header.len() {
            match self.stream.read(&mut header[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(self.truncated(header.len() as u64, filled as u64)),
                Ok(count) => filled += count,
                Err(error) if error.kind() == IoErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io(&self.place, error)),
            }
        }
        Ok(Some(header))
    }

    fn take(&mut self, length: u64, bytes: &mut Vec<u8>) -> Result<()> {
        let read = self.stream.by_ref().take(length).read_to_end(bytes);
        let read = read.map_err(|error| Error::io(&self.place, error))?;
        if (read as u64) < length {
            return Err(self.truncated(length, read as u64));
        }
        Ok(())
    }

    fn record(&self) -> String {
        let separator = if self.place.is_empty() { "" } else { ": " };
        format!("{}{separator}record at byte {}", self.place, self.offset)
    }

    fn damaged(&self, message: &str) -> Error {
        Error::corrupt(self.record(), message).with_hint(DAMAGED)
    }

    fn truncated(&self, expected: u64, left: u64) -> Error {
        let message = format!("{expected} bytes expected, {left} left");
        Error::corrupt(self.record(), message).with_hint(TRUNCATED)
    }
}

impl<R: Skip> RecordReader<R> {
    /// Passes over the next record without looking at its bytes; false at the end, and after an error.
    ///
    /// # Errors
    /// A damaged length; a stream that ends within the record, or fails.
    pub fn pass_over(&mut self) -> Result<bool> {
        let Some(length) = self.begin()? else { return Ok(false) };
        let needed = length.saturating_add(FOOTER_BYTES);
        let passed = self.stream.skip(needed).map_err(|error| Error::io(&self.place, error))?;
        if passed < needed {
            return Err(self.truncated(needed, passed));
        }
        self.end(length);
        Ok(true)
    }
}

/// Bytes that a record of `length` bytes takes in a file. Who raises the limit may be promised any length.
fn framed_bytes(length: u64) -> u64 {
    length.saturating_add(HEADER_BYTES as u64 + FOOTER_BYTES)
}

impl<R: Read> Iterator for RecordReader<R> {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Result<Vec<u8>>> {
        self.read().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn two_records() -> Vec<u8> {
        let mut writer = RecordWriter::new(Vec::new());
        writer.write(b"first").unwrap();
        writer.write(b"").unwrap();
        writer.get_mut().clone()
    }

    fn read(bytes: &[u8]) -> Vec<Result<Vec<u8>>> {
        RecordReader::new(bytes, "a.tfrecord", &Limits::default()).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let records: Vec<_> = read(&two_records()).into_iter().map(Result::unwrap).collect();
        assert_eq!(records, [&b"first"[..], b""]);
    }

    #[test]
    fn every_cut_and_every_flipped_byte_is_noticed() {
        let whole = two_records();
        let first_record = 12 + 5 + 4;
        for cut in (1..whole.len()).filter(|cut| *cut != first_record) {
            let error = read(&whole[..cut]).pop().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{cut}");
            assert!(error.message().contains("left"), "{error}");
        }
        for index in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[index] ^= 1;
            let error = read(&bytes).into_iter().find_map(Result::err).unwrap();
            let start = if index < first_record { 0 } else { first_record };
            assert_eq!(error.place(), format!("a.tfrecord: record at byte {start}"));
        }
    }

    #[test]
    fn damaged_bytes_cost_one_record() {
        let mut bytes = two_records();
        bytes[12] ^= 1;
        let [first, second] = <[_; 2]>::try_from(read(&bytes)).unwrap();
        assert!(first.is_err());
        assert_eq!(second.unwrap(), b"");
    }

    #[test]
    fn what_is_passed_over_is_there() {
        let whole = two_records();
        let mut reader = RecordReader::new(&whole[..], "", &Limits::default());
        assert!(reader.pass_over().unwrap());
        assert_eq!(reader.next().unwrap().unwrap(), b"");
        assert!(!reader.pass_over().unwrap());
        let mut reader = RecordReader::new(&whole[..20], "", &Limits::default());
        assert_eq!(reader.pass_over().unwrap_err().kind(), ErrorKind::Corrupt);
        assert!(!reader.pass_over().unwrap());
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused() {
        let length = u64::MAX.to_le_bytes();
        let mut bytes = length.to_vec();
        bytes.extend(masked_crc32c(&length).to_le_bytes());
        assert_eq!(read(&bytes).pop().unwrap().unwrap_err().kind(), ErrorKind::Limit);
    }
}
