//! Archives that are wrong in one way, read into memory and unpacked to a folder.

use std::fs;
use std::path::Path;

use featvec_formats::archive::{Extracted, extract, is_archive};
use featvec_formats::{Error, ErrorKind, Limits, source};

use crate::support::{TarMember, assert_error, file, gzip, set_tar_checksum, small_limits, tar, tar_header};

/// Unpacks into a folder within a new one, and checks that nothing but that folder is touched.
fn unpack(bytes: &[u8]) -> Result<Vec<Extracted>, Error> {
    unpack_with(bytes, &small_limits())
}

fn unpack_with(bytes: &[u8], limits: &Limits) -> Result<Vec<Extracted>, Error> {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let result = extract(bytes, &folder, limits);
    assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 1, "something outside the folder");
    if let Ok(files) = &result {
        for extracted in files {
            assert_eq!(fs::metadata(folder.join(&extracted.name)).unwrap().len(), extracted.bytes);
        }
    }
    // The reader of modules must be of the same mind.
    let path = outer.path().join("archive");
    fs::write(&path, bytes).unwrap();
    let opened = source::open(&path, limits).unwrap_err();
    if let Err(error) = &result
        && is_archive(&bytes[..bytes.len().min(512)])
    {
        assert_eq!((opened.kind(), opened.message()), (error.kind(), error.message()));
    }
    result
}

fn names(bytes: &[u8]) -> Vec<String> {
    unpack(bytes).unwrap().into_iter().map(|extracted| extracted.name).collect()
}

fn member(name: &str, kind: u8) -> TarMember<'_> {
    TarMember { name, kind, content: b"" }
}

#[test]
fn files_and_folders_are_unpacked_from_tar_and_tar_gz() {
    let members =
        [member("./", b'5'), member("./d/", b'5'), file("./d/a", b"aaa"), file("b/c", b""), file("e", b"e")];
    for bytes in [tar(&members), gzip(&tar(&members))] {
        assert_eq!(names(&bytes), ["d/a", "b/c", "e"]);
    }
}

#[test]
fn content_arrives_whole() {
    let content: Vec<u8> = (0..100_000u32).map(|i| i as u8).collect();
    let folder = tempfile::tempdir().unwrap();
    extract(&gzip(&tar(&[file("a/b", &content)]))[..], folder.path(), &small_limits()).unwrap();
    assert_eq!(fs::read(folder.path().join("a/b")).unwrap(), content);
}

#[test]
fn members_that_lead_out_of_the_folder_are_refused() {
    for name in ["../x", "a/../../x", "..", "a/.."] {
        assert_error(unpack(&tar(&[file(name, b"x")])), ErrorKind::Corrupt, "leads out of the folder");
    }
}

#[test]
fn absolute_names_are_refused() {
    for name in ["/etc/x", "//etc//x", "/../x"] {
        assert_error(unpack(&tar(&[file(name, b"x")])), ErrorKind::Corrupt, "an absolute name");
    }
}

#[test]
fn names_that_other_systems_read_differently_are_refused() {
    assert_error(
        unpack(&tar(&[file("a\\..\\x", b"x")])),
        ErrorKind::Corrupt,
        "no file's name on some systems",
    );
    let mut header = tar_header(&file("x", b""), 0);
    header[0] = 0xff;
    set_tar_checksum(&mut header);
    assert_error(unpack(&[&header[..], &[0; 1024]].concat()), ErrorKind::Corrupt, "not UTF-8");
}

#[test]
fn links_devices_and_oddities_are_refused() {
    for (kind, text) in
        [(b'1', "a link"), (b'2', "a link"), (b'3', "a device"), (b'4', "a device"), (b'6', "a pipe")]
    {
        assert_error(unpack(&tar(&[member("x", kind)])), ErrorKind::Unsupported, text);
    }
    assert_error(unpack(&tar(&[member("x", b'V')])), ErrorKind::Unsupported, "unusual kind");
    let folder = TarMember { name: "x", kind: b'5', content: b"content" };
    assert_error(unpack(&tar(&[folder])), ErrorKind::Unsupported, "a folder with content");
}

#[test]
fn two_members_that_cannot_be_together_are_refused() {
    for members in [
        [file("a", b"1"), file("a", b"2")],
        [file("a", b"1"), file("./a", b"2")],
        [file("a", b"1"), file("a/b", b"2")],
        [file("a/b", b"1"), file("a", b"2")],
        [file("a", b"1"), member("a/", b'5')],
    ] {
        assert_eq!(unpack(&tar(&members)).unwrap_err().kind(), ErrorKind::Corrupt);
    }
    assert_eq!(names(&tar(&[member("a", b'5'), member("a/", b'5'), file("a/b", b"")])), ["a/b"]);
}

