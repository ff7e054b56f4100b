//! Work shared out to threads, with results in the order of the work.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// What `work` gives for each of `items`, computed on `threads` threads, or on as many as the system gives.
pub(super) fn map<T: Send, R: Send>(
    threads: NonZeroUsize,
    items: impl IntoIterator<Item = T, IntoIter: Send>,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let jobs = Mutex::new(items.into_iter().enumerate());
    let results = Mutex::new(Vec::new());
    let run = || {
        loop {
            let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((index, item)) = job else { break };
            let result = work(item);
            results.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
        }
    };
    thread::scope(|scope| {
        // A system that has no more threads to give costs time only.
        let _ = (1..threads.get())
            .try_for_each(|_| thread::Builder::new().spawn_scoped(scope, run).map(drop));
        run();
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}
