//! How good a classifier is, by pictures that it has not been trained on.

use crate::Tensor;
use crate::classify::{softmax, top_k};

/// What a classifier makes of pictures whose classes are known.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// Share of the pictures whose class is the likeliest.
    pub accuracy: Share,
    /// Share of the pictures whose class is among the five likeliest.
    pub top_5: Share,
    /// Mean cross-entropy.
    pub loss: f64,
    /// Pictures of class `i` that are taken for class `j`: `confusion[i][j]`.
    pub confusion: Vec<Vec<usize>>,
    /// How often it is right in relation to how sure it is, in equal steps of sureness.
    pub calibration: Vec<CalibrationBin>,
    /// Mean distance between how sure it is and how often it is right (expected calibration error).
    pub calibration_error: f64,
    /// The pictures that are taken for another class, those with the least probability of their own first.
    pub mistakes: Vec<Mistake>,
}

/// A part of a number of pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// How many.
    pub count: usize,
    /// Of how many.
    pub total: usize,
}

/// The pictures for which the probability of the likeliest class is in one range.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CalibrationBin {
    /// Pictures that are taken for what they are, of how many.
    pub right: Share,
    /// Mean probability of the likeliest class.
    pub confidence: f64,
}

/// A picture that is taken for something else.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mistake {
    /// Its row.
    pub row: usize,
    /// Its class.
    pub class: usize,
    /// The class that it is taken for.
    pub taken_for: usize,
    /// The probability of its class.
    pub probability: f32,
    /// The probability of the other one.
    pub confidence: f32,
}

/// How well one class is told from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassScore {
    /// Of what is taken for this class, so much is.
    pub precision: Share,
    /// Of this class, so much is taken for it.
    pub recall: Share,
}

const CALIBRATION_BINS: usize = 10;

/// 95 % of a normal distribution lie within so many standard deviations.
const Z_95: f64 = 1.959_963_984_540_054;

impl Share {
    /// Between 0 and 1; none of none is not a number.
    pub fn value(self) -> f64 {
        self.count as f64 / self.total as f64
    }

    /// Between which values the share lies of all pictures that these were drawn from, with 95 % confidence (Wilson's
    /// score interval, which is good for few pictures too).
    pub fn interval(self) -> [f64; 2] {
        if self.total == 0 {
            return [0.0, 1.0];
        }
        let (n, p) = (self.total as f64, self.value());
        let z2 = Z_95 * Z_95;
        let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
        let half = Z_95 / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
        [(centre - half).max(0.0), (centre + half).min(1.0)]
    }
}

impl Evaluation {
    /// Of `logits`, `[n, classes]`, where row `i` is of a picture of class `truth[i]`.
    ///
    /// # Panics
    /// If there are not as many rows as classes in `truth`, or a class is not one of the logits'.
    pub fn new(logits: Tensor, truth: &[usize]) -> Evaluation {
        assert_eq!(logits.rows(), truth.len());
        let classes = logits.shape()[1];
        let (loss, _) = cross_entropy(&logits, truth, &vec![1.0; truth.len()]);
        let mut confusion = vec![vec![0; classes]; classes];
        let mut calibration = [CalibrationBin::default(); CALIBRATION_BINS];
        let mut mistakes = Vec::new();
        let mut in_top_5 = 0;
        let probabilities = softmax(logits);
        for (row, (values, &class)) in probabilities.iter_rows().zip(truth).enumerate() {
            let likeliest = top_k(values, 5);
            let (taken_for, confidence) = (likeliest[0].index, likeliest[0].probability);
            in_top_5 += usize::from(likeliest.iter().any(|prediction| prediction.index == class));
            confusion[class][taken_for] += 1;
            let step = (confidence * CALIBRATION_BINS as f32) as usize;
            let bin = &mut calibration[step.min(CALIBRATION_BINS - 1)];
            bin.right.total += 1;
            bin.right.count += usize::from(taken_for == class);
            bin.confidence += f64::from(confidence);
            if taken_for != class {
                mistakes.push(Mistake { row, class, taken_for, probability: values[class], confidence });
            }
        }
        mistakes.sort_by(|a, b| a.probability.total_cmp(&b.probability));
        let total = truth.len();
        let used = calibration.iter_mut().filter(|bin| bin.right.total > 0);
        let calibration_error = used
            .map(|bin| {
                bin.confidence /= bin.right.total as f64;
                (bin.confidence - bin.right.value()).abs() * bin.right.total as f64 / total as f64
            })
            .sum();
        Evaluation {
            accuracy: Share { count: total - mistakes.len(), total },
            top_5: Share { count: in_top_5, total },
            loss,
            confusion,
            calibration: calibration.to_vec(),
            calibration_error,
            mistakes,
        }
    }

