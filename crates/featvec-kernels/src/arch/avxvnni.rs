//! AVX-VNNI: 32 products of bytes an instruction, on processors without AVX-512; `f32` as with AVX2.

use core::arch::x86_64::*;

use crate::bytes::{BYTE_IMAGE_STEP, BYTE_PIXEL};
use crate::simd::Dot;

/// Proof that the processor has the instruction set.
#[derive(Clone, Copy)]
struct AvxVnni {
    _proof: (),
}

// SAFETY, for every block: `self` proves the instruction set, and the caller vouches for the pointer.
impl Dot for AvxVnni {
    const LANES: usize = 8;
    const RUN: usize = 6;
    const PIXEL: usize = BYTE_PIXEL;
    const IMAGE_STEP: usize = BYTE_IMAGE_STEP;
    type Input = __m256i;
    type Filter = __m256i;
    type Sum = __m256i;

    #[inline(always)]
    unsafe fn splat_input(self, word: *const f32) -> __m256i {
        // SAFETY: see above.
        unsafe { _mm256_set1_epi32(word.cast::<i32>().read()) }
    }
    #[inline(always)]
    unsafe fn load_filter(self, from: *const f32) -> __m256i {
        // SAFETY: see above.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }
    #[inline(always)]
    fn dot(self, input: __m256i, filter: __m256i, sum: __m256i) -> __m256i {
        // SAFETY: see above.
        unsafe { _mm256_dpbusd_avx_epi32(sum, input, filter) }
    }
}

super::avx2::byte_dot_in_avx2!(AvxVnni);

// As the tile of AVX2 for `f32`: 6 x 2 sums, 2 filter vectors and 1 broadcast of the 16 registers.
crate::kernels::byte_entry_points! {
    dot: AvxVnni, #[target_feature(enable = "avx2,avxvnni")]
    tile: "u8_conv_6x16_avxvnni",
    rows: [1 2 3 4 5 6], vectors: [1 2],
}

pub(crate) const KERNELS: crate::Kernels = crate::Kernels {
    name: "avxvnni",
    byte_tiles: BYTE_TILES,
    detect: || is_x86_feature_detected!("avxvnni") && super::avx2::KERNELS.is_present(),
    ..super::avx2::KERNELS
};
