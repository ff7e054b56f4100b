//! The scaled transform of Arai, Agui and Nakajima with 8-bit constants (`JDCT_IFAST`): the cosines that all
//! outputs of a coefficient share are folded into the quantisation steps, which leaves five multiplications a
//! pass.

use super::{Block, Lanes, sample, samples};

/// Fractional bits of the folded steps and of everything up to the final shift.
const SCALE_BITS: u32 = 2;
/// Bits by which results are too large: [`SCALE_BITS`] and the transform's factor of 8.
const DESCALE_BITS: u32 = SCALE_BITS + 3;

// Constants with 8 fractional bits.
const SQRT_2: i16 = 362;
const C_1_847: i16 = 473;
const C_1_082: i16 = 277;
/// 2.613 less 1, so that it fits the 16-bit multiplication.
const C_1_613: i16 = 413;

/// The quantisation steps times the scale factors of their row and column: 1 for frequency 0, else sqrt(2)
/// cos(k pi / 16).
pub(super) fn factors(steps: &[u16; 64]) -> Block {
    // sqrt(2) cos(k pi / 16) in the 14-bit table of products that defines the reference's rounding.
    let scale = |k: usize| match k {
        0 => 1.0,
        _ => std::f64::consts::SQRT_2 * (k as f64 * std::f64::consts::PI / 16.0).cos(),
    };
    std::array::from_fn(|i| {
        let product = (scale(i / 8) * scale(i % 8) * f64::from(1 << 14)).round() as i64;
        let shift = 14 - SCALE_BITS;
        ((i64::from(steps[i]) * product + (1 << (shift - 1))) >> shift) as i16
    })
}

/// The sample of a block without AC coefficients; `dc` is already multiplied.
pub(super) fn flat_sample(dc: i16) -> u8 {
    sample(dc >> DESCALE_BITS)
}

/// Both passes over multiplied coefficients.
pub(super) fn transform(rows: &[Lanes; 8]) -> [[u8; 8]; 8] {
    samples(&pass(&pass(rows)), DESCALE_BITS)
}

/// Product with a constant of 8 fractional bits, rounded down, as the upper half of a 16-bit multiplication
/// whose factors are shifted by 8 bits in all.
#[inline(always)]
fn mul(a: i16, constant: i16) -> i16 {
    ((i32::from(a << 2) * i32::from(constant << 6)) >> 16) as i16
}

/// A 1-D transform of each column, which becomes a row.
#[inline(never)]
fn pass(rows: &[Lanes; 8]) -> [Lanes; 8] {
    let (add, sub) = (i16::wrapping_add, i16::wrapping_sub);
    let mut columns = [[0; 8]; 8];
    for x in 0..8 {
        let v: Lanes = std::array::from_fn(|y| rows[y][x]);
        let even_sum = add(v[0], v[4]);
        let even_difference = sub(v[0], v[4]);
        let sum_26 = add(v[2], v[6]);
        let rotated_26 = sub(mul(sub(v[2], v[6]), SQRT_2), sum_26);
        let e0 = add(even_sum, sum_26);
        let e3 = sub(even_sum, sum_26);
        let e1 = add(even_difference, rotated_26);
        let e2 = sub(even_difference, rotated_26);

        let sum_35 = add(v[5], v[3]);
        let difference_35 = sub(v[5], v[3]);
        let sum_17 = add(v[1], v[7]);
        let difference_17 = sub(v[1], v[7]);
        let o7 = add(sum_17, sum_35);
        let common = mul(add(difference_35, difference_17), C_1_847);
        let o6 = sub(add(sub(mul(difference_35, -C_1_613), difference_35), common), o7);
        let o5 = sub(mul(sub(sum_17, sum_35), SQRT_2), o6);
        let o4 = add(sub(mul(difference_17, C_1_082), common), o5);

        columns[x] = [
            add(e0, o7),
            add(e1, o6),
            add(e2, o5),
            sub(e3, o4),
            add(e3, o4),
            sub(e2, o5),
            sub(e1, o6),
            sub(e0, o7),
        ];
    }
    columns
}
