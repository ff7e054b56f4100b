//! Tar archives and WebDataset shards as sources.

mod common;

use std::io::Read;

use common::{Files, gzip, items, only_error, place, tar, tar_header, tar_members};
use featvec::ErrorKind;
use featvec_collections::sources::{SourceOptions, open};

const SAMPLES: [(&str, &[u8]); 6] = [
    ("train/0001.cls", b"7\n"),
    ("train/0001.jpg", b"first"),
    ("train/0001.json", b"{\"a\": 1}"),
    ("train/0002.jpg", b"second"),
    ("train/0002.cls", b"8"),
    ("train/0002.npy", b"\x93NUMPY\xff"),
];

fn default() -> SourceOptions {
    SourceOptions::default()
}

#[test]
fn samples_carry_what_stands_beside_them() {
    let files = Files::new();
    let plain = tar(&SAMPLES);
    files.write("a.tar", &plain);
    files.write("a.tar.gz", gzip(&plain));
    files.write("a.tar.zst", zstd::encode_all(&plain[..], 1).unwrap());
    // Compressed in pieces, as parallel programs do.
    files.write("b.tgz", [gzip(&plain[..700]), gzip(&plain[700..])].concat());
    for name in ["a.tar", "a.tar.gz", "a.tar.zst", "b.tgz"] {
        let mut collection = open(&[place(files.path(name))], &default()).unwrap();
        let columns: Vec<_> = collection.columns.fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(columns, ["cls", "json"], "{name}");
        let expected = [
            format!("{name}/train/0001.jpg | first | 7 | {{\"a\": 1}}"),
            format!("{name}/train/0002.jpg | second | 8 | null"),
        ];
        assert_eq!(files.short_items(&mut collection), expected);
    }
}

#[test]
fn an_archive_without_texts_has_no_columns() {
    let files = Files::new();
    files.write(
        "a.tar",
        tar(&[("./x/a.jpg", b"a"), ("x/a.2.png", b"b"), ("README", b"text"), ("x/._a.jpg", b"mac")]),
    );
    let mut collection = open(&[place(files.path("a.tar"))], &default()).unwrap();
    assert!(collection.columns.fields().is_empty());
    assert_eq!(files.short_items(&mut collection), ["a.tar/x/a.jpg | a", "a.tar/x/a.2.png | b"]);
}

#[test]
fn members_of_one_name_have_keys_of_their_own() {
    let files = Files::new();
    files.write("a.tar", tar(&[("a.jpg", b"1"), ("a.jpg", b"2")]));
    assert_eq!(files.items("a.tar", &default()), ["a.tar/a.jpg | 1", "a.tar/a.jpg#2 | 2"]);
}

#[test]
fn texts_under_the_names_of_the_output_come_along() {
    let files = Files::new();
    files.write("a.tar", tar(&[("1.jpg", b"1"), ("1.key", b"k"), ("1.txt", b"t")]));
    let collection = open(&[place(files.path("a.tar"))], &default()).unwrap();
    let columns: Vec<_> = collection.columns.fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(columns, ["key", "txt"]);
}

#[test]
fn unusual_names_and_members_do_no_harm() {
    let mut archive = Vec::new();
    archive.extend(tar_header("../../etc/x.jpg", b'0', 0));
    archive.extend(tar_header("/abs.jpg", b'0', 0));
    archive.extend(tar_header("link.jpg", b'2', 0));
    archive.extend(tar_header("device.jpg", b'3', 0));
    archive.extend(tar_header("folder.jpg/", b'5', 0));
    archive.extend(tar(&[("last.jpg", b"last")]));
    let files = Files::new();
    files.write("a.tar", archive);
    let lines = files.items("a.tar", &default());
    assert_eq!(lines, ["a.tar/../../etc/x.jpg | ", "a.tar//abs.jpg | ", "a.tar/last.jpg | last"]);
}

