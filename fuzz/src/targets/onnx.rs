use std::path::Path;

use featvec_formats::onnx::Model;

use super::{LIMIT_BYTES, Reached, Target, limits};
use crate::corpus;
use crate::mutate::message::{self, Message};
use crate::rng::Rng;

/// ONNX models.
pub struct OnnxFile {
    model: Message,
}

impl OnnxFile {
    pub fn new() -> OnnxFile {
        OnnxFile { model: message::parse(&corpus::onnx()).expect("what the writer wrote is a message") }
    }
}

impl Target for OnnxFile {
    fn name(&self) -> &'static str {
        "onnx"
    }

    fn most_bytes(&self, _: &[u8]) -> u64 {
        // All constants and names; and as many parts of the graph as the limits allow, the last list still growing.
        3 * LIMIT_BYTES
    }

    fn mutate(&self, rng: &mut Rng) -> Vec<u8> {
        let mut model = self.model.clone();
        message::mutate(&mut model, rng);
        message::encode(&model)
    }

    /// An ONNX model has no magic number. The first check is that the outermost message can be told into fields.
    fn read(&self, _: &Path, bytes: &[u8], _: &Path) -> Reached {
        let result = Model::parse(bytes, &limits());
        Reached::new(&result, |error| !error.place().starts_with("ModelProto") && !error.place().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::tests::read;

    #[test]
    fn the_corpus_is_sound() {
        let target = OnnxFile::new();
        assert_eq!(read(&target, &message::encode(&target.model)), Reached::End);
    }
}
