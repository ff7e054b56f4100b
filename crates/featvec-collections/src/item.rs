//! A picture of a collection, before it is decoded.

use std::path::PathBuf;

use arrow_array::RecordBatch;
use featvec::{Result, Tensor};

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
#[derive(Debug)]
pub enum Content {
    /// In this file; it is read by whoever decodes it.
    File(PathBuf),
    /// Here.
    Bytes(Vec<u8>),
    /// Decoded and resized already, by another program: an image `[1, h, w, 3]` in [0, 1].
    Image(Tensor),
}
