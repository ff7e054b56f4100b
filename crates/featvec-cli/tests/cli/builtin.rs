//! The module that comes with featvec: nothing is named and nothing fetched.

use std::fs;
use std::process::Command;

use super::support::{array, featvec, program, project, run};

const PHOTOS: [&str; 4] = ["astronaut.jpg", "chelsea.jpg", "coffee.jpg", "rocket.jpg"];

/// The program where there is no server and no cache.
fn offline(args: &[&str]) -> Command {
    let mut command = program();
    command.args(args).current_dir(project("examples")).env("https_proxy", "http://127.0.0.1:1");
    command.env("TFHUB_CACHE_DIR", "/nowhere");
    command
}

#[test]
fn a_folder_of_photographs_is_embedded() {
    let run = run(&mut offline(&["embed", "photos"]), b"").exits(0);
    let run = run.says("module builtin: distilled from BVLC GoogLeNet, not Google's weights; --module takes");
    assert_eq!(run.stderr.matches("builtin").count(), 1);
    let rows: Vec<(&str, &str)> = run.stdout.lines().map(|line| line.split_once('\t').unwrap()).collect();
    assert!(rows.iter().map(|(name, _)| name.strip_prefix("photos/").unwrap()).eq(PHOTOS));
    assert!(rows.iter().all(|(_, vector)| vector.split_whitespace().count() == 1024));
}

#[test]
fn a_folder_of_photographs_is_classified() {
    let args = ["classify", "-q", "--top", "3", "photos"];
    let run = run(&mut offline(&args), b"").exits(0);
    assert_eq!(run.stderr, "");
    let pictures: Vec<&str> = run.stdout.split("photos/").skip(1).collect();
    assert!(pictures[1].contains("Egyptian cat") || pictures[1].contains("tabby"), "{}", pictures[1]);
    assert!(pictures[2].contains("espresso") || pictures[2].contains("cup"), "{}", pictures[2]);
}

#[test]
fn it_is_told_what_it_is_and_is_not() {
    for args in [&["inspect"][..], &["inspect", "builtin"]] {
        let text = featvec(args).exits(0).stdout;
        for part in [
            "module         builtin\n",
            "not Google's weights",
            "top-1",
            "licence",
            "SHA-256",
            "classes        1001",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }
    let json = featvec(["inspect", "--format", "json"]).exits(0);
    assert_eq!(json.stderr, "");
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(json["about"][0][0], "what");
}

#[test]
fn its_hub_module_has_the_same_vectors() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let [hub, a, b] = ["hub", "a.npy", "b.npy"].map(place);
    featvec(["export", "--format", "hub", "-o", &hub]).exits(0).says("230 variables").says("module builtin");
    let photo = project("examples/photos/chelsea.jpg");
    let photo = photo.to_str().unwrap();
    featvec(["embed", "-q", "-o", &a, photo]).exits(0);
    featvec(["embed", "-q", "--module", &hub, "-o", &b, photo]).exits(0);
    assert_eq!(array(&a), array(&b));
}

#[test]
fn what_it_says_of_itself_goes_from_file_to_file() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let [kept, own, about] = ["kept.fvm", "own.fvm", "about.txt"].map(place);
    let run = featvec(["export", "-q", "--format", "compact", "-o", &kept]).exits(0);
    assert_eq!(run.stderr, "");
    assert!(featvec(["inspect", &kept]).exits(0).stdout.contains("not Google's weights"));
    fs::write(&about, "what: a test\n").unwrap();
    featvec(["export", "--module", &kept, "--format", "compact", "--about", &about, "-o", &own])
        .exits(0)
        .says("filters within their rounding");
    let text = featvec(["inspect", &own]).exits(0).stdout;
    assert!(text.contains("what           a test\n") && !text.contains("Google"), "{text}");
    let args = ["export", "--format", "hub", "--about", &about, "-o", &own];
    featvec(args).exits(2).says("--about is for a compact module only");
}

#[test]
fn a_file_of_its_name_is_reached_with_a_dot() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("builtin")).unwrap();
    fs::write(folder.path().join("builtin/labels.txt"), "one\n").unwrap();
    let here = |args: &[&str]| run(program().args(args).current_dir(&folder), b"");
    let photo = project("examples/photos/chelsea.jpg");
    // The folder's labels are not the module's.
    here(&["classify", "--module", "builtin", photo.to_str().unwrap()]).exits(0);
    here(&["inspect", "./builtin"]).exits(2).says("neither a module nor a checkpoint in it");
    here(&["export", "--format", "checkpoint-v1", "-o", "builtin/x"]).exits(0);
    here(&["fetch", "builtin"]).exits(1).says("in the program, not in a file");
}

#[test]
fn training_begins_with_it_only_where_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for class in ["a", "b"] {
        fs::create_dir_all(folder.path().join("photos").join(class)).unwrap();
        let photo = project("examples/photos/chelsea.jpg");
        fs::copy(photo, folder.path().join("photos").join(class).join("x.jpg")).unwrap();
    }
    let args = ["train", "photos", "--steps", "1", "--batch", "2", "--train-image-size", "64", "-o"];
    for (output, more, said) in [("random", &[][..], false), ("further", &["--module", "builtin"], true)] {
        let run = run(program().args(args).arg(output).args(more).current_dir(&folder), b"").exits(0);
        assert_eq!(run.stderr.contains("begun with new numbers: InceptionV1/Logits"), said, "{run:#?}");
    }
}
