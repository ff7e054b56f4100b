//! Readers of other people's, kept from taking a run along.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use featvec::{Error, Result};

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is in a reader of other people's, whose panic becomes the error of one file. A program's panic hook
/// may then be silent.
pub fn is_guarded() -> bool {
    IS_GUARDED.get()
}

/// Calls a reader of other people's. Those of Arrow, Parquet and zip may panic on hostile bytes; one damaged file must not
/// end a run of a million.
pub(crate) fn guarded<T>(read: impl FnOnce() -> Result<T>) -> Result<T> {
    let outer = IS_GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(read));
    IS_GUARDED.set(outer);
    result.unwrap_or_else(|_| {
        Err(Error::corrupt("", "the reader gave up on this file")
            .with_hint("write it again with another program, and please report it together with the file"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_known_as_one_while_it_lasts() {
        let error = guarded::<()>(|| {
            assert!(is_guarded());
            panic!("by another crate");
        });
        assert!(error.unwrap_err().to_string().contains("gave up"));
        assert!(!is_guarded());
        guarded(|| guarded(|| Ok(()))).unwrap();
        assert!(!is_guarded());
    }
}
