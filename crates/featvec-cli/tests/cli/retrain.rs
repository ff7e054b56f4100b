//! `featvec retrain`, on small generated pictures with the reference module.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::{FEATURE_VECTOR, Run, featvec, lines, program, run, shared};

/// A folder of pictures by class: plain colours with stripes, each class with colours of its own.
struct Pictures {
    folder: tempfile::TempDir,
}

const CLASSES: [(&str, [u8; 3]); 3] =
    [("blue & <b>bold", [40, 60, 200]), ("green", [30, 180, 50]), ("red", [210, 40, 30])];

impl Pictures {
    fn new(of_each: usize) -> Pictures {
        let folder = tempfile::tempdir().unwrap();
        for (class, colour) in CLASSES {
            for index in 0..of_each {
                write_picture(&folder.path().join("pictures").join(class), index, colour);
            }
        }
        Pictures { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `featvec retrain` on the folder `pictures` of the test's folder, with a feature cache of the test's own.
    fn retrain(&self, args: &[&str]) -> Option<Run> {
        Some(self.featvec(&self.command(args)?))
    }

    fn command(&self, args: &[&str]) -> Option<Vec<PathBuf>> {
        let mut command = vec!["retrain".into(), "--module".into(), shared(FEATURE_VECTOR)?];
        command.extend(["-o", "out", "--feature-cache", "features"].map(PathBuf::from));
        command.extend(args.iter().map(PathBuf::from));
        command.push("pictures".into());
        Some(command)
    }

    /// Runs the program in the test's folder: paths without its random name are split in the same way each time.
    fn featvec(&self, args: &[PathBuf]) -> Run {
        run(program().current_dir(self.folder.path()).args(args), b"")
    }

    fn metrics(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("out/metrics.json")).unwrap()).unwrap()
    }
}

/// A bitmap of 40x40 pixels.
fn write_picture(folder: &Path, index: usize, colour: [u8; 3]) {
    const SIDE: usize = 40;
    let mut file = b"BM".to_vec();
    let bytes = (SIDE * SIDE * 3) as u32;
    file.extend([54 + bytes, 0, 54, 40, SIDE as u32, SIDE as u32].iter().flat_map(|word| word.to_le_bytes()));
    file.extend([1u16, 24].iter().flat_map(|word| word.to_le_bytes()));
    file.extend([0, bytes, 0, 0, 0, 0].iter().flat_map(|word: &u32| word.to_le_bytes()));
    for y in 0..SIDE {
        for x in 0..SIDE {
            let stripe = ((x * (index % 3 + 1) + y * (index % 5)) / 7 % 2 * 40 + index * 3 % 17) as u8;
            file.extend(colour.iter().rev().map(|value| value.saturating_add(stripe)));
        }
    }
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join(format!("picture {index}.bmp")), file).unwrap();
}

