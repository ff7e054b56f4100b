//! `featvec train`: runs that end, are stopped, are killed, and go on.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::support::{Run, featvec, program, run};

/// A folder of `classes` classes with four pictures each, of one colour with stripes.
fn data_set(classes: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for class in 0..classes {
        let class_folder = folder.path().join(format!("class-{class}"));
        fs::create_dir(&class_folder).unwrap();
        for picture in 0..4 {
            let colour = [class * 90, 255 - class * 90, picture * 60].map(|value| value as u8);
            fs::write(class_folder.join(format!("{picture}.bmp")), bmp(36, 34, colour)).unwrap();
        }
    }
    folder
}

/// A BMP file with stripes of `colour` (blue, green, red) and black.
fn bmp(width: usize, height: usize, colour: [u8; 3]) -> Vec<u8> {
    let mut file = b"BM".to_vec();
    for number in [54 + width * 3 * height, 0, 54, 40, width, height] {
        file.extend((number as u32).to_le_bytes());
    }
    file.extend([1, 0, 24, 0]);
    file.resize(54, 0);
    assert_eq!(width % 4, 0);
    for y in 0..height {
        (0..width).for_each(|x| file.extend(if (x + y) % 5 == 0 { [0; 3] } else { colour }));
    }
    file
}

/// Small enough for tests: pictures of 32x32 in batches of 4.
fn args<'a>(data: &'a Path, output: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let fixed = ["train", data.to_str().unwrap(), "--output", output.to_str().unwrap()];
    let small = ["--train-image-size", "32", "--batch", "4", "--threads", "2"];
    [&fixed[..], &small, more].concat()
}

fn train(data: &Path, output: &Path, more: &[&str]) -> Run {
    featvec(args(data, output, more))
}

/// The files of the folder `path` by name, without those that tell the time.
fn files(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let named = entries.map(|path| (path.file_name().unwrap().to_str().unwrap().to_string(), path));
    let kept = named.filter(|(name, _)| !name.starts_with("events."));
    kept.map(|(name, path)| (name, fs::read(path).unwrap())).collect()
}

#[test]
fn a_run_that_was_stopped_or_killed_ends_as_if_it_had_not_been() {
    let (data, runs) = (data_set(3), tempfile::tempdir().unwrap());
    let straight = runs.path().join("straight");
    train(data.path(), &straight, &["--steps", "5"]).exits(0).says("5 steps done");

    let stopped = runs.path().join("stopped");
    train(data.path(), &stopped, &["--steps", "2"]).exits(0);
    train(data.path(), &stopped, &["--steps", "5", "--keep", "1"]).exits(0).says("going on after step 2");
    let expected = files(&straight);
    let names: Vec<&str> = expected.keys().map(String::as_str).collect();
    let checkpoint = ["model.ckpt-5.data-00000-of-00001", "model.ckpt-5.index"];
    assert_eq!(names, [&["checkpoint", "labels.txt"][..], &checkpoint, &["options.json"]].concat());
    assert!(files(&stopped) == expected, "{:?}", files(&stopped).keys());

    let killed = runs.path().join("killed");
    let more = ["--steps", "100000", "--save-steps", "1", "--keep", "2", "--quiet"];
    let mut child = program().args(args(data.path(), &killed, &more)).stderr(Stdio::null()).spawn().unwrap();
    wait_for(&killed.join("model.ckpt-2.index"));
    child.kill().unwrap();
    child.wait().unwrap();
    let step = |name: &String| name.strip_prefix("model.ckpt-")?.strip_suffix(".index")?.parse::<u64>().ok();
    let last = files(&killed).keys().filter_map(step).max().unwrap();
    let steps = (last + 1).to_string();
    let more = ["--steps", &steps, "--keep", "1"];
    train(data.path(), &killed, &more).exits(0).says(&format!("going on after step {last}"));
    assert!(files(&killed).keys().all(|name| !name.ends_with(".part")));
    let straight = runs.path().join("as-long");
    train(data.path(), &straight, &["--steps", &steps]).exits(0);
    assert!(files(&killed) == files(&straight));
}

