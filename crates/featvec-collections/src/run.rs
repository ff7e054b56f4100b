//! Items to rows: every core reads, decodes and runs the network for pictures of its own.
//!
//! There are no stages that wait for each other: a worker takes the next item when it is free, prepares it, and when it
//! has a few it runs the network on them, on one thread, with working memory of its own; variables and packed filters
//! exist once. Rows go to the [`Sink`] in the order of the items. When the last pictures are all in one worker's hands,
//! it runs them on all threads.
//!
//! ```text
//!                 ┌─ worker: take, read, hash, decode, prepare … network ─┐
//! Collection ─────┤                                                       ├──► Order ──► Sink
//!  (one lock)     └─ worker: take, read, hash, decode, prepare … network ─┘  (one lock)
//! ```
//!
//! Memory, whatever the collection: for each worker a file and its decoding of at most [`SMALL_FILE_BYTES`] and
//! [`SMALL_DECODING_BYTES`], and a few prepared pictures; one larger picture at a time in the whole program, of at most
//! what [`ImageLimits`](featvec::image::ImageLimits) allow, while the others wait with theirs; and at most
//! [`WAITING_BYTES`] of rows that wait for one before them.

mod load;
mod order;
mod sink;
mod summary;

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use featvec::pictures::{Preparation, range_doubt};
use featvec::plan::Mode;
use featvec::{Error, ErrorKind, Module, Result, Tensor};
use sha2::{Digest, Sha256};

use crate::sources::Collection;
use crate::{Item, Status};
use load::{Loaded, Loader, Turn};
use order::{Claim, Failure, Finished, Order};

pub use load::{SMALL_DECODING_BYTES, SMALL_FILE_BYTES};
pub use order::WAITING_BYTES;
pub use sink::{Resumed, Sink};
pub use summary::{Event, FormatTotals, Note, Seconds, Summary};

/// What runs, and on what.
pub struct Pipeline<'a> {
    /// The module; its threads say how many workers there are.
    pub module: &'a Module,
    /// Its signature.
    pub signature: &'a str,
    /// The output of the signature.
    pub output: &'a str,
    /// How pictures are prepared.
    pub preparation: &'a Preparation,
    /// Most pictures that a worker runs at once. With the statistics of the batch, a vector depends on them.
    pub batch: NonZeroUsize,
    /// Whether vectors are scaled to length 1.
    pub normalize: bool,
}

/// Pictures that a worker runs at once: enough for filters to be read from memory once for them.
pub const BATCH: NonZeroUsize = NonZeroUsize::new(8).unwrap();

impl Pipeline<'_> {
    /// The shape of a row. To ask for it is also to check that the module can run as asked.
    ///
    /// # Errors
    /// A signature, an output or a size that cannot be had.
    pub fn row_shape(&self) -> Result<Vec<usize>> {
        let [height, width] = self.preparation.size;
        let nothing = Tensor::new([0, height, width, 3], Vec::new())?;
        Ok(self.run_module(self.module, &nothing)?.shape()[1..].to_vec())
    }

    /// Runs the items of `collection` that `sink` wants, until `stop` is set: what is in hand is then still finished.
    /// `watch` is told of each row after it went to `sink`, in order, on the caller's thread.
    ///
    /// # Errors
    /// Those of `sink`, and failures that do not lie in the pictures.
    pub fn run<S: Sink>(
        &self,
        collection: &mut Collection,
        sink: &mut S,
        stop: &AtomicBool,
        watch: &mut dyn FnMut(&Event),
    ) -> std::result::Result<Summary, S::Error> {
        let start = Instant::now();
        let threads = NonZeroUsize::new(self.module.extractor().threads()).unwrap_or(NonZeroUsize::MIN);
        let row_shape = self.row_shape()?;
        let (events, told) = channel();
        let shared = Shared {
            pipeline: self,
            row_shape,
            loader: Loader::new(self.preparation),
            source: Mutex::new(Source { collection, taken: 0, stopped: false }),
            in_hand: AtomicUsize::new(0),
            exhausted: AtomicBool::new(false),
            order: Order::new(sink),
            stop,
        };
        let modules = (0..threads.get())
            .map(|_| self.module.fork(NonZeroUsize::MIN))
            .collect::<Result<Vec<Module>>>()?;
        let mut seconds = Seconds::default();
        thread::scope(|scope| -> Result<()> {
            let mut workers = Vec::new();
            for module in modules {
                let worker = Worker {
                    shared: &shared,
                    module,
                    events: events.clone(),
                    batch: Batch::default(),
                    seconds: Seconds::default(),
                };
                let thread = thread::Builder::new().name("featvec-worker".into());
                match thread.spawn_scoped(scope, move || worker.work()) {
                    Ok(worker) => workers.push(worker),
                    Err(error) if workers.is_empty() => return Err(Error::io("starting threads", error)),
                    // A system that has no more threads to give costs time, no more.
                    Err(_) => break,
                }
            }
            drop(events);
            told.iter().for_each(|event| watch(&event));
            for worker in workers {
                match worker.join() {
                    Ok(own) => seconds.add(&own),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            Ok(())
        })?;
        let stopped = shared.source().stopped;
        let summary = shared.order.finish()?;
        Ok(Summary { seconds, wall: start.elapsed().as_secs_f64(), stopped, ..summary })
    }

    fn run_module(&self, module: &Module, images: &Tensor) -> Result<Tensor> {
        let mut outputs = module.run_outputs(self.signature, images, &[self.output])?;
        Ok(outputs.remove(0))
    }

    /// Whether a vector depends on the other pictures of its batch.
    fn has_batch_statistics(&self) -> bool {
        self.module.mode() == Mode::BatchStatistics
    }
}

/// What workers share. Of its locks, that of the source comes first, then the turn of a large picture, then the order's.
struct Shared<'a, S: Sink> {
    pipeline: &'a Pipeline<'a>,
    row_shape: Vec<usize>,
    loader: Loader<'a>,
    source: Mutex<Source<'a>>,
    /// Items that were taken and are not finished.
    in_hand: AtomicUsize,
    /// Whether there are no more items, or no more are to be taken.
    exhausted: AtomicBool,
    order: Order<'a, S>,
    stop: &'a AtomicBool,
}

