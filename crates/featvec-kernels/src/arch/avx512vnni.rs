//! AVX-512 with VNNI: 64 products of bytes an instruction; `f32` as without VNNI.

use core::arch::x86_64::*;

use crate::bytes::{BYTE_IMAGE_STEP, BYTE_PIXEL, ByteDot};
use crate::simd::Dot;

/// Proof that the processor has the instruction set.
#[derive(Clone, Copy)]
struct Avx512Vnni {
    _proof: (),
}

// SAFETY, for every block: `self` proves the instruction set, and the caller vouches for the pointer.
impl Dot for Avx512Vnni {
    const LANES: usize = 16;
    const RUN: usize = 7;
    const PIXEL: usize = BYTE_PIXEL;
    const IMAGE_STEP: usize = BYTE_IMAGE_STEP;
    type Input = __m512i;
    type Filter = __m512i;
    type Sum = __m512i;

    #[inline(always)]
    unsafe fn splat_input(self, word: *const f32) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_set1_epi32(word.cast::<i32>().read()) }
    }
    #[inline(always)]
    unsafe fn load_filter(self, from: *const f32) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    fn dot(self, input: __m512i, filter: __m512i, sum: __m512i) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_dpbusd_epi32(sum, input, filter) }
    }
}

/// [`ByteDot::store_bytes`].
///
/// # Safety
/// 16 bytes can be written at `to`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn store_bytes(sum: __m512i, factor: __m512, to: *mut f32) {
    let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), factor);
    // What is beyond the integers becomes 2^31, which the conversion to bytes cuts off too.
    let rounded = _mm512_cvtps_epi32(_mm512_max_ps(scaled, _mm512_setzero_ps()));
    // SAFETY: contract.
    unsafe { _mm_storeu_si128(to.cast(), _mm512_cvtusepi32_epi8(rounded)) }
}

// SAFETY: as above.
impl ByteDot for Avx512Vnni {
    type Factor = __m512;

    #[inline(always)]
    unsafe fn load_sums(self, from: *const f32) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    unsafe fn load_factors(self, from: *const f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, sum: __m512i, factor: __m512, to: *mut f32) {
        // SAFETY: see above.
        unsafe { store_bytes(sum, factor, to) }
    }
}

// 14 x 2 sums, 2 filter vectors and 1 broadcast fill the 32 registers.
crate::kernels::byte_entry_points! {
    dot: Avx512Vnni, #[target_feature(enable = "avx512f,avx512vnni")]
    tile: "u8_conv_14x32_avx512vnni",
    rows: [1 2 3 4 5 6 7 8 9 10 11 12 13 14], vectors: [1 2],
}

pub(crate) const KERNELS: crate::Kernels = crate::Kernels {
    name: "avx512vnni",
    byte_tiles: BYTE_TILES,
    detect: || is_x86_feature_detected!("avx512vnni") && super::avx512::KERNELS.is_present(),
    ..super::avx512::KERNELS
};
