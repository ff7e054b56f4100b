//! Feature vectors of files, with a cache and without.

mod common;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use common::shared;
use featvec::export::{GraphOptions, to_hub_module};
use featvec::feature_cache::FeatureCache;
use featvec::features::{Features, Origin};
use featvec::image::Fidelity;
use featvec::pictures::Preparation;
use featvec::variables::Shift;
use featvec::{Module, Preset};

fn photos() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/photos");
    ["chelsea.jpg", "README.md", "rocket.jpg", "coffee.jpg"].map(|name| folder.join(name)).to_vec()
}

/// Vectors, and where they came from; none for what is no picture.
type Outcome = Vec<Option<(Vec<f32>, Origin)>>;

fn read(module: &Module, preset: Preset, cache: Option<&Path>) -> Outcome {
    read_prepared(module, &Preparation::new(preset, module.expected_image_size().unwrap()), cache)
}

fn read_prepared(module: &Module, preparation: &Preparation, cache: Option<&Path>) -> Outcome {
    let cache = cache.map(|path| FeatureCache::open(path).unwrap());
    let mut features = Features::new(module, preparation, NonZeroUsize::new(3).unwrap(), cache).unwrap();
    let mut origins = Vec::new();
    let vectors = features.read(&photos(), &mut |_, origin| origins.push(origin.ok())).unwrap();
    vectors.into_iter().zip(origins).map(|(vector, origin)| vector.ok().zip(origin)).collect()
}

#[test]
fn a_vector_has_the_same_bits_wherever_it_comes_from() {
    let Some(module) = shared("reference/feature_vector.tar.gz") else { return };
    let module = Module::load(module.to_str().unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("features");
    let vectors =
        |outcome: &Outcome| outcome.iter().flatten().map(|(vector, _)| vector.clone()).collect::<Vec<_>>();
    let origins = |outcome: &Outcome| {
        outcome.iter().map(|one| one.as_ref().map(|(_, origin)| *origin)).collect::<Vec<_>>()
    };
    let (computed, cached) = (Some(Origin::Computed), Some(Origin::Cached));

    let without = read(&module, Preset::Tf1Retrain, None);
    let first = read(&module, Preset::Tf1Retrain, Some(&file));
    let second = read(&module, Preset::Tf1Retrain, Some(&file));
    assert_eq!(origins(&first), [computed, None, computed, computed]);
    assert_eq!(origins(&second), [cached, None, cached, cached]);
    assert!(vectors(&without) == vectors(&first) && vectors(&first) == vectors(&second));
    assert_eq!(vectors(&first)[0].len(), 1024);

    // Another preset, way of decoding or module has vectors of its own; a classifying layer changes none.
    let other = read(&module, Preset::SlimEval, Some(&file));
    assert_eq!(origins(&other), origins(&first));
    let mut fast = Preparation::new(Preset::Tf1Retrain, module.expected_image_size().unwrap());
    fast.decode.fidelity = Fidelity::Fast;
    assert_eq!(origins(&read_prepared(&module, &fast, Some(&file))), origins(&first));
    let checkpoint = shared("reference/inception_v1.ckpt").unwrap();
    let checkpoint = Module::load(checkpoint.to_str().unwrap()).unwrap();
    let same_network = checkpoint
        .variables()
        .convs
        .iter()
        .zip(&module.variables().convs)
        .all(|(a, b)| a.named() == b.named());
    let expected = if same_network { origins(&second) } else { origins(&first) };
    assert_eq!(origins(&read(&checkpoint, Preset::Tf1Retrain, Some(&file))), expected);
}

#[test]
fn features_that_are_no_numbers_are_told_and_not_kept() {
    let Some(module) = shared("reference/feature_vector.tar.gz") else { return };
    let module = Module::load(module.to_str().unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut variables = module.variables().clone();
    // Finite numbers, whose sum over a map is not.
    for conv in &mut variables.convs {
        if let Shift::BatchNorm { beta, .. } = &mut conv.shift {
            beta.fill(f32::MAX);
        }
    }
    let path = folder.path().join("module");
    to_hub_module(&variables, &GraphOptions::of(&module).unwrap(), &path).unwrap();
    let module = Module::load(path.to_str().unwrap()).unwrap();
    let preparation = Preparation::new(Preset::default(), module.expected_image_size().unwrap());
    let cache = FeatureCache::open(&folder.path().join("features")).unwrap();
    let mut features = Features::new(&module, &preparation, NonZeroUsize::MIN, Some(cache)).unwrap();
    let vectors = features.read(&photos()[..1], &mut |_, origin| assert!(origin.is_err())).unwrap();
    let error = vectors[0].as_ref().unwrap_err().to_string();
    assert!(error.contains("of this picture is"), "{error}");
    assert!(FeatureCache::open(&folder.path().join("features")).unwrap().is_empty());
}