struct Source<'a> {
    collection: &'a mut Collection,
    /// Items taken so far.
    taken: u64,
    /// Whether no more are to be taken because somebody asked for it.
    stopped: bool,
}

/// What a worker has taken.
struct Taken<'s> {
    /// The items, with their places among those of this run.
    items: Vec<(u64, Item)>,
    /// Theirs, if large ones came with their bytes.
    turn: Turn<'s>,
}

impl<'a, S: Sink> Shared<'a, S> {
    /// The next item with its place among those of this run, or as many as make a batch where the batch counts.
    fn take(&self) -> Taken<'_> {
        let mut source = self.source();
        let most = if self.pipeline.has_batch_statistics() { self.pipeline.batch.get() } else { 1 };
        let mut taken = Taken { items: Vec::new(), turn: None };
        while taken.items.len() < most && !self.exhausted.load(Ordering::SeqCst) {
            source.stopped = self.stop.load(Ordering::Relaxed);
            let item = if source.stopped || self.order.has_failed() {
                None
            } else {
                source.collection.next(&mut |key| self.order.wants(key))
            };
            match item {
                Some(item) => {
                    // While it waits, nobody reads the next one.
                    if taken.turn.is_none() {
                        taken.turn = self.loader.turn_for(&item);
                    }
                    taken.items.push((source.taken, item));
                    source.taken += 1;
                    self.in_hand.fetch_add(1, Ordering::SeqCst);
                }
                None => self.exhausted.store(true, Ordering::SeqCst),
            }
        }
        taken
    }

    fn source(&self) -> MutexGuard<'_, Source<'a>> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the `count` pictures of one worker are all that is left to do.
    fn are_the_last(&self, count: usize) -> bool {
        self.exhausted.load(Ordering::SeqCst) && self.in_hand.load(Ordering::SeqCst) == count
    }
}

/// One thread of a run.
struct Worker<'s, 'a, S: Sink> {
    shared: &'s Shared<'a, S>,
    /// On one thread.
    module: Module,
    events: Sender<Event>,
    batch: Batch,
    seconds: Seconds,
}

/// Pictures that are prepared, all of one size.
#[derive(Default)]
struct Batch {
    size: [usize; 2],
    pixels: Vec<f32>,
    pictures: Vec<(u64, Finished)>,
}

