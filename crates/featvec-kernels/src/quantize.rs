//! The filter of a convolution of bytes.

use crate::conv::Filter;

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
