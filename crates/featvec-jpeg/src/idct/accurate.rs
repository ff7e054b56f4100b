//! The transform of Loeffler, Ligtenberg and Moschytz with 13-bit constants and rounding (`JDCT_ISLOW`).

use super::{Lanes, sample, samples};

/// Fractional bits of the constants.
const CONSTANT_BITS: u32 = 13;
/// Fractional bits kept between the passes.
const PASS_BITS: u32 = 2;

// Cosine combinations with 13 fractional bits, named by their value.
const C_0_298: i16 = 2446;
const C_0_390: i16 = 3196;
const C_0_541: i16 = 4433;
const C_0_765: i16 = 6270;
const C_0_899: i16 = 7373;
const C_1_175: i16 = 9633;
const C_1_501: i16 = 12299;
const C_1_847: i16 = 15137;
const C_1_961: i16 = 16069;
const C_2_053: i16 = 16819;
const C_2_562: i16 = 20995;
const C_3_072: i16 = 25172;

/// The sample of a block without AC coefficients; `dc` is already multiplied.
pub(super) fn flat_sample(dc: i16) -> u8 {
    sample(((i32::from(dc << PASS_BITS) + 16) >> (PASS_BITS + 3)) as i16)
}

/// Both passes over multiplied coefficients.
pub(super) fn transform(rows: &[Lanes; 8]) -> [[u8; 8]; 8] {
    let columns = if rows[1..].as_flattened().iter().fold(0, |any, c| any | c) == 0 {
        // The reference takes this way without the saturation of the other one.
        rows[0].map(|dc| [dc << PASS_BITS; 8])
    } else {
        pass::<{ CONSTANT_BITS - PASS_BITS }>(rows)
    };
    samples(&pass::<{ CONSTANT_BITS + PASS_BITS + 3 }>(&columns), 0)
}

/// `a * ca + b * cb`.
#[inline(always)]
fn rotate(a: i16, ca: i16, b: i16, cb: i16) -> i32 {
    (i32::from(a) * i32::from(ca)).wrapping_add(i32::from(b) * i32::from(cb))
}

/// Drops `SHIFT` bits with rounding and saturates.
#[inline(always)]
fn descale<const SHIFT: u32>(value: i32) -> i16 {
    (value.wrapping_add(1 << (SHIFT - 1)) >> SHIFT).clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

/// A 1-D transform of each column, which becomes a row; results are shifted right by `SHIFT` bits.
#[inline(never)]
fn pass<const SHIFT: u32>(rows: &[Lanes; 8]) -> [Lanes; 8] {
    let (add, sub) = (i32::wrapping_add, i32::wrapping_sub);
    let mut columns = [[0; 8]; 8];
    for x in 0..8 {
        let v: Lanes = std::array::from_fn(|y| rows[y][x]);
        let even_2 = rotate(v[2], C_0_541, v[6], C_0_541 - C_1_847);
        let even_3 = rotate(v[2], C_0_541 + C_0_765, v[6], C_0_541);
        let even_0 = i32::from(v[0].wrapping_add(v[4])) << CONSTANT_BITS;
        let even_1 = i32::from(v[0].wrapping_sub(v[4])) << CONSTANT_BITS;
        let e = [add(even_0, even_3), add(even_1, even_2), sub(even_1, even_2), sub(even_0, even_3)];

        let z3 = v[7].wrapping_add(v[3]);
        let z4 = v[5].wrapping_add(v[1]);
        let shared_3 = rotate(z3, C_1_175 - C_1_961, z4, C_1_175);
        let shared_4 = rotate(z3, C_1_175, z4, C_1_175 - C_0_390);
        let o = [
            add(rotate(v[7], -C_0_899, v[1], C_1_501 - C_0_899), shared_4),
            add(rotate(v[5], -C_2_562, v[3], C_3_072 - C_2_562), shared_3),
            add(rotate(v[5], C_2_053 - C_2_562, v[3], -C_2_562), shared_4),
            add(rotate(v[7], C_0_298 - C_0_899, v[1], -C_0_899), shared_3),
        ];
        for k in 0..4 {
            columns[x][k] = descale::<SHIFT>(add(e[k], o[k]));
            columns[x][7 - k] = descale::<SHIFT>(sub(e[k], o[k]));
        }
    }
    columns
}
