//! Inverse discrete cosine transform of one block, in integers.
//!
//! Both transforms give the bits of libjpeg-turbo's SIMD code, which computes in 16-bit lanes: hostile
//! coefficients wrap around as they do there. Each 1-D pass works on eight columns at once, a row being one
//! vector.

mod accurate;
mod fast;

use crate::coefficients::Block;

/// Which inverse transform to use; they differ by a level or two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Idct {
    /// `JDCT_IFAST`, what TensorFlow's `decode_jpeg` uses unless told otherwise.
    #[default]
    Fast,
    /// `JDCT_ISLOW`, what Pillow, OpenCV and TensorFlow's `INTEGER_ACCURATE` use.
    Accurate,
}

/// Eight 16-bit lanes: a row or a column of a block.
type Lanes = [i16; 8];

/// What a component's coefficients are multiplied by: its quantisation steps in the form that the transform
/// wants.
#[derive(Clone, Debug)]
pub(crate) struct Dequantizer {
    idct: Idct,
    factors: Block,
}

impl Dequantizer {
    pub(crate) fn new(idct: Idct, steps: &[u16; 64]) -> Self {
        let factors = match idct {
            Idct::Fast => fast::factors(steps),
            Idct::Accurate => steps.map(|step| step as i16),
        };
        Self { idct, factors }
    }

    /// Writes the samples of a block to rows of eight, `stride` apart, beginning with the first of `out`.
    #[inline]
    pub(crate) fn transform(&self, block: &Block, out: &mut [u8], stride: usize) {
        let samples = if block[1..].iter().fold(0, |any, c| any | c) == 0 {
            let dc = block[0].wrapping_mul(self.factors[0]);
            let sample = match self.idct {
                Idct::Fast => fast::flat_sample(dc),
                Idct::Accurate => accurate::flat_sample(dc),
            };
            [[sample; 8]; 8]
        } else {
            let rows = self.multiplied(block);
            match self.idct {
                Idct::Fast => fast::transform(rows),
                Idct::Accurate => accurate::transform(rows),
            }
        };
        for (row, samples) in out.chunks_mut(stride).zip(&samples) {
            row[..8].copy_from_slice(samples);
        }
    }

    /// The block's rows, each coefficient times its factor.
    #[inline]
    fn multiplied(&self, block: &Block) -> [Lanes; 8] {
        std::array::from_fn(|y| {
            std::array::from_fn(|x| block[8 * y + x].wrapping_mul(self.factors[8 * y + x]))
        })
    }
}

/// Turns rows into columns. Each of three rounds of interleaving moves one bit of the row number into the
/// column number; written so, it compiles to 24 vector shuffles.
#[inline]
fn transpose(mut m: [Lanes; 8]) -> [Lanes; 8] {
    for _ in 0..3 {
        m = std::array::from_fn(|i| interleave(m[i / 2], m[i / 2 + 4], 4 * (i % 2)));
    }
    m
}

/// Four lanes of `a` from `first` on, each followed by the same lane of `b`.
#[inline]
fn interleave(a: Lanes, b: Lanes, first: usize) -> Lanes {
    std::array::from_fn(|i| if i % 2 == 0 { a[first + i / 2] } else { b[first + i / 2] })
}

/// A level-shifted sample, clamped to 0..=255.
#[inline]
fn sample(value: i16) -> u8 {
    (value.clamp(-128, 127) + 128) as u8
}
