//! Politeness: how many requests a server gets at once, and when it wants to be left alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// So many hosts are remembered before those that nobody uses are forgotten.
const REMEMBERED: usize = 1024;

/// All servers and buckets that requests are under way to.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    known: Mutex<HashMap<String, Arc<Host>>>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Host {
    places: Arc<Semaphore>,
    rest_until: Mutex<Instant>,
}

impl Hosts {
    /// The host `name`, which gets at most so many requests at once.
    pub fn get(&self, name: String, at_once: usize) -> Arc<Host> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.retain(|_, host| Arc::strong_count(host) > 1 || host.rest() > Duration::ZERO);
        }
        let new = || {
            let places = Arc::new(Semaphore::new(at_once.max(1)));
            Arc::new(Host { places, rest_until: Mutex::new(Instant::now()) })
        };
        known.entry(name).or_insert_with(new).clone()
    }
}

impl Host {
    /// Waits until the server may be asked; it counts as asked until the permit is dropped.
    pub async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        // Never closed, so there always is one.
        let permit = self.places.clone().acquire_owned().await.ok();
        loop {
            match self.rest() {
                Duration::ZERO => return permit,
                rest => tokio::time::sleep(rest).await,
            }
        }
    }

    /// The server has asked to be left alone for so long: by all requests, not only the one that it answered.
    pub fn leave_alone(&self, wait: Duration) {
        let mut until = self.rest_until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = (*until).max(Instant::now() + wait);
    }

    /// For how long the server is still to be left alone.
    pub fn rest(&self) -> Duration {
        let until = *self.rest_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.saturating_duration_since(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_nobody_uses_are_forgotten() {
        let hosts = Hosts::default();
        let used = hosts.get("used".into(), 1);
        hosts.get("tired".into(), 1).leave_alone(Duration::from_secs(3600));
        for number in 0..3 * REMEMBERED {
            hosts.get(number.to_string(), 1);
        }
        let known = hosts.known.lock().unwrap();
        assert!(known.len() <= REMEMBERED, "{}", known.len());
        assert!(known.contains_key("tired") && Arc::ptr_eq(&known["used"], &used));
    }
}
