//! NEON on 64-bit Arm: 4 lanes, 32 registers; part of every such processor.

use core::arch::aarch64::*;

use crate::simd::{Simd, simd_by_intrinsics};

simd_by_intrinsics! {
    Neon, float32x4_t, 4,
    splat: vdupq_n_f32, load: vld1q_f32, store: vst1q_f32,
    mul_add: |a, b, c| vfmaq_f32(c, a, b),
    add: vaddq_f32, sub: vsubq_f32, mul: vmulq_f32, div: vdivq_f32, max: vmaxq_f32, sqrt: vsqrtq_f32,
    prefetch: |_from| (), (), // not in stable Rust
}

// 6 x 4 accumulators, 4 filter vectors and 1 broadcast of the 32 registers.
crate::kernels::entry_points! {
    simd: Neon, #[target_feature(enable = "neon")]
    name: "neon", tile: "f32_conv_6x16_neon",
    rows: [1 2 3 4 5 6], vectors: [1 2 3 4],
    detect: true,
}
