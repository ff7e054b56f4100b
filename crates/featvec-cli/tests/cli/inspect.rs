//! `featvec inspect`.

use serde_json::Value;

use super::support::{CLASSIFICATION, FEATURE_VECTOR, GOOGLENET, featvec, shared};

fn inspect(module: &str, args: &[&str]) -> Option<String> {
    let module = shared(module)?;
    Some(featvec([&["inspect", module.to_str().unwrap()], args].concat()).exits(0).stdout)
}

fn json(module: &str, args: &[&str]) -> Option<Value> {
    let text = inspect(module, &[&["--format", "json"], args].concat())?;
    Some(serde_json::from_str(&text).unwrap())
}

#[test]
fn a_module_is_described() {
    let Some(text) = inspect(FEATURE_VECTOR, &[]) else { return };
    for line in [
        "format         TF1 Hub module",
        "image size     224x224",
        "input          x * 2 - 1 for x in [0, 1]",
        "batch norm     epsilon 0.001",
        "parameters     5 607 184",
        "signature image_feature_vector",
        "  in   images                       float32 [?, 224, 224, 3]",
        "  out  InceptionV1/global_pool      float32 [?, 1, 1, 1024]",
        "checks passed",
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} is not in\n{text}");
    }
}

#[test]
fn numbers_are_those_of_tensorflow() {
    let Some(module) = json(FEATURE_VECTOR, &["--all-variables"]) else { return };
    let variables = module["variables"].as_array().unwrap();
    assert_eq!(variables.len(), 228);
    assert_eq!(variables.iter().filter(|variable| variable["trainable"] == true).count(), 114);
    let listed: std::collections::BTreeSet<String> =
        std::fs::read_to_string(shared("reference/variables.txt").unwrap())
            .unwrap()
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .filter(|name| name.starts_with("InceptionV1/") && !name.contains("Logits"))
            .map(String::from)
            .collect();
    let names = variables.iter().map(|variable| variable["name"].as_str().unwrap().to_string()).collect();
    assert_eq!(listed, names);
    assert_eq!(module["tags"], serde_json::json!([[], ["train"]]));
    assert_eq!(module["image_size"], serde_json::json!([224, 224]));
}

#[test]
fn other_kinds_are_described_too() {
    let Some(module) = json(GOOGLENET, &[]) else { return };
    assert_eq!(module["format"], "caffemodel");
    assert_eq!(module["parameters"], 6_998_552);
    assert_eq!(module["classes"], 1000);
    assert_eq!(
        json(CLASSIFICATION, &["--tags", "train"]).unwrap()["tags_in_use"],
        serde_json::json!(["train"])
    );
    assert_eq!(json("reference/inception_v1.ckpt", &[]).unwrap()["format"], "TF-Slim checkpoint (V1)");
}

#[test]
fn tags_that_no_graph_has_are_refused() {
    let Some(module) = shared(FEATURE_VECTOR) else { return };
    let args = ["inspect".as_ref(), module.as_os_str(), "--tags".as_ref(), "serve".as_ref()];
    featvec(args).exits(2).says("no graph with the tags");
}

#[test]
fn the_portable_kernels_run_everywhere() {
    let text = featvec(["inspect", "--cpu"]).exits(0).stdout;
    assert!(text.lines().last().unwrap().starts_with("portable "), "{text}");
    assert_eq!(text.lines().filter(|line| line.ends_with("in use")).count(), 1);
}
