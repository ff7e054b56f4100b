//! The definitions as naive loops over `[h, w, c]` maps: what every kernel is tested against.

use crate::map::Padding;
use crate::program::Lrn;

/// A convolution's geometry.
#[derive(Clone, Copy, Debug)]
pub struct ConvShape {
    /// `[h, w, ic]` of the input.
    pub input: [usize; 3],
    /// `[kh, kw, ic, oc]` of the filter.
    pub filter: [usize; 4],
    /// Pixels from one output to the next.
    pub stride: usize,
    /// Zeros around the input.
    pub padding: Padding,
}

impl ConvShape {
    /// `[h, w, oc]` of the output.
    pub fn output(&self) -> [usize; 3] {
        let [h, w, _] = self.input;
        let [kh, kw, _, oc] = self.filter;
        let out = |len: usize, k: usize| (len - k) / self.stride + 1;
        let padding = &self.padding;
        [out(padding.top + h + padding.bottom, kh), out(padding.left + w + padding.right, kw), oc]
    }
}

/// Convolution in `f64`, bias added.
pub fn conv(shape: &ConvShape, input: &[f32], weights: &[f32], bias: &[f32]) -> Vec<f64> {
    let [h, w, _] = shape.input;
    let [kh, kw, ic, oc] = shape.filter;
    let [oh, ow, _] = shape.output();
    let mut output = Vec::with_capacity(oh * ow * oc);
    for (y, x, o) in indices([oh, ow, oc]) {
        let mut sum = f64::from(bias[o]);
        for (ky, kx, i) in indices([kh, kw, ic]) {
            let row = (y * shape.stride + ky).wrapping_sub(shape.padding.top);
            let column = (x * shape.stride + kx).wrapping_sub(shape.padding.left);
            if row < h && column < w {
                let value = f64::from(input[(row * w + column) * ic + i]);
                sum += value * f64::from(weights[((ky * kw + kx) * ic + i) * oc + o]);
            }
        }
        output.push(sum);
    }
    output
}

/// The gradient of [`conv`] to its input, from that to its output.
pub fn conv_backward_input(shape: &ConvShape, doutput: &[f32], weights: &[f32]) -> Vec<f64> {
    let mut dinput = vec![0.0; shape.input.iter().product()];
    for_each_product(shape, |input, weight, output| {
        dinput[input] += f64::from(weights[weight]) * f64::from(doutput[output]);
    });
    dinput
}

/// The gradient of [`conv`] to its weights, from that to its output.
pub fn conv_backward_filter(shape: &ConvShape, input: &[f32], doutput: &[f32]) -> Vec<f64> {
    let mut dweights = vec![0.0; shape.filter.iter().product()];
    for_each_product(shape, |from, weight, output| {
        dweights[weight] += f64::from(input[from]) * f64::from(doutput[output]);
    });
    dweights
}

/// Calls `product` with the places of input, weight and output of every product of a convolution.
fn for_each_product(shape: &ConvShape, mut product: impl FnMut(usize, usize, usize)) {
    let [h, w, _] = shape.input;
    let [kh, kw, ic, oc] = shape.filter;
    let [oh, ow, _] = shape.output();
    for (y, x, ky) in indices([oh, ow, kh]) {
        for (kx, i, o) in indices([kw, ic, oc]) {
            let row = (y * shape.stride + ky).wrapping_sub(shape.padding.top);
            let column = (x * shape.stride + kx).wrapping_sub(shape.padding.left);
            if row < h && column < w {
                let weight = ((ky * kw + kx) * ic + i) * oc + o;
                product((row * w + column) * ic + i, weight, (y * ow + x) * oc + o);
            }
        }
    }
}

/// Convolution of bytes in integers: `(bias + sum) * factor`, rounded to the nearest (ties to even) and cut to a byte.
/// `zero` is the byte that stands for the number 0 in each channel of the input, and so what the padding consists of.
pub fn byte_conv(
    shape: &ConvShape,
    (input, zero): (&[u8], &[u8]),
    (weights, bias, factors): (&[i8], &[i32], &[f32]),
) -> Vec<u8> {
    let [h, w, _] = shape.input;
    let [kh, kw, ic, oc] = shape.filter;
    let [oh, ow, _] = shape.output();
    let mut output = Vec::with_capacity(oh * ow * oc);
    for (y, x, o) in indices([oh, ow, oc]) {
        let mut sum = i64::from(bias[o]);
        for (ky, kx, i) in indices([kh, kw, ic]) {
            let row = (y * shape.stride + ky).wrapping_sub(shape.padding.top);
            let column = (x * shape.stride + kx).wrapping_sub(shape.padding.left);
            if row < h && column < w {
                let value = i64::from(input[(row * w + column) * ic + i]) - i64::from(zero[i]);
                sum += value * i64::from(weights[((ky * kw + kx) * ic + i) * oc + o]);
            }
        }
        output.push((sum as f32 * factors[o]).round_ties_even().clamp(0.0, 255.0) as u8);
    }
    output
}

/// Maximum over `size` x `size` windows; `output` is `[h, w]` of the result.
pub fn max_pool(
    [h, w, c]: [usize; 3],
    input: &[f32],
    [size, stride]: [usize; 2],
    ([top, left], [oh, ow]): ([usize; 2], [usize; 2]),
) -> Vec<f32> {
    let mut output = Vec::with_capacity(oh * ow * c);
    for (y, x, channel) in indices([oh, ow, c]) {
        let mut max = f32::NEG_INFINITY;
        for (ky, kx, _) in indices([size, size, 1]) {
            let row = (y * stride + ky).wrapping_sub(top);
            let column = (x * stride + kx).wrapping_sub(left);
            if row < h && column < w {
                max = max.max(input[(row * w + column) * c + channel]);
            }
        }
        output.push(max);
    }
    output
}

/// Local response normalisation across channels in `f64`.
pub fn lrn(channels: usize, input: &[f32], lrn: &Lrn) -> Vec<f64> {
    let half = lrn.size / 2;
    let mut output = Vec::with_capacity(input.len());
    for pixel in input.chunks_exact(channels) {
        for (channel, value) in pixel.iter().enumerate() {
            let window = &pixel[channel.saturating_sub(half)..(channel + half + 1).min(channels)];
            let sum: f64 = window.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
            let base = f64::from(lrn.k) + f64::from(lrn.alpha) / lrn.size as f64 * sum;
            output.push(f64::from(*value) / base.powf(0.75));
        }
    }
    output
}

/// Batch normalisation with the batch's own statistics, then ReLU, in `f64`; `input` is `[pixels, c]`.
pub fn batch_norm_relu(input: &[f32], beta: &[f32], epsilon: f32) -> Vec<f64> {
    let channels = beta.len();
    let pixels = (input.len() / channels) as f64;
    let mut output = vec![0.0; input.len()];
    for (channel, beta) in beta.iter().enumerate() {
        let values = || input[channel..].iter().step_by(channels).map(|x| f64::from(*x));
        let mean = values().sum::<f64>() / pixels;
        let variance = values().map(|x| (x - mean) * (x - mean)).sum::<f64>() / pixels;
        for (value, out) in values().zip(output[channel..].iter_mut().step_by(channels)) {
            *out = ((value - mean) / (variance + f64::from(epsilon)).sqrt() + f64::from(*beta)).max(0.0);
        }
    }
    output
}

/// All index triples below `limits`, the last fastest.
fn indices([a, b, c]: [usize; 3]) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..a).flat_map(move |i| (0..b).flat_map(move |j| (0..c).map(move |k| (i, j, k))))
}
