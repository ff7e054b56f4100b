//! `featvec distill`. That students are near their teachers is tested in the library.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use super::support::{FEATURE_VECTOR, GOOGLENET, Run, featvec, sample, shared};

fn distill(teacher: &Path, output: &Path, more: &[&OsStr]) -> Run {
    let start: [&OsStr; 5] =
        ["distill".as_ref(), "--teacher".as_ref(), teacher.as_ref(), "-o".as_ref(), output.as_ref()];
    featvec(start.into_iter().chain(more.iter().copied()))
}

#[test]
fn a_student_is_a_module_that_classifies() {
    let (Some(teacher), Some(parrot), Some(cat)) =
        (shared(GOOGLENET), sample("parrot.jpg"), sample("cat.bmp"))
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.jpg");
    fs::write(&broken, "no picture").unwrap();
    let output = folder.path().join("student");
    let few = [
        "--views",
        "1",
        "--pixels",
        "20",
        "--passes",
        "1",
        "--held-out",
        "33",
        "--steps",
        "1",
        "--batch",
        "2",
    ]
    .map(OsStr::new);
    let inputs = [parrot.as_os_str(), cat.as_os_str(), broken.as_os_str()];
    // As shells complete the names of folders.
    let run = distill(&teacher, &folder.path().join("student/"), &[&few[..], &inputs].concat()).exits(1);
    run.says("broken.jpg").says("wrote ").says("next: featvec classify --module");
    let names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");

    let inspected = featvec(["inspect".as_ref(), output.as_os_str()]).exits(0).stdout;
    assert!(inspected.contains("1001"), "{inspected}");
    let vectors = featvec(["embed".as_ref(), "--module".as_ref(), output.as_os_str(), cat.as_os_str()]);
    assert_eq!(vectors.exits(0).stdout.split_whitespace().count(), 1025);

    // What is there is not replaced.
    distill(&teacher, &output, &inputs).exits(2).says("it is there already, and not empty");
}

#[test]
fn what_cannot_work_is_said_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("student");
    let Some(teacher) = shared(GOOGLENET) else { return };
    let run = distill(&teacher, &output, &[folder.path().as_os_str()]).exits(2);
    run.says("no pictures in this folder").says("no photographs that could be read");
    let nowhere = folder.path().join("nowhere/student");
    distill(&teacher, &nowhere, &[folder.path().as_os_str()]).exits(2).says("nowhere");
    let (Some(slim), Some(cat)) = (shared(FEATURE_VECTOR), sample("cat.bmp")) else { return };
    distill(&slim, &output, &[cat.as_os_str()]).exits(2).says("must be the paper's network");
    for bad in ["0", "-1", "x"] {
        distill(&teacher, &output, &["--ridge".as_ref(), bad.as_ref(), cat.as_os_str()]).exits(2);
    }
    for (option, value) in [
        ("--batch", "18446744073709551615"),
        ("--views", "1000000000000"),
        ("--learning-rate", "1e300"),
        ("--learning-rate", "NaN"),
    ] {
        distill(&teacher, &output, &[option.as_ref(), value.as_ref(), cat.as_os_str()]).exits(2).says(option);
    }
    let nameless = folder.path().join("empty/..");
    fs::create_dir(folder.path().join("empty")).unwrap();
    distill(&teacher, &nameless, &[cat.as_os_str()]).exits(2);
    assert!(!output.exists());

    // A place for what is done so far that cannot be written to.
    fs::remove_dir_all(folder.path().join("student.partial")).unwrap();
    fs::write(folder.path().join("student.partial"), "").unwrap();
    distill(&teacher, &output, &[cat.as_os_str()]).exits(2).says("student.partial");
}