#[test]
fn the_output_folder_is_a_module_with_everything_beside() {
    let pictures = Pictures::new(20);
    let Some(run) = pictures.retrain(&["--preset", "keras-pil"]) else { return };
    let run = run.exits(0).says("60 feature vectors computed, 0 from the cache");
    assert!(run.stdout.contains("test accuracy  100.0 %"), "{run:?}");

    let out = pictures.path("out");
    assert_eq!(lines(out.join("labels.txt")), CLASSES.map(|(class, _)| class));
    let metrics = pictures.metrics();
    assert_eq!(metrics["accuracy"]["value"], 1.0);
    assert_eq!(metrics["preset"], "keras-pil");
    let split: Vec<u64> = metrics["split"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
    assert_eq!(split.iter().sum::<u64>(), 60);

    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("blue &amp; &lt;b&gt;bold") && !page.contains("<b>bold"));
    assert!(!page.contains("http:") && !page.contains("https:"), "it refers to nothing outside");
    for part in ["train", "validation"] {
        let files: Vec<_> = fs::read_dir(out.join("events").join(part)).unwrap().collect();
        assert_eq!(files.len(), 1);
        assert!(files[0].as_ref().unwrap().file_name().to_str().unwrap().starts_with("events.out.tfevents."));
    }

    // It is a module with nothing more to say: labels and preset are known.
    let picture = pictures.path("pictures/red/picture 3.bmp");
    let classify = |args: &[&str]| {
        let args = args.iter().map(PathBuf::from);
        featvec(["classify".into(), "--module".into(), out.clone(), picture.clone()].into_iter().chain(args))
            .exits(0)
            .stdout
    };
    assert!(classify(&["--top", "1"]).ends_with("%  red\n"));
    let json = ["--format", "json"];
    assert_eq!(classify(&json), classify(&[&json[..], &["--preset", "keras-pil"]].concat()));
    assert_ne!(classify(&json), classify(&[&json[..], &["--preset", "opencv"]].concat()));
    let embed = |module: &Path, args: &[&str]| {
        let args = args.iter().map(PathBuf::from);
        let command = ["embed".into(), "--module".into(), module.to_owned(), picture.clone()];
        featvec(command.into_iter().chain(args)).exits(0).stdout
    };
    let original = embed(&shared(FEATURE_VECTOR).unwrap(), &["--preset", "keras-pil"]);
    assert_eq!(embed(&out, &[]), original, "features are those of the module");

    // So has its export, with the labels and the preset.
    let exported = pictures.path("exported");
    let command = ["export".into(), out.clone(), "--format".into(), "hub".into(), "-o".into()];
    featvec(command.into_iter().chain([exported.clone()])).exits(0);
    let command = ["classify".into(), "--module".into(), exported, picture.clone()];
    let run = featvec(command.into_iter().chain(json.map(PathBuf::from))).exits(0);
    assert_eq!(run.stdout, classify(&json));

    // The checkpoint holds the same network.
    let checkpoint = out.join("checkpoint/model.ckpt");
    let labels = out.join("labels.txt");
    let args = ["--labels", labels.to_str().unwrap(), "--preset", "keras-pil", "--format", "json"]
        .map(PathBuf::from);
    let command = ["classify".into(), "--module".into(), checkpoint, picture.clone()];
    let run = featvec(command.into_iter().chain(args)).exits(0);
    assert_eq!(run.stdout, classify(&json));
}

#[test]
fn vectors_are_computed_once_and_the_same_run_gives_the_same_bytes() {
    let pictures = Pictures::new(12);
    let Some(run) = pictures.retrain(&[]) else { return };
    run.exits(0).says("36 feature vectors computed").says("12 pictures: fewer than 20");
    let variables = pictures.path("out/variables/variables.data-00000-of-00001");
    let first = fs::read(&variables).unwrap();
    pictures.retrain(&[]).unwrap().exits(2).says("--force replaces it");
    pictures
        .retrain(&["--force", "--threads", "1"])
        .unwrap()
        .exits(0)
        .says("0 feature vectors computed, 36 from the cache");
    assert!(fs::read(&variables).unwrap() == first);
    pictures.retrain(&["--force", "--preset", "tf2"]).unwrap().exits(0).says("36 feature vectors computed");
    // A picture is known by what is in it, not by its name.
    let [from, to] = ["picture 0.bmp", "renamed.bmp"].map(|name| pictures.path("pictures/red").join(name));
    fs::rename(from, to).unwrap();
    pictures.retrain(&["--force"]).unwrap().exits(0).says("0 feature vectors computed, 36 from the cache");
    let names: Vec<_> =
        fs::read_dir(pictures.folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "nothing is left over: {names:?}");
}

#[test]
fn a_folder_that_is_split_already_is_taken_as_it_is() {
    let pictures = Pictures::new(12);
    for (class, _) in CLASSES {
        for (part, range) in [("train", 0..8), ("val", 8..12)] {
            let folder = pictures.path("pictures").join(part).join(class);
            fs::create_dir_all(&folder).unwrap();
            for index in range {
                let name = format!("picture {index}.bmp");
                fs::rename(pictures.path("pictures").join(class).join(&name), folder.join(&name)).unwrap();
            }
        }
        fs::remove_dir(pictures.path("pictures").join(class)).unwrap();
    }
    let Some(run) = pictures.retrain(&[]) else { return };
    run.exits(0);
    let metrics = pictures.metrics();
    assert_eq!(metrics["split"][2], 12);
    assert_eq!(metrics["split"][0].as_u64().unwrap() + metrics["split"][1].as_u64().unwrap(), 24);
    assert_eq!(metrics["accuracy"]["of"], 12);

    // The same by name.
    let val = pictures.path("pictures/val");
    let command = pictures.command(&["--force", "--test-folder", val.to_str().unwrap()]).unwrap();
    let command: Vec<PathBuf> = command
        .into_iter()
        .map(|arg| if arg == Path::new("pictures") { arg.join("train") } else { arg })
        .collect();
    pictures.featvec(&command).exits(0);
    assert_eq!(pictures.metrics()["accuracy"]["of"], 12);
}

