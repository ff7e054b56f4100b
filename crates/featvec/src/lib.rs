//! Images to feature vectors with Inception V1, exactly as the TF-Hub module
//! `google/imagenet/inception_v1/feature_vector/1` computes them.
//!
//! ```text
//! bytes ─ image::decode ─► Rgb8 ─ Preset::prepare ─► [n, h, w, 3] in [0, 1] ─ Module::run ─► [n, 1024]
//! ```
#![forbid(unsafe_code)]

pub mod accuracy;
pub mod bench;
pub mod cache;
pub mod calibration;
pub mod classify;
pub mod compare;
pub mod distill;
pub mod export;
pub mod extractor;
pub mod fetch;
pub mod handle;
pub mod image;
pub mod labels;
pub mod module;
pub mod network;
pub mod pictures;
pub mod plan;
pub mod preset;
mod random;
pub mod tensor;
pub mod train;
pub mod variables;

pub use cache::Cache;
pub use featvec_formats::{DataType, Error, ErrorKind, Limits, Result, grouped, npy};
pub use featvec_kernels::Kernels;
pub use labels::Labels;
pub use module::{LoadOptions, Module};
pub use plan::Precision;
pub use preset::Preset;
pub use tensor::Tensor;
