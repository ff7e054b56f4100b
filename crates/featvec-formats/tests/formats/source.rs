//! What is recognised, and what is said of everything else.

use std::fs;
use std::path::Path;

use featvec_formats::{Error, ErrorKind, Limits, Source, source};

use crate::support::{assert_error, file, fixture, gzip, message, small_limits, tar};

fn open_as(name: &str, bytes: &[u8]) -> Result<Source, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    source::open(&path, &small_limits())
}

fn fixture_bytes(name: &str) -> Vec<u8> {
    fs::read(fixture(name)).unwrap()
}

fn entries(source: Source) -> usize {
    match source {
        Source::Checkpoint(checkpoint) => checkpoint.entries().count(),
        other => panic!("not a checkpoint: {other:?}"),
    }
}

fn module_files() -> Vec<(&'static str, Vec<u8>)> {
    let graph = message(|model| {
        model.message(2, |_| {});
    });
    vec![("tfhub_module.pb", vec![8, 3]), ("saved_model.pb", graph)]
}

#[test]
fn a_v1_checkpoint_is_recognised_under_any_name() {
    assert_eq!(entries(open_as("picture.png", &fixture_bytes("v1.ckpt")).unwrap()), 4);
}

#[test]
fn an_archive_around_a_v1_checkpoint_is_opened() {
    let bytes = fixture_bytes("v1.ckpt");
    assert_eq!(entries(open_as("x.tar.gz", &gzip(&tar(&[file("inception_v1.ckpt", &bytes)]))).unwrap()), 4);
    assert_eq!(entries(open_as("x", &tar(&[file("./top/inception_v1.ckpt", &bytes)])).unwrap()), 4);
}

#[test]
fn an_archive_around_a_v2_checkpoint_is_opened() {
    let (index, shard) = (fixture_bytes("v2.ckpt.index"), fixture_bytes("v2.ckpt.data-00000-of-00001"));
    let state =
        b"model_checkpoint_path: \"/home/somebody/train/v2.ckpt\"\nall_model_checkpoint_paths: \"x\"\n";
    let members = [
        file("t/v2.ckpt.index", &index),
        file("t/v2.ckpt.data-00000-of-00001", &shard),
        file("t/checkpoint", state),
    ];
    assert_eq!(entries(open_as("x.tar.gz", &gzip(&tar(&members[..2]))).unwrap()), 4);
    assert_eq!(entries(open_as("x.tar.gz", &gzip(&tar(&members))).unwrap()), 4);
}

#[test]
fn an_archive_around_a_module_is_opened_with_and_without_a_top_folder() {
    let files = module_files();
    for top in ["", "./", "module/"] {
        let names: Vec<String> = files.iter().map(|(name, _)| format!("{top}{name}")).collect();
        let members: Vec<_> = names.iter().zip(&files).map(|(name, (_, bytes))| file(name, bytes)).collect();
        let opened = open_as("x.tgz", &gzip(&tar(&members))).unwrap();
        assert!(matches!(opened, Source::HubModule(_)), "{top}");
    }
}

#[test]
fn a_folder_with_one_checkpoint_or_with_its_name_in_a_file_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    put("v2.ckpt.index", &fixture_bytes("v2.ckpt.index"));
    put("v2.ckpt.data-00000-of-00001", &fixture_bytes("v2.ckpt.data-00000-of-00001"));
    put("notes.txt", b"text");
    let open = || source::open(folder.path(), &small_limits());
    assert_eq!(entries(open().unwrap()), 4);
    put("v1.ckpt", &fixture_bytes("v1.ckpt"));
    assert_error(
        open(),
        ErrorKind::Argument,
        "several checkpoints, among them \"v1.ckpt\" and \"v2.ckpt.index\"",
    );
    put("checkpoint", b"model_checkpoint_path: \"v1.ckpt\"\n");
    assert_eq!(entries(open().unwrap()), 4);
    put("checkpoint", b"model_checkpoint_path: \"gone\"\n");
    assert_error(open(), ErrorKind::Mismatch, "it names \"gone\", which is not here");
}

#[test]
fn caffemodels_are_recognised_in_both_forms() {
    let new = message(|net| {
        net.bytes(1, "GoogleNet").message(100, |layer| {
            layer.bytes(1, "data");
        });
    });
    let old = message(|net| {
        net.message(2, |layer| {
            layer.bytes(3, "data").bytes(4, "data");
        });
    });
    for bytes in [new, old] {
        assert!(matches!(open_as("x", &bytes).unwrap(), Source::Caffemodel(_)));
    }
}

