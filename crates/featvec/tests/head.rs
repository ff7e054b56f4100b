//! The head against scikit-learn's optimum, `retrain.py`'s way of training, and the rules of the library.

use std::num::NonZeroUsize;

use featvec::head::{FitOptions, Head, Samples, SgdOptions, choose_strength};

/// Made by `tools/golden/retrain.py`.
const OPTIMA: &str = include_str!("fixtures/logistic_regression.json");

#[derive(serde::Deserialize)]
struct Optima {
    features: Vec<Vec<f32>>,
    classes: Vec<usize>,
    fits: Vec<Optimum>,
}

#[derive(serde::Deserialize)]
struct Optimum {
    strength: f64,
    balance: bool,
    loss: f64,
    weights: Vec<Vec<f64>>,
    biases: Vec<f64>,
}

impl Optima {
    fn read() -> Optima {
        serde_json::from_str(OPTIMA).unwrap()
    }

    fn samples(&self, of: impl Fn(usize) -> bool) -> Samples<'_> {
        let chosen: Vec<usize> = (0..self.classes.len()).filter(|index| of(*index)).collect();
        let rows = chosen.iter().map(|index| &self.features[*index][..]).collect();
        Samples::new(rows, chosen.iter().map(|index| self.classes[*index]).collect(), 3).unwrap()
    }
}

fn options(balance: bool, threads: usize) -> FitOptions {
    FitOptions { balance, threads: NonZeroUsize::new(threads).unwrap() }
}

#[test]
fn the_optimum_is_that_of_scikit_learn() {
    let optima = Optima::read();
    let samples = optima.samples(|_| true);
    for optimum in &optima.fits {
        let fit = Head::fit(&samples, optimum.strength, &options(optimum.balance, 2)).unwrap();
        let loss = fit.losses.last().unwrap();
        // It stops where a step gains less than 1e-8 of the loss.
        assert!((loss - optimum.loss).abs() < 1e-7 * optimum.loss, "{loss} {}", optimum.loss);
        let largest = optimum.weights.iter().flatten().fold(0.0f64, |largest, w| largest.max(w.abs()));
        for (found, expected) in fit.head.weights.data().iter().zip(optimum.weights.iter().flatten()) {
            // Near the minimum the loss is flat, so places agree to the root of what losses do.
            assert!((f64::from(*found) - expected).abs() < 1e-3 * largest, "{found} {expected}");
        }
        // A constant on all biases changes nothing.
        let mean = fit.head.biases.iter().sum::<f32>() / 3.0;
        for (found, expected) in fit.head.biases.iter().zip(&optimum.biases) {
            assert!(
                (f64::from(found - mean) - expected).abs() < 1e-3 * largest.max(1.0),
                "{found} {expected}"
            );
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    // Enough samples for threads to be worth it.
    let features: Vec<f32> =
        (0..400 * 512).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 20) as f32 / 4096.0).collect();
    let classes = (0..400).map(|i| i * 7 % 4).collect();
    let samples = Samples::new(features.chunks(512).collect(), classes, 4).unwrap();
    let heads = [1, 2, 3, 7].map(|threads| Head::fit(&samples, 0.1, &options(false, threads)).unwrap().head);
    assert!(heads.iter().all(|head| *head == heads[0]));
}

fn wrong_sometimes((index, class): (usize, &usize)) -> usize {
    if index % 9 == 0 { (class + 1) % 3 } else { *class }
}

#[test]
fn the_strength_that_is_chosen_is_the_best_that_was_tried() {
    let optima = Optima::read();
    let training = optima.samples(|index| index % 3 != 0);
    // Some labels are wrong, as they are everywhere; who believes the training samples too much is punished for it.
    let mislabelled = Optima {
        classes: optima.classes.iter().enumerate().map(wrong_sometimes).collect(),
        ..Optima::read()
    };
    let validation = mislabelled.samples(|index| index % 3 == 0);
    let mut told = Vec::new();
    let search =
        choose_strength(&training, &validation, &options(false, 1), &mut |trial| told.push(*trial)).unwrap();
    assert_eq!(told, search.trials);
    assert!(search.trials.is_sorted_by(|a, b| a.strength > b.strength));
    let best = search.trials[search.best];
    assert!(search.trials.iter().all(|trial| trial.validation_loss >= 0.99 * best.validation_loss));
    assert!(search.best > 0 && search.best + 1 < search.trials.len(), "{:?}", search.trials);
    // From the head that the search ended with, the optimum is near.
    let near = search.head.fit_on(&training, best.strength, &options(false, 1)).unwrap();
    // From another start the same minimum is reached.
    let fit = Head::fit(&training, best.strength, &options(false, 1)).unwrap();
    assert!((fit.losses.last().unwrap() / best.training_loss - 1.0).abs() < 1e-3);
    assert!((fit.losses.last().unwrap() / near.losses.last().unwrap() - 1.0).abs() < 1e-7);
    assert!(near.losses.len() < fit.losses.len());
}

