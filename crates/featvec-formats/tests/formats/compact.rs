//! Compact files, and those that are wrong in one way.

use featvec_formats::{
    Checkpoint, CheckpointFormat, Error, ErrorKind, Source, Tensor, TensorData, compact, masked_crc32c,
    source,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::support::{assert_error, floats, small_limits};

/// A file with this header and these bytes after it, whose checksum is right.
fn file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut file = b"\x89FVM\r\n\x1a\n\x01\0\0\0".to_vec();
    file.extend((header.len() as u32).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(data);
    sealed(file)
}

/// `file` with its checksum.
fn sealed(mut file: Vec<u8>) -> Vec<u8> {
    file.extend(masked_crc32c(&file).to_le_bytes());
    file
}

fn open(file: Vec<u8>) -> Result<Checkpoint, Error> {
    Checkpoint::from_compact("x.fvm", file, &small_limits())
}

/// A header with these entries of tensors.
fn header(tensors: &[String]) -> String {
    format!("{{\"about\":[],\"tensors\":[{}]}}", tensors.join(","))
}

fn entry(name: &str, shape: &str, stored: &str) -> String {
    format!("{{\"name\":\"{name}\",\"shape\":[{shape}],\"stored\":\"{stored}\"}}")
}

#[track_caller]
fn refused(header: &str, data_bytes: usize, text: &str) {
    assert_error(open(file(header, &vec![0; data_bytes])), ErrorKind::Corrupt, text);
}

/// Reads back what is written of `values`, the second dimension of which has `channels`.
fn round_trip(values: &[f32], channels: usize) -> Vec<f32> {
    let tensor = floats(&[values.len() / channels, channels], values);
    let file = compact(&[("x".to_string(), tensor)], &Vec::new()).unwrap();
    open(file).unwrap().read("x").unwrap().into_f32().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn numbers_come_back_within_half_a_step(values in vec(-1e3f32..1e3, 1..80), channels in 1usize..5) {
        let values = &values[..values.len() / channels * channels];
        prop_assume!(!values.is_empty());
        let read = round_trip(values, channels);
        for (i, (value, read)) in values.iter().zip(&read).enumerate() {
            let channel = values.iter().skip(i % channels).step_by(channels);
            let largest = channel.fold(0f32, |largest, value| largest.max(value.abs()));
            let step = f64::from(largest) / 1023.0 * 1.0002;
            prop_assert!((f64::from(*value) - f64::from(*read)).abs() <= 0.50001 * step, "{value} {read}");
        }
        // What is representable stays as it is.
        let again = round_trip(&read, channels);
        prop_assert!(again.iter().zip(&read).all(|(a, b)| a.to_bits() == b.to_bits() || *a == 0.0));
    }
}

#[test]
fn what_is_written_is_read() {
    let tensors = [
        ("scope/weights", floats(&[1, 3, 2], &[1.0, -0.5, 0.25, 0.0, -1.0, 0.5])),
        ("scope/BatchNorm/beta", floats(&[2], &[0.1, -1e-20])),
        ("zeros", floats(&[2, 1], &[0.0, 0.0])),
        ("nothing", floats(&[3, 0], &[])),
        ("scalar", floats(&[], &[7.5])),
    ]
    .map(|(name, tensor)| (name.to_string(), tensor));
    let about = vec![("what".to_string(), "a \"test\"\n".to_string())];
    let bytes = compact(&tensors, &about).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("x.fvm"), &bytes).unwrap();
    // By the file and by its folder.
    for path in [folder.path().join("x.fvm"), folder.path().to_owned()] {
        let Source::Checkpoint(checkpoint) = source::open(&path, &small_limits()).unwrap() else {
            panic!("not a checkpoint")
        };
        assert_eq!((checkpoint.format(), checkpoint.about()), (CheckpointFormat::Compact, &about[..]));
        assert_eq!(checkpoint.entries().count(), tensors.len());
        for (name, tensor) in &tensors {
            let read = checkpoint.read(name).unwrap();
            assert_eq!(read.shape(), tensor.shape());
            for (a, b) in read.as_f32().unwrap().iter().zip(tensor.as_f32().unwrap()) {
                assert!(if name == "scope/weights" { (a - b).abs() < 5e-4 } else { a == b }, "{name}");
            }
        }
    }
    assert_eq!(source::describe(&bytes), Some("a compact module of featvec"));
}

/// So that other programs can read it: the bytes of docs/formats.md.
#[test]
fn the_bytes_are_those_of_the_documentation() {
    let json = "{\"about\":[],\"tensors\":[{\"name\":\"w\",\"shape\":[3,1],\"stored\":\"i11\"}]}";
    // 1, -1 and 1023 in eleven bits each, from the lowest on; five more are zero.
    let packed = 1u64 | 0x7ff << 11 | 1023 << 22;
    let data = [&0.5f32.to_le_bytes()[..], &packed.to_le_bytes(), &[0; 3]].concat();
    let file = file(json, &data);
    assert_eq!(
        compact(&[("w".to_string(), floats(&[3, 1], &[0.5, -0.5, 511.5]))], &Vec::new()).unwrap(),
        file
    );
    assert_eq!(open(file).unwrap().read("w").unwrap(), floats(&[3, 1], &[0.5, -0.5, 511.5]));
}

#[test]
fn another_version_is_refused_by_its_number() {
    let mut later = file(&header(&[]), &[]);
    later[8] = 2;
    assert_error(open(later), ErrorKind::Unsupported, "of version 2; version 1 expected");
}

#[test]
fn a_file_without_the_magic_is_refused() {
    let mut other = file(&header(&[]), &[]);
    other[4] = b'\n';
    assert_error(open(other), ErrorKind::Corrupt, "does not begin as a compact module");
}

