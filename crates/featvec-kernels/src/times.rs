//! How long each step of a program takes, by the clock of the team's first member.

use core::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Nanoseconds of each step of a run; none where nobody asked for them.
#[derive(Default)]
pub(crate) struct Times {
    pub wanted: bool,
    steps: Vec<AtomicU64>,
}

impl Times {
    /// Ready for a run of `steps` steps.
    pub(crate) fn reset(&mut self, steps: usize) {
        self.steps.clear();
        self.steps.resize_with(if self.wanted { steps } else { 0 }, AtomicU64::default);
    }

    pub(crate) fn steps(&self) -> impl Iterator<Item = Duration> {
        self.steps.iter().map(|step| Duration::from_nanos(step.load(Ordering::Relaxed)))
    }

    /// The clock of the member `index`, which runs if times are wanted and the member is the first.
    pub(crate) fn clock(&self, index: usize) -> Clock<'_> {
        let runs = index == 0 && !self.steps.is_empty();
        Clock { steps: &self.steps, step: 0, last: runs.then(Instant::now) }
    }
}

/// Gives the time between its calls to the steps in turn.
pub(crate) struct Clock<'a> {
    steps: &'a [AtomicU64],
    step: usize,
    last: Option<Instant>,
}

impl Clock<'_> {
    /// The step `step` begins.
    pub(crate) fn begin(&mut self, step: usize) {
        self.step = step;
        if let Some(last) = &mut self.last {
            *last = Instant::now();
        }
    }

    /// A step is done.
    pub(crate) fn step_done(&mut self) {
        self.record(self.step);
        self.step += 1;
    }

    /// All members have done the phase; the wait for the slowest counts as the last step's.
    pub(crate) fn phase_done(&mut self) {
        self.record(self.step.saturating_sub(1));
    }

    fn record(&mut self, step: usize) {
        if let (Some(last), Some(step)) = (&mut self.last, self.steps.get(step)) {
            let now = Instant::now();
            step.fetch_add((now - *last).as_nanos() as u64, Ordering::Relaxed);
            *last = now;
        }
    }
}
