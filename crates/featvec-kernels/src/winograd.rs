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
//!
//! The first convolution, of the picture, is F(4x4, 4x4), with 49 points: `image.rs`.

mod filter;
mod image;
mod input;
mod products;
mod tiles;

pub use filter::TransformedFilter;
pub(crate) use filter::{FilterPanel, TapRows, filter_panel, tap_rows};
pub(crate) use image::{ImageProducts, image_row};
pub(crate) use input::{InputRow, InputTransform, gradient_row, input_row};
pub(crate) use products::{OutputRow, Products, output_row};
pub use tiles::TransformedMap;

use crate::map::Image;
use crate::simd::Simd;

/// Rows and columns of pixels that a tile computes.
const OUT: usize = 4;
/// Rows and columns of pixels that a tile of a map reads, where filters have three taps either way.
pub(crate) const WINDOW: usize = 6;
/// Rows and columns of squares that a tile of the picture reads, where filters have four taps either way.
pub(crate) const IMAGE_WINDOW: usize = 7;
/// The filter over the picture: rows, columns and input channels; and its stride.
pub(crate) const IMAGE_FILTER: [usize; 3] = [7, 7, Image::CHANNELS];
pub(crate) const IMAGE_STRIDE: usize = 2;
/// Points of a tile of a map.
pub(crate) const POINTS: usize = WINDOW * WINDOW;

/// The points of windows of `n` numbers, but for infinity.
const fn finite_points(n: usize) -> &'static [f64] {
    match n {
        WINDOW => &[0.0, 1.0, -1.0, 0.5, -2.0],
        IMAGE_WINDOW => &[0.0, 1.0, -1.0, 0.375, -2.0, 2.0],
        _ => panic!("no points for windows of this size"),
    }
}

/// `f(points) = G f` for a filter of so many taps: each row evaluates it at a point, divided by the product of the
/// distances to the other points.
const fn filter_transform<const TAPS: usize, const N: usize>() -> [[f64; TAPS]; N] {
    let points = finite_points(N);
    let mut rows = [[0.0; TAPS]; N];
    let mut point = 0;
    while point < N - 1 {
        let (mut distances, mut other) = (1.0, 0);
        while other < N - 1 {
            if other != point {
                distances *= points[point] - points[other];
            }
            other += 1;
        }
        let (mut power, mut tap) = (1.0, 0);
        while tap < TAPS {
            rows[point][tap] = power / distances;
            power *= points[point];
            tap += 1;
        }
        point += 1;
    }
    rows[N - 1][TAPS - 1] = 1.0;
    rows
}

/// Six or seven numbers of the input, evaluated at as many points.
#[inline(always)]
fn input_transform<S: Simd, const N: usize>(simd: S, d: [S::V; N]) -> [S::V; N] {
    let splat = |x| simd.splat(x);
    let mut points = d;
    if N == WINDOW {
        let p = simd.sub(d[3], d[1]);
        let q = simd.sub(d[4], d[2]);
        points[0] = simd.mul_add(p, splat(1.5), simd.add(simd.sub(d[0], d[2]), q));
        points[1] = simd.mul_add(simd.add(d[2], d[3]), splat(1.5), simd.add(p, q));
        points[2] = simd.mul_add(simd.sub(d[3], d[2]), splat(1.5), simd.sub(q, p));
        points[3] = simd.mul_add(p, splat(2.0), q);
        points[4] = simd.mul_add(p, splat(-0.5), q);
        points[5] = simd.mul_add(q, splat(1.5), simd.sub(simd.sub(d[5], d[3]), p));
    } else {
        // All points but 3/8 have the factor `x - 3/8` in common.
        let mut e = d;
        for i in 1..N {
            e[i] = simd.mul_add(d[i - 1], splat(-0.375), d[i]);
        }
        let [even, odd] = [simd.mul_add(e[2], splat(-4.0), e[4]), simd.mul_add(e[3], splat(-4.0), e[5])];
        points[1] = simd.add(odd, even);
        points[2] = simd.sub(odd, even);
        let [even, odd] = [simd.sub(e[4], e[2]), simd.sub(e[5], e[3])];
        points[4] = simd.mul_add(even, splat(-2.0), odd);
        points[5] = simd.mul_add(even, splat(2.0), odd);
        points[0] = simd.mul_add(e[1], splat(4.0), simd.mul_add(e[3], splat(-5.0), e[5]));
        points[3] = simd.mul_add(d[1], splat(4.0), simd.mul_add(d[3], splat(-5.0), d[5]));
        points[N - 1] = simd.mul_add(e[2], splat(4.0), simd.mul_add(e[4], splat(-5.0), e[N - 1]));
    }
    points
}

