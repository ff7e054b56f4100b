//! `featvec bench`: what it prints and how it ends. How fast this machine is, is nothing to test.

use featvec::Kernels;
use serde_json::Value;

use super::support::{FEATURE_VECTOR, GOOGLENET, Run, featvec, project, shared};

/// Small pictures, on which even the portable kernels take no time to speak of.
const QUICK: [&str; 4] = ["--size", "32x32", "--seconds", "0"];

fn bench(args: &[&str]) -> Run {
    featvec([&["bench"], &QUICK[..], args].concat())
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&bench(&[args, &["--json"]].concat()).exits(0).stdout).unwrap()
}

#[track_caller]
fn assert_rate(value: &Value) {
    let number = value.as_f64().unwrap_or_else(|| panic!("{value} is no number"));
    assert!(number.is_finite() && number > 0.0, "{number}");
}

#[test]
fn cases_are_measured_on_the_instruction_set_that_was_named() {
    let object = json(&["--isa", "portable", "--threads", "1,2", "--batch", "1,3"]);
    assert_eq!(object["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(object["machine"]["isa"], "portable");
    assert_eq!(object["machine"]["tile"], "f32_conv_4x8_portable");
    assert_eq!((&object["module"], &object["size"]), (&Value::Null, &serde_json::json!([32, 32])));
    let cases = object["cases"].as_array().unwrap();
    let of = |case: &Value| (case["threads"].as_u64().unwrap(), case["batch"].as_u64().unwrap());
    assert_eq!(cases.iter().map(of).collect::<Vec<_>>(), [(1, 1), (1, 3), (2, 1), (2, 3)]);
    for case in cases {
        assert_eq!(case["precision"], "f32");
        for name in ["ms_per_image", "images_per_second", "peak_gflops", "peak_ratio"] {
            assert_rate(&case[name]);
        }
        assert!(case["spread"].as_f64().unwrap() >= 0.0);
        assert!(case["alternations"].as_u64().unwrap() >= 15);
        assert!(case["disturbed"].is_boolean() && case.get("layers").is_none());
        let per_second = case["ms_per_image"].as_f64().unwrap() * case["images_per_second"].as_f64().unwrap();
        assert!((per_second - 1000.0).abs() < 1e-6);
    }
}

#[test]
fn steps_of_training_are_measured() {
    let object = json(&["--train", "--threads", "1,2", "--batch", "2"]);
    let cases = object["training"].as_array().unwrap();
    assert_eq!(cases.iter().map(|case| case["threads"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2]);
    for case in cases {
        for name in ["ms_per_step", "images_per_second", "peak_ratio"] {
            assert_rate(&case[name]);
        }
        assert!(case["peak_memory_bytes"].as_u64().is_none_or(|bytes| bytes > 1 << 20));
    }
    let table = bench(&["--train", "--threads", "1", "--batch", "1"]).exits(0).stdout;
    assert!(table.contains("ms/step") && table.contains("memory MB"), "{table}");
    assert!(bench(&["--train", "--layers"]).exits(2).stderr.contains("--layers"));
}

#[test]
fn precisions_are_measured_one_after_the_other() {
    let object = json(&["--precision", "int8,f32", "--threads", "1", "--batch", "2"]);
    let cases = object["cases"].as_array().unwrap();
    assert_eq!(cases.iter().map(|case| &case["precision"]).collect::<Vec<_>>(), ["int8", "f32"]);
    cases.iter().for_each(|case| assert_rate(&case["ms_per_image"]));
}

#[test]
fn layers_are_told_where_they_are_asked_for() {
    let object = json(&["--threads", "1", "--batch", "1", "--layers"]);
    assert_eq!(object["machine"]["isa"], Kernels::best().name());
    let layers = object["cases"][0]["layers"].as_array().unwrap();
    let share: f64 = layers.iter().map(|layer| layer["share"].as_f64().unwrap()).sum();
    assert!((share - 1.0).abs() < 1e-9, "{share}");
    assert_eq!(layers[1]["problem"], "ic3ih32iw32_oc64kh7kw7_sh2sw2");
    assert_eq!(layers[1]["multiply_adds"], 16 * 16 * 3 * 64 * 49);
    assert_rate(&layers[1]["gflops"]);
    assert_rate(&layers[1]["peak_ratio"]);
    let pool = layers.iter().find(|layer| layer["kernel"] == "max_pool").unwrap();
    assert_eq!((&pool["problem"], &pool["multiply_adds"]), (&"ic64ih16iw16_kh3kw3_sh2sw2".into(), &0.into()));
}

#[test]
fn people_get_a_table() {
    let run = bench(&["--threads", "1", "--batch", "2", "--layers"]).exits(0);
    let lines: Vec<_> = run.stdout.lines().collect();
    assert!(lines[0].starts_with(concat!("featvec ", env!("CARGO_PKG_VERSION"), " on ")), "{run:#?}");
    assert!(lines[1].ends_with(", 32x32, random weights"), "{run:#?}");
    let row: Vec<_> = lines[4].split_whitespace().collect();
    assert_eq!(row[..3], ["f32", "1", "2"], "{run:#?}");
    assert!(lines.iter().any(|line| line.ends_with("  ic3ih32iw32_oc64kh7kw7_sh2sw2")), "{run:#?}");
}

#[test]
fn a_module_gives_weights_and_size() {
    let Some(module) = shared(GOOGLENET) else { return };
    let module = module.to_str().unwrap();
    let args = ["--module", module, "--threads", "1", "--batch", "1", "--layers"];
    let object = json(&args);
    assert_eq!(object["module"], module);
    let layers = object["cases"][0]["layers"].as_array().unwrap();
    assert!(layers.iter().any(|layer| layer["kernel"] == "lrn"), "the paper's network normalises");
}

#[test]
fn dispatch_is_checked() {
    let run = bench(&["--assert", "--isa", "portable", "--json"]);
    let object: Value = serde_json::from_str(&run.stdout).unwrap();
    let check = &object["assert"];
    // Without another instruction set there is nothing to be slower than; with one, portable kernels are.
    let alone = Kernels::present().count() == 1;
    assert_eq!((check["passed"].as_bool(), run.code), (Some(alone), Some(i32::from(!alone))), "{run:#?}");
    let convolutions = check["convolutions"].as_array().unwrap();
    assert!(convolutions.len() > 40, "{}", convolutions.len());
    assert!(convolutions.iter().all(|conv| conv["kernel"] == "f32_conv_4x8_portable"));
    let text = bench(&["--assert", "--isa", "portable"]).exits(i32::from(!alone)).stdout;
    assert_eq!(text.contains("convolutions are more than 15 % slower"), !alone, "{text}");
}

#[test]
fn vectors_of_two_instruction_sets_are_compared() {
    let Some(module) = shared(GOOGLENET) else { return };
    let folder = tempfile::tempdir().unwrap();
    for name in ["chelsea.jpg", "rocket.jpg"] {
        std::fs::copy(project("examples/photos").join(name), folder.path().join(name)).unwrap();
    }
    let pictures = ["--accuracy", folder.path().to_str().unwrap(), "--module", module.to_str().unwrap()];
    let args = [&pictures[..], &["--precision", "f32", "--against", "portable"]].concat();
    let object = json(&args);
    let accuracy = &object["accuracy"];
    assert_eq!((&accuracy["pictures"], &accuracy["failed"]), (&2.into(), &0.into()));
    assert_eq!(
        (&accuracy["reference"], &accuracy["candidate"]),
        (&"f32 on portable".into(), &format!("f32 on {}", Kernels::best().name()).into())
    );
    assert_eq!(accuracy["top1_agreement"], 1.0);
    for cosine in ["mean_cosine", "worst_cosine"] {
        assert!((accuracy[cosine].as_f64().unwrap() - 1.0).abs() < 1e-9, "{accuracy}");
    }

    // The pictures are small here, and their noise is large: the bars are for the module's own size.
    let accuracy = &json(&pictures)["accuracy"];
    assert_eq!(accuracy["candidate"], format!("int8 on {}", Kernels::best().name()));
    assert_eq!(accuracy["reference"], format!("f32 on {}", Kernels::best().name()));
    let cosine = accuracy["mean_cosine"].as_f64().unwrap();
    assert!(0.9 < cosine && cosine < 1.0, "{accuracy}");

    std::fs::write(folder.path().join("broken.png"), "no picture").unwrap();
    let run = bench(&args).exits(1).says("broken.png");
    assert!(run.stdout.contains("against f32 on portable, 2 pictures"), "{run:#?}");
    std::fs::remove_file(folder.path().join("chelsea.jpg")).unwrap();
    std::fs::remove_file(folder.path().join("rocket.jpg")).unwrap();
    bench(&args).exits(2).says("no pictures to compare");
}

#[test]
fn a_module_without_classes_has_no_top_class() {
    let Some(module) = shared(FEATURE_VECTOR) else { return };
    let photos = project("examples/photos/chelsea.jpg");
    let object = json(&[
        "--module",
        module.to_str().unwrap(),
        "--preset",
        "tf2",
        "--accuracy",
        photos.to_str().unwrap(),
    ]);
    assert_eq!(
        (&object["accuracy"]["pictures"], &object["accuracy"]["top1_agreement"]),
        (&1.into(), &Value::Null)
    );
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |args: &[&str], reason: &str| {
        let run = featvec([&["bench"], args].concat()).exits(2).says(reason);
        assert_eq!(run.stdout, "");
    };
    refused(&["--isa", "mmx"], "present: ");
    refused(&["--seconds=-1"], "--seconds");
    refused(&["--seconds", "soon"], "write a number of seconds");
    refused(&["--batch", "0"], "--batch");
    refused(&["--threads", "1,x"], "--threads");
    refused(&["--size", "8x8"], "at least 32x32");
    refused(&["--assert", "--size", "8x8"], "at least 32x32");
    refused(&["--assert", "--layers"], "cannot be used with");
    refused(&["--assert", "--accuracy", "photos"], "cannot be used with");
    refused(&["--preset", "tf2"], "--accuracy");
    refused(&["--against", "avx2"], "--accuracy");
    refused(&["--accuracy", "no/such/photos"], "no/such/photos");
    refused(&["--module", "no/such/module"], "no such file");
}
