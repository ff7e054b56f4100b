use std::num::NonZeroUsize;
use std::path::Path;

use featvec::extractor::RunOptions;
use featvec::fetch::FetchOptions;
use featvec::{ErrorKind, LoadOptions, Module};

use super::{LIMIT_BYTES, Reached, Target, limits};
use crate::corpus;
use crate::mutate::checkpoint::Checkpoint;
use crate::mutate::message::{self, Message};
use crate::mutate::tar;
use crate::rng::Rng;

/// Whole modules, of which the graph is recognized and the first variables are there: a sound one is refused for the
/// variables that are missing.
pub struct LoadedModule {
    graph: Message,
    variables: Checkpoint,
    options: LoadOptions,
}

impl LoadedModule {
    pub fn new() -> LoadedModule {
        let (index, shard) = corpus::first_variables();
        let run = RunOptions { threads: NonZeroUsize::new(1), ..RunOptions::default() };
        let fetch = FetchOptions { limits: limits(), ..FetchOptions::from_env() };
        LoadedModule {
            graph: message::parse(&corpus::graph()).expect("the graph of the corpus is a message"),
            variables: Checkpoint::new(&index, &shard),
            options: LoadOptions { run, fetch, ..LoadOptions::default() },
        }
    }
}

/// Where a module has its checkpoint.
const VARIABLES: &str = "variables/variables";

fn archive(graph: &Message, [index, shard]: [tar::Member; 2]) -> Vec<u8> {
    let module = tar::Member::file("tfhub_module.pb", vec![0x08, 0x03]);
    let graph = tar::Member::file("saved_model.pb", message::encode(graph));
    tar::write_sound([module, graph, index, shard])
}

impl Target for LoadedModule {
    fn name(&self) -> &'static str {
        "module"
    }

    fn most_bytes(&self, _: &[u8]) -> u64 {
        // The archive's members, the graph (its limit's documentation says thirty times), the variables.
        35 * LIMIT_BYTES
    }

    fn mutate(&self, rng: &mut Rng) -> Vec<u8> {
        let (mut graph, mut variables) = (self.graph.clone(), self.variables.clone());
        if rng.one_in(5) {
            variables.mutate(rng);
        } else {
            message::mutate(&mut graph, rng);
        }
        let checkpoint = variables.members(VARIABLES, rng);
        archive(&graph, checkpoint)
    }

    /// The first check is that the graph and the checkpoint can be read: errors of after it are mismatches.
    fn read(&self, input: &Path, _: &[u8], _: &Path) -> Reached {
        let path = input.to_str().expect("a temporary folder has a name in UTF-8");
        let result = Module::load_with(path, &self.options, &mut |_| {});
        Reached::new(&result, |error| matches!(error.kind(), ErrorKind::Mismatch | ErrorKind::Argument))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    /// The graph is recognized, and then the third convolution's variables are looked for.
    #[test]
    fn the_corpus_lacks_nothing_but_variables() {
        let target = LoadedModule::new();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("module.tar");
        std::fs::write(&path, archive(&target.graph, target.variables.sound_members(VARIABLES))).unwrap();
        let result = Module::load_with(path.to_str().unwrap(), &target.options, &mut |_| {});
        let error = result.map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("Conv2d_2c_3x3/weights\": it is missing"), "{error}");
    }
}
