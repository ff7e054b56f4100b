//! Collections of pictures of any size to feature vectors.
//!
//! ```text
//! inputs ── sources::open ──► Item (key, content, other columns) ── run ──► Row ── parts::Writer ──► OUTPUT.parts/
//!                                                                                                        │
//!                                                              OUTPUT, OUTPUT.manifest.json ◄── assemble ┘
//! ```
//!
//! An [`Item`] is a picture of a collection that nobody has decoded yet; a [`Row`] is what became of it. Rows are committed
//! in parts, so that a run that was killed goes on where it was.

#![forbid(unsafe_code)]

mod address;
mod item;
#[cfg(feature = "object-store")]
pub mod remote;
mod row;
pub mod sources;

pub use item::{Content, Item};
pub use row::{Row, Status};
