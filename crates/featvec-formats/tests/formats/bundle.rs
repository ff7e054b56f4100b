//! V2 checkpoints that are wrong in one way.

use featvec_formats::protobuf::Writer;
use featvec_formats::{
    BundleWriter, Error, ErrorKind, Limits, Source, Tensor, TensorData, TensorSlice, masked_crc32c,
    ordered_code, source, write_checkpoint_state,
};

use crate::support::{OpenBundle, assert_error, floats, message, open_bundle, shape, small_limits, table};

const SHARD: [u8; 16] = [7; 16];

fn header() -> Vec<u8> {
    message(|header| {
        header.uint64(1, 1);
    })
}

/// The entry of four floats that are all of `SHARD`, changed by `change`, which may override any field.
fn entry(change: impl FnOnce(&mut Writer)) -> Vec<u8> {
    message(|entry| {
        entry.uint64(1, 1);
        shape(entry, 2, &[4]);
        entry.uint64(5, 16).fixed32(6, masked_crc32c(&SHARD));
        change(entry);
    })
}

fn open_entry(change: impl FnOnce(&mut Writer)) -> Result<OpenBundle, Error> {
    open_bundle(&table(&[(b"", header()), (b"x", entry(change))]), &SHARD)
}

fn open_header(fill: impl FnOnce(&mut Writer)) -> Result<OpenBundle, Error> {
    open_bundle(&table(&[(b"", message(fill)), (b"x", entry(|_| {}))]), &SHARD)
}

#[test]
fn the_unchanged_entry_is_sound() {
    assert!(open_entry(|_| {}).is_ok());
}

#[test]
fn too_few_bytes_name_the_tensor_and_both_counts() {
    let opened = open_entry(|entry| {
        shape(entry, 2, &[9216]);
        entry.uint64(5, 36_864);
    });
    assert_error(opened, ErrorKind::Corrupt, "c.index: tensor \"x\": 36 864 bytes promised, 16 left (");
}

#[test]
fn a_size_that_is_not_the_shapes_is_refused() {
    let opened = open_entry(|entry| {
        entry.uint64(5, 12);
    });
    assert_error(opened, ErrorKind::Corrupt, "12 bytes for float32 [4]");
}

#[test]
fn a_type_of_another_width_is_refused() {
    let opened = open_entry(|entry| {
        entry.uint64(1, 2);
    });
    assert_error(opened, ErrorKind::Corrupt, "16 bytes for float64 [4]");
}

#[test]
fn a_type_that_we_do_not_read_is_listed_but_not_read() {
    let opened = open_entry(|entry| {
        entry.uint64(1, 8);
        shape(entry, 2, &[2]);
    })
    .unwrap();
    assert_eq!(opened.entry("x").unwrap().dtype.to_string(), "complex64");
    assert_error(opened.read("x"), ErrorKind::Unsupported, "complex64");
}

#[test]
fn an_absent_tensor_is_a_mismatch() {
    assert_error(open_entry(|_| {}).unwrap().read("y"), ErrorKind::Mismatch, "there is no tensor \"y\"");
}

#[test]
fn a_wrong_checksum_says_where() {
    let opened = open_entry(|entry| {
        entry.fixed32(6, 0);
    });
    let place = "tensor \"x\": wrong checksum of 16 bytes at 0 of c.data-00000-of-00001";
    assert_error(opened, ErrorKind::Corrupt, place);
}

#[test]
fn negative_offsets_and_sizes_are_refused() {
    for number in [3, 4, 5] {
        let opened = open_entry(|entry| {
            entry.int64(number, -1);
        });
        assert_error(opened, ErrorKind::Corrupt, "-1 is negative");
    }
}

#[test]
fn an_offset_that_overflows_is_refused() {
    let opened = open_entry(|entry| {
        entry.int64(4, i64::MAX);
    });
    assert_error(opened, ErrorKind::Corrupt, "bytes promised, 0 left");
}

#[test]
fn a_shard_that_the_header_does_not_count_is_refused() {
    let opened = open_entry(|entry| {
        entry.uint64(3, 1);
    });
    assert_error(opened, ErrorKind::Corrupt, "in shard 1 of 1");
}

