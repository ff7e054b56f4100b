//! `featvec embed` against the vectors of TensorFlow, and everything around it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use featvec::Tensor;

use super::support::{
    CLASSIFICATION, FEATURE_VECTOR, GOOGLENET, Run, array, assert_close, featvec, lines, program, project,
    run, sample, shared, write_array,
};

/// TensorFlow's own two CPU backends differ by 1e-6 of the largest feature; ten times that is allowed.
const TOLERANCE: f64 = 1e-5;

/// A folder to work in, and a module.
struct Desk {
    folder: tempfile::TempDir,
    module: PathBuf,
}

impl Desk {
    /// None, said loudly, where there is no module.
    fn new() -> Option<Desk> {
        Desk::with(FEATURE_VECTOR)
    }

    fn with(module: &str) -> Option<Desk> {
        Some(Desk { folder: tempfile::tempdir().unwrap(), module: shared(module)? })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The command line of `embed` with `args`, for the folder of this desk.
    fn args<S: Into<OsString>>(&self, args: impl IntoIterator<Item = S>) -> Vec<OsString> {
        let start = ["embed".into(), "--module".into(), self.module.clone().into_os_string()];
        start.into_iter().chain(args.into_iter().map(Into::into)).collect()
    }

    fn embed<S: Into<OsString>>(&self, args: impl IntoIterator<Item = S>) -> Run {
        self.embed_with(args, b"")
    }

    fn embed_with<S: Into<OsString>>(&self, args: impl IntoIterator<Item = S>, stdin: &[u8]) -> Run {
        run(program().args(self.args(args)).current_dir(&self.folder), stdin)
    }

    /// The files of this desk.
    fn names(&self) -> Vec<String> {
        let files = fs::read_dir(&self.folder).unwrap();
        let mut names: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Copies an example photograph to `name`.
    fn place(&self, photo: &str, name: &str) {
        let target = self.path(name);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(project("examples/photos").join(photo), target).unwrap();
    }
}

/// The first rows of an array.
fn first_rows(tensor: &Tensor, rows: usize) -> &[f32] {
    &tensor.data()[..tensor.data().len() / tensor.rows() * rows]
}

#[test]
fn photographs_give_the_vectors_of_tensorflow() {
    let Some(desk) = Desk::new() else { return };
    let names = fs::read_to_string(shared("reference/golden/names.json").unwrap()).unwrap();
    let names: Vec<String> = serde_json::from_str(&names).unwrap();
    let photos: Vec<PathBuf> = names[..6].iter().map(|name| sample(name).unwrap()).collect();
    desk.embed(["-o".into(), "x.npy".into()].into_iter().chain(photos.clone()))
        .exits(0)
        .says("6 done, 0 failed");

    let features = array(desk.path("x.npy"));
    assert_eq!(features.shape(), [6, 1024]);
    let golden = array(shared("reference/golden/features.npy").unwrap());
    assert_close(features.data(), first_rows(&golden, 6), TOLERANCE);
    let paths: Vec<PathBuf> = lines(desk.path("x.paths.txt")).into_iter().map(PathBuf::from).collect();
    assert_eq!(paths, photos);
    assert!(!desk.path("x.failed.txt").exists());
}

#[test]
fn arrays_go_in_as_they_are() {
    let Some(desk) = Desk::new() else { return };
    let inputs = shared("reference/golden/inputs.npy").unwrap();
    desk.embed(["-o".into(), "x.npy".into(), "--batch".into(), "3".into(), inputs.clone()]).exits(0);
    let features = array(desk.path("x.npy"));
    assert_close(features.data(), array(shared("reference/golden/features.npy").unwrap()).data(), TOLERANCE);
    let names: Vec<String> = (0..8).map(|row| format!("{}#{row}", inputs.display())).collect();
    assert_eq!(lines(desk.path("x.paths.txt")), names);
}

#[test]
fn bytes_are_levels_of_255() {
    let Some(desk) = Desk::new() else { return };
    let levels: Vec<u8> = (0..2 * 224 * 224 * 3).map(|i| (i % 8191 % 256) as u8).collect();
    let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 224, 224, 3), }";
    let header = format!("{header:117}\n");
    let bytes = [b"\x93NUMPY\x01\0\x76\0", header.as_bytes(), &levels].concat();
    fs::write(desk.path("bytes.npy"), bytes).unwrap();
    let floats: Vec<f32> = levels.iter().map(|level| f32::from(*level) * (1.0 / 255.0)).collect();
    write_array(desk.path("floats.npy"), &[2, 224, 224, 3], &floats);
    desk.embed(["bytes.npy", "floats.npy", "-o", "x.npy"]).exits(0);
    let features = array(desk.path("x.npy"));
    let (a, b) = features.data().split_at(2 * 1024);
    assert!(a == b);
}

