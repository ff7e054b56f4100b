//! The trainer at small pictures: against the plain loops in `f64`, and against itself.

use std::collections::BTreeMap;

use featvec::network::{Network, Variant};
use featvec::plan::Value;
use featvec::train::{
    BatchNorm, Distillation, FeatureTarget, Losses, Optimizer, SoftTargets, Targets, TrainOptions, Trainer,
};
use featvec::variables::{Shift, Variables};
use featvec::{ErrorKind, Tensor};

use crate::reference::{Array, Step};
use crate::step::threads;

const SIZE: [usize; 2] = [72, 56];
const CLASSES: usize = 7;

/// Numbers in [0, 1).
fn numbers(len: usize, seed: u32) -> Vec<f32> {
    let bits = |i: u32| (i + 1 + 100_003 * seed).wrapping_mul(2_654_435_761) >> 8;
    (0..len as u32).map(|i| bits(i) as f32 / (1 << 24) as f32).collect()
}

fn images(n: usize, seed: u32) -> Tensor {
    let [h, w] = SIZE;
    Tensor::new([n, h, w, 3], numbers(n * h * w * 3, seed)).unwrap()
}

fn variables(variant: Variant) -> Variables {
    let mut variables = Variables::random(Network { variant, classes: Some(CLASSES) }, 3);
    // Frozen statistics that leave the sums of all layers of order one.
    for (index, conv) in variables.convs.iter_mut().enumerate() {
        if let Shift::BatchNorm { beta, moving_mean, moving_variance } = &mut conv.shift {
            for (values, from, to) in
                [(beta, -0.5, 0.5), (moving_mean, -0.01, 0.01), (moving_variance, 0.005, 0.01)]
            {
                let new = numbers(values.len(), index as u32);
                values.iter_mut().zip(new).for_each(|(value, new)| *value = from + (to - from) * new);
            }
        }
    }
    variables
}

/// Plain gradient descent at small pictures, nothing random.
fn options() -> TrainOptions {
    TrainOptions { optimizer: Optimizer::Sgd, dropout_keep: 1.0, size: SIZE, ..TrainOptions::default() }
}

/// Weights of the loss at a value, of which the gradient is made: none at most values.
fn weights(value: Value, shape: &[usize]) -> Option<Tensor> {
    let (scale, seed) = match value {
        Value::Stage(3) => (1e-3, 1),
        Value::Normed(3) => (1e-3, 2),
        Value::Reduced(8, 1) => (1e-2, 3),
        Value::Reduced(9, 2) => (1e-2, 4),
        Value::Stage(10) => (1e-2, 5),
        Value::Features => (1.0, 6),
        Value::Logits => (1.0, 7),
        _ => return None,
    };
    let len = shape.iter().product();
    let values = numbers(len, seed).into_iter().map(|x| scale * (2.0 * x - 1.0)).collect();
    Some(Tensor::new(shape.to_vec(), values).unwrap())
}

/// The values that have weights.
fn values(variant: Variant) -> Vec<Value> {
    let mut values = vec![Value::Stage(3), Value::Reduced(8, 1), Value::Reduced(9, 2), Value::Stage(10)];
    values.extend((variant == Variant::Paper).then_some(Value::Normed(3)));
    values.extend([Value::Features, Value::Logits]);
    values
}

fn distance(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let difference: f64 =
        found.iter().zip(expected).map(|(found, expected)| (f64::from(*found) - expected).powi(2)).sum();
    (difference / expected.iter().map(|x| x * x).sum::<f64>()).sqrt()
}

