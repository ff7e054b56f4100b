use std::path::Path;

use featvec_formats::Caffemodel;

use super::{LIMIT_BYTES, Reached, Target, limits};
use crate::corpus;
use crate::mutate::message::{self, Message};
use crate::rng::Rng;

/// Networks of Caffe, in both forms.
pub struct CaffemodelFile {
    models: [Message; 2],
}

impl CaffemodelFile {
    pub fn new() -> CaffemodelFile {
        let parse = |bytes: Vec<u8>| message::parse(&bytes).expect("what the writer wrote is a message");
        CaffemodelFile { models: corpus::caffemodels().map(parse) }
    }
}

impl Target for CaffemodelFile {
    fn name(&self) -> &'static str {
        "caffemodel"
    }

    fn most_bytes(&self, _: &[u8]) -> u64 {
        // All blobs, the last of them still growing.
        3 * LIMIT_BYTES
    }

    fn mutate(&self, rng: &mut Rng) -> Vec<u8> {
        let mut model = self.models[rng.below(self.models.len())].clone();
        message::mutate(&mut model, rng);
        message::encode(&model)
    }

    /// A caffemodel has no magic number. The first check is that the outermost message can be told into fields, of
    /// which one is a layer.
    fn read(&self, _: &Path, bytes: &[u8], _: &Path) -> Reached {
        let result = Caffemodel::parse(bytes, &limits());
        Reached::new(&result, |error| !error.place().starts_with("NetParameter") && !error.place().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::tests::read;

    #[test]
    fn the_corpus_is_sound() {
        let target = CaffemodelFile::new();
        for model in &target.models {
            assert_eq!(read(&target, &message::encode(model)), Reached::End);
        }
    }
}