#[test]
fn impossible_shapes_are_refused() {
    for sizes in [&[-2][..], &[-1], &[i64::MAX, i64::MAX], &[1; 100]] {
        let opened = open_entry(|entry| shape(entry, 2, sizes));
        assert_eq!(opened.unwrap_err().kind(), ErrorKind::Corrupt, "{sizes:?}");
    }
}

#[test]
fn a_tensor_beyond_the_limit_is_refused_before_it_is_read() {
    let opened = open_entry(|entry| {
        shape(entry, 2, &[1 << 40]);
        entry.uint64(5, 1 << 42);
    });
    assert_error(opened, ErrorKind::Limit, "raise the limit tensor_bytes");
}

#[test]
fn overlapping_tensors_are_refused() {
    let opened =
        open_bundle(&table(&[(b"", header()), (b"x", entry(|_| {})), (b"y", entry(|_| {}))]), &SHARD);
    assert_error(opened, ErrorKind::Corrupt, "tensor \"y\": its bytes overlap those of tensor \"x\"");
}

#[test]
fn headers_of_other_kinds_are_refused() {
    let big_endian = open_header(|header| {
        header.uint64(1, 1).uint64(2, 1);
    });
    assert_error(big_endian, ErrorKind::Unsupported, "big-endian");
    let future = open_header(|header| {
        header.uint64(1, 1).message(3, |version| {
            version.uint64(2, 2);
        });
    });
    assert_error(future, ErrorKind::Unsupported, "readers of version 2 or later");
    for shards in [0, -1, 100_000] {
        let opened = open_header(|header| {
            header.int64(1, shards);
        });
        assert_error(opened, ErrorKind::Corrupt, "shards");
    }
}

#[test]
fn a_missing_shard_is_named() {
    let opened = open_header(|header| {
        header.uint64(1, 2);
    });
    assert_error(
        opened,
        ErrorKind::Corrupt,
        "c.data-00000-of-00002: this shard of the checkpoint is missing",
    );
}

#[test]
fn more_tensors_than_the_limit_are_refused() {
    let mut writer = BundleWriter::new();
    for i in 0..=small_limits().tensors {
        writer.add(&format!("t{i:04}"), &floats(&[1], &[0.0])).unwrap();
    }
    let (index, shard) = writer.finish();
    assert_error(open_bundle(&index, &shard), ErrorKind::Limit, "101 tensors, and the limit is 100");
}

#[test]
fn a_name_beyond_the_limit_is_refused() {
    let mut writer = BundleWriter::new();
    writer.add(&"n".repeat(small_limits().name_bytes + 1), &floats(&[1], &[0.0])).unwrap();
    let (index, shard) = writer.finish();
    assert_error(open_bundle(&index, &shard), ErrorKind::Limit, "raise the limit name_bytes");
}

#[test]
fn names_that_are_no_names_are_refused() {
    for key in [&b"\xff\xfe"[..], b"\x00\x01"] {
        let opened = open_bundle(&table(&[(b"", header()), (key, entry(|_| {}))]), &SHARD);
        assert_eq!(opened.unwrap_err().kind(), ErrorKind::Corrupt, "{key:?}");
    }
}

#[test]
fn names_that_cannot_be_written_are_refused() {
    let mut writer = BundleWriter::new();
    writer.add("a", &floats(&[1], &[0.0])).unwrap();
    for name in ["a", "", "\0a"] {
        assert_eq!(
            writer.add(name, &floats(&[1], &[0.0])).unwrap_err().kind(),
            ErrorKind::Argument,
            "{name:?}"
        );
    }
}

/// A partitioned variable of two rows of two, given as rows (start, length).
fn partitioned(rows: &[(u64, u64)]) -> (Vec<u8>, Vec<u8>) {
    let slices: Vec<(TensorSlice, Tensor)> = rows
        .iter()
        .map(|&(start, length)| {
            let mut slice = TensorSlice::default();
            slice.push(start, Some(length));
            slice.push(0, None);
            let values: Vec<f32> = (0..length * 2).map(|i| (start * 2 + i) as f32).collect();
            (slice, floats(&[length as usize, 2], &values))
        })
        .collect();
    let mut writer = BundleWriter::new();
    writer.add_partitioned("p", &[3, 2], &slices).unwrap();
    writer.finish()
}