fn check_against_plain_loops(variant: Variant, batch_norm: BatchNorm, frozen: &[&str]) {
    let variables = variables(variant);
    let images = images(4, 1);
    let frozen = frozen.iter().map(|prefix| prefix.to_string()).collect();
    let options = TrainOptions { batch_norm, frozen, ..options() };
    let mut trainer = Trainer::new(variables.clone(), options, threads(2)).unwrap();
    let values = values(variant);
    let outputs = trainer.forward(&images, &values).unwrap();
    let gradients: Vec<_> = values
        .iter()
        .zip(&outputs)
        .map(|(value, output)| (*value, weights(*value, output.shape()).unwrap()))
        .collect();
    trainer.backward(&gradients).unwrap();

    let mut expected_outputs = BTreeMap::new();
    let mut loss_gradient = |value: Value, found: &Array<f64>| {
        let shape = match value {
            Value::Features | Value::Logits => vec![found.shape[0], found.shape[3]],
            _ => found.shape.to_vec(),
        };
        let weights = weights(value, &shape)?;
        expected_outputs.insert(value, found.data.clone());
        Some(Array::new(found.shape, weights.data().iter().map(|w| f64::from(*w)).collect()))
    };
    let [h, w] = SIZE;
    let batch_statistics = batch_norm != BatchNorm::Frozen;
    let mut step = Step {
        variables: &variables,
        batch_statistics,
        loss_gradient: &mut loss_gradient,
        gradients: BTreeMap::new(),
    };
    step.run(&Array::new([4, h, w, 3], images.data().iter().map(|x| f64::from(*x)).collect()));
    let expected: Vec<_> =
        step.gradients.into_values().flat_map(|(weights, shift)| [weights, shift]).collect();
    for (value, output) in values.iter().zip(&outputs) {
        let error = distance(output.data(), &expected_outputs[value]);
        assert!(error < 1e-4, "{variant:?} {batch_norm:?} {value:?}: {error:e}");
    }
    let names: Vec<String> =
        variables.named().map(|(name, ..)| name).filter(|name| !name.contains("moving_")).collect();
    assert_eq!(names.len(), expected.len());
    // Statistics of a few pixels magnify the errors of f32, and these choose other sides of a ReLU or a maximum.
    let tolerance = if batch_statistics && variant == Variant::Slim { 2e-2 } else { 2e-3 };
    let found: BTreeMap<String, &[f32]> = trainer.gradients().collect();
    let scope = format!("{}/", variant.scope());
    let is_frozen = |name: &str| {
        let inner = name.strip_prefix(&scope).unwrap();
        trainer.options().frozen.iter().any(|prefix| inner.starts_with(prefix))
    };
    for (name, expected) in names.iter().zip(&expected) {
        match found.get(name) {
            Some(found) => {
                let error = distance(found, expected);
                assert!(error < tolerance, "{variant:?} {batch_norm:?} {name}: {error:e}");
                assert!(!is_frozen(name));
            }
            None => assert!(is_frozen(name), "{name} has no gradient"),
        }
    }
}

#[test]
fn gradients_are_those_of_plain_loops() {
    check_against_plain_loops(Variant::Slim, BatchNorm::Batch { decay: None }, &[]);
    check_against_plain_loops(Variant::Slim, BatchNorm::Frozen, &[]);
    check_against_plain_loops(Variant::Paper, BatchNorm::Batch { decay: None }, &[]);
    let first_layers = ["Conv2d_", "Mixed_3", "Mixed_4b", "Mixed_4d/Branch_1/Conv2d_0a_1x1/weights"];
    check_against_plain_loops(Variant::Slim, BatchNorm::Frozen, &first_layers);
}

fn labels(n: usize) -> Vec<usize> {
    (0..n).map(|index| (3 * index + 1) % CLASSES).collect()
}

/// Everything that differs from one trainer to another, as bits.
fn bits(trainer: &Trainer) -> Vec<(String, Vec<u32>)> {
    let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect();
    trainer
        .state()
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.as_f32().map(bits).unwrap_or_default()))
        .collect()
}

fn steps(trainer: &mut Trainer, range: std::ops::Range<u32>) -> Vec<Losses> {
    let step = |seed| trainer.step(&images(5, seed), &Targets::Labels(&labels(5)), 0.01).unwrap();
    range.map(step).collect()
}

/// Everything that has a memory, and dropout.
fn all_of_it() -> TrainOptions {
    TrainOptions {
        size: SIZE,
        average_decay: Some(0.999),
        label_smoothing: 0.1,
        accumulate: 2,
        ..TrainOptions::default()
    }
}

