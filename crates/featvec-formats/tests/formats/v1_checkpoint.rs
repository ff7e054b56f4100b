//! V1 checkpoints that are wrong in one way, or unusual.

use featvec_formats::protobuf::Writer;
use featvec_formats::table::{Compression, TableWriter};
use featvec_formats::{
    Checkpoint, Error, ErrorKind, Limits, Tensor, TensorData, TensorSlice, ordered_code, v1_checkpoint,
};

use crate::support::{assert_error, fixture, message, shape, small_limits, table};

/// A slice of rows in the first of two dimensions, or the whole.
type Rows = Option<(u64, u64)>;

fn write_slice(writer: &mut Writer, number: u32, rows: Rows) {
    writer.message(number, |slice| {
        slice.message(1, |extent| {
            if let Some((start, length)) = rows {
                extent.uint64(1, start).uint64(2, length);
            }
        });
        slice.message(1, |_| {});
    });
}

/// The list of one tensor `x` of type `dtype` and shape `sizes`, in `slices`.
fn meta(dtype: u64, sizes: &[i64], slices: &[Rows]) -> Vec<u8> {
    message(|saved| {
        saved.message(1, |meta| {
            meta.message(1, |tensor| {
                tensor.bytes(1, "x");
                shape(tensor, 2, sizes);
                tensor.uint64(3, dtype);
                slices.iter().for_each(|&rows| write_slice(tensor, 4, rows));
            });
        });
    })
}

/// The record of one slice of `name`, with the values that `fill` writes.
fn values(name: &str, rows: Rows, fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
    message(|saved| {
        saved.message(2, |slice| {
            slice.bytes(1, name);
            write_slice(slice, 2, rows);
            slice.message(3, fill);
        });
    })
}

fn open(records: &[(&[u8], Vec<u8>)]) -> Result<Checkpoint, Error> {
    Checkpoint::from_v1("x.ckpt", table(records), &small_limits())
}

/// A checkpoint of one whole tensor `x` of shape [2, 2], and what reading it gives.
fn read_whole(dtype: u64, fill: impl FnOnce(&mut Writer)) -> Result<TensorData, Error> {
    let checkpoint = open(&[(b"", meta(dtype, &[2, 2], &[None])), (b"\0x", values("x", None, fill))])?;
    checkpoint.read("x").map(|tensor| tensor.into_data())
}

