//! Asking for cache lines before they are used. Any address will do: one that cannot be read is ignored.

/// Brings the line into the first-level cache.
#[inline(always)]
pub(crate) fn near(from: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: part of every such processor; an address that cannot be read does nothing.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(from.cast());
    }
    // Stable Rust has nothing of the kind for other processors.
    #[cfg(not(target_arch = "x86_64"))]
    let _ = from;
}

/// Brings the line into the second-level cache.
#[inline(always)]
pub(crate) fn far(from: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as above.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(from.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = from;
}
