//! The processor's peak in `f32`: what the rates of a program are measured by.

use core::hint::black_box;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::kernels::Kernels;
use crate::simd::Simd;
use crate::team::Team;

/// Multiply-adds of each chain between two looks at the clock: some microseconds.
const ROUNDS: usize = 4096;

/// `ROUNDS` multiply-adds in each of `CHAINS` chains that do not depend on each other, so that no unit waits for a
/// result: nothing is loaded and nothing stored.
#[inline(always)]
// Indices, as in `conv::accumulate`.
#[allow(clippy::needless_range_loop)]
pub(crate) fn peak<S: Simd, const CHAINS: usize>(simd: S) {
    // Chains that begin alike would be computed once; they tend to 2, so that numbers stay normal.
    let mut sums = [simd.splat(0.0); CHAINS];
    for chain in 0..CHAINS {
        sums[chain] = simd.splat(black_box(chain as f32));
    }
    let (factor, summand) = (simd.splat(black_box(0.5)), simd.splat(black_box(1.0)));
    for _ in 0..ROUNDS {
        for chain in 0..CHAINS {
            sums[chain] = simd.mul_add(sums[chain], factor, summand);
        }
    }
    for chain in 0..CHAINS {
        black_box(sums[chain]);
    }
}

impl Kernels {
    /// How many operations `team` does in a second with these instructions while nothing but arithmetic is done for
    /// `duration` (a fused multiply-add counts as two): the sum over its members, each by its own clock.
    pub fn peak_flops(&self, team: &Team, duration: Duration) -> f64 {
        let total = Mutex::new(0.0);
        let operations = (2 * ROUNDS * self.chains() * self.lanes()) as f64;
        team.run(&|member| {
            member.barrier();
            let start = Instant::now();
            let mut done = 0.0;
            let seconds = loop {
                // SAFETY: the processor has the instruction set (`self` proves it).
                unsafe { (self.peak)() };
                done += operations;
                let elapsed = start.elapsed();
                if elapsed >= duration {
                    break elapsed.as_secs_f64();
                }
            };
            *total.lock().unwrap_or_else(PoisonError::into_inner) += done / seconds;
        });
        total.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// As many as the largest tile has sums, which is what the registers hold.
    fn chains(&self) -> usize {
        self.tiles.rows() * self.tiles.vectors()
    }
}
