//! What is told of a run while it goes on, and afterwards.

use std::collections::BTreeMap;

use featvec::image::{Format, Orientation};

use crate::Status;

/// A row that went to the sink.
#[derive(Clone, Debug)]
pub struct Event {
    /// The item's key.
    pub key: String,
    /// Whether it has a vector.
    pub status: Status,
    /// Why it has none.
    pub error: Option<String>,
    /// Bytes of the file.
    pub bytes: u64,
    /// What the file was, where it was decoded.
    pub format: Option<Format>,
    /// Seconds that decoding and resizing took.
    pub decoding: f64,
    /// Whether the vector is that of another item with the same bytes.
    pub is_copy: bool,
    /// What is worth knowing about it.
    pub note: Option<Note>,
}

/// What is worth knowing about a picture.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    /// The file tells an orientation, whether it was followed or not.
    Orientation(Orientation),
    /// Its values are hardly those of an image.
    Doubt(String),
}

/// Where the time of the workers went, in seconds of all of them together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seconds {
    /// Finding, reading and hashing files.
    pub reading: f64,
    /// Decoding and resizing.
    pub decoding: f64,
    /// The network.
    pub network: f64,
    /// Giving rows to the sink.
    pub writing: f64,
}

/// The pictures of one format.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FormatTotals {
    /// How many were decoded.
    pub pictures: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// Seconds that decoding and resizing took.
    pub decoding: f64,
}

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Rows with a vector.
    pub ok: u64,
    /// Rows of pictures whose bytes could not be had.
    pub unreadable: u64,
    /// Rows of pictures that could not be decoded.
    pub undecodable: u64,
    /// Rows with the vector of another item with the same bytes.
    pub copies: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// The pictures by the names of their formats.
    pub formats: BTreeMap<&'static str, FormatTotals>,
    /// Where the time went.
    pub seconds: Seconds,
    /// Seconds from beginning to end.
    pub wall: f64,
    /// Whether it was stopped before all was done.
    pub stopped: bool,
}

impl Seconds {
    pub(super) fn add(&mut self, other: &Seconds) {
        self.reading += other.reading;
        self.decoding += other.decoding;
        self.network += other.network;
        self.writing += other.writing;
    }
}

impl Summary {
    /// Rows without a vector.
    pub fn failed(&self) -> u64 {
        self.unreadable + self.undecodable
    }

    pub(super) fn count(&mut self, event: &Event) {
        match event.status {
            Status::Ok => self.ok += 1,
            Status::Unreadable => self.unreadable += 1,
            Status::Undecodable => self.undecodable += 1,
        }
        self.copies += u64::from(event.is_copy);
        self.bytes += event.bytes;
        if let Some(format) = event.format {
            let totals = self.formats.entry(format.name()).or_default();
            totals.pictures += 1;
            totals.bytes += event.bytes;
            totals.decoding += event.decoding;
        }
    }
}