#[test]
fn gradient_descent_is_there_for_who_asks() {
    let pictures = Pictures::new(20);
    let args = ["--sgd", "--learning-rate", "0.001", "--steps", "60", "--train-batch", "20", "--seed", "5"];
    let Some(run) = pictures.retrain(&args) else { return };
    run.exits(0);
    let training = &pictures.metrics()["training"];
    assert_eq!(
        (&training["method"], &training["steps"], &training["seed"]),
        (&"sgd".into(), &60.into(), &5.into())
    );
}

#[test]
fn what_cannot_be_read_is_told_and_the_rest_is_done() {
    let pictures = Pictures::new(12);
    fs::write(pictures.path("pictures/red/broken\n.jpg"), b"no picture").unwrap();
    fs::create_dir(pictures.path("pictures/nothing")).unwrap();
    let Some(run) = pictures.retrain(&[]) else { return };
    let run = run.exits(1).says(r"broken\n.jpg: ").says("nothing: no picture in it");
    assert!(run.stdout.contains("accuracy"));
    let failures = &pictures.metrics()["failures"];
    assert!(failures[0]["path"].as_str().unwrap().ends_with("broken\n.jpg"), "{failures}");
    assert_eq!(lines(pictures.path("out/labels.txt")).len(), 3);
}

#[test]
fn without_test_pictures_others_judge_and_it_is_said() {
    let pictures = Pictures::new(12);
    let args = ["--test-percentage", "0", "--validation-percentage", "30"];
    let Some(run) = pictures.retrain(&args) else { return };
    assert!(run.exits(0).says("there are no test pictures").stdout.contains("validation accuracy"));
    let args = ["--test-percentage", "0", "--validation-percentage", "0", "--force"];
    let run = pictures.retrain(&args).unwrap().exits(0).says("no validation pictures to choose by");
    assert!(run.stdout.contains("training accuracy"));
}