/// Four numbers of the result from the products at the points.
#[inline(always)]
fn output_transform<S: Simd, const N: usize>(simd: S, m: [S::V; N]) -> [S::V; OUT] {
    let splat = |x| simd.splat(x);
    let sum = simd.add(m[1], m[2]);
    let difference = simd.sub(m[1], m[2]);
    if N == WINDOW {
        [
            simd.add(simd.add(m[0], sum), simd.add(m[3], m[4])),
            simd.mul_add(m[4], splat(-2.0), simd.mul_add(m[3], splat(0.5), difference)),
            simd.mul_add(m[4], splat(4.0), simd.mul_add(m[3], splat(0.25), sum)),
            simd.mul_add(m[4], splat(-8.0), simd.mul_add(m[3], splat(0.125), simd.add(difference, m[5]))),
        ]
    } else {
        let sum_2 = simd.add(m[5], m[4]);
        let difference_2 = simd.sub(m[5], m[4]);
        let last = simd.add(difference, m[N - 1]);
        [
            simd.add(simd.add(m[0], sum), simd.add(m[3], sum_2)),
            simd.mul_add(difference_2, splat(2.0), simd.mul_add(m[3], splat(0.375), difference)),
            simd.mul_add(sum_2, splat(4.0), simd.mul_add(m[3], splat(0.375 * 0.375), sum)),
            simd.mul_add(difference_2, splat(8.0), simd.mul_add(m[3], splat(0.375 * 0.375 * 0.375), last)),
        ]
    }
}

/// The first four numbers, of the gradient of the result, evaluated at the six points of a map: what
/// [`output_transform`] does, the other way.
#[inline(always)]
fn gradient_transform<S: Simd, const N: usize>(simd: S, g: [S::V; N]) -> [S::V; N] {
    let splat = |x| simd.splat(x);
    let even = simd.add(g[0], g[2]);
    let odd = simd.add(g[1], g[3]);
    let half = simd.mul_add(g[2], splat(0.25), simd.mul_add(g[1], splat(0.5), g[0]));
    let two = simd.mul_add(g[2], splat(4.0), simd.mul_add(g[1], splat(-2.0), g[0]));
    let mut points = g;
    points[1] = simd.add(even, odd);
    points[2] = simd.sub(even, odd);
    points[5] = g[3];
    points[3] = simd.mul_add(g[3], splat(0.125), half);
    points[4] = simd.mul_add(g[3], splat(-8.0), two);
    points
}

/// Whether a convolution with this filter, `[kh, kw, ic, oc]`, of the picture, with this stride, is done by Winograd's
/// algorithm rather than directly.
pub fn pays_for_image([kh, kw, ic, oc]: [usize; 4], stride: usize) -> bool {
    ([kh, kw, ic], stride) == (IMAGE_FILTER, IMAGE_STRIDE) && oc >= 32
}

/// Whether a convolution with this filter, `[kh, kw, ic, oc]`, of a map of `[h, w]` is done by Winograd's algorithm rather than
/// directly. It depends on the shape alone, so that results do not depend on batch or threads.
pub fn pays([kh, kw, ic, oc]: [usize; 4], [h, w]: [usize; 2]) -> bool {
    // Narrow filters leave the products too short to hide the transforms behind; on the smallest maps four times as
    // many numbers of the filter would be read for each image.
    [kh, kw] == [3, 3] && ic >= 32 && oc >= 32 && h >= 2 * OUT && w >= 2 * OUT
}
