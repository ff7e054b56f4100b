//! Modules in the formats of other programs, with batch normalisation folded into the convolutions.

mod onnx;

pub use featvec_formats::onnx::Model as OnnxModel;
pub use onnx::to_onnx;

use crate::module::DEFAULT;

/// What of a module is exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportOptions {
    /// The signature whose outputs are meant.
    pub signature: String,
    /// The outputs by name, each once, in the order that they are to have.
    pub outputs: Vec<String>,
    /// Height and width of the pictures; none means [`Module::expected_image_size`](crate::Module::expected_image_size).
    pub size: Option<[usize; 2]>,
}

impl Default for ExportOptions {
    fn default() -> ExportOptions {
        ExportOptions { signature: DEFAULT.to_string(), outputs: vec![DEFAULT.to_string()], size: None }
    }
}
