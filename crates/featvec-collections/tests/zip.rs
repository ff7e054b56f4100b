//! Zip archives as sources.

mod common;

use std::io::{Cursor, Write};

use common::{Files, only_error};
use featvec_collections::sources::SourceOptions;
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (number, (name, bytes)) in members.iter().enumerate() {
        let method = [CompressionMethod::Stored, CompressionMethod::Deflated][number % 2];
        writer.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn default() -> SourceOptions {
    SourceOptions::default()
}

#[test]
fn members_are_items_in_their_order() {
    let files = Files::new();
    let members: [(&str, &[u8]); 5] = [
        ("b/2.jpg", b"two"),
        ("b/1.jpg", b"one"),
        ("notes.txt", b"text"),
        ("__MACOSX/b/._1.jpg", b"mac"),
        ("c.PNG", b"three"),
    ];
    files.write("a.zip", archive(&members));
    let lines = files.items("a.zip", &default());
    assert_eq!(lines, ["a.zip/b/2.jpg | two", "a.zip/b/1.jpg | one", "a.zip/c.PNG | three"]);
}

#[test]
fn a_damaged_member_costs_itself() {
    let files = Files::new();
    let mut bytes = archive(&[("a.jpg", b"aaaaaaaa"), ("b.jpg", b"b")]);
    let at = bytes.windows(8).position(|window| window == b"aaaaaaaa").unwrap();
    bytes[at] = b'x';
    files.write("a.zip", bytes);
    let lines = files.items("a.zip", &default());
    assert!(lines[0].starts_with("a.zip/a.jpg | ! it cannot be unpacked: "), "{lines:?}");
    assert_eq!(lines[1..], ["a.zip/b.jpg | b"]);
}

#[test]
fn a_member_beyond_the_limit_is_refused() {
    let files = Files::new();
    files.write("a.zip", archive(&[("a.jpg", b""), ("b.jpg", &[0; 1 << 20]), ("c.jpg", b"c")]));
    let options = SourceOptions { max_picture_bytes: 1000, ..default() };
    let lines = files.items("a.zip", &options);
    assert!(lines[1].starts_with("a.zip/b.jpg | ! more than 1000 bytes"), "{lines:?}");
    assert_eq!(lines[2], "a.zip/c.jpg | c");
    // A member that lies about its size: what it says is in the last table.
    let mut bytes = archive(&[("a.jpg", b""), ("b.jpg", &[0; 1 << 20])]);
    let size = (1u32 << 20).to_le_bytes();
    let places: Vec<_> = (0..bytes.len() - 4).filter(|at| bytes[*at..*at + 4] == size).collect();
    for at in places {
        bytes[at..at + 4].copy_from_slice(&500u32.to_le_bytes());
    }
    files.write("b.zip", bytes);
    let lines = files.items("b.zip", &options);
    assert!(lines[1].starts_with("b.zip/b.jpg | ! "), "{lines:?}");
}

#[test]
fn what_is_no_archive_or_has_no_pictures_is_one_item() {
    let files = Files::new();
    let whole = archive(&[("a.jpg", b"a")]);
    files.write("cut.zip", &whole[..whole.len() - 10]);
    files.write("text.zip", "no archive");
    files.write("empty.zip", archive(&[("a.txt", b"a")]));
    for (name, message) in [
        ("cut.zip", "not a sound zip"),
        ("text.zip", "not a sound zip"),
        ("empty.zip", "no pictures in this archive"),
    ] {
        let error = only_error(&files, name, &default());
        assert!(error.to_string().starts_with(message), "{name}: {error}");
    }
}

#[test]
fn members_of_one_name_have_keys_of_their_own_or_are_said() {
    let files = Files::new();
    files.write("a.zip", archive(&[("a.jpg", b"1"), ("./a.jpg", b"2")]));
    assert_eq!(files.items("a.zip", &default()), ["a.zip/a.jpg | 1", "a.zip/a.jpg#2 | 2"]);
    let mut bytes = archive(&[("a.jpg", b"1"), ("b.jpg", b"2")]);
    let places: Vec<_> = (0..bytes.len() - 5).filter(|at| &bytes[*at..*at + 5] == b"b.jpg").collect();
    places.into_iter().for_each(|at| bytes[at] = b'a');
    files.write("b.zip", bytes);
    let lines = files.items("b.zip", &default());
    assert_eq!(lines[0], "b.zip/a.jpg | 2");
    assert!(lines[1].starts_with("b.zip | ! several members of one name"), "{lines:?}");
    assert_eq!(lines.len(), 2);
}
