//! The arithmetic of Inception V1 on one machine: blocked convolution, direct and by Winograd's algorithm, of `f32` and
//! of bytes, pooling, normalisation, and the
//! [`Program`] that runs them over one arena on a [`Team`] of threads.
//!
//! This is the only crate of featvec with `unsafe` code. It knows no files, no layer names and no pictures: its
//! caller lays maps out in an arena and lists the steps; [`Program::push`] checks every offset once, so that
//! running needs no checks and allocates nothing.
//!
//! # Layout
//! A feature map is stored in blocks of `lanes` channels (NCHW16c on AVX-512, 8 on AVX2, 4 on NEON):
//! `[c / lanes][h + 2 * halo][w + 2 * halo][lanes]`. A convolution of size k reads a map with a halo of k / 2
//! zero pixels, so no tap needs a branch and the k taps of one filter row are contiguous. Branches of an inception
//! block store straight into their block planes of the concatenation.
//!
//! # The same bits for any batch and thread count
//! Every output element is accumulated by one thread over the whole depth in one order that depends on the
//! layer's shape and the instruction set alone; tiles and threads only divide the elements.
#![deny(unsafe_op_in_unsafe_fn)]

mod arch;
mod arena;
mod bytes;
mod claims;
mod conv;
mod convert;
mod group;
mod kernels;
mod lrn;
mod map;
mod maps;
mod matrix;
mod norm;
mod peak;
mod pool;
mod prefetch;
mod problem;
mod program;
mod quantize;
pub mod reference;
mod simd;
mod team;
mod times;
pub mod train;
pub mod winograd;

pub use arena::Workspace;
pub use conv::{Branch, Filter};
pub use kernels::Kernels;
pub use map::{Element, Image, Map, Padding};
pub use maps::Maps;
pub use pool::Pool;
pub use problem::StepInfo;
pub use program::{Affine, Lrn, Program, Step};
pub use quantize::rounding_bias;
pub use team::Team;
