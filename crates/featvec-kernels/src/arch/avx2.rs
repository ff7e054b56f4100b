//! AVX2 with FMA: 8 lanes, 16 registers.

use core::arch::x86_64::*;

use crate::bytes::{BYTE_IMAGE_STEP, BYTE_PIXEL};
use crate::simd::{Dot, Simd, simd_by_intrinsics};

simd_by_intrinsics! {
    Avx2, __m256, 8, run: 6,
    splat: _mm256_set1_ps, load: _mm256_loadu_ps, store: _mm256_storeu_ps,
    mul_add: |a, b, c| _mm256_fmadd_ps(a, b, c),
    add: _mm256_add_ps, sub: _mm256_sub_ps, mul: _mm256_mul_ps, div: _mm256_div_ps, max: _mm256_max_ps,
    sqrt: _mm256_sqrt_ps,
    where_greater: |a, b, x| _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(a, b), x),
    where_equal: |a, b, x| _mm256_and_ps(_mm256_cmp_ps::<_CMP_EQ_OQ>(a, b), x),
}

// 6 x 2 accumulators, 2 filter vectors and 1 broadcast of the 16 registers; taller or wider tiles spill.
crate::kernels::entry_points! {
    simd: Avx2, #[target_feature(enable = "avx2,fma")]
    name: "avx2", tile: "f32_conv_6x16_avx2",
    rows: [1 2 3 4 5 6], vectors: [1 2], gradient_rows: [1 2 3 4],
    byte_tiles: BYTE_TILES,
    detect: is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
}

/// Proof that the processor has the instruction set, for bytes.
#[derive(Clone, Copy)]
struct Avx2Bytes {
    _proof: (),
}

/// The bytes of each word as two vectors of 16 bits: the first and third, the second and fourth. Their products are
/// added exactly; of the instruction that multiplies bytes, two products of full range overflow the sum.
#[derive(Clone, Copy)]
struct Halves {
    even: __m256i,
    odd: __m256i,
}

// SAFETY, for every block: `self` proves the instruction set, and the caller vouches for the pointer.
impl Dot for Avx2Bytes {
    const LANES: usize = 8;
    const RUN: usize = 1;
    const PIXEL: usize = BYTE_PIXEL;
    const IMAGE_STEP: usize = BYTE_IMAGE_STEP;
    type Input = Halves;
    type Filter = Halves;
    type Sum = __m256i;

    #[inline(always)]
    unsafe fn splat_input(self, word: *const f32) -> Halves {
        // SAFETY: see above.
        unsafe {
            let bytes = _mm256_set1_epi32(word.cast::<i32>().read());
            let even = _mm256_and_si256(bytes, _mm256_set1_epi16(0xff));
            Halves { even, odd: _mm256_srli_epi16::<8>(bytes) }
        }
    }
    #[inline(always)]
    unsafe fn load_filter(self, from: *const f32) -> Halves {
        // SAFETY: see above.
        unsafe {
            let bytes = _mm256_loadu_si256(from.cast());
            let even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(bytes));
            Halves { even, odd: _mm256_srai_epi16::<8>(bytes) }
        }
    }
    #[inline(always)]
    fn dot(self, input: Halves, filter: Halves, sum: __m256i) -> __m256i {
        // SAFETY: see above.
        unsafe {
            let even = _mm256_madd_epi16(input.even, filter.even);
            let odd = _mm256_madd_epi16(input.odd, filter.odd);
            _mm256_add_epi32(_mm256_add_epi32(sum, even), odd)
        }
    }
}

/// `ByteDot` of a [`Dot`] over the registers of AVX2.
macro_rules! byte_dot_in_avx2 {
    ($dot:ident) => {
        // SAFETY: `self` proves AVX2, and the caller vouches for the pointer.
        impl crate::bytes::ByteDot for $dot {
            type Factor = __m256;

            #[inline(always)]
            unsafe fn load_sums(self, from: *const f32) -> __m256i {
                // SAFETY: see above.
                unsafe { _mm256_loadu_si256(from.cast()) }
            }
            #[inline(always)]
            unsafe fn load_factors(self, from: *const f32) -> __m256 {
                // SAFETY: see above.
                unsafe { _mm256_loadu_ps(from) }
            }
            #[inline(always)]
            unsafe fn store_bytes(self, sum: __m256i, factor: __m256, to: *mut f32) {
                // SAFETY: see above.
                unsafe { crate::arch::avx2::store_bytes(sum, factor, to) }
            }
        }
    };
}

pub(super) use byte_dot_in_avx2;

byte_dot_in_avx2!(Avx2Bytes);

/// [`ByteDot::store_bytes`](crate::bytes::ByteDot::store_bytes).
///
/// # Safety
/// The processor has AVX2, and 8 bytes can be written at `to`.
#[inline(always)]
pub(super) unsafe fn store_bytes(sum: __m256i, factor: __m256, to: *mut f32) {
    // SAFETY: the caller vouches for both.
    unsafe {
        let scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), factor);
        let rounded = _mm256_cvtps_epi32(_mm256_min_ps(scaled, _mm256_set1_ps(255.0)));
        let (low, high) = (_mm256_castsi256_si128(rounded), _mm256_extracti128_si256::<1>(rounded));
        let words = _mm_packus_epi32(low, high);
        _mm_storel_epi64(to.cast(), _mm_packus_epi16(words, words));
    }
}

// 4 x 2 sums, 2 filter vectors and 1 broadcast, both in halves, of the 16 registers.
crate::kernels::byte_entry_points! {
    dot: Avx2Bytes, #[target_feature(enable = "avx2")]
    tile: "u8_conv_4x16_avx2",
    rows: [1 2 3 4], vectors: [1 2],
}
