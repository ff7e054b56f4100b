//! Small files made by TensorFlow 2.15.1, whole and damaged.

use std::fs;

use featvec_formats::table::{self, TableWriter};
use featvec_formats::{
    BundleWriter, Checkpoint, ErrorKind, Limits, Source, Tensor, TensorData, TensorSlice, source,
};

use crate::support::{assert_error, fixture, floats, open_bundle};

fn open(name: &str) -> Checkpoint {
    match source::open(&fixture(name), &Limits::default()).unwrap() {
        Source::Checkpoint(checkpoint) => checkpoint,
        other => panic!("not a checkpoint: {other:?}"),
    }
}

fn floats_of(tensor: &Tensor) -> &[f32] {
    tensor.as_f32().unwrap()
}

fn check_tensors(checkpoint: &Checkpoint) {
    let names: Vec<_> = checkpoint.entries().map(|entry| (&*entry.name, &*entry.shape)).collect();
    let expected: [(&str, &[usize]); 4] = [
        ("InceptionV1/Conv2d_1a_7x7/weights", &[3, 2, 2]),
        ("b", &[3000]),
        ("global_step", &[]),
        ("part", &[6, 2]),
    ];
    assert_eq!(names, expected);
    let weights = checkpoint.read("InceptionV1/Conv2d_1a_7x7/weights").unwrap();
    assert_eq!(floats_of(&weights), (0u8..12).map(f32::from).collect::<Vec<_>>());
    let part = checkpoint.read("part").unwrap();
    assert_eq!(floats_of(&part), [3.0; 12]);
    checkpoint.verify().unwrap();
}

#[test]
fn both_versions_of_a_checkpoint_hold_the_same() {
    let (v1, v2) = (open("v1.ckpt"), open("v2.ckpt.index"));
    check_tensors(&v1);
    check_tensors(&v2);
    for entry in v1.entries() {
        assert_eq!(v1.read(&entry.name).unwrap(), v2.read(&entry.name).unwrap(), "{}", entry.name);
    }
}

#[test]
fn a_v2_checkpoint_is_found_by_index_shard_and_prefix() {
    for name in ["v2.ckpt.index", "v2.ckpt.data-00000-of-00001", "v2.ckpt"] {
        check_tensors(&open(name));
    }
}

#[test]
fn string_tensors_are_read() {
    let checkpoint = open("str.index");
    let strings = checkpoint.read("s").unwrap();
    assert_eq!(strings.shape(), [3]);
    let expected = vec![b"ab".to_vec(), vec![b'c'; 300], b"".to_vec()];
    assert_eq!(strings.data(), &TensorData::Strings(expected));
    let scalar = checkpoint.read("t").unwrap();
    assert_eq!((scalar.shape(), scalar.data()), (&[][..], &TensorData::Strings(vec![b"xyz".to_vec()])));
}

#[test]
fn a_folder_with_several_checkpoints_needs_a_choice() {
    assert_error(source::open(&fixture(""), &Limits::default()), ErrorKind::Argument, "several checkpoints");
}

#[test]
fn a_tf2_saved_model_is_refused_by_name() {
    let opened = source::open(&fixture("tf2_saved_model"), &Limits::default());
    assert_error(opened, ErrorKind::Unsupported, "not a TF1 Hub module (modules of versions /4 and /5");
}

#[test]
fn we_write_the_index_and_the_shard_that_tensorflow_wrote() {
    let checkpoint = open("v2.ckpt.index");
    let mut writer = BundleWriter::new();
    for name in ["InceptionV1/Conv2d_1a_7x7/weights", "b", "global_step"] {
        writer.add(name, &checkpoint.read(name).unwrap()).unwrap();
    }
    let half = |start| {
        let mut slice = TensorSlice::default();
        slice.push(start, Some(3));
        slice.push(0, Some(2));
        (slice, floats(&[3, 2], &[3.0; 6]))
    };
    writer.add_partitioned("part", &[6, 2], &[half(0), half(3)]).unwrap();
    let (index, shard) = writer.finish();
    assert_eq!(index, fs::read(fixture("v2.ckpt.index")).unwrap());
    assert_eq!(shard, fs::read(fixture("v2.ckpt.data-00000-of-00001")).unwrap());
}

#[test]
fn we_write_the_string_tensors_that_tensorflow_wrote() {
    let checkpoint = open("str.index");
    let mut writer = BundleWriter::new();
    for name in ["s", "t"] {
        writer.add(name, &checkpoint.read(name).unwrap()).unwrap();
    }
    let (index, shard) = writer.finish();
    assert_eq!(index, fs::read(fixture("str.index")).unwrap());
    assert_eq!(shard, fs::read(fixture("str.data-00000-of-00001")).unwrap());
}

#[test]
fn we_write_the_table_that_tensorflow_wrote() {
    let bytes = fs::read(fixture("v1.ckpt")).unwrap();
    let mut writer = TableWriter::new();
    table::records(&bytes, &Limits::default())
        .unwrap()
        .iter()
        .for_each(|(key, value)| writer.add(key, value));
    assert!(writer.finish() == bytes, "TensorFlow's table differs from ours");
}

#[test]
fn every_truncation_of_a_v1_checkpoint_is_refused() {
    let bytes = fs::read(fixture("v1.ckpt")).unwrap();
    for length in 0..bytes.len() {
        let opened = Checkpoint::from_v1("v1.ckpt", bytes[..length].to_vec(), &Limits::default());
        assert_eq!(opened.unwrap_err().kind(), ErrorKind::Corrupt, "{length} bytes");
    }
}

#[test]
fn no_flipped_bit_of_a_v1_checkpoint_goes_unnoticed() {
    let bytes = fs::read(fixture("v1.ckpt")).unwrap();
    for position in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[position] ^= 1 << (position % 8);
        assert!(Checkpoint::from_v1("", damaged, &Limits::default()).is_err(), "byte {position}");
    }
}

#[test]
fn no_truncation_and_no_flipped_bit_of_an_index_goes_unnoticed() {
    let index = fs::read(fixture("v2.ckpt.index")).unwrap();
    let shard = fs::read(fixture("v2.ckpt.data-00000-of-00001")).unwrap();
    assert!(open_bundle(&index, &shard).is_ok());
    for position in 0..index.len() {
        assert!(open_bundle(&index[..position], &shard).is_err(), "{position} bytes");
        let mut damaged = index.clone();
        damaged[position] ^= 1 << (position % 8);
        assert!(open_bundle(&damaged, &shard).is_err(), "byte {position}");
    }
}

#[test]
fn no_truncation_and_no_flipped_bit_of_a_shard_goes_unnoticed() {
    for name in ["v2.ckpt", "str"] {
        let index = fs::read(fixture(&format!("{name}.index"))).unwrap();
        let shard = fs::read(fixture(&format!("{name}.data-00000-of-00001"))).unwrap();
        for position in (0..shard.len()).step_by(shard.len() / 150) {
            assert!(open_bundle(&index, &shard[..position]).is_err(), "{name}: {position} bytes");
            let mut damaged = shard.clone();
            damaged[position] ^= 1 << (position % 8);
            assert_error(open_bundle(&index, &damaged), ErrorKind::Corrupt, "tensor");
        }
    }
}
