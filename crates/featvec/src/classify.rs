//! From logits to the likeliest classes.

use crate::tensor::Tensor;

/// A class and how likely it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// The class's index in the logits.
    pub index: usize,
    /// Its probability.
    pub probability: f32,
}

/// The probabilities of each row of `logits`, `[n, classes]`. The largest logit is taken off first, so that nothing
/// overflows.
pub fn softmax(mut logits: Tensor) -> Tensor {
    let classes = logits.shape().last().copied().unwrap_or(0).max(1);
    for row in logits.data_mut().chunks_exact_mut(classes) {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        row.iter_mut().for_each(|x| *x = (*x - max).exp());
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|x| *x /= sum);
    }
    logits
}

/// The `k` likeliest classes of one row of probabilities, the likeliest first; of equal ones the smaller index first.
pub fn top_k(probabilities: &[f32], k: usize) -> Vec<Prediction> {
    let mut predictions: Vec<_> = probabilities
        .iter()
        .enumerate()
        .map(|(index, probability)| Prediction { index, probability: *probability })
        .collect();
    predictions.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    predictions.truncate(k);
    predictions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_logits_do_not_overflow() {
        let probabilities = softmax(Tensor::new([2, 2], vec![1000.0, 1000.0, -1000.0, 0.0]).unwrap());
        assert_eq!(probabilities.data(), [0.5, 0.5, 0.0, 1.0]);
    }

    #[test]
    fn ties_go_to_the_smaller_index() {
        let indices = |k| top_k(&[0.1, 0.4, 0.1, 0.4], k).into_iter().map(|p| p.index).collect::<Vec<_>>();
        assert_eq!(indices(3), [1, 3, 0]);
        assert_eq!(indices(9), [1, 3, 0, 2]);
    }
}