#[test]
fn a_file_that_is_cut_short_is_refused() {
    let whole = file(&header(&[entry("a", "2", "f32")]), &[0; 8]);
    for length in 0..whole.len() {
        assert!(open(whole[..length].to_vec()).is_err(), "{length} bytes");
    }
    assert_error(open(whole[..15].to_vec()), ErrorKind::Corrupt, "cut short");
    assert_error(open(whole[..16].to_vec()), ErrorKind::Corrupt, "checksum");
    // As short as it can be with a checksum that holds.
    assert_error(open(sealed(whole[..12].to_vec())), ErrorKind::Corrupt, "cut short");
}

#[test]
fn a_bit_that_changed_is_found() {
    let whole = file(&header(&[entry("a", "2", "f32")]), &[0; 8]);
    for at in 16..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 4;
        assert_error(open(changed), ErrorKind::Corrupt, "wrong checksum");
    }
}

#[test]
fn a_header_that_is_longer_than_the_file_is_refused() {
    let mut lying = file(&header(&[]), &[]);
    lying.truncate(lying.len() - 4);
    lying[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_error(open(sealed(lying)), ErrorKind::Corrupt, "4 294 967 295 bytes promised");
}

#[test]
fn a_header_that_is_no_list_of_tensors_is_refused() {
    refused("{}", 0, "missing field");
    refused("{\"about\":[],\"tensors\":[{}]}", 0, "missing field");
    refused("{\"about\":[\"x\"],\"tensors\":[]}", 0, "header");
    refused("{\"about\":[],\"tensors\":[],\"more\":1}", 0, "unknown field");
    refused(&format!("{} {{}}", header(&[])), 0, "trailing");
    refused(&format!("{{\"about\":{}", "[".repeat(100_000)), 0, "header");
    refused(&header(&[entry("a", "-1", "f32")]), 4, "header");
    assert_error(open(file("\u{fe}", &[])), ErrorKind::Corrupt, "header");
}

#[test]
fn forms_that_nobody_knows_are_refused() {
    refused(&header(&[entry("a", "1", "i9")]), 4, "unknown variant `i9`");
}

#[test]
fn a_tensor_that_is_there_twice_is_refused() {
    refused(&header(&[entry("a", "1", "f32"), entry("a", "1", "f32")]), 8, "tensor \"a\": listed twice");
}

#[test]
fn every_byte_belongs_to_one_tensor() {
    let two = header(&[entry("a", "2", "f32"), entry("b", "9,1", "i11")]);
    let needed = 8 + 4 + 2 * 11;
    assert!(open(file(&two, &vec![0; needed])).is_ok());
    refused(&two, needed - 1, "tensor \"b\": I11 [9, 1], and 25 bytes left");
    refused(&two, 7, "tensor \"a\": F32 [2], and 7 bytes left");
    refused(&two, needed + 1, "1 bytes after the last tensor");
}

#[test]
fn packed_numbers_need_a_last_dimension() {
    refused(&header(&[entry("a", "", "i11")]), 4 + 11, "tensor \"a\": I11 []");
}

#[test]
fn shapes_that_cannot_be_are_refused() {
    let huge = u64::MAX.to_string();
    refused(&header(&[entry("a", &format!("{huge},{huge}"), "i11")]), 4, "more elements than can be counted");
    refused(&header(&[entry("a", &format!("0,{huge}"), "i11")]), 4, "tensor \"a\"");
    refused(&header(&[entry("a", &format!("{}1", "1,".repeat(100)), "f32")]), 4, "more dimensions");
}

#[test]
fn scales_that_are_no_numbers_stay_visible() {
    let data = [&f32::NAN.to_le_bytes()[..], &[1; 11]].concat();
    let read = open(file(&header(&[entry("a", "1,1", "i11")]), &data)).unwrap().read("a").unwrap();
    assert!(read.as_f32().unwrap()[0].is_nan());
}

#[test]
fn limits_are_held() {
    let limit = |header: &str, data: usize, text: &str| {
        assert_error(open(file(header, &vec![0; data])), ErrorKind::Limit, text);
    };
    let many: Vec<String> = (0..101).map(|i| entry(&i.to_string(), "1", "f32")).collect();
    limit(&header(&many), 404, "raise the limit tensors");
    limit(&header(&[entry("a", "1048576", "f32")]), 0, "raise the limit tensor_bytes");
    let halves = [entry("a", "0,1", "i11"), entry("b", "200000,1", "i11"), entry("c", "200000,1", "i11")];
    limit(&header(&halves), 2 * (4 + 11 * 25_000) + 4, "raise the limit tensor_bytes");
    limit(&header(&[entry(&"x".repeat(2000), "1", "f32")]), 4, "raise the limit name_bytes");
}

#[test]
fn what_cannot_be_written_is_refused() {
    let write = |tensors: &[Tensor]| {
        let named: Vec<_> = tensors.iter().map(|tensor| ("a".to_string(), tensor.clone())).collect();
        compact(&named, &Vec::new())
    };
    let one = floats(&[1], &[1.0]);
    assert_error(write(&[one.clone(), one]), ErrorKind::Argument, "tensor \"a\": no new tensor");
    let integers = Tensor::new(vec![1], TensorData::I32(vec![1])).unwrap();
    assert_error(write(&[integers]), ErrorKind::Unsupported, "tensor \"a\": a tensor of int32");
    for value in [f32::NAN, f32::INFINITY] {
        assert_error(write(&[floats(&[1, 2], &[1.0, value])]), ErrorKind::Argument, "not all finite");
    }
}
