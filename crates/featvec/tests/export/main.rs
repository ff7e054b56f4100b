//! Exported modules: read back by other code than wrote them, and compared with what the module itself computes.

mod onnx;
mod support;
mod tensorflow;
