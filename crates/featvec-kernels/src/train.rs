//! What training does to batches of maps: forward, and back from the gradient of what came out to the gradients of what went
//! in and of what was trained.

mod convolution;
mod filter_gradient;
mod image_convolution;
mod pass;
mod scratch;
mod strided;
mod winograd_gradient;

pub use convolution::{Algorithm, Convolution};
pub use image_convolution::ImageConvolution;
pub use scratch::Scratch;

pub(crate) use filter_gradient::{GradientTile, gradient_tile};
pub(crate) use strided::Strided;