#[test]
fn the_same_bits_on_any_number_of_threads() {
    for variant in [Variant::Slim, Variant::Paper] {
        let run = |count| {
            let mut trainer = Trainer::new(variables(variant), all_of_it(), threads(count)).unwrap();
            (steps(&mut trainer, 0..4), bits(&trainer))
        };
        let expected = run(1);
        for count in [2, 3] {
            assert!(run(count) == expected, "{variant:?}: {count} threads");
        }
    }
}

#[test]
fn training_goes_on_from_its_state_as_if_nothing_had_happened() {
    let new = || Trainer::new(variables(Variant::Slim), all_of_it(), threads(2)).unwrap();
    let mut trainer = new();
    steps(&mut trainer, 0..4);
    let state = trainer.state();
    let names: Vec<&str> = state.iter().map(|(name, _)| name.as_str()).collect();
    for slot in ["weights/RMSProp", "weights/RMSProp_1", "BatchNorm/moving_mean/ExponentialMovingAverage"] {
        assert!(names.contains(&format!("InceptionV1/Conv2d_1a_7x7/{slot}").as_str()), "{slot}");
    }
    assert_eq!(trainer.global_step(), 2);
    let after = (steps(&mut trainer, 4..8), bits(&trainer));

    let mut other = new();
    steps(&mut other, 20..21); // half a step, which is forgotten
    other.restore(&state).unwrap();
    assert_eq!(other.global_step(), 2);
    assert!((steps(&mut other, 4..8), bits(&other)) == after);

    let mut trainer = new();
    let before = bits(&trainer);
    let refused = |trainer: &mut Trainer, state: &[_]| trainer.restore(state).unwrap_err().to_string();
    let without_last_slot: Vec<_> =
        state.iter().filter(|(name, _)| !name.ends_with("biases/RMSProp_1")).cloned().collect();
    assert!(refused(&mut trainer, &without_last_slot).contains("biases/RMSProp_1: it is missing"));
    let sgd = Trainer::new(variables(Variant::Slim), options(), threads(1)).unwrap();
    assert!(refused(&mut trainer, &sgd.state()).contains("RMSProp: it is missing"));
    let rms = Trainer::new(variables(Variant::Slim).with_classes(9, 1), all_of_it(), threads(1)).unwrap();
    assert!(refused(&mut trainer, &rms.state()).contains("[1, 1, 1024, 9]"));
    assert!(bits(&trainer) == before);
}

#[test]
fn accumulated_batches_are_one_large_batch() {
    let frozen = TrainOptions { batch_norm: BatchNorm::Frozen, ..options() };
    let mut whole = Trainer::new(variables(Variant::Slim), frozen.clone(), threads(2)).unwrap();
    let mut parts =
        Trainer::new(variables(Variant::Slim), TrainOptions { accumulate: 2, ..frozen }, threads(2)).unwrap();
    let [a, b] = [images(3, 1), images(3, 2)];
    let [h, w] = SIZE;
    let both = Tensor::new([6, h, w, 3], [a.data(), b.data()].concat()).unwrap();
    let labels = labels(6);
    let one = whole.step(&both, &Targets::Labels(&labels), 0.1).unwrap();
    let first = parts.step(&a, &Targets::Labels(&labels[..3]), 0.1).unwrap();
    assert_eq!((parts.global_step(), whole.global_step()), (0, 1));
    let second = parts.step(&b, &Targets::Labels(&labels[3..]), 0.1).unwrap();
    assert_eq!(parts.global_step(), 1);
    assert!(((first.data + second.data) / 2.0 - one.data).abs() < 1e-5);
    for ((name, _, found), (_, _, expected)) in parts.variables().named().zip(whole.variables().named()) {
        let expected: Vec<f64> = expected.iter().map(|x| f64::from(*x)).collect();
        if expected.iter().any(|x| *x != 0.0) {
            let error = distance(found, &expected);
            assert!(error < 1e-5, "{name}: {error:e}");
        }
    }
}

#[test]
fn frozen_layers_stay_as_they_are_and_others_do_not() {
    let options = TrainOptions { frozen: vec!["InceptionV1/Conv2d_".into(), "Mixed_3b".into()], ..options() };
    let before = variables(Variant::Slim);
    let mut trainer = Trainer::new(before.clone(), options, threads(2)).unwrap();
    steps(&mut trainer, 0..1);
    for ((name, _, now), (_, _, before)) in trainer.variables().named().zip(before.named()) {
        let frozen = name.contains("/Conv2d_1") || name.contains("/Conv2d_2") || name.contains("/Mixed_3b/");
        assert_eq!(now == before, frozen, "{name}");
    }
}

