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
    /// # Panics
    /// Where the filter has so many weights that sums could overflow.
    pub(crate) fn new(filter: &Filter<'_>, input: &[Channel], output_step: f32) -> ByteFilter {
        let [kh, kw, ic, oc] = filter.shape;
        let depth = kh * kw * ic;
        assert!(depth < (1 << 30) / (127 * 255), "sums over {depth} products may overflow");
        let row_step = |row: usize| input[row % ic].step;
        let rows = || filter.weights.chunks_exact(oc).enumerate();
        let mut steps = vec![0f32; oc];
        for (row, weights) in rows() {
            for (step, weight) in steps.iter_mut().zip(weights) {
                *step = step.max((weight * row_step(row)).abs() / MAX_WEIGHT);
            }
        }
        for (step, bias) in steps.iter_mut().zip(filter.bias) {
            *step = step.max(bias.abs() / MAX_BIAS).max(f32::MIN_POSITIVE);
        }
        let mut bias: Vec<i32> = filter
            .bias
            .iter()
            .zip(&steps)
            .map(|(bias, step)| (bias / step).round_ties_even() as i32)
            .collect();
        let mut quantized = Vec::with_capacity(filter.weights.len());
        for (row, weights) in rows() {
            let zero = i32::from(input[row % ic].zero);
            for ((weight, step), bias) in weights.iter().zip(&steps).zip(&mut bias) {
                let weight = (weight * row_step(row) / step).round_ties_even() as i8;
                *bias -= i32::from(weight) * zero;
                quantized.push(weight);
            }
        }
        let factors = steps.iter().map(|step| step / output_step).collect();
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
