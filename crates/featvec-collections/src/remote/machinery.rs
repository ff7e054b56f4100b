//! The thread on which all requests run, and how others wait for them.

use std::fmt;
use std::future::Future;
use std::sync::mpsc;
use std::thread::JoinHandle;

use featvec::{Error, ErrorKind, Result};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

/// A runtime of tokio and its thread.
#[derive(Debug)]
pub(super) struct Machinery {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What a task will have brought when it ends; dropping this ends the task.
pub(super) struct Coming<T> {
    result: mpsc::Receiver<T>,
    task: AbortHandle,
}

impl Machinery {
    pub fn start() -> Result<Machinery> {
        let failed = |error| Error::io("network", error);
        // Names of servers are looked up on threads beside it, by the system, which waits.
        let runtime =
            Builder::new_current_thread().enable_all().max_blocking_threads(4).build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("network".into());
        let thread = thread.spawn(move || {
            // Ends when the sender is dropped.
            drop(runtime.block_on(stopped));
            // The system may still be looking up a name; nobody waits for that.
            runtime.shutdown_background();
        });
        Ok(Machinery { handle, stop: Some(stop), thread: Some(thread.map_err(failed)?) })
    }

    pub fn run<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> Coming<T> {
        let (sender, result) = mpsc::sync_channel(1);
        let task = self.handle.spawn(async move {
            // Nobody listens any more if the receiver was dropped.
            drop(sender.send(task.await));
        });
        Coming { result, task: task.abort_handle() }
    }
}

impl<T> Coming<T> {
    /// Waits for it.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the task ended without a result, which is a bug.
    pub fn wait(self) -> Result<T> {
        self.result
            .recv()
            .map_err(|_| Error::new(ErrorKind::Io, "network", "a request ended without a result"))
    }
}

impl<T> fmt::Debug for Coming<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Coming")
    }
}

impl<T> Drop for Coming<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for Machinery {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
