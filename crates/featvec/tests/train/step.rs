//! The trainer against TensorFlow.

use std::num::NonZeroUsize;

use featvec::network::DEFAULT_SIZE;
use featvec::plan::Value;
use featvec::train::{Optimizer, TrainOptions, Trainer};
use featvec::variables::{Shift, Variables};
use featvec::{Module, Tensor};

use crate::common::{array, npz, shared};

const FEATURES: usize = 1024;

pub fn threads(threads: usize) -> NonZeroUsize {
    NonZeroUsize::new(threads).unwrap()
}

fn path(name: &str) -> std::path::PathBuf {
    shared(&format!("reference/golden/{name}")).unwrap()
}

fn golden(name: &str) -> Vec<f32> {
    array(&std::fs::read(path(name)).unwrap()).1
}

fn json(name: &str) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path(name)).unwrap()).unwrap()
}

/// The reference module's variables; none without the shared data.
fn variables() -> Option<Variables> {
    let path = shared("reference/feature_vector.tar.gz")?;
    Some(Module::load(path.to_str().unwrap()).unwrap().variables().clone())
}

/// The four pictures that the goldens are of.
fn images() -> Tensor {
    let [h, w] = DEFAULT_SIZE;
    Tensor::new([4, h, w, 3], golden("inputs.npy")[..4 * h * w * 3].to_vec()).unwrap()
}

/// As the goldens were made: plain gradient descent.
fn sgd() -> TrainOptions {
    TrainOptions { optimizer: Optimizer::Sgd, ..TrainOptions::default() }
}

/// The loss `mean(features * R)`: its gradient, and its value for given features.
struct MeanLoss {
    weights: Vec<f32>,
}

impl MeanLoss {
    fn new() -> MeanLoss {
        MeanLoss { weights: golden("train_R.npy") }
    }

    fn gradient(&self) -> (Value, Tensor) {
        let gradient = self.weights.iter().map(|w| w / self.weights.len() as f32).collect();
        (Value::Features, Tensor::new([4, FEATURES], gradient).unwrap())
    }

    fn value(&self, features: &Tensor) -> f64 {
        let products = features.data().iter().zip(&self.weights).map(|(x, w)| f64::from(*x) * f64::from(*w));
        products.sum::<f64>() / self.weights.len() as f64
    }
}

fn regularization(variables: &Variables) -> f64 {
    let squares = variables.convs.iter().flat_map(|conv| &conv.weights).map(|w| f64::from(*w).powi(2));
    f64::from(4e-5f32) / 2.0 * squares.sum::<f64>()
}

fn distance(found: impl IntoIterator<Item = f32>, expected: &[f32]) -> (f64, f64) {
    let (mut difference, mut length, mut product, mut own) = (0.0, 0.0, 0.0, 0.0);
    let mut count = 0;
    for (found, expected) in found.into_iter().zip(expected) {
        let (found, expected) = (f64::from(found), f64::from(*expected));
        difference += (found - expected).powi(2);
        length += expected * expected;
        own += found * found;
        product += found * expected;
        count += 1;
    }
    assert_eq!(count, expected.len());
    ((difference / length).sqrt(), product / (length * own).sqrt())
}

