//! Changes to files, each at the level of its format: what a checksum or a length guards is made to fit again, so that
//! the change reaches the code behind the check.

pub mod bytes;
pub mod checkpoint;
pub mod message;
pub mod picture;
pub mod table;
pub mod tar;
