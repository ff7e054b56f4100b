//! AVX-512F: 16 lanes, 32 registers.

use core::arch::x86_64::*;

use crate::simd::{Simd, simd_by_intrinsics};

simd_by_intrinsics! {
    Avx512, __m512, 16, run: 7,
    splat: _mm512_set1_ps, load: _mm512_loadu_ps, store: _mm512_storeu_ps,
    mul_add: |a, b, c| _mm512_fmadd_ps(a, b, c),
    add: _mm512_add_ps, sub: _mm512_sub_ps, mul: _mm512_mul_ps, div: _mm512_div_ps, max: _mm512_max_ps,
    sqrt: _mm512_sqrt_ps,
    where_greater: |a, b, x| _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b), x),
    where_equal: |a, b, x| _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b), x),
}

// 14 x 2 accumulators, 2 filter vectors and 1 broadcast fill the 32 registers.
crate::kernels::entry_points! {
    simd: Avx512, #[target_feature(enable = "avx512f,avx2,fma")]
    name: "avx512", tile: "f32_conv_14x32_avx512",
    rows: [1 2 3 4 5 6 7 8 9 10 11 12 13 14], vectors: [1 2], gradient_rows: [1 2 3 4 5 6 7 8],
    byte_tiles: super::avx2::BYTE_TILES,
    detect: is_x86_feature_detected!("avx512f") && super::avx2::KERNELS.is_present(),
}
