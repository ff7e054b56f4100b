//! The operations that the kernels are written in, once for all instruction sets.

/// Vectors of `f32` of one instruction set.
///
/// A value of the implementing type is the proof that the processor has the instruction set: it is made in the
/// `#[target_feature]` entry points of [`arch`](crate::arch) only, and those are reached through a
/// [`Kernels`](crate::Kernels) that detection handed out. Everything generic over `Simd` is `#[inline(always)]`, so
/// that it is compiled inside such an entry point; otherwise each operation would become a call.
pub(crate) trait Simd: Copy {
    /// Elements of a vector.
    const LANES: usize;
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
}
