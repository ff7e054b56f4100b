//! Inverse discrete cosine transform of one block, in integers.
//!
//! Both transforms give the bits of libjpeg-turbo's SIMD code, which computes in 16-bit lanes: hostile
//! coefficients wrap around as they do there. A 1-D pass is a loop over columns, which the compiler turns into
//! vectors of eight as long as the pass is a function of its own.

mod accurate;
mod fast;
mod reduced;

use crate::coefficients::Block;
use crate::frame::BLOCK;

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

/// The transform of a component: its quantisation steps in the form that the transform wants, and to how many
/// samples.
#[derive(Clone, Debug)]
pub(crate) struct Dequantizer {
    idct: Idct,
    factors: Block,
    /// Samples that a block becomes in each direction: 1, 2, 4 or 8.
    side: usize,
}

impl Dequantizer {
    pub(crate) fn new(idct: Idct, steps: &[u16; 64], side: usize) -> Self {
        let factors = match idct {
            Idct::Fast if side == BLOCK => fast::factors(steps),
            _ => steps.map(|step| step as i16),
        };
        Self { idct, factors, side }
    }

    /// Writes the samples of a block to rows that are `stride` apart, beginning with the first of `out`, and leaves
    /// zeros in the block.
    #[inline]
    pub(crate) fn transform(&self, block: &mut Block, out: &mut [u8], stride: usize) {
        match self.side {
            1 => {
                out[0] = reduced::one(block[0], self.factors[0]);
                block[0] = 0;
                return;
            }
            2 => write(reduced::two(self.multiplied(block)), out, stride),
            4 => write(reduced::four(self.multiplied(block)), out, stride),
            _ if is_flat(block) => {
                let dc = block[0].wrapping_mul(self.factors[0]);
                let sample = match self.idct {
                    Idct::Fast => fast::flat_sample(dc),
                    Idct::Accurate => accurate::flat_sample(dc),
                };
                write([[sample; 8]; 8], out, stride);
                block[0] = 0;
                return;
            }
            _ => {
                let rows = self.multiplied(block);
                let samples = match self.idct {
                    Idct::Fast => fast::transform(&rows),
                    Idct::Accurate => accurate::transform(&rows),
                };
                write(samples, out, stride);
            }
        }
        *block = [0; 64];
    }

    /// The block's rows, each coefficient times its factor.
    fn multiplied(&self, block: &Block) -> [Lanes; 8] {
        let mut rows = [[0; 8]; 8];
        for ((out, &c), &factor) in rows.as_flattened_mut().iter_mut().zip(block).zip(&self.factors) {
            *out = c.wrapping_mul(factor);
        }
        rows
    }
}

/// Whether all AC coefficients are zero.
#[inline(always)]
fn is_flat(block: &Block) -> bool {
    let [first, others @ ..] = block.as_chunks::<8>().0 else { return false };
    let mut any = *first;
    any[0] = 0;
    for row in others {
        any = std::array::from_fn(|x| any[x] | row[x]);
    }
    any == [0; 8]
}

#[inline(always)]
fn write<const N: usize>(samples: [[u8; N]; N], out: &mut [u8], stride: usize) {
    for (row, samples) in out.chunks_mut(stride).zip(&samples) {
        row[..N].copy_from_slice(samples);
    }
}

/// The samples of a block whose values have `fraction` fractional bits.
#[inline(always)]
fn samples(values: &[Lanes; 8], fraction: u32) -> [[u8; 8]; 8] {
    let mut samples = [[0; 8]; 8];
    for (out, &value) in samples.as_flattened_mut().iter_mut().zip(values.as_flattened()) {
        *out = sample(value >> fraction);
    }
    samples
}

/// A level-shifted sample, clamped to 0..=255.
#[inline(always)]
fn sample(value: i16) -> u8 {
    (value.clamp(-128, 127) + 128) as u8
}
