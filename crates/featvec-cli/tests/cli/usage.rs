//! Command lines that make no sense are refused before anything is done: exit code 2 and a sentence.

use super::support::{featvec, write_array};

#[track_caller]
fn refused(args: &[&str], reason: &str) {
    let run = featvec(args).exits(2).says(reason);
    assert_eq!(run.stdout, "");
}

#[test]
fn a_module_that_is_named_must_be_there() {
    refused(&["embed", "--module", "no/such/module", "x.jpg"], "no such file");
}

#[test]
fn pictures_are_needed() {
    refused(&["embed", "--module", "m"], "<PATH>");
    refused(&["embed", "--module", "m", "-", "-"], "stdin, which can be read once only");
}

#[test]
fn formats_fit_their_files() {
    refused(&["embed", "--module", "m", "--format", "npy", "x.jpg"], "name a file with -o x.npy");
    refused(&["embed", "--module", "m", "-o", "x.dat", "x.jpg"], "does not say which format");
    refused(&["embed", "--module", "m", "-o", "x.npy", "--format", "csv", "x.jpg"], "contradict each other");
}

#[test]
fn options_do_not_contradict_each_other() {
    let template = "https://example.org/{path}";
    refused(&["embed", "--module", "m", "--offline", "--mirror", template, "x.jpg"], "cannot be used with");
    refused(&["fetch", "--offline", "--from", "x.tar.gz", "https://example.org/m"], "cannot be used with");
    refused(&["fetch", "--from", "x.tar.gz", "https://example.org/m", "https://example.org/n"], "one HANDLE");
    refused(&["cache", "prune", "--all", "--older-than", "3"], "cannot be used with");
    refused(&["inspect", "--cpu", "--all-variables"], "cannot be used with");
    refused(&["embed", "--module", "m", "--calibration", "photos", "x.jpg"], "for --precision int8");
}

#[test]
fn values_are_checked() {
    refused(&["embed", "--module", "m", "--preset", "nosuch", "x.jpg"], "tf1-retrain");
    refused(&["embed", "--module", "m", "--size", "10by20", "x.jpg"], "HEIGHTxWIDTH");
    refused(&["embed", "--module", "m", "--threads", "0", "x.jpg"], "--threads");
    refused(&["embed", "--module", "m", "--precision", "int4", "x.jpg"], "int8");
    refused(&["embed", "--module", "m", "--batch", "0", "x.jpg"], "--batch");
    refused(&["embed", "--module", "m", "--max-pixels", "lots", "x.jpg"], "512M");
    refused(&["embed", "--module", "m", "--limit", "nosuch=1", "x.jpg"], "tensor_bytes");
    refused(&["embed", "--module", "ftp://example.org/m", "x.jpg"], "ftp://");
    refused(&["classify", "--module", "m", "--top", "0", "x.jpg"], "--top");
    refused(&["compare", "a.npy", "b.npy", "--tolerance=-1"], "--tolerance");
    refused(
        &["export", "--module", "m", "--format", "tflite", "-o", "x"],
        "possible values: hub, hub-tar, checkpoint-v1",
    );
    refused(&["export", "--module", "m", "--format", "onnx", "-o", "x", "--size", "0.5"], "HEIGHTxWIDTH");
}

#[test]
fn arrays_have_no_preset() {
    let folder = tempfile::tempdir().unwrap();
    let array = folder.path().join("x.npy");
    write_array(&array, &[1, 32, 32, 3], &[0.5; 32 * 32 * 3]);
    let array = array.to_str().unwrap();
    refused(&["embed", "--module", "m", "--preset", "tf2", array], "all inputs are arrays");
    refused(&["embed", "--module", "m", "--exif", "apply", array], "all inputs are arrays");
    refused(&["embed", "--module", "m", "--decode", "fast", array], "all inputs are arrays");
    refused(&["embed", "--module", "m", "--decode", "sloppy", "a.jpg"], "possible values: exact, fast");
}
