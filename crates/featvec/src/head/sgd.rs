//! Plain stochastic gradient descent, as `retrain.py` trained its head.

use super::{Head, Samples, strength};
use crate::classify::softmax;
use crate::evaluate::cross_entropy;
use crate::random::Random;
use crate::{Result, Tensor};

/// How `retrain.py` trains; the defaults are its own.
#[derive(Clone, Debug, PartialEq)]
pub struct SgdOptions {
    /// The factor of the gradient, always the same.
    pub learning_rate: f32,
    /// Steps in all.
    pub steps: usize,
    /// Samples a step: each of a random class, and then any of that class, with replacement.
    pub batch: usize,
    /// Steps from one look at the validation samples to the next.
    pub validate_every: usize,
    /// Where the random numbers begin.
    pub seed: u64,
}

impl Default for SgdOptions {
    fn default() -> SgdOptions {
        SgdOptions { learning_rate: 0.01, steps: 4000, batch: 100, validate_every: 10, seed: 0 }
    }
}

/// How a head does on its way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdStep {
    /// Steps done.
    pub step: usize,
    /// Mean cross-entropy of the batch, before the step.
    pub training_loss: f64,
    /// Share of the batch whose class is the likeliest.
    pub training_accuracy: f64,
    /// Mean cross-entropy of the validation samples, if there are any.
    pub validation_loss: Option<f64>,
    /// Share of the validation samples whose class is the likeliest.
    pub validation_accuracy: Option<f64>,
}

/// The weights begin with this standard deviation.
const INITIAL_DEVIATION: f32 = 0.001;

/// Streams of random numbers: what begins, and what a step takes.
const INITIAL: u64 = 0;
const CLASSES: u64 = 1;
const MEMBERS: u64 = 2;

impl Head {
    /// Trains a head on `samples` by plain gradient descent, without a penalty. `progress` is told of each step at which
    /// `validation` is looked at.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) for no samples; a loss that is not finite, which a smaller
    /// learning rate avoids.
    pub fn descend(
        samples: &Samples<'_>,
        validation: &Samples<'_>,
        options: &SgdOptions,
        progress: &mut dyn FnMut(&SgdStep),
    ) -> Result<Head> {
        strength::check(samples, 1.0)?;
        let classes = samples.class_count;
        let mut members: Vec<Vec<usize>> = vec![Vec::new(); classes];
        samples.classes.iter().enumerate().for_each(|(index, class)| members[*class].push(index));
        members.retain(|members| !members.is_empty());
        let initial = Random::new(options.seed, INITIAL);
        let weights =
            (0..samples.features * classes).map(|i| INITIAL_DEVIATION * initial.truncated_normal(i));
        let mut head = Head {
            weights: Tensor::new([samples.features, classes], weights.collect())?,
            biases: vec![0.0; classes],
        };
        let [random_class, random_member] =
            [CLASSES, MEMBERS].map(|stream| Random::new(options.seed, stream));
        let pick = |index: usize| {
            let members = &members[random_class.below(index, members.len())];
            members[random_member.below(index, members.len())]
        };
        for step in 0..options.steps {
            let batch: Vec<usize> = (0..options.batch).map(|i| pick(step * options.batch + i)).collect();
            let rows: Vec<&[f32]> = batch.iter().map(|index| samples.rows[*index]).collect();
            let truth: Vec<usize> = batch.iter().map(|index| samples.classes[*index]).collect();
            let logits = head.logits(&rows);
            let (training_loss, hits) = cross_entropy(&logits, &truth, &vec![1.0; batch.len()]);
            if !training_loss.is_finite() {
                let message = format!("the loss is {training_loss} at step {step}");
                let error = crate::Error::new(crate::ErrorKind::Argument, "gradient descent", message);
                return Err(error.with_hint("take a smaller learning rate"));
            }
            head.step_down(&rows, (softmax(logits), &truth), options.learning_rate / options.batch as f32);
            let done = step + 1;
            if done % options.validate_every.max(1) == 0 || done == options.steps {
                let held_out = (!validation.is_empty()).then(|| {
                    let logits = head.logits(&validation.rows);
                    let (loss, hits) =
                        cross_entropy(&logits, &validation.classes, &validation.weights(false));
                    (loss, hits as f64 / validation.len() as f64)
                });
                progress(&SgdStep {
                    step: done,
                    training_loss,
                    training_accuracy: hits as f64 / batch.len() as f64,
                    validation_loss: held_out.map(|(loss, _)| loss),
                    validation_accuracy: held_out.map(|(_, accuracy)| accuracy),
                });
            }
        }
        Ok(head)
    }

    /// Takes `rate` times the gradient of `rows` off.
    fn step_down(&mut self, rows: &[&[f32]], (mut residuals, truth): (Tensor, &[usize]), rate: f32) {
        let classes = self.biases.len();
        for (row, (residual, class)) in residuals.data_mut().chunks_exact_mut(classes).zip(truth).enumerate()
        {
            residual[*class] -= 1.0;
            residual.iter_mut().for_each(|x| *x *= rate);
            for (weights, x) in self.weights.data_mut().chunks_exact_mut(classes).zip(rows[row]) {
                weights.iter_mut().zip(&*residual).for_each(|(w, residual)| *w -= x * residual);
            }
            self.biases.iter_mut().zip(&*residual).for_each(|(bias, residual)| *bias -= residual);
        }
    }
}
