//! Rules of the architecture that a search can hold.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Path below `crates`, and the text without comments and tests, of every source file of every crate.
fn code() -> Vec<(String, String)> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut paths = Vec::new();
    for entry in fs::read_dir(crates).unwrap() {
        sources(&entry.unwrap().path().join("src"), &mut paths);
    }
    assert!(paths.len() > 50, "the search has lost its way");
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let lines = text.lines().take_while(|line| *line != "#[cfg(test)]");
            let code: Vec<_> = lines.filter(|line| !line.trim_start().starts_with("//")).collect();
            let name = path.strip_prefix(crates).unwrap().to_str().unwrap().replace('\\', "/");
            (name, code.join("\n"))
        })
        .collect()
}

#[test]
fn layers_are_named_in_the_network_table_only() {
    for (name, code) in code() {
        if name == "featvec/src/network.rs" {
            continue;
        }
        for layer in ["Conv2d_", "MaxPool_", "Mixed_", "Branch_", "inception_3", "inception_4", "loss3"] {
            assert!(!code.contains(layer), "{name} names a layer: {layer}");
        }
    }
}

#[test]
fn unsafe_code_is_in_the_kernels_only() {
    for (name, code) in code() {
        if name.starts_with("featvec-kernels/") {
            continue;
        }
        assert!(!code.contains("unsafe {") && !code.contains("unsafe fn"), "{name} has unsafe code");
        if name.ends_with("/src/lib.rs") || name.ends_with("/src/main.rs") {
            assert!(code.contains("#![forbid(unsafe_code)]"), "{name} does not forbid unsafe code");
        }
    }
}
