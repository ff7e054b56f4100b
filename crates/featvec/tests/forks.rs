//! Forks of an extractor.

use std::num::NonZeroUsize;
use std::thread;

use featvec::Tensor;
use featvec::extractor::{FeatureExtractor, RunOptions};
use featvec::network::{Network, Variant};
use featvec::plan::{Mode, Value};
use featvec::variables::Variables;

#[test]
fn forks_run_at_the_same_time_and_give_the_same_bits() {
    let network = Network { variant: Variant::Slim, classes: None };
    let options = RunOptions { threads: NonZeroUsize::new(2), ..RunOptions::default() };
    let extractor = FeatureExtractor::new(Variables::random(network, 1), &options).unwrap();
    let values = (0..5 * 64 * 48 * 3).map(|i| (i % 251) as f32 / 251.0).collect();
    let images = Tensor::new([5, 64, 48, 3], values).unwrap();
    let run = |extractor: &FeatureExtractor| {
        extractor.run(&images, Mode::Inference, &[Value::Features]).unwrap().remove(0)
    };
    let forks: Vec<_> = (0..3).map(|_| extractor.fork(NonZeroUsize::MIN).unwrap()).collect();
    let results: Vec<Tensor> = thread::scope(|scope| {
        let threads: Vec<_> = forks.iter().map(|fork| scope.spawn(|| run(fork))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let expected = run(&extractor);
    assert!(results.iter().all(|result| *result == expected));
}
