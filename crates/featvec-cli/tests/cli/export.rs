//! `featvec export`. That exported models compute the same is tested in the library.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use super::support::{FEATURE_VECTOR, GOOGLENET, Run, featvec, shared};

/// Exports `module` to the ONNX model `output` with further `args`.
fn export(module: &Path, output: &Path, args: &[&str]) -> Run {
    export_as("onnx", module, (output, args))
}

/// Exports `module` to `output` in `format` with further `args`.
fn export_as(format: &str, module: &Path, (output, args): (&Path, &[&str])) -> Run {
    let start: [&OsStr; 7] = [
        "export".as_ref(),
        "--module".as_ref(),
        module.as_ref(),
        "--format".as_ref(),
        format.as_ref(),
        "-o".as_ref(),
        output.as_ref(),
    ];
    featvec(start.into_iter().chain(args.iter().map(OsStr::new)))
}

/// What is in `folder`, sorted.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn every_format_is_written_compared_and_not_replaced() {
    let Some(module) = shared(GOOGLENET) else { return };
    let folder = tempfile::tempdir().unwrap();
    for (format, made) in [
        ("hub", vec!["x"]),
        ("hub-tar", vec!["x"]),
        ("checkpoint-v1", vec!["x"]),
        ("checkpoint-v2", vec!["checkpoint", "x.data-00000-of-00001", "x.index"]),
        ("saved-model", vec!["x"]),
        ("frozen-graph", vec!["x"]),
        ("safetensors", vec!["x"]),
    ] {
        let inside = folder.path().join(format);
        fs::create_dir(&inside).unwrap();
        let path = inside.join("x");
        let run = export_as(format, &module, (&path, &[])).exits(0);
        assert_eq!(run.stdout, "");
        run.says("116 variables, 6 998 552 numbers; read back and compared").says("next: ");
        assert_eq!(names(&inside), made);
        let again = export_as(format, &module, (&path, &[])).exits(2);
        again.says("it is there already").says("--overwrite");
        assert_eq!(export_as(format, &module, (&path, &["-q", "--overwrite"])).exits(0).stderr, "");
        assert_eq!(names(&inside), made);
    }
    // From one format to the next, and back.
    let [checkpoint, hub] = ["safetensors/x", "hub/x"].map(|name| folder.path().join(name));
    let again = folder.path().join("again");
    export_as("safetensors", &hub, (&again, &[])).exits(0);
    assert!(fs::read(&again).unwrap() == fs::read(&checkpoint).unwrap());
}

/// As shells complete it.
#[test]
fn a_slash_may_follow_the_name_of_a_folder() {
    let Some(module) = shared(GOOGLENET) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x/");
    export_as("hub", &module, (&path, &[])).exits(0);
    export_as("hub", &module, (&path, &[])).exits(2).says("it is there already");
    export_as("hub", &module, (&path, &["--overwrite"])).exits(0);
    assert_eq!(names(folder.path()), ["x"]);
}

#[test]
fn only_a_module_is_replaced_by_a_module() {
    let Some(module) = shared(GOOGLENET) else { return };
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("photos");
    fs::create_dir(&photos).unwrap();
    fs::write(photos.join("x.jpg"), "dear").unwrap();
    let run = export_as("hub", &module, (&photos, &["--overwrite"])).exits(2);
    run.says("a folder with other things in it");
    let file = photos.join("x.jpg");
    export_as("saved-model", &module, (&file, &["--overwrite"])).exits(2).says("a file, which a folder");
    export_as("hub-tar", &module, (&photos, &["--overwrite"])).exits(2).says("not a plain file");
    // A module does not replace itself, nor the folder that it lies in.
    let own = folder.path().join("own");
    export_as("hub", &module, (&own, &[])).exits(0);
    let variables = own.join("variables/variables");
    for handle in [&own, &variables] {
        export_as("saved-model", handle, (&own, &["--overwrite"])).exits(2).says("cannot be the output too");
    }
    for handle in [&own, &variables] {
        let run = export_as("checkpoint-v2", handle, (&variables, &["--overwrite"])).exits(2);
        run.says("cannot be the output too");
    }
    assert_eq!(fs::read(file).unwrap(), b"dear");
    assert_eq!(names(folder.path()), ["own", "photos"]);
}

#[test]
fn options_that_a_format_has_no_use_for_are_mistakes() {
    let Some(module) = shared(FEATURE_VECTOR) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    for (format, args, text) in [
        ("hub", &["--signature", "default"][..], "--signature is for an ONNX model only"),
        ("safetensors", &["--endpoint", "default"], "--endpoint is for an ONNX model only"),
        ("checkpoint-v1", &["--size", "64x64"], "--size is for a format with a graph only"),
        ("saved-model", &["--labels", "x.txt"], "--labels is for a Hub module only"),
        ("onnx", &["--features-only"], "--features-only is for formats other than ONNX"),
        ("hub", &["--tags", "train"], "leave out --tags"),
        ("hub", &["--size", "8x8"], "at least 32x32"),
    ] {
        export_as(format, &module, (&path, args)).exits(2).says(text);
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn labels_and_features_alone() {
    let Some(module) = shared(GOOGLENET) else { return };
    let folder = tempfile::tempdir().unwrap();
    let labels = folder.path().join("labels.txt");
    let lines: Vec<String> = (0..1000).map(|class| format!("class {class}\n")).collect();
    fs::write(&labels, lines.concat()).unwrap();
    let path = folder.path().join("hub");
    let labels = labels.to_str().unwrap();
    export_as("hub", &module, (&path, &["--labels", labels])).exits(0);
    assert_eq!(fs::read_to_string(path.join("labels.txt")).unwrap(), lines.concat());
    let features = folder.path().join("features");
    let run = export_as("hub", &module, (&features, &["--labels", labels, "--features-only"])).exits(2);
    run.says("1000 labels for 0 classes");
    export_as("hub", &module, (&features, &["--features-only"])).exits(0).says("114 variables");
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
    export(&module, &path, &["--size", "64x96"]).exits(2).says("it is there already").says("--overwrite");
    let other = [
        "-q",
        "--overwrite",
        "--size",
        "64x96",
        "--endpoint",
        "InceptionV1/global_pool",
        "--endpoint",
        "global_pool",
    ];
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
