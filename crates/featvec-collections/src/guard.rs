//! Readers of other people's, kept from taking a run along.

use std::panic::{AssertUnwindSafe, catch_unwind};

use featvec::{Error, Result};

/// Calls a reader of other people's. Those of Arrow, Parquet and zip may panic on hostile bytes; one damaged file must not
/// end a run of a million.
pub(crate) fn guarded<T>(read: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        Err(Error::corrupt("", "the reader gave up on this file")
            .with_hint("write it again with another program, and please report it together with the file"))
    })
}