#[test]
fn slices_come_together_in_any_order() {
    for rows in [&[(0, 1), (1, 2)][..], &[(2, 1), (0, 2)], &[(1, 1), (0, 1), (2, 1)]] {
        let (index, shard) = partitioned(rows);
        let whole = open_bundle(&index, &shard).unwrap().read("p").unwrap();
        assert_eq!(whole.as_f32().unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], "{rows:?}");
    }
}

#[test]
fn slices_along_the_last_dimension_come_together() {
    let column = |start, length: usize, values: &[f32]| {
        let mut slice = TensorSlice::default();
        slice.push(0, None);
        slice.push(start, Some(length as u64));
        (slice, floats(&[2, length], values))
    };
    let slices = [column(0, 1, &[0.0, 3.0]), column(1, 2, &[1.0, 2.0, 4.0, 5.0])];
    let mut writer = BundleWriter::new();
    writer.add_partitioned("p", &[2, 3], &slices).unwrap();
    let (index, shard) = writer.finish();
    let whole = open_bundle(&index, &shard).unwrap().read("p").unwrap();
    assert_eq!(whole.as_f32().unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
}

#[test]
fn slices_that_overlap_or_leave_gaps_or_stick_out_are_refused() {
    let open = |rows: &[(u64, u64)]| {
        let (index, shard) = partitioned(rows);
        open_bundle(&index, &shard)
    };
    assert_error(open(&[(0, 2), (1, 2)]), ErrorKind::Corrupt, "tensor \"p\": two of its slices overlap");
    assert_error(open(&[(0, 1), (2, 1)]), ErrorKind::Corrupt, "its slices hold 4 of 6 elements");
    assert_error(open(&[(0, 1), (1, 3)]), ErrorKind::Corrupt, "a slice of 3 from 1 in a dimension of 3");
    assert_error(open(&[(0, 1), (u64::MAX / 4, 2)]), ErrorKind::Corrupt, "a slice of 2 from");
}

#[test]
fn slices_without_their_tensor_and_tensors_without_their_slices_are_refused() {
    let slice = TensorSlice::full(1);
    let key = ordered_code::slice_key("p", &slice);
    let orphan = open_bundle(&table(&[(b"", header()), (&key, entry(|_| {}))]), &SHARD);
    assert_error(orphan, ErrorKind::Corrupt, "tensor \"p\": a slice that its tensor does not mention");
    let whole = entry(|entry| {
        entry.message(7, |slice| {
            slice.message(1, |_| {});
        });
    });
    let childless = open_bundle(&table(&[(b"", header()), (b"p", whole)]), &SHARD);
    assert_error(childless, ErrorKind::Corrupt, "one of its slices is missing");
}

/// A checkpoint with two strings, stored as `bytes`.
fn open_strings(bytes: &[u8]) -> Result<OpenBundle, Error> {
    let entry = message(|entry| {
        entry.uint64(1, 7);
        shape(entry, 2, &[2]);
        entry.uint64(5, bytes.len() as u64);
    });
    open_bundle(&table(&[(b"", header()), (b"s", entry)]), bytes)
}

#[test]
fn strings_that_lie_about_their_lengths_are_refused() {
    for (bytes, text) in [
        (&b"\x01"[..], "2 strings in 1 bytes"),
        (b"\x01\xff\xff", "the length of string 1 is damaged"),
        (b"\x01\x01\0\0", "no room for the checksum"),
        (b"\x01\xff\xff\x03\0\0\0\0a", "string 1: 65 535 bytes promised, 0 left"),
        (b"\x01\x01\0\0\0\0abc", "1 bytes after the last string"),
        (b"\x01\x01\0\0\0\0ab", "wrong checksum of the strings' lengths"),
    ] {
        assert_error(open_strings(bytes), ErrorKind::Corrupt, text);
    }
}

#[test]
fn more_strings_than_memory_are_refused() {
    let entry = message(|entry| {
        entry.uint64(1, 7);
        shape(entry, 2, &[1 << 30]);
        entry.uint64(5, 16);
    });
    let opened = open_bundle(&table(&[(b"", header()), (b"s", entry)]), &SHARD);
    assert_error(opened, ErrorKind::Limit, "raise the limit tensor_bytes");
}

#[test]
fn a_renamed_index_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    std::fs::write(&path, table(&[(b"", header()), (b"x", entry(|_| {}))])).unwrap();
    assert_error(source::open(&path, &Limits::default()), ErrorKind::Argument, "not called .index");
}

