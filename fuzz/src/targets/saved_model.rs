use std::path::Path;

use featvec_formats::{Attr, Limits, Result, SavedModel};

use super::{Reached, Target, limits};
use crate::corpus;
use crate::mutate::message::{self, Message};
use crate::rng::Rng;

/// Graphs: one of TensorFlow 2 with functions, one of TF-Hub's library.
pub struct SavedModelFile {
    models: Vec<Message>,
}

/// Less than for other files: in memory a graph is a multiple of what it is on disk.
const GRAPH_BYTES: u64 = 256 << 10;

impl SavedModelFile {
    pub fn new() -> SavedModelFile {
        let small = corpus::fixture("featvec-formats/tests/fixtures/tf2_saved_model/saved_model.pb");
        let models = [small.clone(), small, corpus::graph()];
        let parse = |bytes: &Vec<u8>| message::parse(bytes).expect("a graph of the corpus is a message");
        SavedModelFile { models: models.iter().map(parse).collect() }
    }
}

impl Target for SavedModelFile {
    fn name(&self) -> &'static str {
        "saved_model"
    }

    fn most_bytes(&self, _: &[u8]) -> u64 {
        // What the documentation of `Limits::graph_bytes` says.
        30 * GRAPH_BYTES
    }

    fn mutate(&self, rng: &mut Rng) -> Vec<u8> {
        // The large one is slow, and so comes seldom.
        let model = if rng.one_in(16) { 2 } else { rng.below(2) };
        let mut model = self.models[model].clone();
        message::mutate(&mut model, rng);
        message::encode(&model)
    }

    /// A SavedModel has no magic number. The first check is that the two outermost messages can be told into fields.
    fn read(&self, _: &Path, bytes: &[u8], _: &Path) -> Reached {
        let limits = Limits { graph_bytes: GRAPH_BYTES, tensor_bytes: GRAPH_BYTES, ..limits() };
        let result = SavedModel::parse(bytes, &limits).and_then(|model| read_all(&model, &limits));
        Reached::new(&result, |error| {
            let outermost = ["SavedModel", "MetaGraphDef"];
            !outermost.iter().any(|message| error.place().starts_with(message)) && !error.place().is_empty()
        })
    }
}

/// Reads what is decoded only when it is asked for.
fn read_all(model: &SavedModel, limits: &Limits) -> Result<()> {
    for meta in &model.graphs {
        meta.variables(limits)?;
        meta.trainable_variables(limits)?;
        meta.image_module_info(limits)?;
        meta.node_collection("update_ops")?;
        for node in meta.graph.nodes() {
            if let Some(tensor) = node.attr("value").and_then(Attr::as_tensor) {
                tensor.decode(limits)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::tests::read;

    #[test]
    fn the_corpus_is_sound() {
        let target = SavedModelFile::new();
        for model in &target.models {
            assert_eq!(read(&target, &message::encode(model)), Reached::End);
        }
    }
}
