//! Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray, *Fast Algorithms for Convolutional Neural Networks*,
//! 2015): a 3x3 convolution as 36 matrix products, with a quarter of the multiplications of the direct way.
//!
//! 1. `input_row` turns each window of 6x6 pixels, four pixels apart, into 36 numbers a channel: a [`TransformedMap`].
//! 2. For each of the 36 points, tiles x input channels times input x output channels: the micro-kernel of
//!    `conv.rs`.
//! 3. `output_row` turns the 36 sums of a tile into 4x4 pixels, adds the bias and stores them.
//!
//! The points at which the polynomials are evaluated are 0, 1, -1, 1/2, -2 and infinity. In `f32` they lose less than
//! the usual 0, +-1, +-2: the powers that the result is summed with are the same, those of the input are smaller.

mod filter;
mod input;
mod products;
mod tiles;

pub use filter::TransformedFilter;
pub(crate) use filter::{FilterPanel, TapRows, filter_panel, tap_rows};
pub(crate) use input::{InputRow, InputTransform, gradient_row, input_row};
pub(crate) use products::{OutputRow, Products, output_row};
pub use tiles::TransformedMap;

use crate::simd::Simd;

/// Rows and columns of pixels that a tile computes.
const OUT: usize = 4;
/// Rows and columns of pixels that a tile reads.
const IN: usize = 6;
pub(crate) const POINTS: usize = IN * IN;

/// `f(points) = G f` for a filter of three taps: each row evaluates it at a point, divided by the product of the
/// distances to the other points.
const FILTER: [[f64; 3]; IN] = [
    [1.0, 0.0, 0.0],
    [1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0],
    [-1.0 / 3.0, 1.0 / 3.0, -1.0 / 3.0],
    [-16.0 / 15.0, -8.0 / 15.0, -4.0 / 15.0],
    [1.0 / 15.0, -2.0 / 15.0, 4.0 / 15.0],
    [0.0, 0.0, 1.0],
];

/// Six numbers of the input, evaluated at the points.
#[inline(always)]
fn input_transform<S: Simd>(simd: S, d: [S::V; IN]) -> [S::V; IN] {
    let splat = |x| simd.splat(x);
    let p = simd.sub(d[3], d[1]);
    let q = simd.sub(d[4], d[2]);
    [
        simd.mul_add(p, splat(1.5), simd.add(simd.sub(d[0], d[2]), q)),
        simd.mul_add(simd.add(d[2], d[3]), splat(1.5), simd.add(p, q)),
        simd.mul_add(simd.sub(d[3], d[2]), splat(1.5), simd.sub(q, p)),
        simd.mul_add(p, splat(2.0), q),
        simd.mul_add(p, splat(-0.5), q),
        simd.mul_add(q, splat(1.5), simd.sub(simd.sub(d[5], d[3]), p)),
    ]
}

/// Four numbers of the result from the products at the points.
#[inline(always)]
fn output_transform<S: Simd>(simd: S, m: [S::V; IN]) -> [S::V; OUT] {
    let splat = |x| simd.splat(x);
    let sum = simd.add(m[1], m[2]);
    let difference = simd.sub(m[1], m[2]);
    [
        simd.add(simd.add(m[0], sum), simd.add(m[3], m[4])),
        simd.mul_add(m[4], splat(-2.0), simd.mul_add(m[3], splat(0.5), difference)),
        simd.mul_add(m[4], splat(4.0), simd.mul_add(m[3], splat(0.25), sum)),
        simd.mul_add(m[4], splat(-8.0), simd.mul_add(m[3], splat(0.125), simd.add(difference, m[5]))),
    ]
}

/// The first four numbers, of the gradient of the result, evaluated at the points: what [`output_transform`] does, the other way.
#[inline(always)]
fn gradient_transform<S: Simd>(simd: S, g: [S::V; IN]) -> [S::V; IN] {
    let splat = |x| simd.splat(x);
    let even = simd.add(g[0], g[2]);
    let odd = simd.add(g[1], g[3]);
    let half = simd.mul_add(g[2], splat(0.25), simd.mul_add(g[1], splat(0.5), g[0]));
    let two = simd.mul_add(g[2], splat(4.0), simd.mul_add(g[1], splat(-2.0), g[0]));
    [
        g[0],
        simd.add(even, odd),
        simd.sub(even, odd),
        simd.mul_add(g[3], splat(0.125), half),
        simd.mul_add(g[3], splat(-8.0), two),
        g[3],
    ]
}

/// Whether a convolution with this filter, `[kh, kw, ic, oc]`, of a map of `[h, w]` is done by Winograd's algorithm rather than
/// directly. It depends on the shape alone, so that results do not depend on batch or threads.
pub fn pays([kh, kw, ic, oc]: [usize; 4], [h, w]: [usize; 2]) -> bool {
    // Narrow filters leave the products too short to hide the transforms behind; on the smallest maps four times as
    // many numbers of the filter would be read for each image.
    [kh, kw] == [3, 3] && ic >= 32 && oc >= 32 && h >= 2 * OUT && w >= 2 * OUT
}
