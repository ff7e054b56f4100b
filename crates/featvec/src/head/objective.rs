//! Mean cross-entropy of a linear layer with softmax, and its gradient, in `f64`.
//!
//! The parameters are one row of weights for each class, then the biases. The features' means are taken off, which the
//! biases make up for: the loss is the same, and its minimum much easier to find.

use std::num::NonZeroUsize;

use super::{Head, Samples};
use crate::Tensor;
use crate::parallel::share_out;

/// Into so many parts samples are divided at most, each with a gradient of its own; how many threads work on them, the
/// result does not tell.
const MOST_PARTS: usize = 16;

/// So few samples are not worth a part.
const SAMPLES_A_PART: usize = 16;

/// Rows that are centred at a time, so that they are read from the first-level cache for each class.
const ROWS: usize = 4;

/// Below so many multiply-adds a thread takes longer to start than to work.
const WORTH_THREADS: usize = 1 << 19;

/// The loss over samples as a function of the parameters.
pub(super) struct Objective<'a> {
    samples: &'a Samples<'a>,
    /// What each sample counts.
    weights: Vec<f64>,
    total_weight: f64,
    means: Vec<f64>,
    /// Variance of each feature.
    pub variances: Vec<f64>,
    threads: NonZeroUsize,
}

impl<'a> Objective<'a> {
    /// The loss over `samples`, each counting as `weights` says.
    pub fn new(samples: &'a Samples<'a>, weights: &[f64], threads: NonZeroUsize) -> Objective<'a> {
        let total_weight: f64 = weights.iter().sum();
        let moment = |value: &dyn Fn(f64, usize) -> f64| -> Vec<f64> {
            let mut sums = vec![0.0; samples.features];
            for (row, weight) in samples.rows.iter().zip(weights) {
                for (j, (sum, x)) in sums.iter_mut().zip(*row).enumerate() {
                    *sum += weight * value(f64::from(*x), j);
                }
            }
            sums.iter_mut().for_each(|sum| *sum /= total_weight);
            sums
        };
        let means = moment(&|x, _| x);
        let variances = moment(&|x, j| (x - means[j]).powi(2));
        Objective { samples, weights: weights.to_vec(), total_weight, means, variances, threads }
    }

    pub fn classes(&self) -> usize {
        self.samples.class_count
    }

    /// The loss at `place`; its gradient goes to `gradient`.
    pub fn evaluate(&self, place: &[f64], gradient: &mut [f64]) -> f64 {
        let count = self.samples.len();
        let parts = count.div_ceil(SAMPLES_A_PART).clamp(1, MOST_PARTS);
        let mut results: Vec<(f64, Vec<f64>)> = vec![(0.0, vec![0.0; place.len()]); parts];
        let threads = if count * place.len() < WORTH_THREADS { NonZeroUsize::MIN } else { self.threads };
        share_out(threads, results.iter_mut().enumerate(), |(part, (loss, gradient))| {
            *loss = self.add_samples(part * count / parts..(part + 1) * count / parts, place, gradient);
        });
        gradient.fill(0.0);
        let mut total = 0.0;
        for (loss, part) in &results {
            total += loss;
            gradient.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
        }
        gradient.iter_mut().for_each(|x| *x /= self.total_weight);
        total / self.total_weight
    }

    /// Adds what the samples of `range` have to the gradient, and returns their loss.
    fn add_samples(&self, range: std::ops::Range<usize>, place: &[f64], gradient: &mut [f64]) -> f64 {
        let (features, classes) = (self.samples.features, self.classes());
        let (weights, biases) = place.split_at(features * classes);
        let (dweights, dbiases) = gradient.split_at_mut(features * classes);
        let mut rows = vec![0.0; ROWS * features];
        let mut residuals = vec![[0.0; ROWS]; classes];
        let mut loss = 0.0;
        for first in range.clone().step_by(ROWS) {
            let count = ROWS.min(range.end - first);
            // What is beyond the last row is multiplied by residuals of zero.
            for (row, centred) in rows.chunks_exact_mut(features).take(count).enumerate() {
                for ((centred, x), mean) in
                    centred.iter_mut().zip(self.samples.rows[first + row]).zip(&self.means)
                {
                    *centred = f64::from(*x) - mean;
                }
            }
            for ((residual, weights), bias) in
                residuals.iter_mut().zip(weights.chunks_exact(features)).zip(biases)
            {
                *residual = dots(&rows, weights).map(|dot| dot + bias);
            }
            for row in 0..ROWS {
                if row < count {
                    loss += self.softmax(first + row, &mut residuals, row);
                } else {
                    residuals.iter_mut().for_each(|residual| residual[row] = 0.0);
                }
            }
            for ((residual, dweights), dbias) in
                residuals.iter().zip(dweights.chunks_exact_mut(features)).zip(&mut *dbiases)
            {
                add_rows(&rows, residual, dweights);
                *dbias += residual.iter().sum::<f64>();
            }
        }
        loss
    }

    /// Turns the logits of a sample into its residuals, probabilities less the truth, by its weight; returns its loss.
    fn softmax(&self, sample: usize, logits: &mut [[f64; ROWS]], row: usize) -> f64 {
        let (class, weight) = (self.samples.classes[sample], self.weights[sample]);
        let max = logits.iter().map(|logit| logit[row]).fold(f64::NEG_INFINITY, f64::max);
        let truth = logits[class][row] - max;
        let mut sum = 0.0;
        for logit in &mut *logits {
            logit[row] = (logit[row] - max).exp();
            sum += logit[row];
        }
        logits.iter_mut().for_each(|logit| logit[row] *= weight / sum);
        logits[class][row] -= weight;
        weight * (sum.ln() - truth)
    }

    /// The parameters of `head`.
    pub fn place(&self, head: &Head) -> Vec<f64> {
        let (features, classes) = (self.samples.features, self.classes());
        let mut place = vec![0.0; (features + 1) * classes];
        let (weights, biases) = place.split_at_mut(features * classes);
        for (class, row) in weights.chunks_exact_mut(features).enumerate() {
            biases[class] = f64::from(head.biases[class]);
            for ((w, from), mean) in row.iter_mut().zip(head.weights.iter_rows()).zip(&self.means) {
                *w = f64::from(from[class]);
                biases[class] += *w * mean;
            }
        }
        place
    }

    /// The parameters as a layer on features whose means are not taken off.
    pub fn head(&self, place: &[f64]) -> Head {
        let (features, classes) = (self.samples.features, self.classes());
        let (weights, biases) = place.split_at(features * classes);
        let mut transposed = vec![0.0; features * classes];
        let mut shifted = Vec::with_capacity(classes);
        for (class, (row, bias)) in weights.chunks_exact(features).zip(biases).enumerate() {
            row.iter().enumerate().for_each(|(j, w)| transposed[j * classes + class] = *w as f32);
            shifted.push((bias - row.iter().zip(&self.means).map(|(w, mean)| w * mean).sum::<f64>()) as f32);
        }
        let weights =
            Tensor::new([features, classes], transposed).expect("a weight for each feature and class");
        Head { weights, biases: shifted }
    }
}

