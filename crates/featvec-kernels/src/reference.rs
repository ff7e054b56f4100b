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

/// The gradient of [`max_pool`] to its input, given that to its output, `doutput`: all of a window's goes to its first
/// maximum, row by row.
pub fn max_pool_gradient(
    [h, w, c]: [usize; 3],
    (input, doutput): (&[f32], &[f32]),
    [size, stride]: [usize; 2],
    ([top, left], [oh, ow]): ([usize; 2], [usize; 2]),
) -> Vec<f64> {
    let mut dinput = vec![0.0; input.len()];
    for ((y, x, channel), gradient) in indices([oh, ow, c]).zip(doutput) {
        let mut best: Option<usize> = None;
        for (ky, kx, _) in indices([size, size, 1]) {
            let row = (y * stride + ky).wrapping_sub(top);
            let column = (x * stride + kx).wrapping_sub(left);
            let at = row.wrapping_mul(w).wrapping_add(column).wrapping_mul(c).wrapping_add(channel);
            if row < h && column < w && best.is_none_or(|best| input[at] > input[best]) {
                best = Some(at);
            }
        }
        if let Some(best) = best {
            dinput[best] += f64::from(*gradient);
        }
    }
    dinput
}

/// The gradient of [`lrn()`] to its input, given that to its output, `doutput`: from each number of a pixel to each.
pub fn lrn_gradient(channels: usize, (input, doutput): (&[f32], &[f32]), lrn: &Lrn) -> Vec<f64> {
    let half = lrn.size / 2;
    let alpha = f64::from(lrn.alpha) / lrn.size as f64;
    let mut dinput = vec![0.0; input.len()];
    let pixels = input.chunks_exact(channels).zip(doutput.chunks_exact(channels));
    for ((pixel, doutput), dinput) in pixels.zip(dinput.chunks_exact_mut(channels)) {
        let x = |channel: usize| f64::from(pixel[channel]);
        for (channel, gradient) in doutput.iter().map(|gradient| f64::from(*gradient)).enumerate() {
            let window = channel.saturating_sub(half)..(channel + half + 1).min(channels);
            let base = f64::from(lrn.k) + alpha * window.clone().map(|i| x(i) * x(i)).sum::<f64>();
            dinput[channel] += gradient * base.powf(-0.75);
            for i in window {
                dinput[i] -= gradient * x(channel) * 0.75 * base.powf(-1.75) * alpha * 2.0 * x(i);
            }
        }
    }
    dinput
}

/// Mean and biased variance of each channel in `f64`; `input` is `[pixels, c]`.
pub fn moments(input: &[f32], channels: usize) -> [Vec<f64>; 2] {
    let pixels = (input.len() / channels) as f64;
    let sum = |channel: usize, f: &dyn Fn(f64) -> f64| {
        input[channel..].iter().step_by(channels).map(|x| f(f64::from(*x))).sum::<f64>()
    };
    let mean: Vec<f64> = (0..channels).map(|channel| sum(channel, &|x| x) / pixels).collect();
    let squares = |(channel, mean): (usize, &f64)| sum(channel, &|x| (x - mean) * (x - mean));
    let variance = mean.iter().enumerate().map(|channel| squares(channel) / pixels).collect();
    [mean, variance]
}

/// Batch normalisation with the batch's own statistics, then ReLU, in `f64`; `input` is `[pixels, c]`.
pub fn batch_norm_relu(input: &[f32], beta: &[f32], epsilon: f32) -> Vec<f64> {
    let [mean, variance] = moments(input, beta.len());
    let normalize = |(index, x): (usize, &f32)| {
        let channel = index % beta.len();
        let deviation = (variance[channel] + f64::from(epsilon)).sqrt();
        ((f64::from(*x) - mean[channel]) / deviation + f64::from(beta[channel])).max(0.0)
    };
    input.iter().enumerate().map(normalize).collect()
}

/// The gradient of [`batch_norm_relu`] to its input and to `beta`, given that to its output, `doutput`.
pub fn batch_norm_relu_gradient(
    (input, doutput): (&[f32], &[f32]),
    beta: &[f32],
    epsilon: f32,
) -> [Vec<f64>; 2] {
    let channels = beta.len();
    let output = batch_norm_relu(input, beta, epsilon);
    let [mean, variance] = moments(input, channels);
    let pixels = (input.len() / channels) as f64;
    let (mut dinput, mut dbeta) = (vec![0.0; input.len()], vec![0.0; channels]);
    for channel in 0..channels {
        let deviation = (variance[channel] + f64::from(epsilon)).sqrt();
        let normal = |i: usize| (f64::from(input[i]) - mean[channel]) / deviation;
        let through_relu = |i: usize| if output[i] > 0.0 { f64::from(doutput[i]) } else { 0.0 };
        let places = || (channel..input.len()).step_by(channels);
        dbeta[channel] = places().map(through_relu).sum();
        let product: f64 = places().map(|i| through_relu(i) * normal(i)).sum();
        for i in places() {
            let through_statistics = (dbeta[channel] + normal(i) * product) / pixels;
            dinput[i] = (through_relu(i) - through_statistics) / deviation;
        }
    }
    [dinput, dbeta]
}

/// All index triples below `limits`, the last fastest.
fn indices([a, b, c]: [usize; 3]) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..a).flat_map(move |i| (0..b).flat_map(move |j| (0..c).map(move |k| (i, j, k))))
}
