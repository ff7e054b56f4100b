//! Messages that are wrong on the wire.

use featvec_formats::protobuf::{Field, Message};
use featvec_formats::{ErrorKind, Limits, Result};

use crate::support::{assert_error, message};

fn first(bytes: &[u8]) -> Result<Option<Field<'_>>> {
    Message::new("Test", bytes, &Limits::default()).next_field()
}

fn field(bytes: &[u8]) -> Field<'_> {
    first(bytes).unwrap().unwrap()
}

#[test]
fn truncated_fields_name_message_and_number() {
    for (bytes, text) in [
        (&[0x80][..], "Test: a field's tag is cut short"),
        (&[0x08], "Test field 1: not a whole number"),
        (&[0x08, 0x80], "Test field 1: not a whole number"),
        (&[0x11, 0, 0], "Test field 2: 8 bytes promised, 2 left"),
        (&[0x1a, 5, 0], "Test field 3: 5 bytes promised, 1 left"),
        (&[0x1a, 0xff], "Test field 3: its length is cut short"),
        (&[0x25, 0], "Test field 4: 4 bytes promised, 1 left"),
    ] {
        assert_error(first(bytes), ErrorKind::Corrupt, text);
    }
}

#[test]
fn a_length_beyond_memory_is_refused() {
    let bytes = [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    assert_error(first(&bytes), ErrorKind::Corrupt, "18446744073709551615 bytes promised, 0 left");
}

#[test]
fn a_number_beyond_64_bits_is_refused() {
    let bytes = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
    assert_error(first(&bytes), ErrorKind::Corrupt, "not a whole number");
}

#[test]
fn groups_and_unused_wire_types_are_refused() {
    for wire_type in [3, 4, 6, 7] {
        assert_error(first(&[0x08 | wire_type]), ErrorKind::Corrupt, "is not in use");
    }
}

#[test]
fn field_numbers_that_cannot_be_are_refused() {
    assert_error(first(&[0x00, 0]), ErrorKind::Corrupt, "no field number");
    assert_error(first(&[0x80, 0x80, 0x80, 0x80, 0x10, 0]), ErrorKind::Corrupt, "no field number");
}

#[test]
fn a_field_of_another_wire_type_says_both() {
    let number = [0x08, 1];
    assert_error(field(&number).bytes(), ErrorKind::Corrupt, "Test field 1: bytes expected, a number found");
    assert_error(field(&number).float(), ErrorKind::Corrupt, "four bytes expected, a number found");
    assert_error(
        field(&[0x0a, 0]).int64(),
        ErrorKind::Corrupt,
        "a number expected, bytes with a length found",
    );
}

#[test]
fn an_int32_beyond_32_bits_is_refused() {
    let bytes = message(|writer| {
        writer.int64(1, 1 << 31);
    });
    assert_error(field(&bytes).int32(), ErrorKind::Corrupt, "2147483648 does not fit 32 bits");
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    assert_error(field(&[0x0a, 1, 0xff]).string(), ErrorKind::Corrupt, "not UTF-8");
}

#[test]
fn packed_numbers_that_are_cut_short_end_the_iteration() {
    let bytes = [0x0a, 2, 1, 0x80];
    let mut values = field(&bytes).varints().unwrap();
    assert_eq!(values.next().unwrap().unwrap(), 1);
    assert_error(values.next().unwrap(), ErrorKind::Corrupt, "a packed number is cut short");
    assert!(values.next().is_none());
}

#[test]
fn messages_nested_too_deeply_are_refused() {
    let mut bytes = Vec::new();
    for _ in 0..100 {
        bytes = message(|writer| {
            writer.bytes(1, &bytes);
        });
    }
    let mut nested = Message::new("Test", &bytes, &Limits::default());
    let mut depth = 0;
    let error = loop {
        match nested.next_field().unwrap().unwrap().message("Test") {
            Ok(inner) => nested = inner,
            Err(error) => break error,
        }
        depth += 1;
    };
    assert_eq!((depth, error.kind()), (Limits::default().message_depth, ErrorKind::Limit));
}
