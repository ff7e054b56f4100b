//! How what is not on this machine is opened.

use std::io::{Read, Seek};

use featvec::Result;
use featvec_formats::Skip;

/// Bytes from front to back.
pub trait Stream: Skip + Send {}

impl<S: Skip + Send> Stream for S {}

impl Skip for Box<dyn Stream> {
    fn skip(&mut self, bytes: u64) -> std::io::Result<u64> {
        (**self).skip(bytes)
    }
}

/// Bytes in any order.
pub trait Seekable: Read + Seek + Send {}

impl<S: Read + Seek + Send> Seekable for S {}

/// Waits for the bytes of a picture that were asked for.
pub type Fetch = Box<dyn FnOnce() -> Result<Vec<u8>> + Send>;

/// The URLs of a folder, in an order that is the same each time.
pub type Listing = Box<dyn Iterator<Item = Result<String>> + Send>;

/// Opens URLs. Errors name no place: whoever asks adds the URL.
pub trait Opener: Send + Sync {
    /// Opens an object to read it from front to back, or nearly so.
    ///
    /// # Errors
    /// A URL that cannot be read.
    fn stream(&self, url: &str) -> Result<Box<dyn Stream>>;

    /// Opens an object to read parts of it.
    ///
    /// # Errors
    /// A URL that cannot be read, or not in parts.
    fn seekable(&self, url: &str) -> Result<Box<dyn Seekable>>;

    /// The URLs of all objects below `url`, which ends in `/`.
    ///
    /// # Errors
    /// A URL that cannot be listed.
    fn list(&self, url: &str) -> Result<Listing>;

    /// Asks for the picture `url`, of at most `most_bytes`, and returns at once.
    fn fetch(&self, url: &str, most_bytes: u64) -> Fetch;

    /// How many pictures are asked for at once.
    fn parallel(&self) -> usize;
}