#[test]
fn arrays_with_other_values_are_doubted_or_refused() {
    let Some(desk) = Desk::new() else { return };
    let mut values = vec![0.25; 224 * 224 * 3];
    values[1000] = 255.0;
    write_array(desk.path("levels.npy"), &[1, 224, 224, 3], &values);
    desk.embed(["levels.npy", "-o", "x.npy"]).exits(0).says("look like 0..255");
    values[1000] = -1.0;
    write_array(desk.path("signed.npy"), &[1, 224, 224, 3], &values);
    desk.embed(["signed.npy", "-o", "x.npy"]).exits(0).says("look like -1..1");
    values[1000] = f32::NAN;
    write_array(desk.path("nan.npy"), &[1, 224, 224, 3], &values);
    desk.embed(["nan.npy", "-o", "x.npy"]).exits(1).says("nan.npy#0: element 1000 is NaN");

    write_array(desk.path("small.npy"), &[1, 96, 96, 3], &[0.5; 96 * 96 * 3]);
    desk.embed(["small.npy", "-o", "x.npy"]).exits(1).says("resize them to 224x224");
    write_array(desk.path("planes.npy"), &[1, 3, 224, 224], &[0.5; 224 * 224 * 3]);
    desk.embed(["planes.npy", "-o", "x.npy"]).exits(1).says("numpy.transpose");
    assert_eq!(array(desk.path("x.npy")).shape(), [1, 1024], "vectors are not replaced by none");
}

#[test]
fn all_formats_hold_the_same_numbers() {
    let Some(desk) = Desk::new() else { return };
    desk.place("coffee.jpg", "a, \"b\".jpg");
    desk.place("rocket.jpg", "c.jpg");
    for output in ["x.npy", "x.csv", "x.jsonl", "x.txt"] {
        desk.embed(["-o", output, "a, \"b\".jpg", "c.jpg"]).exits(0);
    }
    let npy = array(desk.path("x.npy"));
    let parsed = |values: &str, separator: char| -> Vec<f32> {
        values.split(separator).map(|value| value.parse().unwrap()).collect()
    };
    let rows: Vec<_> = npy.iter_rows().collect();

    let csv = lines(desk.path("x.csv"));
    assert!(csv[0].starts_with("path,f0,f1,") && csv[0].ends_with(",f1023"), "{}", csv[0]);
    assert_eq!(parsed(csv[1].strip_prefix("\"a, \"\"b\"\".jpg\",").unwrap(), ','), rows[0]);
    assert_eq!(parsed(csv[2].strip_prefix("c.jpg,").unwrap(), ','), rows[1]);

    let text = lines(desk.path("x.txt"));
    assert_eq!(parsed(text[0].strip_prefix("a, \"b\".jpg\t").unwrap(), ' '), rows[0]);
    assert_eq!(desk.embed(["a, \"b\".jpg", "c.jpg"]).exits(0).stdout, text.join("\n") + "\n");

    let objects: Vec<serde_json::Value> =
        lines(desk.path("x.jsonl")).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects[0]["path"], "a, \"b\".jpg");
    let vector: Vec<f32> = serde_json::from_value(objects[1]["vector"].clone()).unwrap();
    assert_eq!(vector, rows[1]);
}

