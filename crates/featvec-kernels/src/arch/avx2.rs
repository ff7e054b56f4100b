//! AVX2 with FMA: 8 lanes, 16 registers.

use core::arch::x86_64::*;

use crate::simd::{Simd, simd_by_intrinsics};

simd_by_intrinsics! {
    Avx2, __m256, 8,
    splat: _mm256_set1_ps, load: _mm256_loadu_ps, store: _mm256_storeu_ps,
    mul_add: |a, b, c| _mm256_fmadd_ps(a, b, c),
    add: _mm256_add_ps, sub: _mm256_sub_ps, mul: _mm256_mul_ps, div: _mm256_div_ps, max: _mm256_max_ps,
    sqrt: _mm256_sqrt_ps,
    prefetch: |from| _mm_prefetch::<_MM_HINT_T0>(from.cast()), _mm_prefetch::<_MM_HINT_T1>(from.cast()),
}

// 6 x 2 accumulators, 2 filter vectors and 1 broadcast of the 16 registers; taller or wider tiles spill.
crate::kernels::entry_points! {
    simd: Avx2, #[target_feature(enable = "avx2,fma")]
    name: "avx2", tile: "f32_conv_6x16_avx2",
    rows: [1 2 3 4 5 6], vectors: [1 2],
    detect: is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
}
