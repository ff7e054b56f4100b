//! Streams of which parts can be passed over.

use std::fs::File;
use std::io::{self, BufReader, Read};

/// A stream that may have a cheaper way to pass over bytes than to read them.
pub trait Skip: Read {
    /// Passes over the next `bytes` and says how many there were: fewer than asked for only at the end of the stream.
    ///
    /// # Errors
    /// The stream's own.
    fn skip(&mut self, bytes: u64) -> io::Result<u64> {
        io::copy(&mut Read::take(self, bytes), &mut io::sink())
    }
}

impl Skip for Box<dyn Read + '_> {}

impl Skip for &[u8] {
    fn skip(&mut self, bytes: u64) -> io::Result<u64> {
        let count = usize::try_from(bytes).unwrap_or(usize::MAX).min(self.len());
        *self = &self[count..];
        Ok(count as u64)
    }
}

/// A file read from its start, in which passing over is a seek.
#[derive(Debug)]
pub struct FileStream {
    reader: BufReader<File>,
    /// Bytes that are left; unknown for what is no regular file, a pipe.
    left: Option<u64>,
}

impl FileStream {
    /// Reads `file`, which is at its start, through a buffer of `buffer_bytes`.
    ///
    /// # Errors
    /// Those of asking for the file's length.
    pub fn new(file: File, buffer_bytes: usize) -> io::Result<FileStream> {
        let metadata = file.metadata()?;
        let left = metadata.is_file().then_some(metadata.len());
        Ok(FileStream { reader: BufReader::with_capacity(buffer_bytes, file), left })
    }
}

impl Read for FileStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.left = self.left.map(|left| left.saturating_sub(count as u64));
        Ok(count)
    }
}

impl Skip for FileStream {
    fn skip(&mut self, bytes: u64) -> io::Result<u64> {
        let Some(left) = self.left else { return self.reader.skip(bytes) };
        // A file's length, and so the smaller of the two, is a signed number to the system.
        let count = bytes.min(left).min(i64::MAX as u64);
        self.reader.seek_relative(count.cast_signed())?;
        self.left = Some(left - count);
        Ok(count)
    }
}

impl Skip for BufReader<File> {}