#[test]
fn a_truncated_caffemodel_is_damaged_rather_than_unknown() {
    let bytes = message(|net| {
        net.bytes(1, "GoogleNet").message(100, |layer| {
            layer.bytes(1, "data").bytes(2, "Input");
        });
    });
    assert_error(open_as("x", &bytes[..bytes.len() - 3]), ErrorKind::Corrupt, "NetParameter field 100");
}

#[test]
fn a_truncated_checkpoint_is_damaged_rather_than_unknown() {
    let bytes = fixture_bytes("v1.ckpt");
    assert_error(
        open_as("x.ckpt", &bytes[..9000]),
        ErrorKind::Corrupt,
        "x.ckpt: it begins as a checkpoint does",
    );
}

#[test]
fn other_files_are_refused_with_what_they_are() {
    let frozen = message(|graph| {
        graph.message(1, |node| {
            node.bytes(1, "input").bytes(2, "Placeholder");
        });
    });
    let onnx = message(|model| {
        model.uint64(1, 8).bytes(2, "pytorch");
    });
    for (bytes, text) in [
        (&b""[..], "this is an empty file"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR", "a PNG picture"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG picture"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "a WebP picture"),
        (b"II*\0\x08\0\0\0", "a TIFF picture"),
        (b"\x89HDF\r\n\x1a\n\0", "an HDF5 file, perhaps of Keras"),
        (b"PK\x03\x04\x14\0", "a zip file, as PyTorch"),
        (b"\x80\x02}q\0", "a Python pickle"),
        (b"\x1c\0\0\0TFL3\0\0", "a TensorFlow Lite model"),
        (b"\x93NUMPY\x01\0", "an array of numpy"),
        (b"\n<!doctype HTML>", "a web page"),
        (b"name: \"GoogleNet\"\n", "a text file"),
        (b"\xf0\xf1\xf2\xf3", "no format that featvec knows"),
        (&frozen, "a frozen TensorFlow graph"),
        (&onnx, "an ONNX model"),
        (&fixture_bytes("tf2_saved_model/saved_model.pb"), "a saved_model.pb alone, without its folder"),
    ] {
        let opened = open_as("x", bytes);
        assert!(opened.as_ref().unwrap_err().hint().unwrap().contains("give a TF1 Hub module"));
        assert_error(opened, ErrorKind::Unsupported, text);
    }
}

#[test]
fn a_truncated_or_damaged_checkpoint_is_to_be_had_again() {
    let index = fixture_bytes("v2.ckpt.index");
    let checkpoint = fixture_bytes("v1.ckpt");
    for (name, bytes) in [("x.index", &index), ("x.ckpt", &checkpoint)] {
        for length in [8, 60, bytes.len() - 100, bytes.len() - 48, bytes.len() - 1] {
            let error = open_as(name, &bytes[..length]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{length} bytes: {error}");
            assert!(error.hint().unwrap().contains("fetch or copy it again"), "{length} bytes: {error}");
        }
        for position in [1, bytes.len() - 9, bytes.len() - 45] {
            let mut damaged = bytes.clone();
            damaged[position] ^= 0x40;
            let error = open_as(name, &damaged).unwrap_err();
            assert!(error.hint().unwrap().contains("fetch or copy it again"), "byte {position}: {error}");
        }
    }
}

#[test]
fn places_without_anything_to_read_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &Path| source::open(path, &Limits::default());
    assert_error(open(folder.path()), ErrorKind::Unsupported, "neither a module nor a checkpoint in it");
    assert_error(open(&folder.path().join("gone")), ErrorKind::Io, "gone: does not exist");
    let shard = folder.path().join("x.data-00000-of-00001");
    fs::write(&shard, b"").unwrap();
    assert_eq!(open(&shard).unwrap_err().kind(), ErrorKind::Io);
    if cfg!(unix) {
        assert_error(open(Path::new("/dev/zero")), ErrorKind::Argument, "not a regular file");
    }
}

#[test]
fn a_file_beyond_the_limit_is_refused_unread() {
    let opened = open_as("x", &vec![0; (1 << 20) + 1]);
    assert_error(opened, ErrorKind::Limit, "1 048 577 bytes, and the limit is 1 048 576");
}
