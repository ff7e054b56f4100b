//! Compressed streams, recognised by their first bytes.

use std::io::{self, BufReader, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use featvec::{Error, Result};
use featvec_formats::Skip;
use flate2::read::{MultiGzDecoder, ZlibDecoder};

use super::stream::Stream;

const BUFFER_BYTES: usize = 64 << 10;

/// A stream of which the first bytes have been looked at.
pub(super) struct Peeked {
    head: Cursor<Vec<u8>>,
    rest: Box<dyn Stream>,
}

impl Peeked {
    /// Reads the first `bytes`, or as many as there are.
    pub(super) fn new(mut rest: Box<dyn Stream>, bytes: usize) -> Result<Peeked> {
        let mut head = Vec::new();
        rest.by_ref().take(bytes as u64).read_to_end(&mut head).map_err(|error| broken(&error))?;
        Ok(Peeked { head: Cursor::new(head), rest })
    }

    pub(super) fn head(&self) -> &[u8] {
        self.head.get_ref()
    }
}

impl Read for Peeked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.head.read(buffer)? {
            0 => self.rest.read(buffer),
            count => Ok(count),
        }
    }
}

impl Skip for Peeked {
    fn skip(&mut self, bytes: u64) -> io::Result<u64> {
        let left = self.head.get_ref().len() as u64 - self.head.position();
        let of_head = bytes.min(left);
        self.head.set_position(self.head.position() + of_head);
        Ok(of_head + self.rest.skip(bytes - of_head)?)
    }
}

/// A way in which a whole file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zlib,
    Zstd,
}

impl Compression {
    /// That of a file that begins with `head`.
    pub(super) fn of(head: &[u8]) -> Option<Compression> {
        match *head {
            [0x1f, 0x8b, ..] => Some(Compression::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Compression::Zstd),
            // The two bytes as one number are a multiple of 31.
            [0x78, flags, ..] if (0x7800 | u16::from(flags)).is_multiple_of(31) => Some(Compression::Zlib),
            _ => None,
        }
    }

    /// What `stream` unpacks to.
    pub(super) fn unpack(self, stream: impl Stream + 'static) -> Result<Box<dyn Stream>> {
        let packed = Arc::new(Packed::default());
        let counted = Counted { stream, packed: packed.clone() };
        let stream: Box<dyn Read + Send> = match self {
            Compression::Gzip => {
                Box::new(MultiGzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, counted)))
            }
            Compression::Zlib => Box::new(ZlibDecoder::new(BufReader::with_capacity(BUFFER_BYTES, counted))),
            // Its window, and so its memory, is at most 128 MiB unless a caller says otherwise.
            Compression::Zstd => Box::new(zstd::Decoder::new(counted).map_err(|error| broken(&error))?),
        };
        let stream = BufReader::with_capacity(BUFFER_BYTES, Unpacked { stream, packed, bytes: 0 });
        Ok(Box::new(Through(stream)))
    }
}

/// What is known of the compressed bytes.
#[derive(Default)]
struct Packed {
    /// How many were read.
    bytes: AtomicU64,
    /// Whether they could not be read: the fault is not theirs then.
    failed: AtomicBool,
}

/// Takes note of what is read.
struct Counted<S> {
    stream: S,
    packed: Arc<Packed>,
}

impl<S: Read> Read for Counted<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer);
        match &read {
            Ok(count) => _ = self.packed.bytes.fetch_add(*count as u64, Relaxed),
            Err(_) => self.packed.failed.store(true, Relaxed),
        }
        read
    }
}

/// What comes out of a decompressor, as long as it is in proportion to what goes in.
struct Unpacked {
    stream: Box<dyn Read + Send>,
    packed: Arc<Packed>,
    bytes: u64,
}

impl Read for Unpacked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        /// Pictures hardly compress; gzip cannot do more than 1032 times.
        const MOST_RATIO: u64 = 2000;
        /// Below this nobody minds.
        const FREE_BYTES: u64 = 1 << 30;
        let damaged = |error: io::Error| match error.kind() {
            _ if self.packed.failed.swap(false, Relaxed) => error,
            io::ErrorKind::UnexpectedEof => error,
            _ => io::Error::new(io::ErrorKind::InvalidData, error),
        };
        let count = self.stream.read(buffer).map_err(damaged)?;
        self.bytes += count as u64;
        let packed = self.packed.bytes.load(Relaxed);
        if self.bytes > FREE_BYTES && self.bytes / MOST_RATIO > packed {
            let message = format!("{packed} bytes unpack to {} and more, which is an attack", self.bytes);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(count)
    }
}

/// A stream in which passing over is reading.
pub(super) struct Through<R>(pub(super) R);

impl<R: Read> Read for Through<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read> Skip for Through<R> {}

/// An error of a stream: damage if the unpacking found it, else what the source reported.
pub(super) fn broken(error: &io::Error) -> Error {
    use io::ErrorKind::{InvalidData, UnexpectedEof};
    match error.kind() {
        UnexpectedEof => Error::corrupt("", "the file breaks off").with_hint("fetch or copy it again"),
        InvalidData => Error::corrupt("", format!("it cannot be unpacked: {error}"))
            .with_hint("fetch or copy it again"),
        _ => Error::io("", io::Error::new(error.kind(), error.to_string())),
    }
}
