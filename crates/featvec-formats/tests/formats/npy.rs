//! Arrays of numpy, as it documents them, and wrong in one way.

use std::io::Cursor;

use featvec_formats::npy::{RowWriter, header, read, read_header, write};
use featvec_formats::{DataType, ErrorKind, Limits, Result, Tensor, TensorData};

use crate::support::{assert_error, small_limits};

/// An array with the given header text and elements.
fn npy(header: &str, elements: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(elements);
    bytes
}

fn parse(header: &str, elements: &[u8]) -> Result<Tensor> {
    read(&npy(header, elements)[..], &small_limits())
}

#[test]
fn headers_are_read_in_any_order_and_spacing() {
    for header in [
        "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }            \n",
        "{\"shape\":(2,3),\"descr\":\"|u1\",\"fortran_order\":False}",
        "{ 'shape' : ( 2 , 3L ) , 'fortran_order' : False , 'descr' : '<u1' }\n",
    ] {
        let tensor = parse(header, b"abcdef").unwrap();
        assert_eq!(
            (tensor.shape(), tensor.data()),
            (&[2, 3][..], &TensorData::U8(b"abcdef".to_vec())),
            "{header}"
        );
    }
}

#[test]
fn shapes_of_every_rank_are_read() {
    for (shape, expected) in [("()", &[][..]), ("(1,)", &[1]), ("(1, 1, 1)", &[1, 1, 1])] {
        let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}");
        assert_eq!(parse(&header, b"x").unwrap().shape(), expected);
    }
}

#[test]
fn the_second_version_of_the_format_is_read() {
    let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (1,)}";
    let mut bytes = b"\x93NUMPY\x02\x00".to_vec();
    bytes.extend((header.len() as u32).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.push(7);
    assert_eq!(read(&bytes[..], &small_limits()).unwrap().data(), &TensorData::U8(vec![7]));
}

#[test]
fn fortran_order_is_turned_into_row_major_order() {
    let header = "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3)}";
    // Column by column: [[0, 2, 4], [1, 3, 5]].
    assert_eq!(parse(header, &[0, 1, 2, 3, 4, 5]).unwrap().data(), &TensorData::U8(vec![0, 2, 4, 1, 3, 5]));
    let header = "{'descr': '<u2', 'fortran_order': True, 'shape': (2, 1, 2)}";
    let elements = [0, 0, 1, 0, 2, 0, 3, 0];
    assert_eq!(parse(header, &elements).unwrap().data(), &TensorData::U16(vec![0, 2, 1, 3]));
}

#[test]
fn types_that_are_not_little_endian_numbers_are_refused() {
    for descr in ["'>f4'", "'<c8'", "'|S5'", "'|O'", "'<U4'", "'<f16'", "''"] {
        let header = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (1,)}}");
        assert_error(parse(&header, &[0; 64]), ErrorKind::Unsupported, "an array of type");
    }
    let records = "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}";
    assert_error(parse(records, &[0; 4]), ErrorKind::Unsupported, "an array of records");
}

#[test]
fn headers_that_are_damaged_are_refused() {
    for header in [
        "",
        "{}",
        "{'descr': '<f4'}",
        "{'descr': '<f4', 'fortran_order': Maybe, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': 1}",
        "{'descr: '<f4', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}",
        "['descr']",
        "{é: 1}",
    ] {
        assert_error(parse(header, &[0; 4]), ErrorKind::Corrupt, "header");
    }
}

#[test]
fn sizes_beyond_counting_and_beyond_the_limit_are_refused() {
    let header = |shape| format!("{{'descr': '<f4', 'fortran_order': True, 'shape': {shape}}}");
    assert_error(parse(&header("(1000000,)"), &[0; 4]), ErrorKind::Limit, "raise the limit tensor_bytes");
    let huge = "(9999999999, 9999999999, 9999999999)";
    assert_eq!(parse(&header(huge), &[0; 4]).unwrap_err().kind(), ErrorKind::Corrupt);
    let empty = "(9999999999, 9999999999, 0)";
    assert!(parse(&header(empty), &[]).unwrap().data().is_empty());
}

#[test]
fn a_header_longer_than_any_is_refused() {
    let bytes = b"\x93NUMPY\x02\x00\xff\xff\xff\xff";
    assert_error(read(&bytes[..], &Limits::default()), ErrorKind::Corrupt, "4 294 967 295 bytes long");
}

#[test]
fn every_truncation_and_every_surplus_is_refused() {
    let bytes = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", &[0; 8]);
    for length in 0..bytes.len() {
        assert!(read(&bytes[..length], &small_limits()).is_err(), "{length} bytes");
    }
    let surplus = [&bytes[..], &[0]].concat();
    assert_error(read(&surplus[..], &small_limits()), ErrorKind::Corrupt, "more than the 8 bytes");
    assert_error(
        read(&b"PK\x03\x04 zip"[..], &small_limits()),
        ErrorKind::Unsupported,
        "not an array of numpy",
    );
}

#[test]
fn the_header_that_we_write_is_numpys() {
    let mut bytes = Vec::new();
    write(&mut bytes, &Tensor::new(vec![2], TensorData::F32(vec![1.0, -2.0])).unwrap()).unwrap();
    let mut expected =
        b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }".to_vec();
    expected.resize(127, b' ');
    expected.push(b'\n');
    expected.extend([0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]);
    assert_eq!(bytes, expected);
}

#[test]
fn rows_can_be_appended_without_knowing_how_many_there_will_be() {
    let mut writer = RowWriter::new(Cursor::new(Vec::new()), &[2]).unwrap();
    writer.append(&[1.0, 2.0]).unwrap();
    writer.append(&[]).unwrap();
    writer.append(&[3.0, 4.0, 5.0, 6.0]).unwrap();
    assert_eq!(writer.rows(), 3);
    assert_error(writer.append(&[7.0]), ErrorKind::Argument, "1 values are not whole rows of 2");
    let bytes = writer.finish().unwrap().into_inner();
    let expected = Tensor::new(vec![3, 2], TensorData::F32(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0])).unwrap();
    assert_eq!(read(&bytes[..], &small_limits()).unwrap(), expected);
    let mut at_once = Vec::new();
    write(&mut at_once, &expected).unwrap();
    assert_eq!(bytes, at_once);
}

#[test]
fn a_header_alone_is_written_and_read() {
    let bytes = header(DataType::F16, &[3, 2]).unwrap();
    let mut stream = &[&bytes[..], &[7; 12]].concat()[..];
    assert_eq!(read_header(&mut stream).unwrap(), (DataType::F16, vec![3, 2]));
    assert_eq!(stream, [7; 12]);
    let fortran = npy("{'descr': '<f4', 'fortran_order': True, 'shape': (3, 2), }", &[]);
    assert_error(read_header(&mut &fortran[..]), ErrorKind::Unsupported, "Fortran's order");
    assert_error(header(DataType::String, &[1]), ErrorKind::Unsupported, "an array of string");
}

#[test]
fn an_array_without_rows_is_sound() {
    let writer = RowWriter::new(Cursor::new(Vec::new()), &[1024]).unwrap();
    let bytes = writer.finish().unwrap().into_inner();
    assert_eq!(read(&bytes[..], &small_limits()).unwrap().shape(), [0, 1024]);
}

#[test]
fn strings_cannot_be_written() {
    let strings = Tensor::new(vec![1], TensorData::Strings(vec![Vec::new()])).unwrap();
    assert_error(write(Vec::new(), &strings), ErrorKind::Unsupported, "an array of string");
}