#[test]
fn one_bad_picture_does_not_stop_the_rest() {
    let Some(desk) = Desk::new() else { return };
    desk.place("chelsea.jpg", "photos/1.jpg");
    desk.place("coffee.jpg", "photos/5.jpg");
    let whole = fs::read(desk.path("photos/1.jpg")).unwrap();
    fs::write(desk.path("photos/2.jpg"), &whole[..300]).unwrap();
    fs::write(desk.path("photos/3.png"), "").unwrap();
    fs::write(desk.path("photos/4.jpg"), "<!doctype html><p>Not found").unwrap();
    let run = desk.embed(["-o", "x.npy", "photos", "nosuch.jpg"]).exits(1);

    assert_eq!(array(desk.path("x.npy")).shape(), [2, 1024]);
    assert_eq!(lines(desk.path("x.paths.txt")), ["photos/1.jpg", "photos/5.jpg"]);
    let failed = lines(desk.path("x.failed.txt"));
    let (paths, reasons): (Vec<_>, Vec<_>) = failed.iter().map(|line| line.split_once('\t').unwrap()).unzip();
    assert_eq!(paths, ["photos/2.jpg", "photos/3.png", "photos/4.jpg", "nosuch.jpg"]);
    assert!(reasons[1].contains("empty") && reasons[2].contains("web page"), "{reasons:?}");
    for (path, reason) in paths.iter().zip(reasons) {
        assert!(run.stderr.contains(&format!("featvec: {path}: {reason}\n")), "{run:?}");
    }
    run.says("2 done, 4 failed");

    desk.embed(["-o", "x.npy", "photos/1.jpg", "photos/5.jpg"]).exits(0);
    assert!(!desk.path("x.failed.txt").exists(), "the list of an earlier run is stale");
}

#[test]
fn folders_lists_and_patterns_keep_their_order() {
    let Some(desk) = Desk::new() else { return };
    for name in ["b.jpg", "a/z.JPG", "a/b/y.jpeg", "a.jpg", ".hidden.jpg", "a/.git/x.jpg"] {
        desk.place("chelsea.jpg", name);
    }
    fs::write(desk.path("notes.txt"), "no picture").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(".", desk.path("a/loop")).unwrap();
    let paths = |args: &[&str], stdin: &[u8]| {
        desk.embed_with(args.iter().chain(&["-o", "x.npy", "--size", "32"]), stdin).exits(0);
        lines(desk.path("x.paths.txt"))
    };
    assert_eq!(paths(&["."], b""), ["./a/b/y.jpeg", "./a/z.JPG", "./a.jpg", "./b.jpg"]);
    assert_eq!(
        paths(&["b.jpg", "a", "b.jpg"], b""),
        ["b.jpg", "a/b/y.jpeg", "a/z.JPG"],
        "a name has one row"
    );
    assert_eq!(paths(&["*.jpg"], b""), ["a.jpg", "b.jpg"]);
    assert_eq!(paths(&["**/*.jp*g"], b""), ["a/b/y.jpeg", "a.jpg", "b.jpg"]);
    assert_eq!(paths(&["-", "a.jpg"], b"b.jpg\na/z.JPG\n"), ["b.jpg", "a/z.JPG", "a.jpg"]);
    assert_eq!(paths(&["-"], b""), [""; 0]);

    fs::create_dir(desk.path("empty")).unwrap();
    desk.embed(["empty", "*.tiff"])
        .exits(1)
        .says("empty: no pictures in this folder")
        .says("*.tiff: nothing matches this pattern");
}

#[test]
fn batches_and_threads_change_nothing() {
    let Some(desk) = Desk::new() else { return };
    let mut vectors = Vec::new();
    for (batch, threads) in [("32", "2"), ("1", "1"), ("3", "5")] {
        let photos = project("examples/photos").into_os_string();
        let args = ["-o", "x.npy", "--batch", batch, "--threads", threads].map(OsString::from);
        desk.embed(args.into_iter().chain([photos])).exits(0);
        vectors.push(array(desk.path("x.npy")));
    }
    assert_eq!(vectors[0].shape(), [4, 1024]);
    assert!(vectors[0] == vectors[1] && vectors[0] == vectors[2]);
}