#[test]
fn truncations_of_a_tar_are_refused() {
    let bytes = tar(&[file("a", &[1; 600]), file("b", b"2")]);
    // Only half of the final zeros is needed.
    for length in (0..bytes.len() - 1023).filter(|length| length % 512 < 2 || length % 31 == 0) {
        assert!(unpack(&bytes[..length]).is_err(), "{length} bytes");
    }
    assert!(unpack(&bytes[..bytes.len() - 512]).is_ok());
}

#[test]
fn every_truncation_of_a_tar_gz_is_refused() {
    let bytes = gzip(&tar(&[file("a", &[1; 600]), file("b", b"2")]));
    for length in 0..bytes.len() {
        assert!(unpack(&bytes[..length]).is_err(), "{length} bytes");
    }
    let half = unpack(&bytes[..bytes.len() / 2]);
    assert_error(half, ErrorKind::Corrupt, "the archive breaks off");
}

#[test]
fn a_damaged_checksum_of_gzip_is_refused() {
    let mut bytes = gzip(&tar(&[file("a", b"1")]));
    let last = bytes.len() - 5;
    bytes[last] ^= 1;
    assert_error(unpack(&bytes), ErrorKind::Corrupt, "the compressed data are damaged");
}

#[test]
fn data_after_the_end_are_refused() {
    let mut bytes = tar(&[file("a", b"1")]);
    bytes.extend(b"more");
    assert_error(unpack(&bytes), ErrorKind::Corrupt, "data after the end of the archive");
    let mut packed = gzip(&tar(&[file("a", b"1")]));
    packed.extend(b"more");
    assert!(unpack(&packed).is_err());
}

#[test]
fn damaged_headers_are_refused() {
    for position in [0, 120, 124, 150, 156, 300] {
        let mut bytes = tar(&[file("a", b"1")]);
        bytes[position] ^= 1;
        assert_error(unpack(&bytes), ErrorKind::Corrupt, "member 1: not the header of a tar member");
    }
    let mut header = tar_header(&file("a", b""), 0);
    header[124..136].copy_from_slice(b"not a number");
    set_tar_checksum(&mut header);
    assert_error(
        unpack(&[&header[..], &[0; 1024]].concat()),
        ErrorKind::Corrupt,
        "its length is not a number",
    );
}

#[test]
fn lengths_beyond_the_archive_are_refused_without_allocation() {
    let header = tar_header(&file("a", b""), 0o77_777_777_777);
    let lying = [&header[..], &[0; 1024]].concat();
    assert_error(
        unpack(&lying),
        ErrorKind::Limit,
        "member \"a\": 8 589 934 591 bytes, and the limit is 1 048 576",
    );
    let limits = Limits { file_bytes: u64::MAX, archive_bytes: u64::MAX, ..small_limits() };
    assert_error(unpack_with(&lying, &limits), ErrorKind::Corrupt, "member \"a\": the archive breaks off");
    let mut header = tar_header(&file("a", b""), 0);
    header[124] = 0x80;
    header[125..136].fill(0xff);
    set_tar_checksum(&mut header);
    assert_error(
        unpack(&[&header[..], &[0; 1024]].concat()),
        ErrorKind::Corrupt,
        "its length is not a number",
    );
}

#[test]
fn an_archive_that_unpacks_to_more_than_the_limit_is_refused() {
    let bomb = gzip(&tar(&[file("zeros", &vec![0; 2 << 20])]));
    assert!(bomb.len() < 32 << 10);
    assert_error(unpack(&bomb), ErrorKind::Limit, "raise the limit");
    let many = gzip(&tar(&[file("a", &vec![0; 600 << 10]), file("b", &vec![0; 600 << 10])]));
    assert_error(unpack(&many), ErrorKind::Limit, "raise the limit archive_bytes");
    let padding = gzip(&[&tar(&[file("a", b"")])[..], &vec![0; 2 << 20]].concat());
    assert_error(unpack(&padding), ErrorKind::Limit, "raise the limit archive_bytes");
}

#[test]
fn more_members_than_the_limit_are_refused() {
    let names: Vec<String> = (0..101).map(|i| format!("f{i}")).collect();
    let members: Vec<_> = names.iter().map(|name| file(name, b"")).collect();
    assert_error(unpack(&tar(&members)), ErrorKind::Limit, "101 members, and the limit is 100");
}

#[test]
fn long_names_of_gnu_and_posix_are_read() {
    let long = ["folder"; 25].join("/");
    let gnu_name = format!("{long}\0");
    let gnu =
        [TarMember { name: "././@LongLink", kind: b'L', content: gnu_name.as_bytes() }, file("cut", b"x")];
    assert_eq!(names(&tar(&gnu)), [long.as_str()]);
    let record = |text: &str| format!("{} {text}\n", text.len() + 5);
    let records = record(&format!("path={long}"));
    assert_eq!(records.len(), long.len() + 10);
    let posix = [TarMember { name: "pax", kind: b'x', content: records.as_bytes() }, file("cut", b"x")];
    assert_eq!(names(&tar(&posix)), [long.as_str()]);
    let global = [TarMember { name: "pax", kind: b'g', content: b"anything" }, file("a", b"x")];
    assert_eq!(names(&tar(&global)), ["a"]);
}

