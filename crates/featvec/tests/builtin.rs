//! The module that comes with featvec.
#![cfg(feature = "builtin")]

use std::path::Path;

use featvec::builtin::{self, BUILTIN};
use featvec::export::{GraphOptions, to_compact, to_hub_module};
use featvec::module::{DEFAULT, Format, IMAGE_CLASSIFICATION, IMAGE_FEATURE_VECTOR, read_about};
use featvec::{ErrorKind, LoadOptions, Module, Tensor};

fn project(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Two small pictures of no symmetry.
fn images() -> Tensor {
    let pixel = |i: usize| (i.wrapping_mul(2_654_435_761) >> 7 & 0xff) as f32 / 255.0;
    Tensor::new([2, 64, 64, 3], (0..2 * 64 * 64 * 3).map(pixel).collect::<Vec<_>>()).unwrap()
}

fn load(handle: &str, tags: &[&str]) -> Module {
    let tags = tags.iter().map(|tag| tag.to_string()).collect();
    let options = LoadOptions { tags, any_size: true, ..LoadOptions::default() };
    Module::load_with(handle, &options, &mut |_| {}).unwrap()
}

#[test]
fn it_is_a_whole_module() {
    let module = load(BUILTIN, &[]);
    assert_eq!((module.handle(), module.path(), module.format()), (BUILTIN, None, Format::Compact));
    assert_eq!(module.expected_image_size().unwrap(), [224, 224]);
    assert_eq!(module.variables().named().count(), 230);
    let signatures: Vec<&str> = module.signatures().keys().map(String::as_str).collect();
    assert_eq!(signatures, [DEFAULT, IMAGE_CLASSIFICATION, IMAGE_FEATURE_VECTOR]);
    let images = images();
    assert_eq!(module.run(&images).unwrap().shape(), [2, 1024]);
    let logits = module.run_outputs(IMAGE_CLASSIFICATION, &images, &[DEFAULT]).unwrap();
    assert_eq!(logits[0].shape(), [2, 1001]);

    let training = load(BUILTIN, &["train"]);
    assert_ne!(training.run(&images).unwrap(), module.run(&images).unwrap());
    let tags = LoadOptions { tags: ["serve".to_string()].into(), ..LoadOptions::default() };
    let Err(error) = Module::load_with(BUILTIN, &tags, &mut |_| {}) else { panic!("no such tag") };
    assert_eq!(error.kind(), ErrorKind::Argument);
}

/// Its batch normalisation has true statistics, so that it can be trained on.
#[test]
fn moving_averages_are_those_of_pictures() {
    let module = load(BUILTIN, &[]);
    for (name, _, values) in module.variables().named().filter(|(name, ..)| name.ends_with("moving_variance"))
    {
        assert!(values.iter().all(|variance| (1e-4..1e4).contains(variance)), "{name}");
    }
}

#[test]
fn its_hub_module_has_the_same_vectors() {
    let module = load(BUILTIN, &[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hub");
    to_hub_module(module.variables(), &GraphOptions::of(&module).unwrap(), &path).unwrap();
    let exported = load(path.to_str().unwrap(), &[]);
    assert_eq!(exported.format(), Format::HubModule);
    let images = images();
    for signature in [IMAGE_FEATURE_VECTOR, IMAGE_CLASSIFICATION] {
        let [a, b] = [&module, &exported].map(|m| m.run_outputs(signature, &images, &[DEFAULT]).unwrap());
        assert!(a == b, "{signature}");
    }
}

#[test]
fn its_file_is_small_and_is_written_to_the_same_bytes_again() {
    let bytes = builtin::bytes().unwrap();
    assert!(bytes.len() <= 9_500_000, "{} bytes", bytes.len());
    let module = load(BUILTIN, &[]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.fvm");
    to_compact(module.variables(), &module.about().to_vec(), &file).unwrap();
    assert!(std::fs::read(&file).unwrap() == bytes);
}

#[test]
fn it_says_of_itself_what_the_crate_says() {
    let about = read_about(&project("crates/featvec-builtin/about.txt")).unwrap();
    assert_eq!(load(BUILTIN, &[]).about(), about);
    let text = |what: &str| &about.iter().find(|(known, _)| known == what).unwrap().1;
    assert!(text("what").contains("not Google's weights") && text("accuracy").contains("top-1"), "{about:?}");
}

#[test]
fn the_model_card_is_of_this_file_and_finished() {
    let card = std::fs::read_to_string(project("docs/model-card.md")).unwrap();
    assert!(card.contains(&builtin::sha256().unwrap()), "the hash is {}", builtin::sha256().unwrap());
    for text in [card, std::fs::read_to_string(project("crates/featvec-builtin/about.txt")).unwrap()] {
        let todo = text.lines().find(|line| line.contains("TODO"));
        assert!(todo.is_none(), "{todo:?}");
    }
}