#[test]
fn int8_is_fitted_to_the_inputs_and_the_same_in_any_batch() {
    let Some(desk) = Desk::with(GOOGLENET) else { return };
    let photos = project("examples/photos").into_os_string();
    let embed = |args: &[&str]| {
        let args = ["-o", "x.npy"].iter().chain(args).map(OsString::from);
        let run = desk.embed(args.chain([photos.clone()])).exits(0);
        (run, array(desk.path("x.npy")))
    };
    let (_, exact) = embed(&[]);
    let (run, close) = embed(&["--precision", "int8"]);
    run.says("int8 fitted to 4 of the inputs");
    assert_close(close.data(), exact.data(), 0.1);
    assert!(close != exact);
    let (_, again) = embed(&["--precision", "int8", "--batch", "1", "--threads", "1"]);
    assert!(close == again);
    let named = photos.to_str().unwrap();
    let (run, named) = embed(&["--precision", "int8", "--calibration", named]);
    run.says("int8 fitted to 4 pictures of --calibration");
    assert!(close == named);
}

#[test]
fn int8_is_fitted_to_arrays_too_and_to_built_in_pictures_for_want_of_any() {
    let Some(desk) = Desk::new() else { return };
    write_array(desk.path("x.npy"), &[2, 224, 224, 3], &vec![0.5; 2 * 224 * 224 * 3]);
    desk.embed(["--precision", "int8", "x.npy"]).exits(0).says("int8 fitted to 2 of the inputs");
    desk.embed(["--precision", "int8", "missing.jpg"]).exits(1).says("built-in pictures");
    desk.embed(["--precision", "int8", "--tags", "train", "x.npy"]).exits(2).says("statistics of each batch");
    let args = ["--precision", "int8", "--calibration", "missing.jpg", "x.npy"];
    desk.embed(args).exits(2).says("no picture that can be read");
}

#[test]
fn vectors_are_normalised_on_request() {
    let Some(desk) = Desk::new() else { return };
    desk.place("coffee.jpg", "a.jpg");
    desk.embed(["-o", "x.npy", "a.jpg"]).exits(0);
    desk.embed(["-o", "y.npy", "--normalize", "a.jpg"]).exits(0);
    let (plain, unit) = (array(desk.path("x.npy")), array(desk.path("y.npy")));
    let length = plain.data().iter().map(|x| x * x).sum::<f32>().sqrt();
    let expected: Vec<f32> = plain.data().iter().map(|x| x / length).collect();
    assert_close(unit.data(), &expected, 1e-6);
}

#[test]
fn any_endpoint_can_be_had() {
    let Some(desk) = Desk::new() else { return };
    desk.place("coffee.jpg", "a.jpg");
    desk.embed(["-o", "x.npy", "a.jpg"]).exits(0);
    desk.embed(["-o", "pool.npy", "--endpoint", "global_pool", "a.jpg"]).exits(0);
    let (features, pool) = (array(desk.path("x.npy")), array(desk.path("pool.npy")));
    assert_eq!(pool.shape(), [1, 1, 1, 1024]);
    assert_eq!(pool.data(), features.data());

    // The first endpoint that the module lists is a map.
    let run = desk.embed(["--endpoint", "nosuch", "a.jpg"]).exits(2);
    let known = run.stderr.split_once("(it has ").unwrap().1;
    let map = known.split(',').next().unwrap();
    desk.embed(["-o", "map.npy", "--endpoint", map, "--size", "64x96", "a.jpg"]).exits(0);
    assert_eq!(array(desk.path("map.npy")).shape()[..3], [1, 32, 48]);
    desk.embed(["--normalize", "--endpoint", map, "a.jpg"]).exits(2).says("--normalize is for vectors");
    let json = desk.embed(["--format", "jsonl", "--size", "32", "--endpoint", map, "a.jpg"]).exits(0).stdout;
    let object: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(object["shape"].as_array().unwrap()[..2], [16, 16]);
}

