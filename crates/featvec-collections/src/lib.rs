//! Collections of pictures of any size to feature vectors.
//!
//! ```text
//! inputs ── sources::open ──► Item (key, content, other columns) ── run ──► Row ── Parts::append ──► OUTPUT.parts/
//!                                                                                                        │
//!                                                              OUTPUT, OUTPUT.manifest.json ◄── assemble ┘
//! ```
//!
//! An [`Item`] is a picture of a collection that nobody has decoded yet; a [`Row`] is what became of it. Rows are committed
//! in parts, so that a run that was killed goes on where it was.

#![forbid(unsafe_code)]

mod address;
mod guard;
mod hashing;
mod identity;
mod item;
mod layout;
pub mod line;
mod manifest;
mod merge;
mod nearest;
pub mod output;
pub mod parts;
#[cfg(feature = "object-store")]
pub mod remote;
mod row;
pub mod run;
pub mod sources;
mod stats;
mod verify;

pub use guard::is_guarded;
pub use hashing::hex;
pub use identity::{Dtype, Identity};
pub use item::{Content, Item};
pub use manifest::{FileRecord, Manifest, Provenance};
pub use merge::{Merged, merge};
pub use output::{Format, Output, assemble};
pub use parts::{CommitEvery, Parts};
pub use row::{Row, Status};
pub use stats::{NearestPair, Norms, Stats, stats};
pub use verify::{Verification, verify};
