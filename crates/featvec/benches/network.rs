//! A forward pass of the whole network, per batch size and thread count; one item is one picture.
//! Random weights: the time does not depend on their values.

use std::num::NonZeroUsize;

use divan::{Bencher, counter::ItemsCount};
use featvec::bench::{random_images, random_variables};
use featvec::extractor::{FeatureExtractor, RunOptions};
use featvec::network::DEFAULT_SIZE;
use featvec::plan::{Mode, Value};

fn main() {
    divan::main();
}

/// `(batch, threads)`.
#[divan::bench(args = [(1, 1), (1, 2), (32, 1), (32, 2)], sample_count = 20)]
fn features(bencher: Bencher<'_, '_>, (batch, threads): (usize, usize)) {
    let options = RunOptions { threads: NonZeroUsize::new(threads), ..RunOptions::default() };
    let extractor = FeatureExtractor::new(random_variables(), &options).unwrap();
    let images = random_images(batch, DEFAULT_SIZE);
    bencher
        .counter(ItemsCount::new(batch))
        .bench_local(|| extractor.run(&images, Mode::Inference, &[Value::Features]).unwrap());
}