#[test]
fn vectors_are_the_default_even_of_a_classification_module() {
    let Some(desk) = Desk::with(CLASSIFICATION) else { return };
    desk.place("coffee.jpg", "a.jpg");
    desk.embed(["-o", "x.npy", "a.jpg"]).exits(0);
    assert_eq!(array(desk.path("x.npy")).shape(), [1, 1024]);
    desk.embed(["-o", "x.npy", "--signature", "default", "a.jpg"]).exits(0);
    assert_eq!(array(desk.path("x.npy")).shape(), [1, 1001]);
    desk.embed(["--signature", "nosuch", "a.jpg"]).exits(2).says("image_classification");
}

#[test]
fn other_sizes_are_run_when_asked_for() {
    let Some(desk) = Desk::new() else { return };
    desk.place("coffee.jpg", "a.jpg");
    desk.embed(["-o", "x.npy", "--size", "96x160", "a.jpg"]).exits(0);
    assert_eq!(array(desk.path("x.npy")).shape(), [1, 1024]);
    desk.embed(["--size", "31x160", "a.jpg"]).exits(2).says("at least 32x32");
}

#[test]
fn the_tag_train_takes_the_statistics_of_the_batch() {
    let Some(desk) = Desk::new() else { return };
    let inputs = array(shared("reference/golden/inputs.npy").unwrap());
    write_array(desk.path("four.npy"), &[4, 224, 224, 3], first_rows(&inputs, 4));
    desk.embed(["-o", "x.npy", "--tags", "train", "four.npy"]).exits(0);
    desk.embed(["-o", "x.npy", "--tags", "train", "--retry-failed", "four.npy"]).exits(2).says("whole batch");
    let golden = array(shared("reference/golden/train_features.npy").unwrap());
    // By the statistics of so few pictures TensorFlow itself is 5e-6 off.
    assert_close(array(desk.path("x.npy")).data(), golden.data(), 3e-5);
}

#[test]
fn lying_pictures_are_noticed_and_turned_on_request() {
    let Some(desk) = Desk::new() else { return };
    let lying = project("crates/featvec/tests/fixtures/images/orientation6.png");
    let other = project("crates/featvec/tests/fixtures/images/orientation8.png");
    let untagged = desk.path("untagged.png");
    fs::write(&untagged, without_chunk(&fs::read(&lying).unwrap(), b"eXIf")).unwrap();
    desk.embed(["-o".into(), "x.npy".into(), untagged]).exits(0);
    let run = desk.embed(["-o".into(), "y.npy".into(), lying.clone(), other]).exits(0);
    run.says("--exif apply").says("2 pictures were left lying");
    let run = desk.embed(["-o".into(), "z.npy".into(), "--exif".into(), "apply".into(), lying]).exits(0);
    assert!(!run.stderr.contains("EXIF"), "{run:?}");
    let rows = ["x.npy", "y.npy", "z.npy"].map(|name| array(desk.path(name)));
    assert!(first_rows(&rows[1], 1) == rows[0].data());
    assert!(rows[2].data() != rows[0].data());
}

#[test]
fn fast_decoding_gives_vectors_that_are_alike_but_not_the_same() {
    let Some(desk) = Desk::new() else { return };
    let photograph = project("examples/photos/coffee.jpg");
    let vector = |options: &[&str]| {
        let options = ["-o", "x.npy", "--size", "64x64"].iter().chain(options).map(OsString::from);
        desk.embed(options.chain([photograph.clone().into()])).exits(0);
        array(desk.path("x.npy"))
    };
    let [exact, fast] = [vector(&["--decode", "exact"]), vector(&["--decode", "fast"])];
    assert!(vector(&[]).data() == exact.data());
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    let (a, b) = (exact.data(), fast.data());
    let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    // Random weights and few pixels make much of it; docs/numerics.md has what trained ones make of it.
    assert!(a != b && cosine > 0.8, "{cosine}");
}

