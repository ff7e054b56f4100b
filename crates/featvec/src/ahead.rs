//! Work done ahead of its use: threads make the values that will be asked for next, and no more of them than agreed.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::{Error, Result};

/// The values that a function gives for a range of numbers, in their order, made by threads before they are taken.
///
/// Each thread makes one value at a time. No more than twice as many values as threads exist beside those that were
/// taken: being made, or waiting.
pub(crate) struct Ahead<T> {
    shared: Arc<Shared<T>>,
    numbers: Range<u64>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    /// The next number that nobody works on.
    unclaimed: u64,
    /// The first number whose value may not be begun yet.
    horizon: u64,
    ready: BTreeMap<u64, T>,
    /// Nobody wants more, or a thread panicked.
    stopped: bool,
}

impl<T: Send + 'static> Ahead<T> {
    /// Begins to make `make(number)` for `numbers` on `threads` threads.
    ///
    /// # Errors
    /// No thread to be had from the operating system.
    pub(crate) fn new(
        numbers: Range<u64>,
        threads: NonZeroUsize,
        make: impl Fn(u64) -> T + Send + Sync + 'static,
    ) -> Result<Ahead<T>> {
        let most = 2 * threads.get() as u64;
        let horizon = numbers.start.saturating_add(most).min(numbers.end);
        let state = State { unclaimed: numbers.start, horizon, ready: BTreeMap::new(), stopped: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let make = Arc::new(make);
        let mut ahead = Ahead { shared, numbers, threads: Vec::new() };
        for index in 0..threads.get() {
            let (shared, make) = (Arc::clone(&ahead.shared), Arc::clone(&make));
            let end = ahead.numbers.end;
            match thread::Builder::new().spawn(move || shared.work(end, &*make)) {
                Ok(thread) => ahead.threads.push(thread),
                // Fewer threads cost time only.
                Err(_) if index > 0 => break,
                Err(error) => return Err(Error::io("starting threads", error)),
            }
        }
        Ok(ahead)
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    fn work(&self, end: u64, make: &dyn Fn(u64) -> T) {
        let guard = StopOnPanic(self);
        loop {
            let mut state = self.lock();
            while !state.stopped && state.unclaimed == state.horizon && state.unclaimed < end {
                state = self.wait(state);
            }
            if state.stopped || state.unclaimed >= end {
                break;
            }
            let number = state.unclaimed;
            state.unclaimed += 1;
            drop(state);
            let value = make(number);
            self.lock().ready.insert(number, value);
            self.changed.notify_all();
        }
        drop(guard);
    }
}

/// Whoever waits for a value of a thread that panicked would wait for ever.
struct StopOnPanic<'a, T>(&'a Shared<T>);

impl<T> Drop for StopOnPanic<'_, T> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop();
        }
    }
}

impl<T> Iterator for Ahead<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let number = self.numbers.next()?;
        let mut state = self.shared.lock();
        loop {
            if let Some(value) = state.ready.remove(&number) {
                state.horizon = state.horizon.saturating_add(1).min(self.numbers.end);
                self.shared.changed.notify_all();
                return Some(value);
            }
            assert!(!state.stopped, "a thread that works ahead has panicked");
            state = self.shared.wait(state);
        }
    }
}

impl<T> Drop for Ahead<T> {
    fn drop(&mut self) {
        self.shared.stop();
        for thread in self.threads.drain(..) {
            // It has told about its panic already.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn threads(count: usize) -> NonZeroUsize {
        NonZeroUsize::new(count).unwrap()
    }

    #[test]
    fn values_come_in_order_whoever_is_faster() {
        for count in [1, 2, 7] {
            let slow_first = |number: u64| {
                (0..number % 3 * 100).for_each(|_| thread::yield_now());
                number * number
            };
            let values: Vec<u64> = Ahead::new(5..40, threads(count), slow_first).unwrap().collect();
            assert_eq!(values, (5..40).map(|number| number * number).collect::<Vec<_>>());
        }
        assert_eq!(Ahead::new(3..3, threads(2), |number| number).unwrap().next(), None);
    }

    #[test]
    fn no_more_is_made_than_agreed() {
        let made = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&made);
        let count = move |_| counter.fetch_add(1, Ordering::SeqCst);
        let mut ahead = Ahead::new(0..u64::MAX, threads(2), count).unwrap();
        for taken in 0..1000 {
            assert!(made.load(Ordering::SeqCst) <= 4 + taken);
            ahead.next();
        }
    }

    #[test]
    #[should_panic(expected = "a thread that works ahead has panicked")]
    fn a_panic_does_not_keep_others_waiting() {
        let mut ahead = Ahead::new(0..10, threads(2), |number| assert!(number < 3)).unwrap();
        (0..10).for_each(|_| _ = ahead.next());
    }
}
