//! The operations that the kernels are written in, once for all instruction sets.

use crate::map::Image;

/// Vectors of `f32` of one instruction set.
///
/// A value of the implementing type is the proof that the processor has the instruction set: it is made in the
/// `#[target_feature]` entry points of [`arch`](crate::arch) only, and those are reached through a
/// [`Kernels`](crate::Kernels) that detection handed out. Everything generic over `Simd` is `#[inline(always)]`, so
/// that it is compiled inside such an entry point; otherwise each operation would become a call.
pub(crate) trait Simd: Copy {
    /// Elements of a vector.
    const LANES: usize;
    /// [`Dot::RUN`].
    const RUN: usize;
    type V: Copy;

    fn splat(self, x: f32) -> Self::V;
    /// # Safety
    /// `LANES` elements can be read at `from`.
    unsafe fn load(self, from: *const f32) -> Self::V;
    /// # Safety
    /// `LANES` elements can be written at `to`.
    unsafe fn store(self, to: *mut f32, v: Self::V);
    /// `a * b + c`, rounded once where the instruction set can.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    fn sqrt(self, a: Self::V) -> Self::V;
    /// `x` where `a > b`, zero elsewhere.
    fn where_greater(self, a: Self::V, b: Self::V, x: Self::V) -> Self::V;
    /// `x` where `a == b`, zero elsewhere.
    fn where_equal(self, a: Self::V, b: Self::V, x: Self::V) -> Self::V;
}

/// The widest vector of any instruction set.
pub(crate) const MAX_LANES: usize = 16;

/// What the inner loop of a convolution does, for one type of numbers: input words against vectors of filter.
///
/// A word is 32 bits of input: one `f32`, or four bytes of neighbouring channels. Like a [`Simd`], a value of the
/// implementing type is the proof that the processor has the instruction set.
pub(crate) trait Dot: Copy {
    /// Words of a vector of filter, and sums of a vector: output channels.
    const LANES: usize;
    /// Pixels of a tile that are neighbours in memory, and so need one pointer. Where a tile has more rows than the
    /// processor has registers for pointers, runs keep the inner loop free of anything but arithmetic; shorter runs
    /// waste less at the ends of the rows of a map.
    const RUN: usize;
    /// Words from a pixel of a block to its neighbour.
    const PIXEL: usize;
    /// Words from a pixel of the picture to the next but one: its first convolution has stride 2.
    const IMAGE_STEP: usize;
    /// A word of input in all lanes.
    type Input: Copy;
    /// A vector of filter.
    type Filter: Copy;
    /// A vector of sums.
    type Sum: Copy;

    /// # Safety
    /// A word can be read at `word`.
    unsafe fn splat_input(self, word: *const f32) -> Self::Input;
    /// # Safety
    /// `LANES` words can be read at `from`.
    unsafe fn load_filter(self, from: *const f32) -> Self::Filter;
    /// `sum` and the products of the numbers in each lane's words.
    fn dot(self, input: Self::Input, filter: Self::Filter, sum: Self::Sum) -> Self::Sum;
}

impl<S: Simd> Dot for S {
    const LANES: usize = <S as Simd>::LANES;
    const RUN: usize = <S as Simd>::RUN;
    const PIXEL: usize = <S as Simd>::LANES;
    const IMAGE_STEP: usize = 2 * Image::CHANNELS;
    type Input = S::V;
    type Filter = S::V;
    type Sum = S::V;

    #[inline(always)]
    unsafe fn splat_input(self, word: *const f32) -> S::V {
        // SAFETY: the caller vouches for the word.
        self.splat(unsafe { *word })
    }
    #[inline(always)]
    unsafe fn load_filter(self, from: *const f32) -> S::V {
        // SAFETY: the caller vouches for the vector.
        unsafe { self.load(from) }
    }
    #[inline(always)]
    fn dot(self, input: S::V, filter: S::V, sum: S::V) -> S::V {
        self.mul_add(input, filter, sum)
    }
}

/// Implements [`Simd`] by one intrinsic an operation.
macro_rules! simd_by_intrinsics {
    (
        $token:ident, $vector:ty, $lanes:literal, run: $run:literal,
        splat: $splat:ident, load: $load:ident, store: $store:ident,
        mul_add: |$a:ident, $b:ident, $c:ident| $mul_add:expr,
        add: $add:ident, sub: $sub:ident, mul: $mul:ident, div: $div:ident, max: $max:ident, sqrt: $sqrt:ident,
        where_greater: |$ga:ident, $gb:ident, $gx:ident| $where_greater:expr,
        where_equal: |$ea:ident, $eb:ident, $ex:ident| $where_equal:expr,
    ) => {
        /// Proof that the processor has the instruction set.
        #[derive(Clone, Copy)]
        pub(crate) struct $token {
            _proof: (),
        }

        // SAFETY, for every block: `self` proves the instruction set; for `load` and `store`, the caller vouches
        // for the pointer. Intrinsics of a target's own baseline need no `unsafe`.
        #[allow(unused_unsafe)]
        impl Simd for $token {
            const LANES: usize = $lanes;
            const RUN: usize = $run;
            type V = $vector;

            #[inline(always)]
            fn splat(self, x: f32) -> $vector {
                // SAFETY: see above.
                unsafe { $splat(x) }
            }
            #[inline(always)]
            unsafe fn load(self, from: *const f32) -> $vector {
                // SAFETY: see above.
                unsafe { $load(from) }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut f32, v: $vector) {
                // SAFETY: see above.
                unsafe { $store(to, v) }
            }
            #[inline(always)]
            fn mul_add(self, $a: $vector, $b: $vector, $c: $vector) -> $vector {
                // SAFETY: see above.
                unsafe { $mul_add }
            }
            #[inline(always)]
            fn add(self, a: $vector, b: $vector) -> $vector {
                // SAFETY: see above.
                unsafe { $add(a, b) }
            }
            #[inline(always)]
            fn sub(self, a: $vector, b: $vector) -> $vector {
                // SAFETY: see above.
                unsafe { $sub(a, b) }
            }
            #[inline(always)]
            fn mul(self, a: $vector, b: $vector) -> $vector {
                // SAFETY: see above.
                unsafe { $mul(a, b) }
            }
            #[inline(always)]
            fn div(self, a: $vector, b: $vector) -> $vector {
                // SAFETY: see above.
                unsafe { $div(a, b) }
            }
            #[inline(always)]
            fn max(self, a: $vector, b: $vector) -> $vector {
                // SAFETY: see above.
                unsafe { $max(a, b) }
            }
            #[inline(always)]
            fn sqrt(self, a: $vector) -> $vector {
                // SAFETY: see above.
                unsafe { $sqrt(a) }
            }
            #[inline(always)]
            fn where_greater(self, $ga: $vector, $gb: $vector, $gx: $vector) -> $vector {
                // SAFETY: see above.
                unsafe { $where_greater }
            }
            #[inline(always)]
            fn where_equal(self, $ea: $vector, $eb: $vector, $ex: $vector) -> $vector {
                // SAFETY: see above.
                unsafe { $where_equal }
            }
        }
    };
}

// Unused where a target has portable kernels only.
#[allow(unused_imports)]
pub(crate) use simd_by_intrinsics;
