//! A team of threads that enters a job together and meets at barriers inside it.
//!
//! A forward pass has some thirty phases of 50 to 500 microseconds. Waking threads for each would cost more than the
//! phases of the small maps, so the team is woken once per run and then spins between phases, yielding when a phase
//! takes long, so that a machine with more threads than cores does not waste them.

use core::cell::UnsafeCell;
use core::num::NonZeroUsize;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Threads that work on one job at a time, together with the thread that starts the job.
pub struct Team {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held while a job runs: a second caller waits for its turn.
    turn: Mutex<()>,
}

struct Shared {
    members: usize,
    job: UnsafeCell<Option<Job>>,
    /// Number of jobs started; a change tells workers that `job` is theirs to run.
    started: AtomicUsize,
    /// Workers that have not finished the present job.
    running: AtomicUsize,
    stop: AtomicBool,
    arrived: AtomicUsize,
    generation: AtomicUsize,
}

/// A borrowed closure without its lifetime.
#[derive(Clone, Copy)]
struct Job(*const (dyn Fn(&Member<'_>) + Sync));

// SAFETY: `job` is written by the caller of `run` while no worker reads it: workers read between the release of
// `started` and their decrement of `running`, and `run` waits for `running` to be zero before it returns.
unsafe impl Sync for Shared {}
// SAFETY: as above; the closure behind the pointer is `Sync`.
unsafe impl Send for Shared {}

/// A thread's view of the job that it takes part in.
pub(crate) struct Member<'a> {
    shared: &'a Shared,
    pub index: usize,
}

impl Member<'_> {
    /// Waits until every member of the team has come here. What they wrote before, all see afterwards.
    pub(crate) fn barrier(&self) {
        let shared = self.shared;
        let generation = shared.generation.load(Ordering::Acquire);
        if shared.arrived.fetch_add(1, Ordering::AcqRel) + 1 == shared.members {
            shared.arrived.store(0, Ordering::Relaxed);
            shared.generation.store(generation.wrapping_add(1), Ordering::Release);
        } else {
            let mut wait = Wait::default();
            while shared.generation.load(Ordering::Acquire) == generation {
                wait.pause();
            }
        }
    }
}

/// How long a waiting thread has spun, and whether it is time to let others have the core.
#[derive(Default)]
struct Wait {
    pauses: u32,
}

impl Wait {
    /// Some 100 microseconds of spinning, longer than members usually wait for each other between phases: whoever
    /// yields to another process is away for milliseconds.
    const SPINS: u32 = 1 << 13;
    /// After about a millisecond of yielding an idle worker should sleep.
    const PATIENCE: u32 = Wait::SPINS + (1 << 10);

    fn pause(&mut self) {
        self.pauses = self.pauses.saturating_add(1);
        if self.pauses < Wait::SPINS {
            core::hint::spin_loop();
        } else {
            thread::yield_now();
        }
    }

    fn is_long(&self) -> bool {
        self.pauses > Wait::PATIENCE
    }
}

/// A member that panics can never reach the barrier where the others wait; a deadlock would hide the bug.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
    }
}

impl Team {
    /// Starts `members - 1` threads.
    ///
    /// # Errors
    /// The operating system refused a thread.
    pub fn new(members: NonZeroUsize) -> std::io::Result<Team> {
        let shared = Arc::new(Shared {
            members: members.get(),
            job: UnsafeCell::new(None),
            started: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            arrived: AtomicUsize::new(0),
            generation: AtomicUsize::new(0),
        });
        let mut team = Team { shared, workers: Vec::new(), turn: Mutex::new(()) };
        for index in 1..members.get() {
            let shared = Arc::clone(&team.shared);
            let name = format!("featvec-{index}");
            team.workers.push(thread::Builder::new().name(name).spawn(move || work(&shared, index))?);
        }
        Ok(team)
    }

    /// Number of threads, the caller's included.
    pub fn members(&self) -> usize {
        self.shared.members
    }

