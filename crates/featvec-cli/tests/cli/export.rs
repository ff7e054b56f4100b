//! `featvec export`. That exported models compute the same is tested in the library.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use super::support::{FEATURE_VECTOR, GOOGLENET, Run, featvec, shared};

/// Exports `module` to `output` with further `args`.
fn export(module: &Path, output: &Path, args: &[&str]) -> Run {
    let start: [&OsStr; 6] = [
        "export".as_ref(),
        "--module".as_ref(),
        module.as_ref(),
        "--format=onnx".as_ref(),
        "-o".as_ref(),
        output.as_ref(),
    ];
    featvec(start.into_iter().chain(args.iter().map(OsStr::new)))
}

#[test]
fn a_module_is_written_and_read_back() {
    let Some(module) = shared(FEATURE_VECTOR) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.onnx");
    let run = export(&module, &path, &["--size", "64x96", "--endpoint", "global_pool"]).exits(0);
    assert_eq!(run.stdout, "");
    let run = run.says("141 nodes, 116 constants; read back and compared, number by number");
    let bytes = fs::read(&path).unwrap();
    assert!(bytes.windows(23).any(|window| window == b"InceptionV1/global_pool"));

    // Again, over the first, by its other name; the same bytes, and nothing beside them.
    let other =
        ["-q", "--size", "64x96", "--endpoint", "InceptionV1/global_pool", "--endpoint", "global_pool"];
    assert_eq!(export(&module, &path, &other).exits(0).stderr, "");
    assert!(fs::read(&path).unwrap() == bytes, "{}", run.stderr);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
}

#[test]
fn what_cannot_be_exported_leaves_no_file() {
    let Some(module) = shared(GOOGLENET) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.onnx");
    export(&module, &path, &["--endpoint", "nosuch"]).exits(2).says("no output \"nosuch\"");
    export(&module, &path, &["--signature", "nosuch"]).exits(2).says("no signature \"nosuch\"");
    export(&module, &path, &["--size", "8x8"]).exits(2).says("at least 32x32");
    export(&module, &path, &["--size", "99999x99999"]).exits(2).says("more than");
    export(&module, &folder.path().join("no/such/folder.onnx"), &[]).exits(2).says("no/such/folder.onnx");
    export(&module, folder.path(), &[]).exits(2).says("not a plain file");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn what_was_written_is_held_against_the_limits() {
    let Some(module) = shared(GOOGLENET) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.onnx");
    export(&module, &path, &["--limit", "graph_nodes=500"]).exits(2).says("raise the limit graph_nodes");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn the_module_is_not_overwritten() {
    let Some(module) = shared(GOOGLENET) else { return };
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("x.caffemodel");
    fs::copy(&module, &copy).unwrap();
    export(&copy, &folder.path().join("./x.caffemodel"), &[]).exits(2).says("cannot be the output too");
    assert!(fs::read(&copy).unwrap() == fs::read(&module).unwrap());
}

#[test]
fn a_graph_for_training_is_not_folded() {
    let Some(module) = shared(FEATURE_VECTOR) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.onnx");
    export(&module, &path, &["--tags", "train"]).exits(2).says("without --tags train");
}
