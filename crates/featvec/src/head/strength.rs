//! Which strength of regularisation? The one whose head finds validation pictures likeliest.

use super::lbfgs::{NEAR, minimize};
use super::objective::Objective;
use super::{FitOptions, Head, Samples};
use crate::evaluate::cross_entropy;
use crate::{Error, ErrorKind, Result};

/// Strengths go from the strongest down by this factor.
const FACTOR: f64 = 0.316_227_766_016_837_94; // half a decade
const MOST_TRIALS: usize = 24;

/// When so many strengths in a row were no better than the best one, neither will be the weaker ones.
const NO_BETTER_IN_A_ROW: usize = 3;

/// A loss that is less by a smaller part is no better: it would be bought with ever longer searches.
const BETTER: f64 = 0.01;

/// A strength that was tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// The factor of half the sum of squared weights.
    pub strength: f64,
    /// Loss on the training samples: mean cross-entropy and penalty.
    pub training_loss: f64,
    /// Mean cross-entropy on the validation samples.
    pub validation_loss: f64,
    /// Share of the validation samples whose class is the likeliest.
    pub validation_accuracy: f64,
    /// Steps that the fit took.
    pub steps: usize,
}

/// What came of the search for a strength.
#[derive(Clone, Debug)]
pub struct Search {
    /// In the order tried: the strongest first.
    pub trials: Vec<Trial>,
    /// Index of the best, but for a hundredth of its loss.
    pub best: usize,
    /// The head of the best, which has seen the training samples alone; near the optimum, not at it.
    pub head: Head,
}

/// Fits heads to `training`, from the strongest regularisation to ever weaker ones, each from where the one before ended,
/// until they have become worse on `validation`. `progress` is told of each. Strengths are in terms of the features'
/// variance, so that modules with larger features need no others.
///
/// # Errors
/// [`ErrorKind::Argument`] where either has no samples.
pub fn choose_strength(
    training: &Samples<'_>,
    validation: &Samples<'_>,
    options: &FitOptions,
    progress: &mut dyn FnMut(&Trial),
) -> Result<Search> {
    if validation.is_empty() {
        return Err(Error::new(ErrorKind::Argument, "", "no validation samples to choose a strength by"));
    }
    check(training, 1.0)?;
    let objective = Objective::new(training, &training.weights(options.balance), options.threads);
    let weights = validation.weights(options.balance);
    let strongest = objective.variances.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let mut place = objective.place(&Head::zero(training));
    let mut trials: Vec<Trial> = Vec::new();
    let mut best: Option<(usize, Head)> = None;
    for exponent in 0..MOST_TRIALS {
        let strength = strongest * FACTOR.powi(exponent as i32);
        let minimum = minimize(&objective, strength, place, NEAR);
        place = minimum.place;
        let head = objective.head(&place);
        let logits = head.logits(&validation.rows);
        let (validation_loss, hits) = cross_entropy(&logits, &validation.classes, &weights);
        let trial = Trial {
            strength,
            training_loss: minimum.values.last().copied().unwrap_or_default(),
            validation_loss,
            validation_accuracy: hits as f64 / validation.len() as f64,
            steps: minimum.values.len() - 1,
        };
        progress(&trial);
        let is_better = |held: &Trial| validation_loss < (1.0 - BETTER) * held.validation_loss;
        if best.as_ref().is_none_or(|(index, _)| is_better(&trials[*index])) {
            best = Some((exponent, head));
        }
        trials.push(trial);
        if best.as_ref().is_some_and(|(index, _)| exponent - index >= NO_BETTER_IN_A_ROW) {
            break;
        }
    }
    let (best, head) = best.expect("the first trial is the best of one");
    Ok(Search { trials, best, head })
}

/// Refuses what has no minimum.
pub(super) fn check(samples: &Samples<'_>, strength: f64) -> Result<()> {
    let wrong = |message: String| Err(Error::new(ErrorKind::Argument, "", message));
    if samples.is_empty() {
        return wrong("no samples to fit a head to".to_string());
    }
    if !strength.is_finite() || strength <= 0.0 {
        return wrong(format!(
            "a strength of {strength}: a positive number is needed for there to be an optimum"
        ));
    }
    Ok(())
}