impl<'s, S: Sink> Worker<'s, '_, S> {
    fn work(mut self) -> Seconds {
        let (shared, pipeline) = (self.shared, self.shared.pipeline);
        let _alarm = shared.order.alarm();
        loop {
            if self.batch.pictures.is_empty() {
                shared.order.wait_for_room();
            }
            let start = Instant::now();
            let Taken { items, mut turn } = shared.take();
            self.seconds.reading += start.elapsed().as_secs_f64();
            let exhausted = items.is_empty();
            for (place, item) in items {
                self.prepare((place, item), &mut turn);
            }
            drop(turn);
            // Images that came prepared may be of any size.
            let is_large = size_of_val(&self.batch.pixels[..]) as u64 >= SMALL_FILE_BYTES;
            let is_full = self.batch.pictures.len() >= pipeline.batch.get() || is_large;
            if exhausted || is_full || pipeline.has_batch_statistics() {
                self.compute();
            }
            if exhausted {
                return self.seconds;
            }
        }
    }

    /// Reads and decodes `item` and adds it to the batch, or finishes it where it needs no computing.
    fn prepare(&mut self, (place, item): (u64, Item), turn: &mut Turn<'s>) {
        let shared = self.shared;
        let mut finished = Finished::of(item.key, item.columns);
        let start = Instant::now();
        let loaded = item.content.and_then(|content| shared.loader.read(content, turn));
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                self.seconds.reading += start.elapsed().as_secs_f64();
                return self.fail(place, finished, (Status::Unreadable, &error));
            }
        };
        if let Loaded::File(bytes) = &loaded {
            finished.event.bytes = bytes.len() as u64;
            let hash = Sha256::digest(bytes).into();
            finished.row.content_hash = Some(hash);
            if !shared.pipeline.has_batch_statistics() {
                let Claim { computed, is_copy } = shared.order.claim(&hash);
                finished.computed = computed;
                finished.event.is_copy = is_copy;
            }
        }
        self.seconds.reading += start.elapsed().as_secs_f64();
        if finished.event.is_copy {
            return self.finish(place, finished);
        }

        let start = Instant::now();
        let size = match &loaded {
            Loaded::File(_) => shared.pipeline.preparation.size,
            Loaded::Image(image) => [image.shape()[1], image.shape()[2]],
        };
        let [height, width] = size;
        if size != self.batch.size {
            self.compute();
            self.batch.size = size;
        }
        let before = self.batch.pixels.len();
        let prepared = match loaded {
            Loaded::File(bytes) => {
                self.batch.pixels.resize(before + height * width * 3, 0.0);
                let prepared = shared.loader.prepare(&bytes, &mut self.batch.pixels[before..], turn);
                prepared.map(|original| finished.describe(&original))
            }
            Loaded::Image(image) => {
                finished.event.note = range_doubt(&image).map(Note::Doubt);
                self.batch.pixels.extend_from_slice(image.data());
                Ok(())
            }
        };
        finished.event.decoding = start.elapsed().as_secs_f64();
        self.seconds.decoding += finished.event.decoding;
        match prepared {
            Ok(()) => self.batch.pictures.push((place, finished)),
            Err(error) => {
                self.batch.pixels.truncate(before);
                self.fail(place, finished, (Status::Undecodable, &error));
            }
        }
    }

    /// Runs the network on the batch, which is empty afterwards.
    fn compute(&mut self) {
        let (shared, pipeline) = (self.shared, self.shared.pipeline);
        let Batch { size, pixels, pictures } = std::mem::take(&mut self.batch);
        self.batch.size = size;
        if pictures.is_empty() {
            return;
        }
        let start = Instant::now();
        let last = shared.are_the_last(pictures.len());
        let module = if last { pipeline.module } else { &self.module };
        let run = Tensor::new([pictures.len(), size[0], size[1], 3], pixels).and_then(|images| {
            let values = pipeline.run_module(module, &images)?;
            Ok((values, images.into_data()))
        });
        self.seconds.network += start.elapsed().as_secs_f64();
        match run {
            Ok((values, pixels)) if values.shape()[1..] == shared.row_shape => {
                for ((place, finished), row) in pictures.into_iter().zip(values.iter_rows()) {
                    finished.set(vector(row, pipeline.normalize));
                    self.finish(place, finished);
                }
                // The next batch has room already.
                self.batch.pixels = pixels;
                self.batch.pixels.clear();
            }
            Ok((values, _)) => {
                let (shape, expected) = (&values.shape()[1..], &shared.row_shape);
                let message =
                    format!("its images give rows of {shape:?}, and the other inputs rows of {expected:?}");
                let error =
                    Error::new(ErrorKind::Mismatch, "", message).with_hint("give each size its own run");
                self.fail_all(pictures, &error);
            }
            // It does not lie in the pictures, so they get no rows.
            Err(error) if size == pipeline.preparation.size => {
                shared.order.fail(error.into());
            }
            Err(error) => self.fail_all(pictures, &error),
        }
    }

    fn fail_all(&mut self, pictures: Vec<(u64, Finished)>, error: &Error) {
        for (place, finished) in pictures {
            self.fail(place, finished, (Status::Undecodable, error));
        }
    }

    fn fail(&mut self, place: u64, finished: Finished, (status, error): (Status, &Error)) {
        finished.set(Err(Failure { status, error: error.to_string() }));
        self.finish(place, finished);
    }

    fn finish(&mut self, place: u64, finished: Finished) {
        let start = Instant::now();
        self.shared.order.deliver(place, finished, &self.events);
        self.shared.in_hand.fetch_sub(1, Ordering::SeqCst);
        self.seconds.writing += start.elapsed().as_secs_f64();
    }
}

/// The row that the network gave, as it is kept.
fn vector(row: &[f32], normalize: bool) -> std::result::Result<Vec<f32>, Failure> {
    if let Some(at) = row.iter().position(|x| !x.is_finite()) {
        let error = format!(
            "value {at} of its vector is {} (the module's variables are too large, or damaged)",
            row[at]
        );
        return Err(Failure { status: Status::Undecodable, error });
    }
    if !normalize {
        return Ok(row.to_vec());
    }
    let length = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    // A row of zeros stays as it is.
    let factor = if length > 0.0 { 1.0 / length } else { 0.0 };
    Ok(row.iter().map(|x| (f64::from(*x) * factor) as f32).collect())
}