    /// How well each class is told from the others.
    pub fn classes(&self) -> Vec<ClassScore> {
        let score = |class: usize| {
            let right = self.confusion[class][class];
            let taken = self.confusion.iter().map(|row| row[class]).sum();
            let present = self.confusion[class].iter().sum();
            ClassScore {
                precision: Share { count: right, total: taken },
                recall: Share { count: right, total: present },
            }
        };
        (0..self.confusion.len()).map(score).collect()
    }
}

/// Mean cross-entropy of `logits`, `[n, classes]`, where each row counts as `weights` says, and for how many rows the class
/// in `truth` is the likeliest.
pub(crate) fn cross_entropy(logits: &Tensor, truth: &[usize], weights: &[f64]) -> (f64, usize) {
    let mut hits = 0;
    let mut loss = 0.0;
    for ((row, class), weight) in logits.iter_rows().zip(truth).zip(weights) {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|x| f64::from(x - max).exp()).sum();
        loss += weight * (sum.ln() - f64::from(row[*class] - max));
        // Of equal logits the first counts, as everywhere.
        hits += usize::from(row.iter().position(|x| *x == max) == Some(*class));
    }
    (loss / weights.iter().sum::<f64>(), hits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four pictures, the third of which is taken for class 0 with 0.9 to 0.1.
    fn evaluation() -> Evaluation {
        let ln = |p: f32| p.ln();
        let rows = [[ln(0.8), ln(0.2)], [ln(0.6), ln(0.4)], [ln(0.9), ln(0.1)], [ln(0.3), ln(0.7)]];
        Evaluation::new(Tensor::new([4, 2], rows.concat()).unwrap(), &[0, 0, 1, 1])
    }

    #[test]
    fn counts_are_what_they_are() {
        let evaluation = evaluation();
        assert_eq!(evaluation.accuracy, Share { count: 3, total: 4 });
        assert_eq!(evaluation.top_5, Share { count: 4, total: 4 });
        assert_eq!(evaluation.confusion, [[2, 0], [1, 1]]);
        let scores = evaluation.classes();
        assert_eq!(scores[0].precision, Share { count: 2, total: 3 });
        assert_eq!(scores[1].recall, Share { count: 1, total: 2 });
        let [mistake] = evaluation.mistakes[..] else { panic!("{:?}", evaluation.mistakes) };
        assert_eq!((mistake.row, mistake.class, mistake.taken_for), (2, 1, 0));
        assert!((mistake.probability - 0.1).abs() < 1e-6);
        let loss = -[0.8f64, 0.6, 0.1, 0.7].iter().map(|p| p.ln()).sum::<f64>() / 4.0;
        assert!((evaluation.loss - loss).abs() < 1e-6, "{}", evaluation.loss);
        // Each is in a bin of its own: 0.8 and right, 0.6 and right, 0.9 and wrong, 0.7 and right.
        assert!((evaluation.calibration_error - (0.2 + 0.4 + 0.9 + 0.3) / 4.0).abs() < 1e-6);
    }

    /// By SciPy 1.17: `binomtest(count, total).proportion_ci(method="wilson")`.
    #[test]
    fn intervals_are_wilsons() {
        for (count, total, low, high) in
            [(86, 100, 0.778_628, 0.914_737), (0, 10, 0.0, 0.277_533), (10, 10, 0.722_467, 1.0)]
        {
            let [found_low, found_high] = Share { count, total }.interval();
            assert!(
                (found_low - low).abs() < 1e-5 && (found_high - high).abs() < 1e-5,
                "{found_low} {found_high}"
            );
        }
        assert_eq!(Share { count: 0, total: 0 }.interval(), [0.0, 1.0]);
    }

    #[test]
    fn what_goes_wrong_worst_comes_first() {
        let rows = vec![0.0, 1.0, 0.0, 5.0, 0.0, 3.0];
        let evaluation = Evaluation::new(Tensor::new([3, 2], rows).unwrap(), &[0, 0, 0]);
        assert_eq!(evaluation.mistakes.iter().map(|mistake| mistake.row).collect::<Vec<_>>(), [1, 2, 0]);
    }
}