#[test]
fn what_is_not_wanted_is_passed_over() {
    let files = Files::new();
    // A sparse file of a gigabyte: to read it would take its time, to pass over it none.
    let path = files.write("a.tar", tar_header("big.jpg", b'0', 1 << 30));
    let mut file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let small = tar(&[("small.jpg", b"small")]);
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(512 + (1 << 30))).unwrap();
    std::io::Write::write_all(&mut file, &small).unwrap();
    let start = std::time::Instant::now();
    let mut collection = open(&[place(&path)], &default()).unwrap();
    let item = collection.next(&mut |key| key.ends_with("small.jpg")).unwrap();
    assert_eq!(files.short_item(&item), "a.tar/small.jpg | small");
    assert!(collection.next(&mut |_| true).is_none());
    assert!(start.elapsed().as_secs_f64() < 0.3, "{:?}", start.elapsed());
}

#[test]
fn a_picture_beyond_the_limit_is_refused_unread_and_the_next_one_read() {
    let files = Files::new();
    let mut archive = tar_members(&[("a.jpg", &[0; 3000]), ("b.jpg", b"b")]);
    // This one is not even there.
    archive.extend(tar_header("c.jpg", b'0', 1 << 32));
    files.write("a.tar", archive);
    let options = SourceOptions { max_picture_bytes: 2000, ..default() };
    let lines = files.items("a.tar", &options);
    assert_eq!(lines[0], "a.tar/a.jpg | ! more than 2000 bytes, which is the limit (--max-memory raises it)");
    assert_eq!(lines[1], "a.tar/b.jpg | b");
    assert!(lines[2].starts_with("a.tar/c.jpg | ! more than 2000 bytes"), "{lines:?}");
    assert!(lines[3].starts_with("a.tar | ! member \"c.jpg\": the archive breaks off"), "{lines:?}");
    assert_eq!(lines.len(), 4);
}

#[test]
fn a_cut_or_damaged_archive_gives_what_is_before() {
    let files = Files::new();
    let archive = tar(&[("a.jpg", b"a"), ("b.jpg", &[7; 600])]);
    files.write("cut.tar", &archive[..1200]);
    files.write("in-member.tar", &archive[..1700]);
    let mut damaged = archive.clone();
    damaged[1024] ^= 1;
    files.write("damaged.tar", &damaged);
    files.write("no-end.tar", tar_members(&[("a.jpg", b"a")]));
    let mut packed = gzip(&archive);
    let half = packed.len() / 2;
    packed[half] ^= 0xff;
    files.write("damaged.tar.gz", packed);
    files.write("cut.tar.zst", {
        let packed = zstd::encode_all(&archive[..], 1).unwrap();
        packed[..packed.len() - 6].to_vec()
    });
    files.write("text.tar", "this is no archive");
    files.write("empty.tar", "");
    for name in [
        "cut.tar",
        "in-member.tar",
        "damaged.tar",
        "no-end.tar",
        "damaged.tar.gz",
        "cut.tar.zst",
        "text.tar",
        "empty.tar",
    ] {
        let mut collection =
            open(&[place(files.path(name)), place(files.path("next.jpg"))], &default()).unwrap();
        let items = items(&mut collection);
        let [.., error, next] = &items[..] else { panic!("{name}: {items:?}") };
        assert_eq!(files.short(&error.key), name);
        assert_eq!(error.content.as_ref().unwrap_err().kind(), ErrorKind::Corrupt, "{name}: {error:?}");
        assert!(next.key.ends_with("next.jpg"));
        if ["cut.tar", "in-member.tar", "damaged.tar", "no-end.tar"].contains(&name) {
            assert_eq!(files.short_item(&items[0]), format!("{name}/a.jpg | a"));
        }
    }
}

#[test]
fn an_archive_without_pictures_says_so() {
    let files = Files::new();
    files.write("a.tar", tar(&[("inner.tar", b"")]));
    let error = only_error(&files, "a.tar", &default());
    assert!(error.to_string().starts_with("no pictures in this archive"), "{error}");
}

#[test]
fn a_bomb_is_stopped() {
    let files = Files::new();
    // Eight terabytes of nothing, in some hundred kilobytes.
    let mut header = tar_header("a.bin", b'0', 0).to_vec();
    header[124..136].copy_from_slice(b"\x80\0\0\0\0\0\x08\0\0\0\0\0");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut packed = zstd::encode_all(&header[..], 1).unwrap();
    let zeros = zstd::encode_all(std::io::repeat(0).take(1 << 26), 1).unwrap();
    (0..2).for_each(|_| packed.extend(&zeros));
    files.write("a.tar.zst", packed);
    let error = only_error(&files, "a.tar.zst", &default());
    assert!(error.to_string().contains("attack"), "{error}");
}

