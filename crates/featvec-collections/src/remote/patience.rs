//! How often and after which pause something is tried again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use super::RemoteOptions;
use super::failure::{Attempt, Failure};
use super::hosts::Host;

/// Failures are forgiven once this much more has arrived than ever before: a line that is cut once a minute still gets
/// a shard through.
const HEADWAY_BYTES: u64 = 256 << 10;

/// What one object has cost of it so far.
#[derive(Debug, Default)]
pub(super) struct Patience {
    failures: u32,
    furthest: u64,
}

impl Patience {
    /// Waits after `failure`, which came when `have` bytes had arrived, or gives it back if there is no point in
    /// trying again.
    pub async fn bear(
        &mut self,
        failure: Failure,
        have: u64,
        host: &Host,
        options: &RemoteOptions,
    ) -> Attempt<()> {
        if have >= self.furthest + HEADWAY_BYTES {
            (self.failures, self.furthest) = (0, have);
        }
        self.failures += 1;
        if let Some(wait) = failure.after {
            host.leave_alone(wait);
        }
        if !failure.again || self.failures > options.retries {
            return Err(match self.failures {
                1 => failure,
                failures => Failure { message: format!("{}, {failures} times", failure.message), ..failure },
            });
        }
        let doubled = options.timeouts.backoff.saturating_mul(1 << (self.failures - 1).min(6));
        tokio::time::sleep(jittered(doubled).max(host.rest())).await;
        Ok(())
    }
}

/// Between half of `pause` and one and a half of it, so that requests that failed together do not come back together.
fn jittered(pause: Duration) -> Duration {
    // Each state has keys of its own: the random numbers of the standard library.
    let random = RandomState::new().hash_one(0) >> 32;
    pause / 2 + pause.mul_f64(random as f64 / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_spread() {
        let pauses: Vec<Duration> = (0..100).map(|_| jittered(Duration::from_millis(100))).collect();
        let (least, most) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
        assert!(
            *least >= Duration::from_millis(50) && *most <= Duration::from_millis(151),
            "{least:?} {most:?}"
        );
        assert!(*most - *least > Duration::from_millis(20), "{least:?} {most:?}");
    }
}
