//! Jobs of very different lengths shared out to threads.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Does `work` for each of `jobs`, on `threads` threads, the caller's among them, or on as many as the system gives: each
/// takes the next job when it is free.
pub(crate) fn share_out<J: Send>(
    threads: NonZeroUsize,
    jobs: impl ExactSizeIterator<Item = J> + Send,
    work: impl Fn(J) + Sync,
) {
    let threads = threads.get().min(jobs.len());
    let jobs = Mutex::new(jobs);
    let work = || {
        loop {
            let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(job) = job else { break };
            work(job);
        }
    };
    thread::scope(|scope| {
        // A system that has no more threads to give costs time, no more.
        let _ = (1..threads).try_for_each(|_| thread::Builder::new().spawn_scoped(scope, work).map(drop));
        work();
    });
}
