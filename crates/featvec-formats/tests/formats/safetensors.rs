//! safetensors files that are wrong in one way.

use featvec_formats::{
    Checkpoint, CheckpointFormat, Error, ErrorKind, Source, Tensor, TensorData, safetensors, source,
};

use crate::support::{assert_error, floats, small_limits};

/// A file with this header and as many bytes of data.
fn file(header: &str, data_bytes: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.resize(file.len() + data_bytes, 7);
    file
}

fn open(header: &str, data_bytes: usize) -> Result<Checkpoint, Error> {
    Checkpoint::from_safetensors("x.safetensors", file(header, data_bytes), &small_limits())
}

/// The header's entry of a tensor of bytes.
fn entry(name: &str, [begin, end]: [usize; 2]) -> String {
    format!("\"{name}\":{{\"dtype\":\"U8\",\"shape\":[{}],\"data_offsets\":[{begin},{end}]}}", end - begin)
}

#[track_caller]
fn refused(header: &str, data_bytes: usize, text: &str) {
    assert_error(open(header, data_bytes), ErrorKind::Corrupt, text);
}

#[test]
fn every_type_comes_back_as_it_was_written() {
    let tensors: Vec<(String, Tensor)> = [
        TensorData::F32(vec![-1.5, f32::MIN_POSITIVE]),
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
    ]
    .into_iter()
    .map(|data| (format!("\"{}\"", data.dtype()), Tensor::new(vec![1, 2], data).unwrap()))
    .chain([("empty".to_string(), floats(&[0, 3], &[])), ("scalar".to_string(), floats(&[], &[3.0]))])
    .collect();
    let bytes = safetensors(&tensors).unwrap();
    // The numbers are aligned.
    assert_eq!(u64::from_le_bytes(bytes[..8].try_into().unwrap()) % 8, 0);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("x.safetensors"), &bytes).unwrap();
    // By the file and by its folder.
    for path in [folder.path().join("x.safetensors"), folder.path().to_owned()] {
        let Source::Checkpoint(checkpoint) = source::open(&path, &small_limits()).unwrap() else {
            panic!("not a checkpoint")
        };
        assert_eq!(checkpoint.format(), CheckpointFormat::Safetensors);
        assert_eq!(checkpoint.entries().count(), tensors.len());
        for (name, tensor) in &tensors {
            assert_eq!(checkpoint.read(name).unwrap(), *tensor);
        }
    }
}

#[test]
fn what_others_say_of_themselves_is_skipped() {
    let checkpoint = open(&format!("{{\"__metadata__\":{{\"format\":\"pt\"}},{}}}  ", entry("a", [0, 3])), 3);
    assert_eq!(checkpoint.unwrap().read("a").unwrap().data(), &TensorData::U8(vec![7; 3]));
}

#[test]
fn a_header_that_is_cut_short_is_refused() {
    let whole = file(&format!("{{{}}}", entry("a", [0, 3])), 3);
    for length in [0, 7, 8, 20, whole.len() - 4] {
        let cut = whole[..length].to_vec();
        assert!(Checkpoint::from_safetensors("x", cut, &small_limits()).is_err(), "{length} bytes");
    }
    let mut lying = whole;
    lying[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let opened = Checkpoint::from_safetensors("x", lying, &small_limits());
    assert_error(opened, ErrorKind::Corrupt, "bytes promised");
}

#[test]
fn a_header_that_is_no_list_of_tensors_is_refused() {
    refused("{\"a\":3}", 0, "\"a\"");
    refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[-1],\"data_offsets\":[0,1]}}", 1, "\"a\"");
    refused("{} {}", 0, "trailing");
    refused("[]", 0, "tensors by name");
    refused(&format!("{{\"a\":{}", "[".repeat(100_000)), 0, "header");
}

#[test]
fn a_tensor_that_is_there_twice_is_refused() {
    refused(&format!("{{{},{}}}", entry("a", [0, 3]), entry("a", [3, 6])), 6, "listed twice");
}

#[test]
fn every_byte_belongs_to_one_tensor() {
    let two = |a, b| format!("{{{},{}}}", entry("a", a), entry("b", b));
    assert!(open(&two([2, 5], [0, 2]), 5).is_ok());
    refused(&two([0, 3], [2, 5]), 5, "tensor \"b\": its bytes begin at 2");
    refused(&two([0, 2], [3, 5]), 5, "its bytes begin at 3");
    refused(&two([0, 2], [2, 5]), 6, "5 bytes together, 6 there");
    refused(&two([0, 2], [2, 5]), 4, "5 bytes together, 4 there");
}

#[test]
fn bytes_and_shape_must_agree() {
    let with = |shape: &str, offsets: &str| {
        format!("{{\"a\":{{\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":{offsets}}}}}")
    };
    refused(&with("[2]", "[0,4]"), 4, "bytes 0 to 4 for float32 [2]");
    refused(&with("[2]", "[8,0]"), 8, "bytes 8 to 0");
    let far = format!("[{0},{0}]", u64::MAX);
    refused(&with("[0]", &far), 0, "its bytes begin at");
    let huge = format!("[{0},{0}]", u64::MAX / 2);
    refused(&with(&huge, "[0,4]"), 4, "more elements than can be counted");
    let long = format!("[{}1]", "1,".repeat(100));
    refused(&with(&long, "[0,4]"), 4, "more dimensions");
}

#[test]
fn types_that_nobody_knows_are_refused_by_name() {
    let header = "{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[1],\"data_offsets\":[0,1]}}";
    assert_error(open(header, 1), ErrorKind::Unsupported, "tensor \"a\": a tensor of \"F8_E4M3\"");
}

#[test]
fn limits_are_held() {
    let many: Vec<String> = (0..101).map(|i| entry(&i.to_string(), [i, i + 1])).collect();
    assert_error(open(&format!("{{{}}}", many.join(",")), 101), ErrorKind::Limit, "raise the limit tensors");
    let large = open(&format!("{{{}}}", entry("a", [0, 1 << 21])), 0);
    assert_error(large, ErrorKind::Limit, "raise the limit tensor_bytes");
    let name = "x".repeat(2000);
    assert_error(open(&format!("{{{}}}", entry(&name, [0, 1])), 1), ErrorKind::Limit, "name_bytes");
}

#[test]
fn what_cannot_be_written_is_refused() {
    let named = |name: &str, tensor: Tensor| (name.to_string(), tensor);
    let text = Tensor::new(vec![1], TensorData::Strings(vec![b"x".to_vec()])).unwrap();
    assert_error(safetensors(&[named("a", text)]), ErrorKind::Unsupported, "tensor \"a\"");
    let twice = [named("a", floats(&[], &[1.0])), named("a", floats(&[], &[1.0]))];
    assert_error(safetensors(&twice), ErrorKind::Argument, "tensor \"a\"");
    let metadata = [named("__metadata__", floats(&[], &[1.0]))];
    assert_error(safetensors(&metadata), ErrorKind::Argument, "__metadata__");
}
