//! What became of a picture.

use arrow_array::RecordBatch;

/// Whether a picture has a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It has.
    Ok,
    /// Its bytes could not be had: the file vanished, the server refused.
    Unreadable,
    /// Its bytes are no picture that can be decoded.
    Undecodable,
}

impl Status {
    /// All of them.
    pub const ALL: [Status; 3] = [Status::Ok, Status::Unreadable, Status::Undecodable];

    /// Its name in outputs: `ok`, `unreadable` or `undecodable`.
    pub fn name(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Unreadable => "unreadable",
            Status::Undecodable => "undecodable",
        }
    }

    /// The status called `name`.
    pub fn from_name(name: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|status| status.name() == name)
    }
}

/// What became of an [`Item`](crate::Item).
#[derive(Clone, Debug)]
pub struct Row {
    /// The item's key.
    pub key: String,
    /// SHA-256 of the bytes, where they could be had.
    pub content_hash: Option<[u8; 32]>,
    /// Width and height of the picture in pixels, where it was decoded.
    pub size: Option<[u32; 2]>,
    /// Whether it has a vector.
    pub status: Status,
    /// Why it has none.
    pub error: Option<String>,
    /// The vector, or the values of another endpoint; none where there is none.
    pub vector: Option<Vec<f32>>,
    /// One row of the other columns of the table that it comes from, if it comes from one.
    pub columns: Option<RecordBatch>,
}
