//! Arrays of numpy as sources.

mod common;

use common::{Files, only_error};
use featvec_collections::sources::SourceOptions;

fn npy(descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}");
    let header = format!("{header:<117}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn default() -> SourceOptions {
    SourceOptions::default()
}

#[test]
fn rows_are_images() {
    let files = Files::new();
    let values = [0.0, 0.25, 0.5, 1.0, 0.5, f32::NAN, 0.75, 0.5, 0.25];
    files.write("a.npy", npy("<f4", "False", "(3, 1, 1, 3)", &floats(&values)));
    let lines = files.items("a.npy", &default());
    assert_eq!(lines[0], "a.npy#0 | [1, 1, 1, 3] [0.0, 0.25, 0.5]");
    assert!(lines[1].starts_with("a.npy#1 | ! element 2 is NaN"), "{lines:?}");
    assert_eq!(lines[2], "a.npy#2 | [1, 1, 1, 3] [0.75, 0.5, 0.25]");
    files.write("b.npy", npy("|u1", "False", "(1, 1, 1, 3)", &[0, 255, 255]));
    assert_eq!(files.items("b.npy", &default()), ["b.npy#0 | [1, 1, 1, 3] [0.0, 1.0, 1.0]"]);
}

#[test]
fn what_breaks_off_goes_on_or_is_no_batch_of_images_is_an_item() {
    let files = Files::new();
    let two = floats(&[0.5; 6]);
    files.write("cut.npy", npy("<f4", "False", "(3, 1, 1, 3)", &two));
    files.write("long.npy", npy("<f4", "False", "(1, 1, 1, 3)", &two));
    let lines = files.items("cut.npy", &default());
    assert!(lines[2].starts_with("cut.npy | ! the array breaks off: 1 of 3 rows are missing"), "{lines:?}");
    let lines = files.items("long.npy", &default());
    assert!(lines[1].starts_with("long.npy | ! more than an array of [1, 1, 1, 3]"), "{lines:?}");
    for (name, bytes, message) in [
        ("shape.npy", npy("<f4", "False", "(2, 3)", &two), "an array of [2, 3], not [n, height, width, 3]"),
        ("fortran.npy", npy("<f4", "True", "(2, 1, 1, 3)", &two), "an array in Fortran's order"),
        (
            "none.npy",
            npy("<f4", "False", "(1000000000000000000, 0, 1, 3)", &[]),
            "the images in it have no pixels",
        ),
        ("huge.npy", npy("<f4", "False", "(1, 99999999, 99999999, 3)", &two), ""),
        ("text.npy", b"text, and not an array".to_vec(), "not an array of numpy"),
    ] {
        files.write(name, bytes);
        let error = only_error(&files, name, &default());
        assert!(error.to_string().starts_with(message), "{name}: {error}");
    }
}

#[test]
fn an_image_beyond_the_limit_is_refused_before_it_is_read() {
    let files = Files::new();
    files.write("a.npy", npy("<f4", "False", "(1, 10, 10, 3)", &[]));
    let options = SourceOptions { max_picture_bytes: 1199, ..default() };
    assert!(only_error(&files, "a.npy", &options).to_string().contains("more than 1199 bytes"));
}
