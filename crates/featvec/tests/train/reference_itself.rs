//! The plain loops: against TensorFlow in `f64`, and each way back against differences of its way there.

use std::collections::BTreeMap;

use featvec::Module;
use featvec::network::Extent;
use featvec::plan::Value;
use featvec_kernels::Lrn;

use crate::common::{array, npz, shared};
use crate::reference::{self, Array, Normal, Step, Window};

const EXTENTS: [Extent; 2] = [Extent { out: 3, before: 1, after: 1 }, Extent { out: 2, before: 0, after: 1 }];

fn numbers(len: usize, seed: u32) -> Vec<f64> {
    let bits = |i: u32| (i + 1 + 1000 * seed).wrapping_mul(2_654_435_761) >> 8;
    (0..len as u32).map(|i| f64::from(bits(i)) / f64::from(1 << 23) - 1.0).collect()
}

fn maps(shape: [usize; 4], seed: u32) -> Array<f64> {
    Array::new(shape, numbers(shape.iter().product(), seed))
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Compares `gradient` with differences of `loss` around `at`.
fn check(at: &[f64], gradient: &[f64], loss: impl Fn(&[f64]) -> f64) {
    const STEP: f64 = 1e-5;
    for index in 0..at.len() {
        let moved = |by: f64| {
            let mut moved = at.to_vec();
            moved[index] += by;
            loss(&moved)
        };
        let expected = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
        assert!(
            (gradient[index] - expected).abs() < 1e-7,
            "element {index}: {}, not {expected}",
            gradient[index]
        );
    }
}

/// As [`check`], for a function of maps whose result is weighted by `dy`.
fn check_maps(
    x: &Array<f64>,
    dy: &Array<f64>,
    dx: &Array<f64>,
    function: impl Fn(&Array<f64>) -> Array<f64>,
) {
    assert_eq!(dx.shape, x.shape);
    check(&x.data, &dx.data, |values| dot(&function(&Array::new(x.shape, values.to_vec())).data, &dy.data));
}

#[test]
fn the_way_back_through_a_convolution() {
    let window = Window { size: [3, 2], stride: 2, extents: EXTENTS };
    let (x, filter, dy) = (maps([2, 5, 3, 3], 1), numbers(3 * 2 * 3 * 4, 2), maps([2, 3, 2, 4], 3));
    let (dx, dfilter) = reference::conv_backward(&dy, &x, &filter, &window);
    check_maps(&x, &dy, &dx, |x| reference::conv(x, (&filter, 4), &window));
    check(&filter, &dfilter, |filter| dot(&reference::conv(&x, (filter, 4), &window).data, &dy.data));
}

#[test]
fn the_way_back_through_normalisation_and_relu() {
    let (x, dy, beta) = (maps([2, 3, 2, 3], 1), maps([2, 3, 2, 3], 2), numbers(3, 3));
    let fixed = maps([2, 3, 2, 3], 4);
    let normal = |x: &Array<f64>, beta: &[f64], of_batch: bool| {
        let [mean, variance] = reference::moments(if of_batch { x } else { &fixed });
        let rstd = variance.iter().map(|v| 1.0 / (v + 0.001).sqrt()).collect();
        Normal { mean, rstd, beta: beta.to_vec(), of_batch }
    };
    for of_batch in [true, false] {
        let (dx, dbeta) = reference::norm_relu_backward(&dy, &x, &normal(&x, &beta, of_batch));
        check_maps(&x, &dy, &dx, |x| reference::norm_relu(x, &normal(x, &beta, of_batch)));
        check(&beta, &dbeta, |beta| {
            dot(&reference::norm_relu(&x, &normal(&x, beta, of_batch)).data, &dy.data)
        });
    }
}

#[test]
fn the_way_back_through_pools_means_and_lrn() {
    let window = Window { size: [3, 2], stride: 2, extents: EXTENTS };
    let (x, dy) = (maps([2, 5, 3, 3], 1), maps([2, 3, 2, 3], 2));
    check_maps(&x, &dy, &reference::max_pool_backward(&dy, &x, &window), |x| reference::max_pool(x, &window));
    // Of equal numbers the first of a window gets its gradient.
    let equal = Array::new(x.shape, vec![1.0; x.data.len()]);
    let dx = reference::max_pool_backward(&dy, &equal, &window);
    assert_eq!(dx.data[..3], dy.data[..3]);
    assert!(dx.data[3..6].iter().all(|dx| *dx == 0.0));

    let dy = maps([2, 1, 1, 3], 2);
    check_maps(&x, &dy, &reference::global_mean_backward(&dy, x.shape), reference::global_mean);

    let (x, dy) = (maps([1, 2, 1, 7], 1), maps([1, 2, 1, 7], 2));
    let lrn = Lrn { size: 5, alpha: 2.0, k: 1.5 };
    check_maps(&x, &dy, &reference::lrn_backward(&dy, &x, &lrn), |x| reference::lrn(x, &lrn));
}

/// `mean(features * R) + sum of regularisation losses`, all of it in `f64`, as TensorFlow computed it in `f64`.
#[test]
fn gradients_in_f64_are_tensorflows_in_f64() {
    let Some(path) = shared("reference/feature_vector.tar.gz") else { return };
    let golden = |name: &str| shared(&format!("reference/golden/{name}")).unwrap();
    let module = Module::load(path.to_str().unwrap()).unwrap();
    let variables = module.variables();
    let read = |name: &str| array(&std::fs::read(golden(name)).unwrap()).1;
    let images: Vec<f64> = read("inputs.npy")[..4 * 224 * 224 * 3].iter().map(|x| f64::from(*x)).collect();
    let weights: Vec<f64> = read("train_R.npy").iter().map(|x| f64::from(*x) / 4096.0).collect();
    let mut features = Vec::new();
    let mut loss_gradient = |value: Value, found: &Array<f64>| {
        (value == Value::Features).then(|| {
            features = found.data.clone();
            Array::new(found.shape, weights.clone())
        })
    };
    let mut step = Step {
        variables,
        batch_statistics: true,
        loss_gradient: &mut loss_gradient,
        gradients: BTreeMap::new(),
    };
    step.run(&Array::new([4, 224, 224, 3], images));
    let gradients = step.gradients;

    const WEIGHT_DECAY: f64 = 4e-5f32 as f64;
    let squares = variables.convs.iter().flat_map(|conv| &conv.weights).map(|w| f64::from(*w).powi(2));
    let loss = dot(&features, &weights) + WEIGHT_DECAY / 2.0 * squares.sum::<f64>();
    let summary: serde_json::Value =
        serde_json::from_slice(&std::fs::read(golden("summary.json")).unwrap()).unwrap();
    let expected = summary["train_loss"]["total_f64"].as_f64().unwrap();
    assert!((loss / expected - 1.0).abs() < 1e-7, "{loss}, not {expected}");

    let expected = npz(golden("train_grads_f64.npz"));
    let norms = &summary["grad_norms_f64"];
    let mut names = variables.network.variables().into_iter().filter(|variable| variable.trainable);
    let mut checked = 0;
    for (layer, (weights, beta)) in gradients {
        let numbers = &variables.convs[layer].weights;
        let weights = weights.iter().zip(numbers).map(|(g, w)| g + WEIGHT_DECAY * f64::from(*w)).collect();
        for found in [weights, beta] {
            let name = names.next().unwrap().name;
            let key = name.replace('/', "__");
            let (every, expected) = match expected.get(&key) {
                Some((_, expected)) => (1, expected),
                None => (16, &expected[&format!("{key}__every16")].1),
            };
            let found: Vec<f64> = found;
            let norm = dot(&found, &found).sqrt() / norms[&name].as_f64().unwrap();
            assert!((norm - 1.0).abs() < 1e-6, "{name}: a norm {norm} times as large");
            let (mut difference, mut length) = (0.0, 0.0);
            for (found, expected) in found.iter().step_by(every).zip(expected) {
                difference += (found - f64::from(*expected)).powi(2);
                length += f64::from(*expected).powi(2);
            }
            let error = (difference / length).sqrt();
            assert!(error < 1e-6, "{name}: {error:e}");
            checked += 1;
        }
    }
    assert_eq!(checked, 114);
}
