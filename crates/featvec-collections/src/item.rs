//! A picture of a collection, before it is decoded.

use std::fmt;
use std::path::PathBuf;

use arrow_array::RecordBatch;
use featvec::{Result, Tensor};

use crate::sources::Fetch;

/// A picture of a collection.
#[derive(Debug)]
pub struct Item {
    /// What names it in the output: its path as found, its URL, or `shard/member` for a picture inside a file. The same
    /// inputs give the same keys each time.
    pub key: String,
    /// Its bytes or where they are, or why they cannot be had.
    pub content: Result<Content>,
    /// One row of the other columns of the table that it comes from, if it comes from one.
    pub columns: Option<RecordBatch>,
}

/// Where the bytes of a picture are.
pub enum Content {
    /// In this file; it is read by whoever decodes it.
    File(PathBuf),
    /// Here.
    Bytes(Vec<u8>),
    /// On their way from a server: whoever decodes them waits for them.
    Coming(Fetch),
    /// Decoded and resized already, by another program: an image `[1, h, w, 3]` in [0, 1].
    Image(Tensor),
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::File(path) => f.debug_tuple("File").field(path).finish(),
            Content::Bytes(bytes) => f.debug_tuple("Bytes").field(&bytes.len()).finish(),
            Content::Coming(_) => f.write_str("Coming"),
            Content::Image(image) => f.debug_tuple("Image").field(&image.shape()).finish(),
        }
    }
}
