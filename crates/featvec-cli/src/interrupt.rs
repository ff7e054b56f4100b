//! Ctrl-C, and what else ends a program in order, for commands that finish what they are at first.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::stop::INTERRUPTED;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Has the first Ctrl-C only [requested](requested) an end; the second ends the program at once.
pub fn watch() {
    // It fails where one of the signals is ignored, as by `nohup`: all are then left as they are.
    let _ = ctrlc::try_set_handler(|| {
        if REQUESTED.swap(true, Ordering::SeqCst) {
            std::process::exit(INTERRUPTED.into());
        }
    });
}

/// Whether an end was asked for.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}