#[test]
fn a_sample_that_never_ends_is_not_gathered() {
    let files = Files::new();
    let mut members: Vec<(String, Vec<u8>)> = vec![("s.cls".into(), b"1".to_vec())];
    members.extend((0..10).map(|i| (format!("s.{i}.jpg"), vec![b'x'; 600])));
    let members: Vec<_> = members.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    files.write("a.tar", tar(&members));
    let options = SourceOptions { max_picture_bytes: 1500, ..default() };
    let lines = files.items("a.tar", &options);
    assert_eq!(lines.len(), 10);
    assert!(lines.iter().all(|line| line.ends_with("600 bytes | 1")), "{lines:?}");
}

#[test]
fn shards_with_other_columns_have_null() {
    let files = Files::new();
    files.write("a.tar", tar(&[("1.jpg", b"1"), ("1.cls", b"7")]));
    files.write("b.tar", tar(&[("2.jpg", b"2"), ("2.txt", b"text")]));
    let inputs = [place(files.path("a.tar")), place(files.path("b.tar"))];
    let lines = files.short_items(&mut open(&inputs, &default()).unwrap());
    assert_eq!(lines, ["a.tar/1.jpg | 1 | 7", "b.tar/2.jpg | 2 | null"]);
}

#[test]
fn sparse_files_are_said_and_what_follows_is_read() {
    let checked = |mut header: [u8; 512]| {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        header
    };
    let mut archive = Vec::new();
    // GNU's own kind, with more regions than fit in the header, and one that is no picture.
    for name in ["gnu.jpg", "gnu.bin"] {
        let mut header = tar_header(name, b'S', 3);
        header[482] = 1;
        archive.extend(checked(header));
        for has_more in [1, 0] {
            let mut regions = [b'7'; 512];
            regions[504] = has_more;
            archive.extend(regions);
        }
        archive.extend(b"abc");
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    // That of POSIX, whose path is not the name of the file.
    let records = b"22 GNU.sparse.major=1\n33 GNU.sparse.name=dir/posix.jpg\n30 path=dir/GNUSparseFile.1/x\n";
    archive.extend(tar_header("pax", b'x', records.len() as u64));
    archive.extend(records);
    archive.resize(archive.len().next_multiple_of(512), 0);
    archive.extend(tar(&[("ignored", b"abc"), ("last.jpg", b"last")]));
    let files = Files::new();
    files.write("a.tar", archive);
    let lines = files.items("a.tar", &default());
    let refused = "! a sparse file (tar without --sparse packs all of it)";
    let expected = [
        format!("a.tar/gnu.jpg | {refused}"),
        format!("a.tar/dir/posix.jpg | {refused}"),
        "a.tar/last.jpg | last".to_owned(),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn of_texts_of_one_name_the_first_counts() {
    let files = Files::new();
    files.write("a.tar", tar(&[("s.txt", b"1"), ("s.jpg", b"x"), ("s.txt", b"2"), ("s.txt", b"3")]));
    assert_eq!(files.items("a.tar", &default()), ["a.tar/s.jpg | x | 1"]);
}

#[test]
fn a_sample_has_so_many_columns_and_no_more() {
    let files = Files::new();
    let names: Vec<String> = (0..300).map(|number| format!("s.{number:03}")).collect();
    let mut members: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"1"[..])).collect();
    members.push(("s.jpg", b"x"));
    files.write("a.tar", tar(&members));
    assert_eq!(open(&[place(files.path("a.tar"))], &default()).unwrap().columns.fields().len(), 256);
}

#[test]
fn names_that_are_no_text_have_keys_of_their_own() {
    let files = Files::new();
    let mut archive = Vec::new();
    for byte in [0xfe, 0xff] {
        let mut header = tar_header("?.jpg", b'0', 0);
        header[0] = byte;
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend(header);
    }
    archive.resize(archive.len() + 1024, 0);
    files.write("a.tar", archive);
    assert_eq!(files.items("a.tar", &default()), ["a.tar/\\xfe.jpg | ", "a.tar/\\xff.jpg | "]);
}
