//! The filter of a convolution of bytes.

use crate::conv::Filter;

/// What rounding the weights of `filter` to bytes adds to each output on the average, where the input's channels have
/// these `means` and its bytes are `step` apart. Whoever takes it off the bias makes up for it.
///
/// # Panics
/// Where the numbers do not fit the filter's shape.
pub fn rounding_bias(filter: &Filter<'_>, step: f32, means: &[f32]) -> Vec<f32> {
    filter.check();
    let [_, _, ic, oc] = filter.shape;
    assert_eq!(means.len(), ic, "not as many means as input channels");
    let bytes = ByteFilter::new(filter, &vec![Channel { step, zero: 0 }; ic], step);
    let mut errors = vec![0.0; oc];
    for (row, weights) in filter.weights.chunks_exact(oc).enumerate() {
        let rounded =
            bytes.weights[row * oc..].iter().zip(&bytes.factors).map(|(q, step)| f32::from(*q) * step);
        for ((error, weight), rounded) in errors.iter_mut().zip(weights).zip(rounded) {
            *error += (rounded - weight) * means[row % ic];
        }
    }
    errors
}

/// What the bytes of input channel `c` stand for: `(q - zero) * step`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Channel {
    pub step: f32,
    pub zero: u8,
}

/// A filter as signed bytes, symmetric and with a step of its own for each output channel, and what belongs to it:
/// `(bias + sum of filter * input) * factor` is the output in steps of the output.
pub(crate) struct ByteFilter {
    /// `[kh * kw * ic][oc]`.
    weights: Vec<i8>,
    oc: usize,
    pub bias: Vec<i32>,
    pub factors: Vec<f32>,
}

/// The largest weight.
const MAX_WEIGHT: f32 = 127.0;

/// The largest bias: it leaves room for the sums.
const MAX_BIAS: f32 = (1 << 28) as f32;

impl ByteFilter {
    /// `input` is what the channels of the input stand for, and `output_step` what a step of the output stands for.
    ///
    /// What rounding a weight leaves over is carried to the next tap of the same channels: neighbouring pixels are much
    /// alike, so the errors of neighbouring taps then nearly cancel.
    ///
    /// # Panics
    /// Where the filter has so many weights that sums could overflow.
    pub(crate) fn new(filter: &Filter<'_>, input: &[Channel], output_step: f32) -> ByteFilter {
        let [kh, kw, ic, oc] = filter.shape;
        let depth = kh * kw * ic;
        assert!(depth < (1 << 30) / (127 * 255), "sums over {depth} products may overflow");
        let mut steps: Vec<f32> = filter.bias.iter().map(|bias| bias.abs() / MAX_BIAS).collect();
        for (row, weights) in filter.weights.chunks_exact(oc).enumerate() {
            let scale = input[row % ic].step / MAX_WEIGHT;
            for (step, weight) in steps.iter_mut().zip(weights) {
                *step = step.max(weight.abs() * scale);
            }
        }
        for step in &mut steps {
            *step = step.max(f32::MIN_POSITIVE);
        }
        let mut bias: Vec<i32> = filter
            .bias
            .iter()
            .zip(&steps)
            .map(|(bias, step)| (bias / step).round_ties_even() as i32)
            .collect();
        let mut quantized = vec![0i8; filter.weights.len()];
        let mut carried = vec![0f32; oc];
        for (i, channel) in input.iter().enumerate() {
            let zero = i32::from(channel.zero);
            carried.fill(0.0);
            for row in (0..kh * kw).map(|tap| tap * ic + i) {
                let row = row * oc..(row + 1) * oc;
                for (o, (to, weight)) in
                    quantized[row.clone()].iter_mut().zip(&filter.weights[row]).enumerate()
                {
                    let wanted = weight * channel.step / steps[o] + carried[o];
                    let rounded = wanted.round_ties_even().clamp(-MAX_WEIGHT, MAX_WEIGHT);
                    carried[o] = wanted - rounded;
                    *to = rounded as i8;
                    bias[o] -= i32::from(*to) * zero;
                }
            }
        }
        // Not infinite, which times zero would be no number.
        let factors = steps.iter().map(|step| (step / output_step).min(f32::MAX)).collect();
        ByteFilter { weights: quantized, oc, bias, factors }
    }

    /// One word for each of the output channels from `column` on that there are: the weights for four rows, none for
    /// the channels that fill up a block.
    pub(crate) fn fill(&self, rows: &[Option<usize>], column: usize, words: &mut [u32]) {
        for (word, column) in words.iter_mut().zip(column..self.oc) {
            let mut bytes = [0; 4];
            for (byte, row) in bytes.iter_mut().zip(rows) {
                *byte = row.map_or(0, |row| self.weights[row * self.oc + column]) as u8;
            }
            *word = u32::from_le_bytes(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rounding_adds_is_the_weights_errors_times_the_means() {
        // The largest weight of an output is 127 steps; 0.3 is 38.1 of them, and -0.5 of 2 is -31.75.
        let filter = Filter { weights: &[1.0, 2.0, 0.3, -0.5], bias: &[0.0; 2], shape: [1, 1, 2, 2] };
        let errors = rounding_bias(&filter, 0.01, &[7.0, 3.0]);
        let expected = [3.0 * (38.0 - 38.1) / 127.0, 3.0 * (-32.0 + 31.75) * 2.0 / 127.0];
        for (error, expected) in errors.iter().zip(expected) {
            assert!((error - expected).abs() < 1e-5, "{error}, not {expected}");
        }
    }

    #[test]
    fn neighbouring_taps_share_what_rounding_leaves_over() {
        let filter = Filter { weights: &[1.0, 0.3, 0.3, 0.3], bias: &[0.0], shape: [1, 4, 1, 1] };
        // 38.1 three times, and the fourth tap is exact: 114.3 steps become 114.
        let [error] = rounding_bias(&filter, 0.01, &[1.0])[..] else { panic!("one output") };
        assert!((error - (114.0 - 114.3) / 127.0).abs() < 1e-5, "{error}");
    }
}
