//! A forward pass of the whole network, per batch size and thread count; one item is one picture.
//! Random weights: the time does not depend on their values.

use std::num::NonZeroUsize;

use divan::{Bencher, counter::ItemsCount};
use featvec::Tensor;
use featvec::extractor::{FeatureExtractor, RunOptions};
use featvec::network::{BATCH_NORM_EPSILON, DEFAULT_SIZE, Network, Variant};
use featvec::plan::{Mode, Value};
use featvec::variables::{ConvVariables, Shift, Variables};
use featvec_kernels::Affine;

fn main() {
    divan::main();
}

/// Numbers in [-1, 1), the same at every run.
fn numbers(len: usize) -> Vec<f32> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}

fn variables() -> Variables {
    let network = Network { variant: Variant::Slim, classes: None };
    let convs = network.convs().into_iter().map(|conv| {
        let [kh, kw, ic, oc] = conv.shape;
        let scale = (6.0 / (kh * kw * ic) as f32).sqrt(); // keeps activations of order one
        ConvVariables {
            weights: numbers(kh * kw * ic * oc).into_iter().map(|x| x * scale).collect(),
            shift: Shift::Bias(numbers(oc)),
        }
    });
    let affine = Affine { scale: [2.0; 3], offset: [-1.0; 3] };
    Variables { network, affine, epsilon: BATCH_NORM_EPSILON, convs: convs.collect(), logits: None }
}

/// `(batch, threads)`.
#[divan::bench(args = [(1, 1), (1, 2), (32, 1), (32, 2)], sample_count = 20)]
fn features(bencher: Bencher<'_, '_>, (batch, threads): (usize, usize)) {
    let options = RunOptions { threads: NonZeroUsize::new(threads), ..RunOptions::default() };
    let extractor = FeatureExtractor::new(variables(), &options).unwrap();
    let [h, w] = DEFAULT_SIZE;
    let images = Tensor::new([batch, h, w, 3], numbers(batch * h * w * 3)).unwrap();
    bencher
        .counter(ItemsCount::new(batch))
        .bench_local(|| extractor.run(&images, Mode::Inference, &[Value::Features]).unwrap());
}