    /// Calls `work` once for each of `items`, counted from 0: members claim them one by one.
    ///
    /// Who does which, and when, is open; a `work` whose items do not touch each other's results gives the same results
    /// for any number of members. A `work` that panics aborts the process; one that shares out work itself, by the same
    /// team, waits for ever.
    pub fn share(&self, items: usize, work: &(dyn Fn(usize) + Sync)) {
        self.share_between(items, &|_, item| work(item));
    }

    /// As [`share`](Team::share), and tells `work` first which member does it, below [`members`](Team::members): what a
    /// member has for itself nobody else uses meanwhile.
    pub(crate) fn share_between(&self, items: usize, work: &(dyn Fn(usize, usize) + Sync)) {
        let next = AtomicUsize::new(0);
        self.run(&|member| {
            while let Some(item) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|item| *item < items) {
                work(member.index, item);
            }
        });
    }

    /// As [`share`](Team::share), with some items that follow each other at a time.
    pub(crate) fn share_ranges(&self, items: usize, work: &(dyn Fn(Range<usize>) + Sync)) {
        /// Enough for members to finish together.
        const RANGES_OF_MEMBER: usize = 16;
        let ranges = items.min(RANGES_OF_MEMBER * self.members());
        self.share(ranges, &|index| work(items * index / ranges..items * (index + 1) / ranges));
    }

    /// Calls `work` once with each of `items`.
    pub(crate) fn share_out<T: Send>(&self, items: Vec<T>, work: &(dyn Fn(T) + Sync)) {
        let items = Mutex::new(items.into_iter());
        let next = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
        self.run(&|_| {
            while let Some(item) = next() {
                work(item);
            }
        });
    }

    /// Runs `job` once on every member and returns when all have finished.
    pub(crate) fn run(&self, job: &(dyn Fn(&Member<'_>) + Sync)) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let _abort = AbortOnPanic;
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes, and this function does not return before every worker is done.
        let job_pointer = Job(unsafe {
            core::mem::transmute::<*const (dyn Fn(&Member<'_>) + Sync), *const (dyn Fn(&Member<'_>) + Sync)>(
                job,
            )
        });
        // SAFETY: no worker reads `job` now (see `Shared`).
        unsafe { *shared.job.get() = Some(job_pointer) };
        shared.running.store(self.workers.len(), Ordering::Relaxed);
        shared.started.fetch_add(1, Ordering::Release);
        for worker in &self.workers {
            worker.thread().unpark();
        }
        job(&Member { shared, index: 0 });
        let mut wait = Wait::default();
        while shared.running.load(Ordering::Acquire) > 0 {
            wait.pause();
        }
    }
}

fn work(shared: &Shared, index: usize) {
    let _abort = AbortOnPanic;
    let mut seen = 0;
    loop {
        let mut wait = Wait::default();
        while shared.started.load(Ordering::Acquire) == seen {
            if shared.stop.load(Ordering::Acquire) {
                return;
            }
            if wait.is_long() { thread::park() } else { wait.pause() }
        }
        seen = seen.wrapping_add(1);
        // SAFETY: the acquire of `started` makes the write of `job` visible, and it stays until we have counted
        // ourselves out of `running`.
        if let Some(Job(job)) = unsafe { *shared.job.get() } {
            // SAFETY: the closure is borrowed by `run`, which waits for us.
            unsafe { (*job)(&Member { shared, index }) };
        }
        shared.running.fetch_sub(1, Ordering::Release);
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker that panicked has aborted the process, so there is no error to see.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_worked_on_once() {
        for members in 1..4 {
            let team = Team::new(NonZeroUsize::new(members).unwrap()).unwrap();
            for items in [0, 1, 1000] {
                let counts: Vec<AtomicUsize> = (0..items).map(|_| AtomicUsize::new(0)).collect();
                team.share(items, &|item| {
                    counts[item].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
            }
        }
    }
}
