//! `featvec classify`, with real ImageNet weights.

use std::path::PathBuf;

use serde_json::Value;

use super::support::{CLASSIFICATION, FEATURE_VECTOR, GOOGLENET, featvec, sample, shared};

/// The clear photographs and what is in them, as OpenCV's dnn sees it with the same weights.
const CLEAR: [(&str, &str); 7] = [
    ("bird.bmp", "chickadee"),
    ("cat.bmp", "Egyptian cat"),
    ("dragonfly.bmp", "dragonfly"),
    ("hot_dog.jpg", "hotdog"),
    ("parrot.jpg", "macaw"),
    ("samoyed.jpg", "Samoyed"),
    ("sunflower.bmp", "daisy"),
];

fn classify(module: &str, args: &[&str], pictures: &[&str]) -> Option<super::support::Run> {
    let pictures: Vec<PathBuf> = pictures.iter().map(|name| sample(name)).collect::<Option<_>>()?;
    let module = shared(module)?;
    let options = ["classify".into(), "--module".into(), module].into_iter();
    Some(featvec(options.chain(args.iter().map(PathBuf::from)).chain(pictures)))
}

#[test]
fn clear_photographs_are_recognised_under_every_preset() {
    let names = CLEAR.map(|(name, _)| name);
    for preset in ["tf1-retrain", "slim-eval", "keras-pil", "tf2", "opencv"] {
        let args = ["--preset", preset, "--format", "json", "--top", "1"];
        let Some(run) = classify(GOOGLENET, &args, &names) else { return };
        let objects: Vec<Value> =
            run.exits(0).stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(objects.len(), CLEAR.len());
        for (object, (name, label)) in objects.iter().zip(CLEAR) {
            assert!(object["path"].as_str().unwrap().ends_with(name), "{object}");
            assert_eq!(object["predictions"][0]["label"], label, "{name} under {preset}");
        }
    }
}

#[test]
fn text_is_for_people_and_json_for_programs() {
    let Some(run) = classify(GOOGLENET, &["--top", "2"], &["parrot.jpg"]) else { return };
    let path = sample("parrot.jpg").unwrap();
    let expected = format!("{}\n  100.0 %  macaw\n    0.0 %  lorikeet\n", path.display());
    assert_eq!(run.exits(0).stdout, expected);

    let run = classify(GOOGLENET, &["--format", "json"], &["parrot.jpg"]).unwrap().exits(0);
    let object: Value = serde_json::from_str(&run.stdout).unwrap();
    let predictions = object["predictions"].as_array().unwrap();
    assert_eq!(predictions.len(), 5);
    // Class 88 of the 1000 in the order of their synsets, as the published list has it.
    assert_eq!(predictions[0]["index"], 88);
    assert_eq!(predictions[0]["synset"], "n01818515");
    let probabilities: Vec<f64> = predictions.iter().map(|p| p["probability"].as_f64().unwrap()).collect();
    assert!(probabilities.is_sorted_by(|a, b| a >= b) && probabilities.iter().sum::<f64>() <= 1.0001);
}

#[test]
fn a_background_class_moves_the_labels_by_one() {
    let args = ["--format", "json", "--top", "1001"];
    let Some(run) = classify(CLASSIFICATION, &args, &["cat.bmp"]) else { return };
    let object: Value = serde_json::from_str(&run.exits(0).stdout).unwrap();
    let predictions = object["predictions"].as_array().unwrap();
    assert_eq!(predictions.len(), 1001);
    let label = |index: u64| &predictions.iter().find(|p| p["index"] == index).unwrap()["label"];
    assert_eq!([label(0), label(1), label(89)], ["background", "tench", "macaw"]);
}

#[test]
fn a_module_without_classes_is_refused() {
    let Some(run) = classify(FEATURE_VECTOR, &[], &["cat.bmp"]) else { return };
    run.exits(2).says("it gives feature vectors only").says("/classification/1");
}

#[test]
fn labels_of_ones_own_must_be_as_many_as_classes() {
    let folder = tempfile::tempdir().unwrap();
    let labels = folder.path().join("labels.txt");
    let names: String = (0..1000).map(|index| format!("thing {index}\n")).collect();
    std::fs::write(&labels, names).unwrap();
    let args = ["--top", "1", "--labels", labels.to_str().unwrap()];
    let Some(run) = classify(GOOGLENET, &args, &["parrot.jpg"]) else { return };
    assert!(run.exits(0).stdout.ends_with("100.0 %  thing 88\n"));

    std::fs::write(&labels, "one\ntwo\n").unwrap();
    classify(GOOGLENET, &args, &["parrot.jpg"]).unwrap().exits(2).says("2 labels").says("1000 classes");
}

#[test]
fn clear_photographs_are_recognised_in_int8() {
    let names = CLEAR.map(|(name, _)| name);
    for calibration in [&[][..], &["--calibration", "built-in"]] {
        let args = [&["--precision", "int8", "--format", "json", "--top", "1"], calibration].concat();
        let Some(run) = classify(GOOGLENET, &args, &names) else { return };
        let run =
            run.exits(0).says(if calibration.is_empty() { "fitted to 7 of the inputs" } else { "built-in" });
        for (line, (name, label)) in run.stdout.lines().zip(CLEAR) {
            let object: Value = serde_json::from_str(line).unwrap();
            assert_eq!(object["predictions"][0]["label"], label, "{name}, {calibration:?}");
        }
    }
}