#[test]
fn every_type_comes_back_as_it_was_written() {
    let tensors = [
        TensorData::F64(vec![-1.5, 2.0]),
        TensorData::F16(vec![0x3c00, 1]),
        TensorData::BF16(vec![0x3f80, 1]),
        TensorData::I8(vec![-1, 1]),
        TensorData::I16(vec![-300, 1]),
        TensorData::I32(vec![i32::MIN, 1]),
        TensorData::I64(vec![i64::MIN, 1]),
        TensorData::U8(vec![255, 1]),
        TensorData::U16(vec![65_535, 1]),
        TensorData::U32(vec![u32::MAX, 1]),
        TensorData::U64(vec![u64::MAX, 1]),
        TensorData::Bool(vec![true, false]),
        TensorData::Strings(vec![b"".to_vec(), b"\0\xff".to_vec()]),
    ];
    let mut writer = BundleWriter::new();
    for data in &tensors {
        writer.add(&data.dtype().to_string(), &Tensor::new(vec![2], data.clone()).unwrap()).unwrap();
    }
    let (index, shard) = writer.finish();
    let checkpoint = open_bundle(&index, &shard).unwrap();
    for data in &tensors {
        assert_eq!(checkpoint.read(&data.dtype().to_string()).unwrap().data(), data);
    }
}

#[test]
fn checkpoints_are_written_to_disk_and_the_latest_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let tensor = |value: i64| Tensor::new(vec![], TensorData::I64(vec![value])).unwrap();
    let latest = || match source::open(folder.path(), &small_limits()).unwrap() {
        Source::Checkpoint(checkpoint) => checkpoint.read("global_step").unwrap(),
        other => panic!("not a checkpoint: {other:?}"),
    };
    let names = ["m\"o.ckpt-1", "m\"o.ckpt-2"];
    for (step, name) in names.iter().enumerate() {
        let mut writer = BundleWriter::new();
        writer.add("global_step", &tensor(step as i64)).unwrap();
        writer.write(&folder.path().join(name)).unwrap();
        write_checkpoint_state(folder.path(), &names[..=step]).unwrap();
        assert_eq!(latest(), tensor(step as i64));
    }
    // Again under the same name.
    let mut writer = BundleWriter::new();
    writer.add("global_step", &tensor(7)).unwrap();
    writer.write(&folder.path().join(names[1])).unwrap();
    assert_eq!(latest(), tensor(7));
    let mut files: Vec<_> = folder
        .path()
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let of = |name: &str| ["data-00000-of-00001", "index"].map(|end| format!("{name}.{end}"));
    let expected = [vec!["checkpoint".to_string()], names.map(of).concat()].concat();
    assert_eq!(files, expected);
}

#[test]
fn what_cannot_be_written_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let missing = BundleWriter::new().write(&folder.path().join("nosuch/model.ckpt"));
    assert_error(missing, ErrorKind::Io, "nosuch/model.ckpt.data-00000-of-00001");
    assert_error(write_checkpoint_state(folder.path(), &[]), ErrorKind::Argument, "no checkpoint");
    // A folder stands where the index belongs.
    std::fs::create_dir_all(folder.path().join("model.ckpt.index/x")).unwrap();
    assert!(BundleWriter::new().write(&folder.path().join("model.ckpt")).is_err());
    let parts = |entry: &std::fs::DirEntry| entry.path().extension().is_some_and(|end| end == "part");
    assert!(!folder.path().read_dir().unwrap().any(|entry| parts(&entry.unwrap())));
}