#[test]
fn a_step_is_tensorflows() {
    let Some(variables) = variables() else { return };
    let (images, loss, summary) = (images(), MeanLoss::new(), json("summary.json"));
    let mut trainer = Trainer::new(variables.clone(), sgd(), threads(2)).unwrap();
    let features = trainer.forward(&images, &[Value::Features]).unwrap().remove(0);
    let (error, _) = distance(features.data().iter().copied(), &golden("train_features.npy"));
    println!("features: {error:e}");
    assert!(error < 1e-5, "features: {error:e}");
    let total = loss.value(&features) + regularization(&variables);
    let expected = summary["train_loss"]["total_f64"].as_f64().unwrap();
    assert!((total / expected - 1.0).abs() < 1e-5, "loss {total}, not {expected}");

    trainer.backward(&[loss.gradient()]).unwrap();
    let expected = npz(path("train_grads_f64.npz"));
    let norms = &summary["grad_norms_f64"];
    let (mut checked, mut errors) = (0, Vec::new());
    for (name, gradient) in trainer.gradients() {
        let numbers = variables.named().find(|(other, ..)| *other == name).unwrap().2;
        let decay = if name.ends_with("weights") { 4e-5 } else { 0.0 };
        let found: Vec<f32> = gradient.iter().zip(numbers).map(|(g, w)| g + decay * w).collect();
        let key = name.replace('/', "__");
        let (every, expected) = match expected.get(&key) {
            Some((_, expected)) => (1, expected),
            None => (16, &expected[&format!("{key}__every16")].1),
        };
        let (error, cosine) = distance(found.iter().copied().step_by(every), expected);
        assert!(error < 2e-2 && cosine > 0.9998, "{name}: {error:e}, cosine {cosine}");
        let norm = found.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        let norm = norm / norms[&name].as_f64().unwrap();
        assert!((norm - 1.0).abs() < 2e-2, "{name}: a norm {norm} times as large");
        errors.push(error);
        checked += 1;
    }
    assert_eq!(checked, 114);
    errors.sort_by(f64::total_cmp);
    println!("gradients: median {:e}, largest {:e}", errors[57], errors[113]);

    trainer.update(0.01).unwrap();
    assert_eq!(trainer.global_step(), 1);
    let moving = npz(path("train_moving_after_update.npz"));
    let after = npz(path("train_after1_lr0.01.npz"));
    let (mut seen_moving, mut seen_after, mut worst_moving) = (0, 0, 0f64);
    for (name, _, found) in trainer.variables().named() {
        let key = name.replace('/', "__");
        if let Some((_, expected)) = moving.get(&key) {
            let (error, _) = distance(found.iter().copied(), expected);
            worst_moving = worst_moving.max(error);
            assert!(error < 1e-6, "{name}: {error:e}");
            seen_moving += 1;
        }
        if let Some((_, expected)) = after.get(&key) {
            // A change of 0.01 times a gradient that is right to 2e-2.
            let before = variables.named().find(|(other, ..)| *other == name).unwrap().2;
            let change =
                |after: &[f32]| -> Vec<f32> { after.iter().zip(before).map(|(a, b)| a - b).collect() };
            let (error, _) = distance(found.iter().copied(), expected);
            assert!(error < 1e-3, "{name}: {error:e}");
            if name.ends_with("weights") {
                let (error, cosine) = distance(change(found), &change(expected));
                assert!(error < 2e-2 && cosine > 0.9998, "the change of {name}: {error:e}");
            }
            seen_after += 1;
        }
    }
    println!("moving averages: {worst_moving:e}");
    assert_eq!((seen_moving, seen_after), (114, after.len()));
}

#[test]
fn losses_follow_tensorflows() {
    let Some(variables) = variables() else { return };
    let (images, loss) = (images(), MeanLoss::new());
    let expected = &json("summary.json")["sgd10_lr0.001_trajectory_total_data"];
    let mut trainer = Trainer::new(variables, sgd(), threads(2)).unwrap();
    for (step, tolerance) in [(0, 1e-5), (1, 1e-4)] {
        let features = trainer.forward(&images, &[Value::Features]).unwrap().remove(0);
        let total = loss.value(&features) + regularization(trainer.variables());
        let expected = expected[step][0].as_f64().unwrap();
        println!("step {step}: {total}, TensorFlow {expected}");
        assert!((total - expected).abs() < tolerance, "step {step}: {total}, not {expected}");
        trainer.backward(&[loss.gradient()]).unwrap();
        trainer.update(0.001).unwrap();
    }
    assert!(trainer.variables().convs.iter().all(|conv| matches!(conv.shift, Shift::BatchNorm { .. })));
}
