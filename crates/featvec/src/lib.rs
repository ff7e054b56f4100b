//! Images to feature vectors with Inception V1, exactly as the TF-Hub module
//! `google/imagenet/inception_v1/feature_vector/1` computes them.
//!
//! ```text
//! bytes ─ image::decode ─► Rgb8 ─ Preset::prepare ─► [n, h, w, 3] in [0, 1] ─ Module::run ─► [n, 1024]
//! ```
#![forbid(unsafe_code)]

pub mod accuracy;
mod ahead;
pub mod augment;
pub mod batches;
pub mod bench;
pub mod builtin;
pub mod cache;
pub mod calibration;
pub mod checkpoints;
pub mod class_folder;
pub mod classify;
pub mod compare;
pub mod crops;
pub mod data_set;
pub mod distill;
pub mod evaluate;
pub mod examples;
pub mod export;
pub mod extractor;
pub mod feature_cache;
pub mod features;
pub mod fetch;
pub mod fine_tuning;
pub mod handle;
pub mod head;
pub mod image;
pub mod labels;
pub mod module;
pub mod network;
mod parallel;
pub mod pictures;
pub mod plan;
pub mod preset;
mod random;
pub mod recognition;
pub mod report;
pub mod split;
pub mod teacher;
pub mod tensor;
pub mod train;
pub mod training;
pub mod variables;

pub use cache::Cache;
pub use featvec_formats::{
    DataType, Error, ErrorKind, Limits, Result, events, grouped, npy, source, temporary_beside,
};
pub use featvec_kernels::Kernels;
pub use labels::Labels;
pub use module::{LoadOptions, Module};
pub use plan::Precision;
pub use preset::Preset;
pub use tensor::Tensor;