/// A PNG without its chunks of one type.
fn without_chunk(png: &[u8], kind: &[u8; 4]) -> Vec<u8> {
    let (signature, mut rest) = png.split_at(8);
    let mut kept = signature.to_vec();
    while let Some((length, _)) = rest.split_first_chunk::<4>() {
        let (chunk, after) = rest.split_at(12 + u32::from_be_bytes(*length) as usize);
        if &chunk[4..8] != kind {
            kept.extend_from_slice(chunk);
        }
        rest = after;
    }
    assert!(kept.len() < png.len(), "there was such a chunk");
    kept
}

#[test]
fn limits_hold_and_can_be_raised() {
    let Some(desk) = Desk::new() else { return };
    desk.place("coffee.jpg", "a.jpg");
    desk.embed(["--max-pixels", "1000", "a.jpg"]).exits(1).says("--max-pixels raises it");
    desk.embed(["--max-memory", "10K", "a.jpg"]).exits(1).says("--max-memory raises it");
    desk.embed(["--limit", "tensors=10", "a.jpg"]).exits(2).says("raise the limit tensors");
}

#[test]
fn an_output_appears_whole_or_not_at_all() {
    let Some(desk) = Desk::new() else { return };
    desk.place("coffee.jpg", "a.jpg");
    write_array(desk.path("in.npy"), &[1, 224, 224, 3], &[0.5; 224 * 224 * 3]);
    desk.embed(["-o", "in.npy", "in.npy"]).exits(2).says("cannot be the output too");
    desk.embed(["-o", "no/such/folder/x.npy", "a.jpg"]).exits(2).says("no/such/folder/x.npy");
    fs::create_dir(desk.path("x.npy")).unwrap();
    desk.embed(["-o", "x.npy", "a.jpg"]).exits(2).says("not a plain file");
    assert_eq!(desk.names(), ["a.jpg", "in.npy", "x.npy"]);
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_what_was_there() {
    let Some(desk) = Desk::new() else { return };
    desk.place("coffee.jpg", "a.jpg");
    desk.place("rocket.jpg", "b.jpg");
    fs::write(desk.path("broken.jpg"), "").unwrap();
    desk.embed(["-o", "x.npy", "a.jpg"]).exits(0);
    let before = [fs::read(desk.path("x.npy")).unwrap(), fs::read(desk.path("x.paths.txt")).unwrap()];

    // No file may have more than 2 or 4 KiB, and no signal comes before the error. Both names fit, and no row.
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 4; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_featvec")]);
    command.args(desk.args(["-o", "x.npy", "b.jpg", "broken.jpg"])).current_dir(&desk.folder);
    run(&mut command, b"").exits(2).says("x.npy");
    assert!(before == [fs::read(desk.path("x.npy")).unwrap(), fs::read(desk.path("x.paths.txt")).unwrap()]);
    assert_eq!(desk.names(), ["a.jpg", "b.jpg", "broken.jpg", "x.npy", "x.npy.manifest.json", "x.paths.txt"]);
}

/// Whether this process ignores SIGHUP, SIGINT or SIGTERM, as background jobs of scripts do. Its children then do too,
/// and the program leaves such signals as they are.
#[cfg(unix)]
pub fn ignores_signals() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| [1, 2, 15].into_iter().any(|signal| mask >> (signal - 1) & 1 == 1))
}

#[test]
fn a_closed_pipe_ends_the_run_quietly() {
    let Some(desk) = Desk::new() else { return };
    desk.place("coffee.jpg", "a.jpg");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output =
        program().args(desk.args(["-q", "a.jpg"])).current_dir(&desk.folder).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
}

#[test]
fn the_module_may_come_from_the_environment() {
    let Some(desk) = Desk::new() else { return };
    desk.place("coffee.jpg", "a.jpg");
    let mut command = program();
    command.args(["embed", "-q", "a.jpg"]).current_dir(&desk.folder).env("FEATVEC_MODULE", &desk.module);
    let run = run(&mut command, b"").exits(0);
    assert!(run.stdout.starts_with("a.jpg\t") && run.stderr.is_empty(), "{run:?}");
    // Without a handle in either place it is another.
    let other = featvec([Path::new("embed"), &desk.path("a.jpg")]).exits(0).says("module builtin");
    assert_ne!(other.stdout.split('\t').nth(1), run.stdout.split('\t').nth(1));
}