#[test]
fn descent_reaches_what_the_optimum_reaches_and_depends_on_its_seed_alone() {
    let optima = Optima::read();
    let samples = optima.samples(|_| true);
    let descend = |seed| {
        let sgd = SgdOptions {
            learning_rate: 0.05,
            steps: 500,
            validate_every: 100,
            seed,
            ..SgdOptions::default()
        };
        let mut steps = Vec::new();
        let head = Head::descend(&samples, &samples, &sgd, &mut |step| steps.push(*step)).unwrap();
        (head, steps)
    };
    let (head, steps) = descend(1);
    assert_eq!(steps.iter().map(|step| step.step).collect::<Vec<_>>(), [100, 200, 300, 400, 500]);
    assert!(steps[4].validation_accuracy.unwrap() > 0.75, "{steps:?}");
    assert!(steps[4].validation_loss.unwrap() < steps[0].validation_loss.unwrap());
    assert!(head == descend(1).0 && head != descend(2).0);
}

/// Features that never change, or that are huge, or tiny; a class without samples.
#[test]
fn odd_samples_give_finite_heads() {
    let constant = [[7.0f32, 0.1]; 4];
    let huge = [[1e30f32, 1.0], [-1e30, 1.0], [2e30, 1.0], [-2e30, 1.0]];
    let tiny = huge.map(|row| row.map(|x| x * 1e-38));
    for rows in [constant, huge, tiny] {
        for classes in [[0, 1, 0, 1], [0; 4]] {
            let samples =
                Samples::new(rows.iter().map(|row| &row[..]).collect(), classes.to_vec(), 3).unwrap();
            let search = choose_strength(&samples, &samples, &options(true, 1), &mut |_| {}).unwrap();
            let fit = Head::fit(&samples, 1e-3, &options(true, 1)).unwrap();
            for head in [&search.head, &fit.head] {
                assert!(head.weights.data().iter().chain(&head.biases).all(|x| x.is_finite()), "{head:?}");
            }
            assert!(fit.losses.is_sorted_by(|a, b| a >= b) && fit.losses.iter().all(|loss| loss.is_finite()));
        }
    }
}

#[test]
fn what_cannot_be_fitted_is_refused() {
    let refused = |error: featvec::Error, text: &str| assert!(error.to_string().contains(text), "{error}");
    let bad = [1.0, f32::NAN];
    refused(Samples::new(vec![&[1.0, 2.0], &bad], vec![0, 1], 2).unwrap_err(), "sample 1: feature 1 is NaN");
    refused(Samples::new(vec![&[1.0, 2.0], &[1.0]], vec![0, 1], 2).unwrap_err(), "2 numbers");
    refused(Samples::new(vec![&[]], vec![0], 2).unwrap_err(), "0 numbers");
    refused(Samples::new(vec![&[1.0]], vec![2], 2).unwrap_err(), "class 2 of 2");
    let samples = Samples::new(vec![&[1.0], &[2.0]], vec![0, 1], 2).unwrap();
    for strength in [0.0, -1.0, f64::NAN] {
        refused(Head::fit(&samples, strength, &options(false, 1)).unwrap_err(), "a positive number");
    }
    let none = Samples::new(Vec::new(), Vec::new(), 2).unwrap();
    refused(
        choose_strength(&samples, &none, &options(false, 1), &mut |_| {}).unwrap_err(),
        "no validation samples",
    );
    let huge = Samples::new(vec![&[1e30], &[-1e30]], vec![0, 1], 2).unwrap();
    let sgd = SgdOptions { learning_rate: 1e30, ..SgdOptions::default() };
    refused(Head::descend(&huge, &none, &sgd, &mut |_| {}).unwrap_err(), "smaller learning rate");
}