#[test]
fn averages_follow_the_variables() {
    let options = TrainOptions { average_decay: Some(0.5), ..options() };
    let start = variables(Variant::Slim);
    let mut trainer = Trainer::new(start.clone(), options, threads(1)).unwrap();
    let value = |variables: &Variables| f64::from(variables.convs[5].weights[7]);
    let mut expected = value(&start);
    for step in 0..6 {
        trainer.step(&images(2, step), &Targets::Labels(&labels(2)), 10.0).unwrap();
        let decay = f64::min(0.5, (1.0 + f64::from(step)) / (10.0 + f64::from(step)));
        expected = decay * expected + (1.0 - decay) * value(trainer.variables());
        assert!((value(trainer.averaged().unwrap()) - expected).abs() < 1e-6);
    }
}

#[test]
fn a_few_pictures_are_learnt_by_heart() {
    let images = images(8, 1);
    let labels = labels(8);
    let network = Network { variant: Variant::Slim, classes: Some(CLASSES) };
    let options = TrainOptions {
        size: SIZE,
        optimizer: Optimizer::Momentum { momentum: 0.9, nesterov: false },
        ..TrainOptions::default()
    };
    let mut trainer = Trainer::new(Variables::random(network, 1), options, threads(2)).unwrap();
    let first = trainer.step(&images, &Targets::Labels(&labels), 0.02).unwrap();
    assert!((first.data - (CLASSES as f32).ln()).abs() < 1.0, "{first:?}");
    let mut last = first;
    for _ in 0..40 {
        last = trainer.step(&images, &Targets::Labels(&labels), 0.02).unwrap();
    }
    assert!(last.data < 0.2 && last.correct == 8, "{first:?} {last:?}");
}

#[test]
fn a_student_comes_to_agree_with_its_teacher() {
    let images = images(6, 1);
    let mut teacher = Trainer::new(variables(Variant::Slim), options(), threads(2)).unwrap();
    let matched = Value::Stage(6);
    let outputs = teacher.forward(&images, &[Value::Logits, matched]).unwrap();
    let student = Variables::random(Network { variant: Variant::Slim, classes: Some(CLASSES) }, 9);
    let mut student = Trainer::new(student, options(), threads(2)).unwrap();
    let labels = labels(6);
    let targets = Targets::Distill(Distillation {
        soft: Some(SoftTargets { logits: &outputs[0], temperature: 2.0, weight: 0.5 }),
        features: vec![FeatureTarget { value: matched, target: &outputs[1], weight: 1.0 }],
        labels: Some((&labels, 0.1)),
    });
    let losses: Vec<f32> = (0..15).map(|_| student.step(&images, &targets, 0.05).unwrap().data).collect();
    assert!(losses[14] < 0.7 * losses[0], "{losses:?}");
    // Features alone need no classifying layer.
    let mut variables = variables(Variant::Slim);
    (variables.logits, variables.network.classes) = (None, None);
    let mut trainer = Trainer::new(variables, options(), threads(1)).unwrap();
    let features = vec![FeatureTarget { value: matched, target: &outputs[1], weight: 1.0 }];
    let targets = Targets::Distill(Distillation { features, ..Distillation::default() });
    assert!(trainer.step(&images, &targets, 0.0).unwrap().data < 1e-9); // its own values
    let error = trainer.step(&images, &Targets::Labels(&labels), 0.0).unwrap_err();
    assert!(error.to_string().contains("no logits"), "{error}");
}

