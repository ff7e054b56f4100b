//! Examples, as TensorFlow writes them, and wrong in one way.

use featvec_formats::example::{ENCODED, LABEL};
use featvec_formats::protobuf::Writer;
use featvec_formats::{ErrorKind, Example, Limits};

use crate::support::{assert_error, message, small_limits};

const BYTES: u32 = 1;
const FLOATS: u32 = 2;
const INTS: u32 = 3;

/// An example with the one feature `name`, whose list of type `kind` is filled by `fill`.
fn feature(name: &str, kind: u32, fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
    message(|example| {
        example.message(1, |features| {
            features.message(1, |entry| {
                entry.bytes(1, name).message(2, |feature| {
                    feature.message(kind, fill);
                });
            });
        });
    })
}

fn parse(bytes: &[u8]) -> featvec_formats::Result<Example<'_>> {
    Example::parse(bytes, &small_limits())
}

/// `tf.train.Example(...).SerializeToString()` of TensorFlow 2.15 with a picture of the bytes "jpeg" and the label 7.
const BY_TENSORFLOW: &[u8] =
    b"\x0a\x3b\x0a\x1a\x0a\x11image/class/label\x12\x05\x1a\x03\x0a\x01\x07\x0a\x1d\x0a\x0dimage/encoded\x12\x0c\x0a\x0a\x0a\x08\xff\xd8\xff\xe0jpeg";

#[test]
fn an_example_of_tensorflow_is_read() {
    let example = parse(BY_TENSORFLOW).unwrap();
    assert_eq!(example.names().collect::<Vec<_>>(), [LABEL, ENCODED]);
    assert_eq!(example.int64(LABEL).unwrap(), 7);
    assert_eq!(example.bytes(ENCODED).unwrap(), b"\xff\xd8\xff\xe0jpeg");
}

#[test]
fn numbers_are_read_packed_or_not() {
    let packed = feature(LABEL, INTS, |list| _ = list.packed_int64(1, &[-3]));
    let single = feature(LABEL, INTS, |list| _ = list.int64(1, -3));
    for bytes in [packed, single] {
        assert_eq!(parse(&bytes).unwrap().int64(LABEL).unwrap(), -3);
    }
}

#[test]
fn of_two_features_of_one_name_the_last_counts() {
    let mut bytes = feature(LABEL, INTS, |list| _ = list.int64(1, 1));
    bytes.extend(feature(LABEL, INTS, |list| _ = list.int64(1, 2)));
    assert_eq!(parse(&bytes).unwrap().int64(LABEL).unwrap(), 2);
}

#[test]
fn a_missing_feature_is_told_with_those_there_are() {
    let bytes = feature("image/height", INTS, |list| _ = list.int64(1, 1));
    let example = parse(&bytes).unwrap();
    assert_error(example.bytes(ENCODED), ErrorKind::Mismatch, "no feature \"image/encoded\"");
    assert_error(example.bytes(ENCODED), ErrorKind::Mismatch, "it has \"image/height\"");
    assert_error(parse(&[]).unwrap().int64(LABEL), ErrorKind::Mismatch, "it has nothing");
}

#[test]
fn a_feature_of_another_type_is_refused() {
    let bytes = feature(LABEL, FLOATS, |list| _ = list.packed_float(1, &[1.0]));
    let expected = "whole numbers expected, floats found";
    assert_error(parse(&bytes).unwrap().int64(LABEL), ErrorKind::Mismatch, expected);
    let bytes = feature(ENCODED, INTS, |list| _ = list.int64(1, 1));
    let expected = "bytes expected, whole numbers found";
    assert_error(parse(&bytes).unwrap().bytes(ENCODED), ErrorKind::Mismatch, expected);
}

#[test]
fn a_feature_has_one_value() {
    let none = "one value expected, no value found";
    let several = "one value expected, several values found";
    for (values, expected) in [(&[][..], none), (&[1, 2], several)] {
        let bytes = feature(LABEL, INTS, |list| _ = list.packed_int64(1, values));
        assert_error(parse(&bytes).unwrap().int64(LABEL), ErrorKind::Mismatch, expected);
        let bytes = feature(ENCODED, BYTES, |list| values.iter().for_each(|_| _ = list.bytes(1, "x")));
        assert_error(parse(&bytes).unwrap().bytes(ENCODED), ErrorKind::Mismatch, expected);
    }
    let unset = message(|example| {
        example.message(1, |features| {
            features.message(1, |entry| _ = entry.bytes(1, LABEL));
        });
    });
    assert_error(parse(&unset).unwrap().int64(LABEL), ErrorKind::Mismatch, none);
}

#[test]
fn every_cut_is_noticed() {
    for cut in 1..BY_TENSORFLOW.len() {
        assert_eq!(parse(&BY_TENSORFLOW[..cut]).unwrap_err().kind(), ErrorKind::Corrupt, "{cut}");
    }
}

#[test]
fn bytes_that_are_no_example_are_refused() {
    assert_error(parse(b"\x08\x01\x0a"), ErrorKind::Corrupt, "Example");
    assert_error(parse(b"\x08\x01\x0f"), ErrorKind::Corrupt, "Example field 1");
}

#[test]
fn a_packed_number_that_is_cut_short_is_noticed() {
    let bytes = feature(LABEL, INTS, |list| _ = list.bytes(1, [0x80]));
    assert_error(parse(&bytes).unwrap().int64(LABEL), ErrorKind::Corrupt, "cut short");
}

#[test]
fn more_features_than_the_limit_are_refused() {
    let bytes: Vec<u8> = (0..3).flat_map(|index| feature(&format!("f{index}"), INTS, |_| {})).collect();
    let limits = Limits { tensors: 2, ..small_limits() };
    assert_error(Example::parse(&bytes, &limits), ErrorKind::Limit, "raise the limit tensors");
}