#[test]
fn names_that_are_too_long_or_too_deep_are_refused() {
    let deep = format!("{}x", "a/".repeat(45));
    assert_error(unpack(&tar(&[file(&deep, b"x")])), ErrorKind::Corrupt, "too many folders");
    let long = ["f".repeat(200).as_str(); 6].join("/");
    let gnu = [TarMember { name: "././@LongLink", kind: b'L', content: long.as_bytes() }, file("cut", b"x")];
    assert_error(unpack(&tar(&gnu)), ErrorKind::Limit, "raise the limit name_bytes");
}

#[test]
fn an_archive_of_before_the_magic_number_is_recognised() {
    let mut header = tar_header(&file("a", b""), 0);
    header[257..265].fill(0);
    set_tar_checksum(&mut header);
    assert_eq!(names(&[&header[..], &[0; 1024]].concat()), ["a"]);
}

#[test]
fn long_names_do_not_escape_the_rules() {
    let gnu = [TarMember { name: "././@LongLink", kind: b'L', content: b"../../x\0" }, file("cut", b"x")];
    assert_error(unpack(&tar(&gnu)), ErrorKind::Corrupt, "leads out of the folder");
    let posix = [TarMember { name: "pax", kind: b'x', content: b"12 path=../x\n" }, file("cut", b"x")];
    assert_error(unpack(&tar(&posix)), ErrorKind::Corrupt, "extended header is damaged");
    let posix = [TarMember { name: "pax", kind: b'x', content: b"13 path=../x\n" }, file("cut", b"x")];
    assert_error(unpack(&tar(&posix)), ErrorKind::Corrupt, "leads out of the folder");
    let huge = vec![b'a'; 70_000];
    let gnu = [TarMember { name: "././@LongLink", kind: b'L', content: &huge }, file("cut", b"x")];
    assert_error(unpack(&tar(&gnu)), ErrorKind::Corrupt, "a name of 70 000 bytes");
}

#[test]
fn sparse_files_are_refused() {
    let posix =
        [TarMember { name: "pax", kind: b'x', content: b"22 GNU.sparse.major=1\n" }, file("cut", b"x")];
    for archive in [tar(&posix), tar(&[member("x", b'S')])] {
        assert_error(unpack(&archive), ErrorKind::Unsupported, "a sparse file");
    }
}

#[test]
fn what_is_no_archive_says_what_it_is() {
    for (bytes, text) in [
        (&b""[..], "an empty file"),
        (b"BZh91AY", "compressed with bzip2"),
        (b"\xfd7zXZ\0", "compressed with xz"),
        (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    ] {
        assert_error(unpack(bytes), ErrorKind::Unsupported, text);
    }
    assert_error(unpack(&gzip(b"text")), ErrorKind::Corrupt, "the archive breaks off");
    assert_error(unpack(&tar(&[member("a/", b'5')])), ErrorKind::Corrupt, "an archive without files");
}

#[test]
fn a_folder_in_use_is_not_unpacked_into() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), "mine").unwrap();
    let result = extract(&tar(&[file("a", b"theirs")])[..], folder.path(), &small_limits());
    assert_error(result, ErrorKind::Argument, "into an empty folder only");
    assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"mine");
    let missing = extract(&tar(&[file("a", b"")])[..], Path::new("no such folder"), &small_limits());
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::Io);
}

#[cfg(unix)]
#[test]
fn modes_are_ordinary_whatever_the_archive_says() {
    use std::os::unix::fs::PermissionsExt;
    let mut header = tar_header(&file("a", b""), 0);
    header[100..108].copy_from_slice(b"0007777\0");
    set_tar_checksum(&mut header);
    let folder = tempfile::tempdir().unwrap();
    extract(&[&header[..], &[0; 1024]].concat()[..], folder.path(), &small_limits()).unwrap();
    let mode = fs::metadata(folder.path().join("a")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7111, 0, "{mode:o}");
}

#[test]
fn a_failing_stream_is_not_taken_for_damage() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::new(std::io::ErrorKind::ConnectionReset, "connection reset"))
        }
    }
    use std::io::Read;
    let folder = tempfile::tempdir().unwrap();
    let bytes = tar(&[file("a", &[1; 5000])]);
    let stream = bytes[..3000].chain(Failing);
    assert_error(extract(stream, folder.path(), &small_limits()), ErrorKind::Io, "connection reset");
}