#[track_caller]
fn wait_for(file: &Path) {
    let start = Instant::now();
    while !file.exists() {
        assert!(start.elapsed() < Duration::from_secs(120), "{} does not appear", file.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn ctrl_c_ends_with_a_checkpoint() {
    let (data, runs) = (data_set(2), tempfile::tempdir().unwrap());
    let output = runs.path().join("run");
    // Whoever runs the tests in the background of a shell has Ctrl-C ignored.
    let child = Command::new("env")
        .args(["--default-signal", env!("CARGO_BIN_EXE_featvec")])
        .args(args(data.path(), &output, &["--save-steps", "1"]))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for(&output.join("model.ckpt-1.index"));
    let mut kill = Command::new("kill");
    assert_eq!(run(kill.args(["-INT", &child.id().to_string()]), b"").code, Some(0));
    let ended = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("interrupted;") && stderr.contains("to go on from"), "{stderr}");
    train(data.path(), &output, &["--steps", "1"]).exits(0).says("going on after step");
}

#[test]
fn a_folder_of_a_run_is_a_module() {
    let (data, runs) = (data_set(2), tempfile::tempdir().unwrap());
    let output = runs.path().join("run");
    let more = ["--steps", "2", "--moving-average-decay", "0.9", "--augment", "full"];
    train(data.path(), &output, &more).exits(0);
    let [data_path, module] = [data.path(), &output].map(|path| path.to_str().unwrap());
    let run = featvec(["eval", data_path, "--module", module, "--size", "32", "--format", "json"]).exits(0);
    let found: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(found["pictures"], 8);
    assert_eq!(found["classes"][1]["label"], "class-1");
    let events = fs::read_dir(&output).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(events.filter(|name| name.to_str().unwrap().starts_with("events.out.tfevents.")).count(), 1);

    // And another run may begin with it, with other classes.
    let (others, next) = (data_set(3), runs.path().join("next"));
    let more = ["--steps", "1", "--module", module, "--trainable-scopes", "Logits", "--batch-norm", "frozen"];
    train(others.path(), &next, &more).exits(0).says("begun with new numbers: InceptionV1/Logits");
}

#[test]
fn a_teacher_needs_no_labels() {
    let (data, runs) = (data_set(2), tempfile::tempdir().unwrap());
    let teacher = runs.path().join("teacher");
    train(data.path(), &teacher, &["--steps", "1"]).exits(0);
    let teacher = teacher.to_str().unwrap();
    let student = runs.path().join("student");
    let more = ["--steps", "1", "--teacher", teacher, "--label-weight", "0", "--background"];
    train(data.path(), &student, &more).exits(0);
    assert_eq!(fs::read_to_string(student.join("labels.txt")).unwrap(), "background\n0\n1\n");
    let student = runs.path().join("labelled");
    train(data.path(), &student, &["--steps", "1", "--teacher", teacher, "--temperature", "2"]).exits(0);
    let three = data_set(3);
    let more = ["--steps", "1", "--teacher", teacher, "--soft-weight", "1"];
    train(three.path(), &runs.path().join("x"), &more).exits(2).says("it has 2 classes");
}

#[test]
fn a_loss_that_is_no_number_ends_the_run_and_keeps_the_checkpoint() {
    let (data, runs) = (data_set(2), tempfile::tempdir().unwrap());
    let output = runs.path().join("run");
    train(data.path(), &output, &["--steps", "1"]).exits(0);
    let before = files(&output);
    let more = ["--steps", "9", "--learning-rate", "1e30"];
    train(data.path(), &output, &more)
        .exits(2)
        .says("since the run was begun, learning-rate was 0.01 and is 1")
        .says("the checkpoint of step 1 is kept");
    for (name, bytes) in before.iter().filter(|(name, _)| name.contains("ckpt")) {
        assert!(files(&output)[name] == *bytes, "{name}");
    }
}

#[test]
fn data_that_cannot_be_trained_with_is_refused() {
    let (data, runs) = (data_set(2), tempfile::tempdir().unwrap());
    let output = runs.path().join("run");
    let refused = |data: &Path, more: &[&str]| train(data, &output, more).exits(2);
    fs::remove_dir_all(data.path().join("class-1")).unwrap();
    refused(data.path(), &[]).says("one class only");
    fs::create_dir(data.path().join("class-1")).unwrap();
    refused(data.path(), &[]).says("class \"class-1\" has no pictures");
    refused(&data.path().join("class-0"), &[]).says("no sub-folder with pictures");
    refused(&data.path().join("nothing-*"), &[]).says("nothing-*: no such file");
    refused(&data.path().join("class-0/0.bmp"), &[]).says("--labels FILE");
    refused(&data.path().join("class-0/0.bmp"), &["--labels", "x.txt"]).says("x.txt");
    assert!(!output.exists());
}

#[test]
fn unreadable_pictures_are_told_and_passed_over() {
    let (data, runs) = (data_set(2), tempfile::tempdir().unwrap());
    fs::write(data.path().join("class-0/0.bmp"), b"no picture").unwrap();
    train(data.path(), &runs.path().join("run"), &["--steps", "3"])
        .exits(1)
        .says("class-0/0.bmp")
        .says("1 pictures could not be read and were passed over");
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let (data, runs) = (data_set(2), tempfile::tempdir().unwrap());
    let output = runs.path().join("run");
    train(data.path(), &output, &["--steps", "1"]).exits(0);
    let refused = |more: &[&str]| train(data.path(), &output, more).exits(2);
    let [data_path, output_path] = [data.path(), &output].map(|path| path.to_str().unwrap());
    featvec(["train", data_path, "--output", output_path, "--train-image-size", "16"])
        .exits(2)
        .says("too few for the network");
    refused(&["--trainable-scopes", "Nothing"]).says("no variable that is trained begins with \"Nothing\"");
    refused(&["--checkpoint-exclude-scopes", "Logits"]).says("--module");
    refused(&["--steps", "1", "--epochs", "1"]).says("cannot be used with");
    refused(&["--optimizer", "sgd", "--module", "nowhere.ckpt"]).says("nowhere.ckpt");
    // Of another optimiser, and of other classes.
    refused(&["--steps", "2", "--optimizer", "adam"]).says("it is missing in the state to go on from");
    let three = data_set(3);
    train(three.path(), &output, &["--steps", "2"]).exits(2).says("of other classes");
}
