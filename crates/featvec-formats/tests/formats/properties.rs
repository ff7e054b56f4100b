//! Round trips of whatever can be written, and no panic on whatever can be read.

use std::collections::BTreeMap;

use featvec_formats::table::{Compression, TableWriter, records};
use featvec_formats::{
    BundleWriter, Caffemodel, Checkpoint, Limits, SavedModel, Tensor, TensorData, TensorSlice, npy,
    ordered_code,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use crate::support::{message, open_bundle, small_limits};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn signed_numbers_come_back_and_sort(a: i64, b: i64) {
        let encode = |value| {
            let mut key = Vec::new();
            ordered_code::put_signed(&mut key, value);
            key
        };
        prop_assert_eq!(ordered_code::take_signed(&mut &encode(a)[..]), Some(a));
        prop_assert_eq!(encode(a).cmp(&encode(b)), a.cmp(&b));
    }

    #[test]
    fn small_signed_numbers_come_back_and_sort(a in -10_000i64..10_000, b in -10_000i64..10_000) {
        let encode = |value| {
            let mut key = Vec::new();
            ordered_code::put_signed(&mut key, value);
            key
        };
        prop_assert_eq!(ordered_code::take_signed(&mut &encode(a)[..]), Some(a));
        prop_assert_eq!(encode(a).cmp(&encode(b)), a.cmp(&b));
    }

    #[test]
    fn unsigned_numbers_and_texts_come_back_and_sort(a: u64, b: u64, s: Vec<u8>, t: Vec<u8>) {
        let number = |value| {
            let mut key = Vec::new();
            ordered_code::put_unsigned(&mut key, value);
            key
        };
        let text = |value: &[u8]| {
            let mut key = Vec::new();
            ordered_code::put_string(&mut key, value);
            key
        };
        prop_assert_eq!(ordered_code::take_unsigned(&mut &number(a)[..]), Some(a));
        prop_assert_eq!(number(a).cmp(&number(b)), a.cmp(&b));
        prop_assert_eq!(ordered_code::take_string(&mut &text(&s)[..]), Some(s.clone()));
        prop_assert_eq!(text(&s).cmp(&text(&t)), s.cmp(&t));
    }

    #[test]
    fn slice_keys_come_back(name: String, extents in vec((0u64..1 << 40, proptest::option::of(0u64..1 << 40)), 0..6)) {
        let mut slice = TensorSlice::default();
        extents.iter().for_each(|&(start, length)| slice.push(start, length));
        let key = ordered_code::slice_key(&name, &slice);
        prop_assert_eq!(ordered_code::parse_slice_key(&key), Some((name, slice)));
    }

    #[test]
    fn fields_come_back(number in 1u32..1 << 29, int: i64, float: f32, bytes: Vec<u8>, ints: Vec<i64>) {
        let written = message(|writer| {
            writer.int64(number, int).float(number, float).bytes(number, &bytes).packed_int64(number, &ints);
        });
        let mut reader = featvec_formats::protobuf::Message::new("Test", &written, &Limits::default());
        let mut next = || reader.next_field().unwrap();
        let field = next().unwrap();
        prop_assert_eq!((field.number, field.int64().unwrap()), (number, int));
        prop_assert_eq!(next().unwrap().float().unwrap().to_bits(), float.to_bits());
        prop_assert_eq!(next().unwrap().bytes().unwrap(), &bytes[..]);
        let read: Vec<i64> = next().unwrap().varints().unwrap().map(|value| value.unwrap() as i64).collect();
        prop_assert_eq!(read, ints);
        prop_assert!(next().is_none());
    }

    #[test]
    fn tables_come_back(
        written in btree_map(vec(0u8..4, 0..12), vec(any::<u8>(), 0..40), 0..60),
        block_bytes in 1usize..300,
        snappy: bool,
    ) {
        let compression = if snappy { Compression::Snappy } else { Compression::None };
        let mut writer = TableWriter::new().block_bytes(block_bytes).compression(compression);
        written.iter().for_each(|(key, value)| writer.add(key, value));
        let read: BTreeMap<_, _> = records(&writer.finish(), &Limits::default()).unwrap().into_iter().collect();
        prop_assert_eq!(read, written);
    }

    #[test]
    fn bundles_come_back(tensors in btree_map("[a-z/]{1,12}", vec(any::<i32>(), 0..20), 0..12)) {
        let mut writer = BundleWriter::new();
        for (name, values) in &tensors {
            let tensor = Tensor::new(vec![values.len()], TensorData::I32(values.clone())).unwrap();
            writer.add(name, &tensor).unwrap();
        }
        let (index, shard) = writer.finish();
        let checkpoint = open_bundle(&index, &shard).unwrap();
        prop_assert_eq!(checkpoint.entries().count(), tensors.len());
        for (name, values) in tensors {
            let read = checkpoint.read(&name).unwrap().into_data();
            prop_assert_eq!(read, TensorData::I32(values));
        }
    }

    #[test]
    fn arrays_come_back(shape in vec(0usize..5, 0..5), seed: u8) {
        let count = shape.iter().product::<usize>();
        let values = (0..count).map(|i| i as f32 * f32::from(seed)).collect();
        let tensor = Tensor::new(shape, TensorData::F32(values)).unwrap();
        let mut bytes = Vec::new();
        npy::write(&mut bytes, &tensor).unwrap();
        prop_assert_eq!((bytes.len() - count * 4) % 64, 0);
        prop_assert_eq!(npy::read(&bytes[..], &Limits::default()).unwrap(), tensor);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes: Vec<u8>) {
        let limits = small_limits();
        let _ = SavedModel::parse(&bytes, &limits);
        let _ = Caffemodel::parse(&bytes, &limits);
        let _ = Checkpoint::from_v1("", bytes.clone(), &limits);
        let _ = records(&bytes, &limits);
        let _ = npy::read(&bytes[..], &limits);
        let _ = ordered_code::parse_slice_key(&bytes);
    }
}