/// Sums that are kept apart, so that several are added at once; with one set for each row they fit the registers.
const LANES: usize = 4;

/// The products of [`ROWS`] rows with `weights`, all at once, so that each weight is read once.
fn dots(rows: &[f64], weights: &[f64]) -> [f64; ROWS] {
    let (weights, weights_rest) = weights.as_chunks::<LANES>();
    let len = weights.len() * LANES + weights_rest.len();
    let mut rows = rows.chunks_exact(len);
    let rows: [_; ROWS] = std::array::from_fn(|_| rows.next().expect("as many rows").as_chunks::<LANES>());
    let [a, b, c, d] = rows.map(|(row, _)| row);
    let mut sums = [[0.0; LANES]; ROWS];
    for ((((w, a), b), c), d) in weights.iter().zip(a).zip(b).zip(c).zip(d) {
        for lane in 0..LANES {
            sums[0][lane] += a[lane] * w[lane];
            sums[1][lane] += b[lane] * w[lane];
            sums[2][lane] += c[lane] * w[lane];
            sums[3][lane] += d[lane] * w[lane];
        }
    }
    std::array::from_fn(|row| {
        let rest: f64 = rows[row].1.iter().zip(weights_rest).map(|(x, w)| x * w).sum();
        sums[row].iter().sum::<f64>() + rest
    })
}

/// Adds [`ROWS`] rows, each times its factor, to `sums`.
fn add_rows(rows: &[f64], factors: &[f64; ROWS], sums: &mut [f64]) {
    let len = sums.len();
    let (first, second) = rows.split_at(2 * len);
    let [(a, b), (c, d)] = [first, second].map(|pair| pair.split_at(len));
    for ((((sum, a), b), c), d) in sums.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        *sum += (factors[0] * a + factors[1] * b) + (factors[2] * c + factors[3] * d);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By central differences, at a place without symmetries.
    #[test]
    fn the_gradient_is_the_slope() {
        let values: Vec<f32> = (0..7 * 5).map(|i| ((i * i * 7 + 3) % 11) as f32 / 5.0).collect();
        let rows: Vec<&[f32]> = values.chunks(5).collect();
        let samples = Samples::new(rows, vec![0, 1, 2, 0, 1, 1, 0], 3).unwrap();
        let objective = Objective::new(&samples, &samples.weights(true), NonZeroUsize::MIN);
        let place: Vec<f64> = (0..18).map(|i| f64::from(i * 5 % 7) / 10.0 - 0.3).collect();
        let mut gradient = vec![0.0; 18];
        let mut unused = vec![0.0; 18];
        objective.evaluate(&place, &mut gradient);
        for i in 0..18 {
            let mut value = |offset: f64| {
                let mut place = place.clone();
                place[i] += offset;
                objective.evaluate(&place, &mut unused)
            };
            let slope = (value(1e-5) - value(-1e-5)) / 2e-5;
            assert!((gradient[i] - slope).abs() < 1e-9, "{i}: {} {slope}", gradient[i]);
        }
    }
}
