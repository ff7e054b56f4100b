//! The training step against TensorFlow's, and against plain loops in `f64`.

#[path = "../common/mod.rs"]
mod common;
mod reference;
mod reference_itself;
mod small;
mod step;
