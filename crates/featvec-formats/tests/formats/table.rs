//! Tables that are wrong in one way.

use featvec_formats::table::{Compression, TableWriter, records};
use featvec_formats::{ErrorKind, Limits, masked_crc32c};

use crate::support::{assert_error, small_limits, table};

/// Repairs the checksum of the first block, of `length` bytes.
fn set_first_checksum(file: &mut [u8], length: usize) {
    let checksum = masked_crc32c(&file[..length + 1]).to_le_bytes();
    file[length + 1..length + 5].copy_from_slice(&checksum);
}

/// A table with the one record `key`, `value`: its bytes, and the length of the data block.
fn one_record() -> (Vec<u8>, usize) {
    (table(&[(b"key", b"value".to_vec())]), 3 + 3 + 5 + 8)
}

#[test]
fn the_helper_repairs_what_it_is_meant_to() {
    let (mut file, length) = one_record();
    let sound = file.clone();
    set_first_checksum(&mut file, length);
    assert_eq!(file, sound);
}

#[test]
fn an_empty_table_has_no_records() {
    assert_eq!(records(&table(&[]), &Limits::default()).unwrap(), []);
}

#[test]
fn blocks_of_any_size_with_and_without_compression_come_back() {
    let expected: Vec<_> =
        (0..500u32).map(|i| (format!("key{i:06}").into_bytes(), vec![b'v'; i as usize % 40])).collect();
    for compression in [Compression::None, Compression::Snappy] {
        for block_bytes in [1, 100, 1 << 20] {
            let mut writer = TableWriter::new().block_bytes(block_bytes).compression(compression);
            expected.iter().for_each(|(key, value)| writer.add(key, value));
            assert_eq!(records(&writer.finish(), &Limits::default()).unwrap(), expected);
        }
    }
}

#[test]
fn keys_that_do_not_ascend_are_refused() {
    for keys in [[&b"b"[..], b"a"], [b"a", b"a"], [b"ab", b"a"]] {
        let records_of = keys.map(|key| (key, Vec::new()));
        let in_one_block = records(&table(&records_of), &Limits::default());
        assert_error(in_one_block, ErrorKind::Corrupt, "not in ascending order");
        let mut writer = TableWriter::new().block_bytes(1);
        keys.iter().for_each(|key| writer.add(key, b""));
        assert_eq!(records(&writer.finish(), &Limits::default()).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn lengths_that_do_not_fit_a_record_are_refused() {
    for (position, lie) in [(0, 1), (1, 100), (2, 100), (1, 0xff), (2, 0x85)] {
        let (mut file, length) = one_record();
        file[position] = lie;
        set_first_checksum(&mut file, length);
        assert_error(
            records(&file, &Limits::default()),
            ErrorKind::Corrupt,
            "block at 0: a record whose lengths",
        );
    }
}

#[test]
fn restarts_that_do_not_fit_their_block_are_refused() {
    let (mut file, length) = one_record();
    file[length - 1] = 0xff;
    set_first_checksum(&mut file, length);
    assert_error(records(&file, &Limits::default()), ErrorKind::Corrupt, "array of restarts does not fit");
    let (mut file, length) = one_record();
    file[length - 8] = 1;
    set_first_checksum(&mut file, length);
    assert_error(records(&file, &Limits::default()), ErrorKind::Corrupt, "a restart beyond its records");
}

#[test]
fn an_unknown_compression_is_refused() {
    let (mut file, length) = one_record();
    file[length] = 2;
    set_first_checksum(&mut file, length);
    assert_error(
        records(&file, &Limits::default()),
        ErrorKind::Unsupported,
        "block at 0: compressed in a way",
    );
}

#[test]
fn a_compressed_block_that_lies_about_its_length_is_refused() {
    // A length of 2^31 in front of a few bytes.
    let (mut file, length) = one_record();
    file[..5].copy_from_slice(&[0x80, 0x80, 0x80, 0x80, 0x08]);
    file[length] = 1;
    set_first_checksum(&mut file, length);
    assert_error(
        records(&file, &Limits::default()),
        ErrorKind::Corrupt,
        "19 bytes cannot unpack to 2147483648",
    );
}

#[test]
fn a_damaged_compressed_block_is_refused() {
    let (mut file, length) = one_record();
    file[0] = 100;
    file[length] = 1;
    set_first_checksum(&mut file, length);
    assert_error(
        records(&file, &Limits::default()),
        ErrorKind::Corrupt,
        "block at 0: the compressed block is damaged",
    );
}

#[test]
fn a_compressed_block_beyond_the_limit_is_refused() {
    let mut writer = TableWriter::new().compression(Compression::Snappy);
    writer.add(b"zeros", &vec![0; 2 << 20]);
    let file = writer.finish();
    assert!(records(&file, &Limits::default()).is_ok());
    assert_error(records(&file, &small_limits()), ErrorKind::Limit, "raise the limit file_bytes");
}

#[test]
fn bytes_that_no_block_claims_are_refused() {
    let (file, _) = one_record();
    let mut longer = vec![0];
    longer.extend(&file);
    assert!(records(&longer, &Limits::default()).is_err());
    let mut gap = file.clone();
    gap.insert(file.len() - 48, 0);
    assert_error(records(&gap, &Limits::default()), ErrorKind::Corrupt, "footer");
}

#[test]
fn keys_far_longer_than_a_name_are_refused() {
    let key = |length| records(&table(&[(&vec![b'k'; length], Vec::new())]), &Limits::default());
    assert!(key(4 * 1024).is_ok());
    let text = "block at 0: 4 097 bytes of a key, and the limit is 4 096";
    assert_error(key(4 * 1024 + 1), ErrorKind::Limit, text);
    // The index has them too: a separator of two such keys is as long as they are.
    let long = |last| [vec![b'k'; 8 << 10], vec![last]].concat();
    let mut writer = TableWriter::new().block_bytes(1);
    [long(b'a'), long(b'b')].iter().for_each(|key| writer.add(key, b""));
    assert_error(
        records(&writer.finish(), &Limits::default()),
        ErrorKind::Limit,
        "raise the limit name_bytes",
    );
}

#[test]
fn a_shared_prefix_counts_as_part_of_a_key() {
    let keys = [vec![b'k'; 4 * 1024], vec![b'k'; 4 * 1024 + 1]];
    let read = records(&table(&[(&keys[0], Vec::new()), (&keys[1], Vec::new())]), &Limits::default());
    assert_error(read, ErrorKind::Limit, "4 097 bytes of a key");
}

#[test]
fn more_records_than_the_limit_are_refused() {
    let mut writer = TableWriter::new();
    (0..=100u8).for_each(|i| writer.add(&[i], b""));
    assert_error(records(&writer.finish(), &small_limits()), ErrorKind::Limit, "101 records");
}
