//! One file per instruction set: its [`Simd`](crate::simd::Simd) operations, those on bytes
//! ([`ByteDot`](crate::bytes::ByteDot)), and its entry points.

#[cfg(all(target_arch = "x86_64", target_os = "linux", target_pointer_width = "64"))]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512vnni;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avxvnni;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod portable;
