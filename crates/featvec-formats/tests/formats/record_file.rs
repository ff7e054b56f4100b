//! TFRecord files on disk, plain and compressed, and wrong in one way.

use std::io::Write;
use std::path::PathBuf;

use featvec_formats::tfrecord::RecordWriter;
use featvec_formats::{ErrorKind, Limits, RecordFile, masked_crc32c};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use tempfile::TempDir;

use crate::support::{assert_error, small_limits};

const RECORDS: [&[u8]; 3] = [b"first", b"", b"third, which is longer"];

/// What stands around the bytes of a record.
const FRAME_BYTES: usize = 12 + 4;

fn records() -> Vec<u8> {
    let mut writer = RecordWriter::new(Vec::new());
    RECORDS.iter().for_each(|record| writer.write(record).unwrap());
    writer.get_mut().clone()
}

fn file(folder: &TempDir, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join("a.tfrecord");
    std::fs::write(&path, bytes).unwrap();
    path
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn open(bytes: &[u8]) -> featvec_formats::Result<RecordFile> {
    let folder = tempfile::tempdir().unwrap();
    RecordFile::open(&file(&folder, bytes), &small_limits())
}

/// As only who has raised the limit is told.
#[test]
fn a_record_may_promise_more_bytes_than_can_be_counted() {
    let folder = tempfile::tempdir().unwrap();
    let length = u64::MAX.to_le_bytes();
    let bytes = [&length[..], &masked_crc32c(&length).to_le_bytes()].concat();
    let limits = Limits { tensor_bytes: u64::MAX, ..Limits::default() };
    let opened = RecordFile::open(&file(&folder, &bytes), &limits);
    assert_error(opened, ErrorKind::Corrupt, "0 left");
}

#[test]
fn records_are_read_in_any_order_plain_or_compressed() {
    let folder = tempfile::tempdir().unwrap();
    for bytes in [records(), gzip(&records()), zlib(&records())] {
        let path = file(&folder, &bytes);
        let opened = RecordFile::open(&path, &small_limits()).unwrap();
        assert_eq!((opened.len(), opened.path()), (3, path.as_path()));
        for index in [2, 0, 1, 2] {
            assert_eq!(opened.read(index).unwrap(), RECORDS[index]);
        }
    }
    assert!(open(b"").unwrap().is_empty());
}

#[test]
fn a_plain_file_may_begin_as_a_compressed_one_would() {
    // Its length, little-endian, begins with the magic numbers of gzip and of zlib.
    for length in [0x8b1f, 0x9c78] {
        let mut writer = RecordWriter::new(Vec::new());
        writer.write(&vec![7; length]).unwrap();
        let opened = open(writer.get_mut()).unwrap();
        assert_eq!(opened.len(), 1);
    }
}

#[test]
fn every_cut_of_a_plain_file_is_noticed_when_it_is_opened() {
    let whole = records();
    let ends = [5 + FRAME_BYTES, 5 + 2 * FRAME_BYTES];
    for cut in (1..whole.len()).filter(|cut| !ends.contains(cut)) {
        assert_error(open(&whole[..cut]), ErrorKind::Corrupt, "the file may be truncated");
    }
}

#[test]
fn damage_in_a_record_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = records();
    let third = 5 + 2 * FRAME_BYTES;
    bytes[third + 12] ^= 1;
    let opened = RecordFile::open(&file(&folder, &bytes), &small_limits()).unwrap();
    assert_eq!(opened.read(0).unwrap(), RECORDS[0]);
    assert_error(
        opened.read(2),
        ErrorKind::Corrupt,
        &format!("record at byte {third}: its checksum is wrong"),
    );
}

#[test]
fn another_kind_of_file_is_refused() {
    let hint = "is it a TFRecord file?";
    assert_error(open(b"\xff\xd8\xff\xe0 a photograph, say"), ErrorKind::Corrupt, hint);
    assert_error(open(&gzip(b"a text that was compressed")), ErrorKind::Corrupt, hint);
}

#[test]
fn a_compressed_file_that_is_cut_short_is_refused() {
    for bytes in [gzip(&records()), zlib(&records())] {
        assert_error(open(&bytes[..bytes.len() - 9]), ErrorKind::Corrupt, "it cannot be unpacked");
    }
}

#[test]
fn a_small_file_that_unpacks_to_a_large_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = RecordWriter::new(Vec::new());
    writer.write(&vec![0; 100_000]).unwrap();
    let path = file(&folder, &gzip(writer.get_mut()));
    let limits = Limits { archive_bytes: 50_000, ..small_limits() };
    assert_error(RecordFile::open(&path, &limits), ErrorKind::Limit, "raise the limit archive_bytes");
}

#[test]
fn a_record_beyond_the_limit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, &records());
    let limits = Limits { tensor_bytes: 10, ..small_limits() };
    assert_error(RecordFile::open(&path, &limits), ErrorKind::Limit, "raise the limit tensor_bytes");
}

#[test]
fn a_file_that_shrank_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let opened = RecordFile::open(&file(&folder, &records()), &small_limits()).unwrap();
    file(&folder, &records()[..20]);
    assert_error(opened.read(2), ErrorKind::Corrupt, "shorter while it was being read");
}