#[test]
fn folders_that_make_no_sense_are_refused_before_anything_is_done() {
    let pictures = Pictures::new(2);
    let refused = |args: &[&str], reason: &str| {
        let command = ["retrain", "--module", "no/such/module"].iter().chain(args);
        let command: Vec<PathBuf> = command.map(PathBuf::from).collect();
        let run = pictures.featvec(&command).exits(2).says(reason);
        assert_eq!(run.stdout, "");
    };
    let (folder, out) = ("pictures", "out");
    refused(&["-o", out, "absent"], "absent: No such file");
    refused(&["-o", out, "pictures/red"], "no sub-folder with pictures in it");
    refused(&["-o", "pictures/out", folder], "among the pictures");
    refused(&["-o", ".", folder], "a folder with other things in it");
    refused(&["-o", "pictures/red/picture 0.bmp", folder], "among the pictures");
    refused(&["-o", "no/such/folder", folder], "No such file");
    refused(
        &["-o", out, "--validation-percentage", "60", "--test-percentage", "40", folder],
        "no picture is left",
    );
    refused(&["-o", out, "--test-percentage", "100", folder], "below 100");
    refused(&["-o", out, "--strength", "0", folder], "positive");
    refused(&["-o", out, "--steps", "5", folder], "--sgd");
    refused(&["-o", out, "--sgd", "--balance", folder], "cannot be used with");
    refused(&["-o", out, "--validation-folder", folder, folder], "--test-folder");
    refused(&["-o", out, folder], "no/such/module");

    for class in ["green", CLASSES[0].0] {
        fs::remove_dir_all(pictures.path("pictures").join(class)).unwrap();
    }
    fs::create_dir(pictures.path("pictures/nothing")).unwrap();
    refused(&["-o", out, folder], r#"one class only, "red""#);
    refused(&["-o", out, folder], "without pictures: nothing");
    assert!(!pictures.path("out").exists());
}

#[test]
fn a_class_that_only_the_test_folder_has_is_refused() {
    let pictures = Pictures::new(2);
    write_picture(&pictures.path("test/violet"), 0, [90, 0, 90]);
    let test = pictures.path("test");
    let Some(run) = pictures.retrain(&["--test-folder", test.to_str().unwrap()]) else { return };
    run.exits(2).says(r#"its class "violet" is none of those that are trained"#);
}

#[cfg(unix)]
#[test]
fn a_class_whose_name_is_no_label_is_refused() {
    let pictures = Pictures::new(2);
    write_picture(&pictures.path("pictures/two\nlines"), 0, [90, 0, 90]);
    let Some(run) = pictures.retrain(&[]) else { return };
    run.exits(2).says("rename the folder");
}

/// Kills the program again and again while it computes vectors: each run goes on where the one before was, and the output
/// folder is there when all of it is.
#[test]
fn a_killed_run_goes_on_where_it_was() {
    let pictures = Pictures::new(40);
    let Some(command) = pictures.command(&["--batch", "2", "--threads", "1"]) else { return };
    let cache = pictures.path("features");
    for _ in 0..3 {
        let before = fs::metadata(&cache).map_or(0, |meta| meta.len());
        let mut child = program()
            .current_dir(pictures.folder.path())
            .args(&command)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let start = Instant::now();
        while fs::metadata(&cache).map_or(0, |meta| meta.len()) <= before + 10_000 {
            assert!(start.elapsed() < Duration::from_secs(120) && child.try_wait().unwrap().is_none());
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!pictures.path("out").exists());
    }
    let run = pictures.featvec(&command).exits(0);
    let told = run.stderr.lines().find(|line| line.contains("feature vectors computed")).unwrap();
    let numbers: Vec<usize> =
        told.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
    assert_eq!(numbers[0] + numbers[1], 120, "{told}");
    assert!(numbers[1] >= 6, "{told}");
}

#[cfg(target_os = "linux")]
#[test]
fn places_that_cannot_be_written_to_are_told() {
    let pictures = Pictures::new(2);
    let Some(mut command) = pictures.command(&[]) else { return };
    let at = command.iter().position(|arg| arg.ends_with("features")).unwrap();
    command[at] = "/proc/features".into();
    pictures.featvec(&command).exits(2).says("/proc/features");
    command[at] = pictures.path("pictures/red/picture 0.bmp");
    pictures.featvec(&command).exits(2).says("not a file of feature vectors");
    assert!(!pictures.path("out").exists());

    let mut command = pictures.command(&[]).unwrap();
    let at = command.iter().position(|arg| arg.ends_with("out")).unwrap();
    command[at] = "/proc/out".into();
    pictures.featvec(&command).exits(2).says("/proc/out");
}

/// Fine-tuning at 32x32, in batches of 8.
const FINE_TUNE: [&str; 13] = [
    "--size",
    "32",
    "--batch",
    "16",
    "--threads",
    "2",
    "--no-refit",
    "--validation-percentage",
    "25",
    "--fine-tune",
    "--fine-tune-batch",
    "8",
    "--quiet",
];

/// The files of the output folder that do not tell the time.
fn output(folder: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let names = [
        "variables/variables.data-00000-of-00001",
        "checkpoint/model.ckpt.data-00000-of-00001",
        "saved_model.pb",
        "labels.txt",
    ];
    names.map(|name| (name, fs::read(folder.join(name)).unwrap())).into()
}

/// The figures of fine-tuning that do not tell the time.
fn fine_tuning(pictures: &Pictures) -> Value {
    let mut figures = pictures.metrics()["fine_tuning"].clone();
    figures.as_object_mut().unwrap().remove("seconds");
    figures
}

#[test]
fn fine_tuning_that_is_killed_or_interrupted_ends_as_if_it_had_not_been() {
    let pictures = Pictures::new(12);
    let more = ["--epochs", "3", "--save-secs", "0", "--fine-tune-rate", "0.0001"];
    let Some(command) = pictures.command(&[&FINE_TUNE[..], &more].concat()) else { return };
    pictures.featvec(&command).exits(0);
    let out = pictures.path("out");
    let (straight, figures) = (output(&out), fine_tuning(&pictures));
    assert_eq!(figures["epochs"].as_array().unwrap().len(), 3, "{figures}");
    assert!(figures["batch_norm"].as_str().unwrap().starts_with("frozen: "), "{figures}");
    let report = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(report.contains("fine tuning loss") && report.contains("fine tuning accuracy"));
    fs::remove_dir_all(&out).unwrap();
    let checkpoints = pictures.path("out.fine-tuning");
    assert!(!checkpoints.exists(), "nothing is left over");

    let mut killed = 0;
    for (step, signal) in [(1, "-KILL"), (3, "-INT"), (5, "-KILL")] {
        let mut child = program()
            .current_dir(pictures.folder.path())
            .args(&command)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let start = Instant::now();
        let has_come = || {
            let names =
                fs::read_dir(&checkpoints).into_iter().flatten().flatten().map(|file| file.file_name());
            let steps = names.filter_map(|name| {
                name.to_str()?.strip_prefix("model.ckpt-")?.strip_suffix(".index")?.parse::<u64>().ok()
            });
            steps.max() >= Some(step)
        };
        while !has_come() && child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < Duration::from_secs(120), "step {step} does not come");
            std::thread::sleep(Duration::from_millis(1));
        }
        if child.try_wait().unwrap().is_none() {
            killed += 1;
            let mut kill = std::process::Command::new("kill");
            run(kill.args([signal, &child.id().to_string()]), b"");
        }
        child.wait().unwrap();
        if out.exists() {
            break;
        }
        assert!(checkpoints.exists());
    }
    assert!(killed > 0);
    if !out.exists() {
        pictures.featvec(&command).exits(0);
    }
    assert!(output(&out) == straight, "the same network");
    assert_eq!(fine_tuning(&pictures), figures);
    assert!(!checkpoints.exists(), "nothing is left over");
}

