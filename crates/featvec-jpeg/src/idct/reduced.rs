//! Blocks straight to 4x4, 2x2 or one sample: what libjpeg makes of a picture that is to be smaller, with 13-bit
//! constants. Frequencies whose effect on such samples is small are left out.

use super::{Lanes, sample};

/// Fractional bits of the constants.
const CONSTANT_BITS: u32 = 13;
/// Fractional bits kept between the passes.
const PASS_BITS: u32 = 2;

// Cosine combinations with 13 fractional bits, named by their value.
const C_0_211: i32 = 1730;
const C_0_509: i32 = 4176;
const C_0_601: i32 = 4926;
const C_0_720: i32 = 5906;
const C_0_765: i32 = 6270;
const C_0_850: i32 = 6967;
const C_0_899: i32 = 7373;
const C_1_061: i32 = 8697;
const C_1_272: i32 = 10426;
const C_1_451: i32 = 11893;
const C_1_847: i32 = 15137;
const C_2_172: i32 = 17799;
const C_2_562: i32 = 20995;
const C_3_624: i32 = 29692;

/// The block's mean. The reference does not have this one in 16 bits: it takes 10 of 32.
pub(super) fn one(dc: i16, step: i16) -> u8 {
    let mean = descale::<3>(i32::from(dc) * i32::from(step));
    sample((mean << 22 >> 22) as i16)
}

/// Both passes over multiplied coefficients.
#[inline]
pub(super) fn two(rows: [Lanes; 8]) -> [[u8; 2]; 2] {
    const FIRST: u32 = CONSTANT_BITS - PASS_BITS + 2;
    const SECOND: u32 = CONSTANT_BITS + PASS_BITS + 3 + 2;
    let column = |x: usize| two_point::<FIRST>(rows[0][x].into(), [1, 3, 5, 7].map(|y| rows[y][x]));
    let (even, odd) = (column(0), [1, 3, 5, 7].map(column));
    // The reference saturates between the passes, but not the mean.
    [0, 1].map(|y| {
        two_point::<SECOND>(even[y], odd.map(|column| saturate(column[y]))).map(saturate).map(sample)
    })
}

/// Both passes over multiplied coefficients.
#[inline]
pub(super) fn four(rows: [Lanes; 8]) -> [[u8; 4]; 4] {
    const FIRST: u32 = CONSTANT_BITS - PASS_BITS + 1;
    const SECOND: u32 = CONSTANT_BITS + PASS_BITS + 3 + 1;
    // The reference takes this way without the saturation of the other one.
    let mut halfway = [rows[0].map(|dc| dc << PASS_BITS); 4];
    let is_flat = [1, 2, 3, 5, 6, 7].iter().all(|&y| rows[y] == [0; 8]);
    for x in [0, 1, 2, 3, 5, 6, 7].into_iter().filter(|_| !is_flat) {
        let column = four_point::<FIRST>(rows.map(|row| row[x]));
        for (row, value) in halfway.iter_mut().zip(column) {
            row[x] = value;
        }
    }
    halfway.map(|row| four_point::<SECOND>(row).map(sample))
}

/// Two samples of a row or column, shifted right by `SHIFT` bits, from its mean and its odd frequencies.
#[inline]
fn two_point<const SHIFT: u32>(mean: i32, [v1, v3, v5, v7]: [i16; 4]) -> [i32; 2] {
    let even = mean << (CONSTANT_BITS + 2);
    let odd = sum([(v1, C_3_624), (v3, -C_1_272), (v5, C_0_850), (v7, -C_0_720)]);
    [even.wrapping_add(odd), even.wrapping_sub(odd)].map(descale::<SHIFT>)
}

/// Four samples of a row or column of frequencies, shifted right by `SHIFT` bits.
#[inline]
fn four_point<const SHIFT: u32>(v: [i16; 8]) -> [i16; 4] {
    let even = i32::from(v[0]) << (CONSTANT_BITS + 1);
    let even_2 = sum([(v[2], C_1_847), (v[6], -C_0_765)]);
    let (outer, inner) = (even.wrapping_add(even_2), even.wrapping_sub(even_2));
    let odd_outer = sum([(v[1], C_2_562), (v[3], C_0_899), (v[5], -C_0_601), (v[7], -C_0_509)]);
    let odd_inner = sum([(v[1], C_1_061), (v[3], -C_2_172), (v[5], C_1_451), (v[7], -C_0_211)]);
    [
        outer.wrapping_add(odd_outer),
        inner.wrapping_add(odd_inner),
        inner.wrapping_sub(odd_inner),
        outer.wrapping_sub(odd_outer),
    ]
    .map(|value| saturate(descale::<SHIFT>(value)))
}

#[inline]
fn sum<const N: usize>(products: [(i16, i32); N]) -> i32 {
    products.iter().fold(0, |sum: i32, &(value, constant)| sum.wrapping_add(i32::from(value) * constant))
}

/// Drops `SHIFT` bits with rounding.
#[inline]
fn descale<const SHIFT: u32>(value: i32) -> i32 {
    value.wrapping_add(1 << (SHIFT - 1)) >> SHIFT
}

#[inline]
fn saturate(value: i32) -> i16 {
    value.clamp(i16::MIN.into(), i16::MAX.into()) as i16
}