#[test]
fn dropout_depends_on_seed_and_step() {
    let images = images(2, 1);
    let logits = |seed, steps: u32| {
        let options = TrainOptions { dropout_keep: 0.5, seed, batch_norm: BatchNorm::Frozen, ..options() };
        let mut trainer = Trainer::new(variables(Variant::Slim), options, threads(1)).unwrap();
        for _ in 0..steps {
            trainer.step(&images, &Targets::Labels(&labels(2)), 0.0).unwrap();
        }
        trainer.forward(&images, &[Value::Logits]).unwrap().remove(0)
    };
    assert_eq!(logits(1, 0), logits(1, 0));
    assert_ne!(logits(1, 0), logits(2, 0));
    assert_ne!(logits(1, 0), logits(1, 1)); // a rate of 0 changes no variable
}

#[test]
fn what_is_no_number_changes_nothing() {
    let mut start = variables(Variant::Paper);
    let mut trainer = Trainer::new(start.clone(), options(), threads(2)).unwrap();
    let before = bits(&trainer);
    let targets = labels(2);
    let mut nan = images(2, 1).into_data();
    nan[77] = f32::NAN;
    let nan = Tensor::new([2, SIZE[0], SIZE[1], 3], nan).unwrap();
    let error = trainer.step(&nan, &Targets::Labels(&targets), 0.1).unwrap_err();
    assert!(error.to_string().contains("element 77"), "{error}");
    assert!(bits(&trainer) == before);

    let error = trainer.step(&images(2, 1), &Targets::Labels(&targets), f32::NAN).unwrap_err();
    assert!(error.to_string().contains("learning rate of NaN"), "{error}");
    assert!(bits(&trainer) == before);

    start.logits.as_mut().unwrap().weights.fill(f32::MAX);
    let mut trainer = Trainer::new(start, options(), threads(2)).unwrap();
    let before = bits(&trainer);
    let error = trainer.step(&images(2, 1), &Targets::Labels(&targets), 0.1).unwrap_err();
    assert!(error.to_string().contains("the loss of step 0"), "{error}");
    assert!(bits(&trainer) == before && trainer.gradients().all(|(_, g)| g.iter().all(|g| *g == 0.0)));
}

#[test]
fn what_does_not_fit_is_refused() {
    let new = |options| Trainer::new(variables(Variant::Slim), options, threads(1)).map(|_| ());
    let refused = |options, message: &str| {
        let error = new(options).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    };
    refused(TrainOptions { size: [16, 64], ..options() }, "at least 32x32");
    refused(TrainOptions { dropout_keep: 0.0, ..options() }, "dropout keeps 0");
    refused(TrainOptions { label_smoothing: 1.5, ..options() }, "label smoothing is 1.5");
    refused(TrainOptions { accumulate: 0, ..options() }, "no batches");
    refused(TrainOptions { weight_decay: f32::NAN, ..options() }, "weight decay of NaN");
    refused(TrainOptions { frozen: vec!["Mixed_9".into()], ..options() }, "\"Mixed_9\"");
    refused(TrainOptions { frozen: vec!["InceptionV1/".into()], ..options() }, "nothing to train");

    let mut trainer = Trainer::new(variables(Variant::Slim), options(), threads(1)).unwrap();
    let kind = |result: featvec::Result<Vec<Tensor>>| result.unwrap_err().kind();
    let small = Tensor::new([1, 32, 32, 3], vec![0.0; 32 * 32 * 3]).unwrap();
    assert_eq!(kind(trainer.forward(&small, &[])), ErrorKind::Mismatch);
    assert_eq!(kind(trainer.forward(&images(1, 1), &[Value::Normed(3)])), ErrorKind::Argument);
    let features = Tensor::new([1, 1024], vec![0.0; 1024]).unwrap();
    let message = |trainer: &mut Trainer, value, gradient: &Tensor| {
        trainer.backward(&[(value, gradient.clone())]).unwrap_err().to_string()
    };
    assert!(message(&mut trainer, Value::Features, &features).contains("no pass forward"));
    trainer.forward(&images(1, 1), &[]).unwrap();
    assert!(message(&mut trainer, Value::Logits, &features).contains("[1, 7]"));
    trainer.backward(&[(Value::Features, features.clone())]).unwrap();
    assert!(message(&mut trainer, Value::Features, &features).contains("no pass forward"));
    let error = trainer.step(&images(2, 1), &Targets::Labels(&[1, 7]), 0.1).unwrap_err();
    assert!(error.to_string().contains("label 7"), "{error}");
}