#[test]
fn fine_tuning_that_makes_it_worse_or_diverges_keeps_the_head_alone() {
    let pictures = Pictures::new(12);
    let Some(run) = pictures.retrain(&FINE_TUNE[..9]) else { return };
    run.exits(0);
    let head_alone = output(&pictures.path("out"));
    let more = ["--epochs", "2", "--force", "--fine-tune-rate"];
    for (rate, why) in [("1e-12", "all epochs are done"), ("1e30", "the loss of step")] {
        pictures.retrain(&[&FINE_TUNE[..], &more, &[rate]].concat()).unwrap().exits(0);
        let figures = fine_tuning(&pictures);
        assert_eq!(figures["kept_epoch"], Value::Null, "{figures}");
        assert!(figures["ended"].as_str().unwrap().contains(why), "{figures}");
        assert!(output(&pictures.path("out")) == head_alone, "{rate}");
    }
}

#[test]
fn fine_tuning_goes_on_with_what_it_was_begun_with() {
    let pictures = Pictures::new(12);
    let checkpoints = pictures.path("out.fine-tuning");
    fs::create_dir(&checkpoints).unwrap();
    fs::write(checkpoints.join("options.json"), r#"{"epochs": "99"}"#).unwrap();
    let more = ["--epochs", "1", "--trainable-scopes", "Logits", "--batch-norm", "batch"];
    let Some(run) = pictures.retrain(&[&FINE_TUNE[..12], &more].concat()) else { return };
    run.exits(0)
        .says("which is begun again: epochs was 99 and is 1")
        .says("by the statistics of each batch, as asked for");
    fs::create_dir(&checkpoints).unwrap();
    fs::write(checkpoints.join("mine"), "").unwrap();
    pictures.retrain(&["--force", "--fine-tune"]).unwrap().exits(2).says("a folder with other things in it");
    fs::remove_dir_all(&checkpoints).unwrap();
    let more = ["--force", "--trainable-scopes", "Nothing"];
    let run = pictures.retrain(&[&FINE_TUNE[..], &more].concat()).unwrap();
    run.exits(2).says("no variable that is trained begins with \"Nothing\"");
    let more = ["--force", "--fine-tune", "--validation-percentage", "0"];
    pictures.retrain(&more).unwrap().exits(2).says("there are no validation pictures");
    pictures.retrain(&["--epochs", "5"]).unwrap().exits(2).says("--fine-tune");
}
