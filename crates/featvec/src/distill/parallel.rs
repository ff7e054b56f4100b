//! Work shared out to threads, with results in the order of the work.

use std::sync::{Mutex, PoisonError};
use std::thread;

use super::worker::Worker;

/// What `work` gives for each of `items`, computed by a thread for each of `workers`, or by as many as the system gives.
pub(super) fn map<T: Send, R: Send>(
    workers: &mut [Worker],
    items: impl IntoIterator<Item = T, IntoIter: Send>,
    work: impl Fn(&mut Worker, T) -> R + Sync,
) -> Vec<R> {
    let jobs = Mutex::new(items.into_iter().enumerate());
    let results = Mutex::new(Vec::new());
    let run = |worker: &mut Worker| {
        loop {
            let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((index, item)) = job else { break };
            let result = work(worker, item);
            results.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
        }
    };
    let run = &run;
    let (first, others) = workers.split_first_mut().expect("at least one worker");
    thread::scope(|scope| {
        for worker in others {
            // A system that has no more threads to give costs time only.
            if thread::Builder::new().spawn_scoped(scope, move || run(worker)).is_err() {
                break;
            }
        }
        run(first);
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}
