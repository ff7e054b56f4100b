//! `featvec eval`, with real ImageNet weights on real photographs.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::support::{CLASSIFICATION, FEATURE_VECTOR, GOOGLENET, Run, featvec, sample, shared};

/// A folder with some photographs of Caltech-101 in folders called otherwise.
fn photographs(classes: &[(&str, &str)], count: usize) -> Option<tempfile::TempDir> {
    let caltech = shared("photos/caltech")?;
    let folder = tempfile::tempdir().unwrap();
    for (class, name) in classes {
        fs::create_dir(folder.path().join(name)).unwrap();
        for number in 1..=count {
            let picture = format!("image_{number:04}.jpg");
            fs::copy(caltech.join(class).join(&picture), folder.path().join(name).join(&picture)).unwrap();
        }
    }
    Some(folder)
}

fn eval(module: &str, args: &[&str], path: &Path) -> Option<Run> {
    let module = shared(module)?;
    let options = ["eval".into(), "--module".into(), module].into_iter();
    Some(featvec(options.chain(args.iter().map(PathBuf::from)).chain([path.to_owned()])))
}

/// A WordNet id, a name in two spellings, and an index.
const NAMED: [(&str, &str); 4] =
    [("starfish", "n02317335"), ("dalmatian", "Dalmatian"), ("grand_piano", "grand-piano"), ("llama", "355")];

#[test]
fn the_real_network_recognises_real_photographs() {
    let Some(folder) = photographs(&NAMED, 10) else { return };
    let run = eval(GOOGLENET, &["--format", "json"], folder.path()).unwrap().exits(0);
    let found: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        (&found["pictures"], &found["unreadable"], &found["crops"]),
        (&40.into(), &0.into(), &1.into())
    );
    assert!(found["top1"]["share"].as_f64().unwrap() >= 0.8, "{found}");
    assert!(found["top5"]["share"].as_f64().unwrap() >= 0.9, "{found}");
    let indices: Vec<_> = found["classes"].as_array().unwrap().iter().map(|c| c["index"].as_u64()).collect();
    assert_eq!(indices, [251, 327, 355, 579].map(Some));
    let limits = &found["top1"]["confidence95"];
    assert!(limits[0].as_f64() < found["top1"]["share"].as_f64(), "{found}");
}

#[test]
fn ten_crops_are_told_for_people_too() {
    let Some(folder) = photographs(&NAMED[..2], 3) else { return };
    let run = eval(GOOGLENET, &["--crops", "10", "--per-class"], folder.path()).unwrap().exits(0);
    for text in
        ["pictures  6, and 0 that could not be read", "top-1", "top-5", "95 % confidence", "dalmatian"]
    {
        assert!(run.stdout.contains(text), "{text}: {}", run.stdout);
    }
}

#[test]
fn a_background_class_is_counted_by_names() {
    let Some(folder) = photographs(&NAMED[..2], 2) else { return };
    let run = eval(CLASSIFICATION, &["--format", "json"], folder.path()).unwrap().exits(0);
    let found: Value = serde_json::from_str(&run.stdout).unwrap();
    let indices: Vec<_> = found["classes"].as_array().unwrap().iter().map(|c| c["index"].as_u64()).collect();
    assert_eq!(indices, [252, 328].map(Some));
}

#[test]
fn folders_with_other_names_need_a_map() {
    let Some(folder) = photographs(&[("ant", "Ameise"), ("dalmatian", "dalmatian")], 2) else { return };
    let run = eval(GOOGLENET, &[], folder.path()).unwrap().exits(2);
    run.says("1 of 2 folders are no class of the module").says("Ameise").says("--class-map");
    let map = folder.path().join("map.tsv");
    fs::write(&map, "class\tsynset\nAmeise\tn02219486\t40\n").unwrap();
    let map = map.to_str().unwrap().to_string();
    eval(GOOGLENET, &["--class-map", &map], folder.path()).unwrap().exits(0);
    fs::write(&map, "Ameise n02219486\n").unwrap();
    eval(GOOGLENET, &["--class-map", &map], folder.path()).unwrap().exits(2).says("line 1 has no tab");
}

#[test]
fn unreadable_pictures_are_told_and_counted() {
    let Some(folder) = photographs(&NAMED[..1], 2) else { return };
    fs::write(folder.path().join("n02317335/broken.jpg"), b"\xff\xd8\xff broken").unwrap();
    let run = eval(GOOGLENET, &[], folder.path()).unwrap().exits(1).says("broken.jpg");
    assert!(run.stdout.contains("pictures  2, and 1 that could not be read"), "{}", run.stdout);
    for number in [1, 2] {
        fs::write(folder.path().join(format!("n02317335/image_{number:04}.jpg")), b"broken").unwrap();
    }
    eval(GOOGLENET, &[], folder.path()).unwrap().exits(2).says("none of the 3 pictures can be read");
}

#[test]
fn what_cannot_be_evaluated_is_refused() {
    let Some(folder) = photographs(&NAMED[..1], 1) else { return };
    eval(FEATURE_VECTOR, &[], folder.path()).unwrap().exits(2).says("it has no classifying layer");
    eval(GOOGLENET, &["--crops", "7"], folder.path()).unwrap().exits(2).says("1, 10 and 144");
    eval(GOOGLENET, &["--labels-offset", "1"], folder.path()).unwrap().exits(2).says("--labels-offset");
    let picture = sample("cat.bmp").unwrap();
    eval(GOOGLENET, &[], &picture).unwrap().exits(2).says("is it a TFRecord file?");
    eval(GOOGLENET, &[], &folder.path().join("n02317335"))
        .unwrap()
        .exits(2)
        .says("no sub-folder with pictures");
}
