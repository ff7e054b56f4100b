//! NEON on 64-bit Arm: 4 lanes, 32 registers; part of every such processor.

use core::arch::aarch64::*;

use crate::bytes::{BYTE_IMAGE_STEP, BYTE_PIXEL, ByteDot};
use crate::simd::{Dot, Simd, simd_by_intrinsics};

simd_by_intrinsics! {
    Neon, float32x4_t, 4, run: 1,
    splat: vdupq_n_f32, load: vld1q_f32, store: vst1q_f32,
    mul_add: |a, b, c| vfmaq_f32(c, a, b),
    add: vaddq_f32, sub: vsubq_f32, mul: vmulq_f32, div: vdivq_f32, max: vmaxq_f32, sqrt: vsqrtq_f32,
    where_greater: |a, b, x| vreinterpretq_f32_u32(vandq_u32(vcgtq_f32(a, b), vreinterpretq_u32_f32(x))),
    where_equal: |a, b, x| vreinterpretq_f32_u32(vandq_u32(vceqq_f32(a, b), vreinterpretq_u32_f32(x))),
}

// 6 x 4 accumulators, 4 filter vectors and 1 broadcast of the 32 registers.
crate::kernels::entry_points! {
    simd: Neon, #[target_feature(enable = "neon")]
    name: "neon", tile: "f32_conv_6x16_neon",
    rows: [1 2 3 4 5 6], vectors: [1 2 3 4], gradient_rows: [1 2 3 4],
    byte_tiles: BYTE_TILES,
    detect: true,
}

/// Proof that the processor has the instruction set, for bytes. The instructions for sums of four products of bytes are
/// not stable in Rust yet.
#[derive(Clone, Copy)]
struct NeonBytes {
    _proof: (),
}

// SAFETY, for every block: `self` proves the instruction set, and the caller vouches for the pointer.
#[allow(unused_unsafe)]
impl Dot for NeonBytes {
    const LANES: usize = 4;
    const RUN: usize = 1;
    const PIXEL: usize = BYTE_PIXEL;
    const IMAGE_STEP: usize = BYTE_IMAGE_STEP;
    /// The four bytes twice, as 16 bits.
    type Input = int16x8_t;
    /// Two output channels each.
    type Filter = [int16x8_t; 2];
    type Sum = int32x4_t;

    #[inline(always)]
    unsafe fn splat_input(self, word: *const f32) -> int16x8_t {
        // SAFETY: see above.
        unsafe {
            let bytes = vreinterpret_u8_u32(vdup_n_u32(word.cast::<u32>().read()));
            vreinterpretq_s16_u16(vmovl_u8(bytes))
        }
    }
    #[inline(always)]
    unsafe fn load_filter(self, from: *const f32) -> [int16x8_t; 2] {
        // SAFETY: see above.
        unsafe {
            let bytes = vld1q_s8(from.cast());
            [vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes)]
        }
    }
    #[inline(always)]
    fn dot(self, input: int16x8_t, filter: [int16x8_t; 2], sum: int32x4_t) -> int32x4_t {
        // SAFETY: see above. A product, 255 * 127 at most, fits 16 bits.
        unsafe {
            let [low, high] = filter.map(|filter| vpaddlq_s16(vmulq_s16(input, filter)));
            vaddq_s32(sum, vpaddq_s32(low, high))
        }
    }
}

// SAFETY: as above.
#[allow(unused_unsafe)]
impl ByteDot for NeonBytes {
    type Factor = float32x4_t;

    #[inline(always)]
    unsafe fn load_sums(self, from: *const f32) -> int32x4_t {
        // SAFETY: see above.
        unsafe { vld1q_s32(from.cast()) }
    }
    #[inline(always)]
    unsafe fn load_factors(self, from: *const f32) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vld1q_f32(from) }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, sum: int32x4_t, factor: float32x4_t, to: *mut f32) {
        // SAFETY: see above.
        unsafe {
            let rounded = vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(sum), factor));
            let words = vqmovun_s32(rounded);
            let bytes = vqmovn_u16(vcombine_u16(words, words));
            to.cast::<u32>().write(vget_lane_u32::<0>(vreinterpret_u32_u8(bytes)));
        }
    }
}

// 6 x 2 sums, 2 filter vectors in halves and 1 broadcast of the 32 registers.
crate::kernels::byte_entry_points! {
    dot: NeonBytes, #[target_feature(enable = "neon")]
    tile: "u8_conv_6x8_neon",
    rows: [1 2 3 4 5 6], vectors: [1 2],
}