fn four_floats(writer: &mut Writer) {
    writer.packed_float(5, &[1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn floats_are_read_packed_and_unpacked() {
    let expected = TensorData::F32(vec![1.0, 2.0, 3.0, 4.0]);
    assert_eq!(read_whole(1, four_floats).unwrap(), expected);
    let unpacked = |writer: &mut Writer| {
        [1.0, 2.0, 3.0, 4.0].iter().for_each(|&value| {
            writer.float(5, value);
        });
    };
    assert_eq!(read_whole(1, unpacked).unwrap(), expected);
}

#[test]
fn every_type_is_read_from_its_field() {
    let integers = |number| {
        move |writer: &mut Writer| {
            writer.packed_int64(number, &[0, 1, 2, 3]);
        }
    };
    for (dtype, number, expected) in [
        (3, 7, TensorData::I32(vec![0, 1, 2, 3])),
        (4, 7, TensorData::U8(vec![0, 1, 2, 3])),
        (5, 7, TensorData::I16(vec![0, 1, 2, 3])),
        (6, 7, TensorData::I8(vec![0, 1, 2, 3])),
        (9, 10, TensorData::I64(vec![0, 1, 2, 3])),
        (10, 11, TensorData::Bool(vec![false, true, true, true])),
        (14, 13, TensorData::BF16(vec![0, 1, 2, 3])),
        (17, 7, TensorData::U16(vec![0, 1, 2, 3])),
        (19, 13, TensorData::F16(vec![0, 1, 2, 3])),
        (22, 16, TensorData::U32(vec![0, 1, 2, 3])),
        (23, 17, TensorData::U64(vec![0, 1, 2, 3])),
    ] {
        assert_eq!(read_whole(dtype, integers(number)).unwrap(), expected);
    }
    let doubles = read_whole(2, |writer| {
        writer.packed_double(6, &[0.5; 4]);
    });
    assert_eq!(doubles.unwrap(), TensorData::F64(vec![0.5; 4]));
    let strings = read_whole(7, |writer| {
        ["a", "", "bc", "d"].iter().for_each(|text| {
            writer.bytes(8, text);
        });
    });
    let expected = ["a", "", "bc", "d"].map(|text| text.as_bytes().to_vec()).to_vec();
    assert_eq!(strings.unwrap(), TensorData::Strings(expected));
}

#[test]
fn slices_come_together() {
    let (low, high) = (Some((0, 1)), Some((1, 2)));
    let part = |rows, numbers: &[f32]| {
        values("x", rows, |writer| {
            writer.packed_float(5, numbers);
        })
    };
    let checkpoint = open(&[
        (b"", meta(1, &[3, 2], &[high, low])),
        (b"\0a", part(high, &[2.0, 3.0, 4.0, 5.0])),
        (b"\0b", part(low, &[0.0, 1.0])),
    ])
    .unwrap();
    assert_eq!(checkpoint.read("x").unwrap().as_f32().unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
}

#[test]
fn a_compressed_checkpoint_holds_the_same_as_the_plain_one() {
    let plain = std::fs::read(fixture("v1.ckpt")).unwrap();
    let mut writer = TableWriter::new().compression(Compression::Snappy).block_bytes(1000);
    for (key, value) in featvec_formats::table::records(&plain, &small_limits()).unwrap() {
        writer.add(&key, &value);
    }
    let packed = writer.finish();
    assert!(packed.len() < plain.len());
    let plain = Checkpoint::from_v1("plain", plain, &small_limits()).unwrap();
    let packed = Checkpoint::from_v1("packed", packed, &small_limits()).unwrap();
    for entry in plain.entries() {
        assert_eq!(packed.read(&entry.name).unwrap(), plain.read(&entry.name).unwrap());
    }
}

#[test]
fn keys_are_made_of_names_and_slices() {
    let bytes = std::fs::read(fixture("v1.ckpt")).unwrap();
    let records = featvec_formats::table::records(&bytes, &small_limits()).unwrap();
    let keys: Vec<_> =
        records.iter().skip(1).map(|(key, _)| ordered_code::parse_slice_key(key).unwrap()).collect();
    let names: Vec<_> = keys.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["InceptionV1/Conv2d_1a_7x7/weights", "b", "global_step", "part", "part"]);
    assert_eq!(keys[0].1, TensorSlice::full(3));
}

#[test]
fn too_few_and_too_many_values_are_refused() {
    for (count, text) in
        [(0, "0 values for 4 elements"), (3, "3 values for 4"), (5, "too many values for 4 elements")]
    {
        let read = read_whole(1, |writer| {
            writer.packed_float(5, &vec![0.0; count]);
        });
        let text = format!("x.ckpt: tensor \"x\": TensorProto field 5: {text}");
        assert_error(read, ErrorKind::Corrupt, &text);
    }
}

#[test]
fn no_value_is_read_after_the_one_too_many() {
    let text = "too many values for 4 elements";
    // What follows is damaged, which only a reader that goes on can find out.
    let floats = read_whole(1, |writer| {
        writer.packed_float(5, &[0.0; 5]).bytes(5, [0; 15]);
    });
    assert_error(floats, ErrorKind::Corrupt, text);
    let integers = read_whole(4, |writer| {
        writer.packed_int64(7, &[0; 5]).packed_int64(7, &[256]);
    });
    assert_error(integers, ErrorKind::Corrupt, text);
    let strings = read_whole(7, |writer| {
        (0..5).for_each(|_| {
            writer.bytes(8, "text");
        });
        writer.uint64(8, 1);
    });
    assert_error(strings, ErrorKind::Corrupt, text);
}

#[test]
fn values_of_another_type_are_refused() {
    assert_error(read_whole(9, four_floats), ErrorKind::Corrupt, "0 values for 4 elements");
    let out_of_range = read_whole(4, |writer| {
        writer.packed_int64(7, &[0, 1, 2, 256]);
    });
    assert_error(out_of_range, ErrorKind::Corrupt, "256 is out of its type's range");
    assert_error(read_whole(20, four_floats), ErrorKind::Unsupported, "resource");
}

#[test]
fn packed_floats_of_odd_length_are_refused() {
    let read = read_whole(1, |writer| {
        writer.bytes(5, [0; 15]);
    });
    assert_error(read, ErrorKind::Corrupt, "15 bytes are not a multiple of 4");
}

#[test]
fn a_listed_tensor_without_values_is_refused() {
    assert_error(
        open(&[(b"", meta(1, &[2, 2], &[None]))]),
        ErrorKind::Corrupt,
        "tensor \"x\": listed, but its values",
    );
}

#[test]
fn values_of_what_is_not_listed_are_refused() {
    let other = values("y", None, four_floats);
    let opened = open(&[(b"", meta(1, &[2, 2], &[None])), (b"\0y", other)]);
    assert_error(opened, ErrorKind::Corrupt, "tensor \"y\": values of a slice that is not listed");
}

#[test]
fn the_same_values_twice_are_refused() {
    let once = values("x", None, four_floats);
    let opened = open(&[(b"", meta(1, &[2, 2], &[None])), (b"\0x", once.clone()), (b"\0y", once)]);
    assert_error(opened, ErrorKind::Corrupt, "there twice");
}

#[test]
fn a_tensor_that_is_listed_twice_is_refused() {
    let twice = meta(1, &[2, 2], &[None]).repeat(2);
    assert_error(open(&[(b"", twice)]), ErrorKind::Corrupt, "tensor \"x\": listed twice");
}

#[test]
fn impossible_slices_and_shapes_are_refused() {
    for (sizes, slices, text) in [
        (&[2, 2][..], &[Some((0, 3))][..], "a slice of 3 from 0 in a dimension of 2"),
        (&[2, 2], &[Some((0, 1))], "its slices hold 2 of 4 elements"),
        (&[2, 2], &[None, None], "two of its slices overlap"),
        (&[2, 2, 2], &[None], "a slice of 2 dimensions in a tensor of 3"),
        (&[2, -2], &[None], "a dimension of size -2"),
        (&[i64::MAX, i64::MAX], &[None], "unknown or impossible size"),
    ] {
        assert_error(open(&[(b"", meta(1, sizes, slices))]), ErrorKind::Corrupt, text);
    }
}

#[test]
fn tensors_beyond_the_limit_are_refused() {
    assert_error(
        open(&[(b"", meta(1, &[1 << 30, 2], &[None]))]),
        ErrorKind::Limit,
        "raise the limit tensor_bytes",
    );
}

#[test]
fn other_tables_are_refused() {
    let text = "x.ckpt: a table, but without the list";
    assert_error(open(&[(b"a", Vec::new())]), ErrorKind::Corrupt, text);
    assert_error(open(&[]), ErrorKind::Corrupt, "a table without records");
}

#[test]
fn what_is_written_comes_back() {
    let tensor = |shape: &[usize], data| Tensor::new(shape.to_vec(), data).unwrap();
    let tensors = [
        // Not in the order of their keys.
        ("z", tensor(&[2, 1], TensorData::F32(vec![-1.5, f32::MIN_POSITIVE]))),
        ("global_step", tensor(&[], TensorData::I64(vec![-7]))),
        // More than one block.
        ("a/weights", tensor(&[300, 1000], TensorData::F32(vec![0.25; 300_000]))),
    ]
    .map(|(name, tensor)| (name.to_string(), tensor));
    let limits = Limits::default();
    let checkpoint = Checkpoint::from_v1("x.ckpt", v1_checkpoint(&tensors).unwrap(), &limits).unwrap();
    assert_eq!(checkpoint.entries().count(), 3);
    for (name, tensor) in &tensors {
        assert!(checkpoint.read(name).unwrap() == *tensor, "{name}");
    }
    let twice = [tensors[0].clone(), tensors[0].clone()];
    assert_error(v1_checkpoint(&twice), ErrorKind::Argument, "tensor \"z\": a second tensor");
    let bytes = [("b".to_string(), tensor(&[1], TensorData::U8(vec![1])))];
    assert_error(v1_checkpoint(&bytes), ErrorKind::Unsupported, "float32 or int64 expected");
}
