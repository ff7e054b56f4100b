//! A genuine module whose graph was changed in one place: what differs from Inception V1 is refused by name, what the
//! network can do is read from the graph. The changes keep the length of every field, so the file stays sound.

mod common;

use std::fs::{self, File};
use std::path::Path;

use common::shared;
use featvec::{Error, Limits, LoadOptions, Module};

/// The reference module as a folder whose graph went through `change`; none where the shared data is missing.
fn load(change: impl Fn(&mut Vec<u8>)) -> Option<Result<Module, Error>> {
    let archive = shared("reference/feature_vector.tar.gz")?;
    let folder = tempfile::tempdir().unwrap();
    featvec_formats::archive::extract(File::open(archive).unwrap(), folder.path(), &Limits::default())
        .unwrap();
    let graph = folder.path().join("saved_model.pb");
    let mut bytes = fs::read(&graph).unwrap();
    change(&mut bytes);
    fs::write(&graph, bytes).unwrap();
    Some(load_folder(folder.path()))
}

fn load_folder(folder: &Path) -> Result<Module, Error> {
    Module::load_with(folder.to_str().unwrap(), &LoadOptions::default(), &mut |_| {})
}

/// Where `needle` begins in `bytes`, the `skip`th time after `start`.
fn find(bytes: &[u8], needle: &[u8], (start, skip): (usize, usize)) -> usize {
    let hits = bytes[start..].windows(needle.len()).enumerate().filter(|(_, window)| *window == needle);
    start + hits.map(|(at, _)| at).nth(skip).expect("the graph has what is to be changed")
}

fn replace_once(bytes: &mut [u8], from: &[u8], to: &[u8], place: (usize, usize)) {
    assert_eq!(from.len(), to.len());
    let at = find(bytes, from, place);
    bytes[at..at + to.len()].copy_from_slice(to);
}

fn replace_all(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    let mut at = 0;
    while let Some(hit) = bytes[at..].windows(from.len()).position(|window| window == from) {
        bytes[at + hit..][..to.len()].copy_from_slice(to);
        at += hit + to.len();
    }
}

fn refusal(change: impl Fn(&mut Vec<u8>)) -> Option<String> {
    Some(load(change)?.err().expect("the module must be refused").to_string())
}

const EPSILON: [u8; 4] = 0.001f32.to_le_bytes();

#[test]
fn another_activation_is_refused() {
    let change = |bytes: &mut Vec<u8>| replace_once(bytes, b"\x12\x04Relu", b"\x12\x04Selu", (0, 20));
    let Some(message) = refusal(change) else { return };
    assert!(message.contains("not Inception V1") && message.contains("Relu expected"), "{message}");
    assert!(message.contains("Selu found") && message.contains("57 convolutions"), "{message}");
}

#[test]
fn another_pooling_or_padding_is_refused() {
    let change = |bytes: &mut Vec<u8>| replace_all(bytes, b"\x12\x07MaxPool", b"\x12\x07AvgPool");
    let Some(message) = refusal(change) else { return };
    assert!(message.contains("MaxPool expected"), "{message}");
    let message = refusal(|bytes| replace_all(bytes, b"\x12\x04SAME", b"\x12\x04FULL")).unwrap();
    assert!(message.contains("padding FULL, not SAME"), "{message}");
}

#[test]
fn epsilon_is_read_and_must_be_the_same_everywhere() {
    let centi = 0.01f32.to_le_bytes();
    let Some(module) = load(|bytes| replace_all(bytes, &EPSILON, &centi)) else { return };
    assert_eq!(module.unwrap().variables().epsilon, 0.01);
    let message = refusal(|bytes| replace_once(bytes, &EPSILON, &centi, (0, 30))).unwrap();
    assert!(message.contains("epsilon"), "{message}");
}

#[test]
fn the_scale_of_the_picture_is_read() {
    let change = |bytes: &mut Vec<u8>| {
        let constant = find(bytes, b"hub_input/Mul/y", (0, 0));
        replace_once(bytes, &2f32.to_le_bytes(), &8f32.to_le_bytes(), (constant, 0));
    };
    let Some(module) = load(change) else { return };
    let affine = module.unwrap().variables().affine;
    assert_eq!((affine.scale, affine.offset), ([8.0; 3], [-1.0; 3]));
}

#[test]
fn an_input_that_is_no_picture_is_refused() {
    let change = |bytes: &mut Vec<u8>| replace_all(bytes, b"\x12\x03Sub", b"\x12\x03Pow");
    let Some(message) = refusal(change) else { return };
    assert!(message.contains("Pow before the first convolution"), "{message}");
}

#[test]
fn a_graph_and_variables_of_different_modules_are_refused() {
    let change = |bytes: &mut Vec<u8>| {
        replace_all(
            bytes,
            b"Mixed_5c/Branch_3/Conv2d_0b_1x1/weights",
            b"Mixed_5c/Branch_3/Conv2d_0x_1x1/weights",
        );
    };
    let Some(message) = refusal(change) else { return };
    assert!(message.contains("Conv2d_0x_1x1/weights") && message.contains("missing"), "{message}");
}
