//! Batches of labelled pictures, prepared by threads beside the step that uses them.
//!
//! Which pictures a batch of training has, and how they are distorted, depends on the seed and the number of the step
//! alone. So a run that is resumed at step k sees what it would have seen, at no cost.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use crate::ahead::Ahead;
use crate::augment::Augmentation;
use crate::examples::{Examples, Loaded};
use crate::image::DecodeOptions;
use crate::random::Random;
use crate::{Error, ErrorKind, Result, Tensor};

/// How batches are made.
#[derive(Clone, Debug)]
pub struct BatchOptions {
    /// Pictures in a batch.
    pub batch: NonZeroUsize,
    /// Height and width of the pictures.
    pub size: [usize; 2],
    /// How pictures are varied.
    pub augmentation: Augmentation,
    /// Decides on the order of the pictures and on their variations.
    pub seed: u64,
    /// Threads that prepare batches, each one of its own.
    pub threads: NonZeroUsize,
    /// How pictures are decoded.
    pub decode: DecodeOptions,
}

impl BatchOptions {
    /// TF-Slim's: 32 pictures with its default distortions; at `size` `[h, w]`.
    pub fn new(size: [usize; 2]) -> BatchOptions {
        let augmentation = Augmentation::default();
        BatchOptions {
            batch: NonZeroUsize::new(32).expect("32 is not 0"),
            size,
            augmentation,
            seed: 0,
            threads: NonZeroUsize::MIN,
            decode: augmentation.preset().decode_options(),
        }
    }
}

/// Pictures for a step.
#[derive(Debug)]
pub struct Batch {
    /// `[n, h, w, 3]` in [0, 1].
    pub images: Tensor,
    /// The label of each picture.
    pub labels: Vec<usize>,
    /// Pictures that were found to be unreadable while this batch was made: their index and what is wrong.
    pub unreadable: Vec<(usize, Error)>,
}

/// An endless sequence of batches for training, one a step.
///
/// Every picture comes once in each epoch, in another order. One that cannot be read is passed over: the next in the
/// epoch's order takes its place, so that batches stay as large as they are.
pub struct Batches(Ahead<Result<Batch>>);

/// Parts of the random numbers.
const ORDERS: u64 = 1 << 32;
const DISTORTIONS: u64 = ORDERS + 1;

/// Epochs whose order is kept: batches that are made at the same time may lie on both sides of an epoch's end.
const ORDERS_KEPT: usize = 4;

impl Batches {
    /// Begins to prepare the batches of step `first_step` (counted from 0) and those after it.
    ///
    /// # Errors
    /// No examples, or more than 2^32; a batch that there can be no memory for; no threads to be had.
    pub fn new(examples: Arc<Examples>, options: BatchOptions, first_step: u64) -> Result<Batches> {
        let Some(len) = u32::try_from(examples.len()).ok().filter(|len| *len > 0) else {
            let message = format!("{} pictures to train with", examples.len());
            return Err(Error::new(ErrorKind::Argument, "", message));
        };
        empty_batch(&options, options.batch.get())?;
        let threads = options.threads;
        let maker = Maker { examples, options, len, orders: Mutex::default(), unreadable: Mutex::default() };
        Ok(Batches(Ahead::new(first_step..u64::MAX, threads, move |step| maker.batch(step))?))
    }
}

impl Iterator for Batches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        self.0.next()
    }
}

struct Maker {
    examples: Arc<Examples>,
    options: BatchOptions,
    len: u32,
    orders: Mutex<BTreeMap<u64, Arc<Vec<u32>>>>,
    unreadable: Mutex<BTreeSet<usize>>,
}

impl Maker {
    fn batch(&self, step: u64) -> Result<Batch> {
        let count = self.options.batch.get();
        let mut data = empty_batch(&self.options, count)?;
        let mut labels = Vec::with_capacity(count);
        let mut unreadable = Vec::new();
        for (index, row) in data.chunks_exact_mut(row_len(&self.options)).enumerate() {
            let place = step.wrapping_mul(count as u64).wrapping_add(index as u64);
            labels.push(self.picture(place, row, &mut unreadable)?);
        }
        let [height, width] = self.options.size;
        Ok(Batch { images: Tensor::new([count, height, width, 3], data)?, labels, unreadable })
    }

    /// Prepares the picture at `place` of the run, and returns its label.
    fn picture(&self, place: u64, row: &mut [f32], unreadable: &mut Vec<(usize, Error)>) -> Result<usize> {
        let len = u64::from(self.len);
        let (epoch, first) = (place / len, (place % len) as usize);
        let order = self.order(epoch);
        let random = Random::new(self.options.seed, DISTORTIONS).stream(place);
        for &index in order[first..].iter().chain(&order[..first]) {
            let index = index as usize;
            if self.known_unreadable().contains(&index) {
                continue;
            }
            match self.examples.load(index, &self.options.decode)? {
                Loaded::Picture(image, label) => {
                    self.options.augmentation.prepare(&image, self.options.size.into(), (random, row));
                    return Ok(label);
                }
                Loaded::Unreadable(error) => {
                    if self.known_unreadable().insert(index) {
                        unreadable.push((index, error));
                    }
                }
            }
        }
        let message = format!("none of the {} pictures can be read", self.len);
        let error = Error::new(ErrorKind::Argument, "", message);
        Err(match unreadable.pop() {
            Some((_, last)) => error.with_hint(last.to_string()),
            None => error,
        })
    }

    fn known_unreadable(&self) -> std::sync::MutexGuard<'_, BTreeSet<usize>> {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The order of the pictures in `epoch`.
    fn order(&self, epoch: u64) -> Arc<Vec<u32>> {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let order = orders.entry(epoch).or_insert_with(|| {
            Arc::new(Random::new(self.options.seed, ORDERS).stream(epoch).permutation(self.len))
        });
        let order = Arc::clone(order);
        while orders.len() > ORDERS_KEPT {
            orders.pop_first();
        }
        order
    }
}

fn row_len(options: &BatchOptions) -> usize {
    let [height, width] = options.size;
    height.saturating_mul(width).saturating_mul(3).max(1)
}

fn empty_batch(options: &BatchOptions, count: usize) -> Result<Vec<f32>> {
    let mut data = Vec::new();
    let len = row_len(options).saturating_mul(count);
    data.try_reserve_exact(len).map_err(|error| {
        let [height, width] = options.size;
        let message = format!("no memory for {count} pictures of {height}x{width} at once");
        Error::new(ErrorKind::Limit, "", message).with_hint("take smaller batches").with_source(error)
    })?;
    data.resize(len, 0.0);
    Ok(data)
}
