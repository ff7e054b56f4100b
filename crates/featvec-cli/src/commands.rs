//! The subcommands, one file each.

pub mod bench;
pub mod cache;
pub mod classify;
pub mod compare;
pub mod completions;
pub mod distill;
pub mod embed;
pub mod eval;
pub mod export;
pub mod fetch;
pub mod inspect;
pub mod man;
pub mod merge;
pub mod presets;
pub mod retrain;
pub mod stats;
pub mod train;
pub mod verify;
