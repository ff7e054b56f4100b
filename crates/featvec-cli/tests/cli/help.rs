//! What the program tells about itself.

use std::process::Stdio;

use super::support::{featvec, program};

#[test]
fn every_command_has_help_with_examples() {
    for command in [
        "embed",
        "merge",
        "verify",
        "stats",
        "classify",
        "inspect",
        "compare",
        "eval",
        "train",
        "export",
        "distill",
        "retrain",
        "bench",
        "fetch",
        "cache",
        "presets",
        "completions",
        "man",
    ] {
        let run = featvec([command, "--help"]).exits(0);
        assert!(run.stdout.contains("Example"), "{command}: {}", run.stdout);
        assert!(run.stdout.contains(&format!("  featvec {command}")), "{command}: {}", run.stdout);
        assert_eq!(run.stderr, "");
    }
}

#[test]
fn without_a_command_there_is_help_and_code_2() {
    featvec::<&str>([]).exits(2).says("Usage: featvec");
}

#[test]
fn the_version_is_that_of_the_package() {
    assert_eq!(featvec(["--version"]).exits(0).stdout, concat!("featvec ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn presets_are_listed_with_the_default_first() {
    let text = featvec(["presets"]).exits(0).stdout;
    let names: Vec<_> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["tf1-retrain", "slim-eval", "keras-pil", "tf2", "opencv"]);

    let json = featvec(["presets", "--format", "json"]).exits(0).stdout;
    let defaults: Vec<bool> = json
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["default"].as_bool().unwrap())
        .collect();
    assert_eq!(defaults, [true, false, false, false, false]);
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = featvec(["completions", shell]).exits(0).stdout;
        assert!(script.contains("embed") && script.contains("max-pixels"), "{shell}");
    }
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let folder = tempfile::tempdir().unwrap();
    featvec(["man".as_ref(), folder.path()]).exits(0);
    for page in ["featvec.1", "featvec-embed.1", "featvec-cache-verify.1"] {
        let page = std::fs::read_to_string(folder.path().join(page)).unwrap();
        assert!(page.contains(".SH NAME"));
    }
}

#[test]
fn a_reader_who_has_seen_enough_is_no_failure() {
    for args in [&["completions", "bash"][..], &["presets"], &["inspect", "--cpu"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = program().args(args).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()), "{args:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn help_that_cannot_be_written_is_a_failure() {
    for args in [&["--help"][..], &["--version"], &["embed", "--help"], &["presets"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = program().args(args).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(String::from_utf8(output.stderr).unwrap().contains("stdout"), "{args:?}");
    }
}
