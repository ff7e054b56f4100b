//! No intrinsics: what the compiler makes of arrays on any processor. Multiplies and adds are rounded separately,
//! because a fused one would be a library call.

use crate::bytes::{BYTE_IMAGE_STEP, BYTE_PIXEL, ByteDot, to_byte};
use crate::simd::{Dot, Simd};

#[derive(Clone, Copy)]
pub(crate) struct Portable {
    _proof: (),
}

const LANES: usize = 8;

#[inline(always)]
fn zip(a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    let mut out = a;
    for i in 0..LANES {
        out[i] = f(a[i], b[i]);
    }
    out
}

impl Simd for Portable {
    const LANES: usize = LANES;
    const RUN: usize = 1;
    type V = [f32; LANES];

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; LANES]
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::V {
        // SAFETY: the caller vouches for LANES elements; an array of f32 has the alignment of f32.
        unsafe { from.cast::<Self::V>().read() }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: Self::V) {
        // SAFETY: as in `load`.
        unsafe { to.cast::<Self::V>().write(v) }
    }
    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        self.add(self.mul(a, b), c)
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn sqrt(self, a: Self::V) -> Self::V {
        zip(a, a, |a, _| a.sqrt())
    }
    #[inline(always)]
    fn where_greater(self, a: Self::V, b: Self::V, x: Self::V) -> Self::V {
        core::array::from_fn(|i| if a[i] > b[i] { x[i] } else { 0.0 })
    }
    #[inline(always)]
    fn where_equal(self, a: Self::V, b: Self::V, x: Self::V) -> Self::V {
        core::array::from_fn(|i| if a[i] == b[i] { x[i] } else { 0.0 })
    }
}

crate::kernels::entry_points! {
    simd: Portable,
    name: "portable", tile: "f32_conv_4x8_portable",
    rows: [1 2 3 4], vectors: [1], gradient_rows: [1 2 3 4],
    byte_tiles: BYTE_TILES,
    detect: true,
}

#[derive(Clone, Copy)]
struct PortableBytes {
    _proof: (),
}

/// The bytes of a word, wide enough to be multiplied.
type Wide = [i16; 4];

impl Dot for PortableBytes {
    const LANES: usize = LANES;
    const RUN: usize = 1;
    const PIXEL: usize = BYTE_PIXEL;
    const IMAGE_STEP: usize = BYTE_IMAGE_STEP;
    type Input = Wide;
    type Filter = [Wide; LANES];
    type Sum = [i32; LANES];

    #[inline(always)]
    unsafe fn splat_input(self, word: *const f32) -> Wide {
        // SAFETY: the caller vouches for the word.
        unsafe { word.cast::<[u8; 4]>().read() }.map(i16::from)
    }
    #[inline(always)]
    unsafe fn load_filter(self, from: *const f32) -> [Wide; LANES] {
        // SAFETY: the caller vouches for LANES words.
        unsafe { from.cast::<[[i8; 4]; LANES]>().read() }.map(|word| word.map(i16::from))
    }
    #[inline(always)]
    fn dot(self, input: Wide, filter: [Wide; LANES], mut sum: [i32; LANES]) -> [i32; LANES] {
        for lane in 0..LANES {
            for i in 0..4 {
                let product = i32::from(input[i]) * i32::from(filter[lane][i]);
                sum[lane] = sum[lane].wrapping_add(product);
            }
        }
        sum
    }
}

impl ByteDot for PortableBytes {
    type Factor = [f32; LANES];

    #[inline(always)]
    unsafe fn load_sums(self, from: *const f32) -> [i32; LANES] {
        // SAFETY: the caller vouches for LANES words.
        unsafe { from.cast::<[i32; LANES]>().read() }
    }
    #[inline(always)]
    unsafe fn load_factors(self, from: *const f32) -> [f32; LANES] {
        // SAFETY: the caller vouches for LANES words.
        unsafe { from.cast::<[f32; LANES]>().read() }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, sum: [i32; LANES], factor: [f32; LANES], to: *mut f32) {
        let mut bytes = [0; LANES];
        for lane in 0..LANES {
            bytes[lane] = to_byte(sum[lane] as f32 * factor[lane]);
        }
        // SAFETY: the caller vouches for LANES bytes.
        unsafe { to.cast::<[u8; LANES]>().write(bytes) };
    }
}

crate::kernels::byte_entry_points! {
    dot: PortableBytes,
    tile: "u8_conv_4x8_portable",
    rows: [1 2 3 4], vectors: [1],
}
