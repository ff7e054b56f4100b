//! `featvec embed` on collections: killed, interrupted, on a full disk, in shares, with duplicates and with what is no
//! picture; and how much memory it takes.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use featvec_collections::Format;
use featvec_collections::output::files_of;

use super::support::{Run, array, lines, program, run, shared};

/// A folder with pictures, and a module that loads quickly.
struct Desk {
    folder: tempfile::TempDir,
    module: PathBuf,
}

impl Desk {
    /// None, said loudly, where there is no module.
    fn new() -> Option<Desk> {
        Some(Desk {
            folder: tempfile::tempdir().unwrap(),
            module: shared("reference/inception_v1.ckpt").filter(|module| module.exists())?,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The command `embed`, small pictures and quick commits.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = program();
        command.args(["embed", "--size", "32", "--module"]).arg(&self.module).args(args);
        command.current_dir(&self.folder);
        command
    }

    fn embed(&self, args: &[&str]) -> Run {
        run(&mut self.command(args), b"")
    }

    /// Makes `count` small pictures in the folder `photos`: every 20th is none, every 7th has the bytes of another.
    fn place_pictures(&self, count: usize) {
        for i in 0..count {
            let name = format!("photos/{:02}/{i:05}.bmp", i % 10);
            match i {
                _ if i % 20 == 13 => self.write(&name, b"no picture"),
                _ if i % 7 == 5 => self.write(&name, &bitmap(i / 50, [32, 32])),
                _ => self.write(&name, &bitmap(i + 1000, [32, 32])),
            }
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// The committed parts of the output `name`.
    fn parts(&self, name: &str) -> usize {
        let entries = fs::read_dir(self.path(&format!("{name}.parts"))).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(".arrow")).count()
    }

    /// Starts a run, and waits until it has committed something that was not there, or ended.
    fn start(&self, args: &[&str], output: &str) -> Child {
        let before = self.parts(output);
        let mut child = self.command(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let start = Instant::now();
        while self.parts(output) <= before && child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < Duration::from_secs(120), "nothing was committed");
            thread::sleep(Duration::from_millis(1));
        }
        child
    }
}

/// A BMP of 24 bits, `[width, height]`, with a pattern that depends on `seed`.
fn bitmap(seed: usize, [width, height]: [usize; 2]) -> Vec<u8> {
    let mut bytes = bitmap_header([width, height]);
    let mut random = Random(seed as u64 + 1);
    for _ in 0..height {
        bytes.extend((0..(3 * width).next_multiple_of(4)).map(|_| random.below(256) as u8));
    }
    bytes
}

fn bitmap_header([width, height]: [usize; 2]) -> Vec<u8> {
    let pixels = (3 * width).next_multiple_of(4) * height;
    let mut bytes = b"BM".to_vec();
    bytes.extend((54 + pixels as u32).to_le_bytes());
    bytes.extend([0; 4]);
    for word in [54, 40, width as u32, height as u32, 1 | 24 << 16, 0, pixels as u32, 0, 0, 0, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes
}

/// Numbers that look like chance and are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

#[cfg(unix)]
#[test]
fn a_run_that_is_killed_again_and_again_ends_like_one_that_is_not() {
    let Some(desk) = Desk::new() else { return };
    const PICTURES: usize = 400;
    const KILLS_OF_FORMAT: usize = 3;
    desk.place_pictures(PICTURES);
    let mut random = Random(29);
    let mut kills = 0;
    for output in ["x.parquet", "x.arrow", "x.npy", "x.safetensors", "x.csv", "x.jsonl", "x.txt"] {
        let args = ["-q", "--commit-every", "8", "-o", output, "photos"];
        let files = files_of(&desk.path(output), Format::of(output.as_ref()).unwrap());
        // Its manifest tells how long it took.
        let written = || {
            let files = files.iter().filter(|file| file.extension() != Some("json".as_ref()));
            files.map(|file| fs::read(file).ok()).collect::<Vec<_>>()
        };
        desk.embed(&args).exits(1);
        let whole = written();
        assert!(
            !desk.path(&format!("{output}.parts")).exists(),
            "the parts of a complete output are removed"
        );
        fs::remove_file(desk.path(output)).unwrap();
        for _ in 0..KILLS_OF_FORMAT {
            let mut child = desk.start(&args, output);
            thread::sleep(Duration::from_millis(random.below(40)));
            child.kill().unwrap();
            kills += usize::from(!child.wait().unwrap().success());
        }
        desk.embed(&args).exits(1);
        assert!(whole[0].is_some() && whole == written(), "{output}");
    }
    assert!(kills >= 15, "only {kills} runs were killed before they ended");

    let keys: Vec<String> = lines(desk.path("x.paths.txt"));
    assert_eq!(keys.len(), PICTURES - PICTURES / 20);
    assert!(keys.is_sorted(), "folders are walked in the order of names, and rows stay in it");
    assert_eq!(array(desk.path("x.npy")).shape(), [keys.len(), 1024]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_what_there_is_and_tells_how_to_go_on() {
    let Some(desk) = Desk::new() else { return };
    if super::embed::ignores_signals() {
        eprintln!("SKIPPED: signals are ignored here, as in a background job");
        return;
    }
    desk.place_pictures(400);
    let args = ["--commit-every", "8", "-o", "x.parquet", "photos"];
    let child = desk.start(&args, "x.parquet");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("kept in x.parquet.parts: the same command goes on from there"), "{said}");
    assert!(!desk.path("x.parquet").exists());
    // Its keys are known without a picture being run.
    let left = desk.embed(&["--dry-run", "-o", "x.parquet", "photos"]).exits(0);
    assert!((1..400).contains(&left.stdout.lines().count()), "{}", left.stdout);
    desk.embed(&args).exits(1).says("have rows already").says("380 done, 20 failed");
}

#[test]
fn another_way_to_make_vectors_does_not_go_on_with_these() {
    let Some(desk) = Desk::new() else { return };
    desk.place_pictures(400);
    let mut child = desk.start(&["-q", "--commit-every", "8", "-o", "x.npy", "photos"], "x.npy");
    child.kill().unwrap();
    child.wait().unwrap();
    let other = ["--normalize", "-o", "x.npy", "photos"];
    desk.embed(&other).exits(2).says("normalize").says("--restart");
    desk.embed(&[&other[..], &["--restart"]].concat()).exits(1).says("380 done");
}

#[cfg(unix)]
#[test]
fn a_disk_that_is_full_keeps_what_was_committed() {
    let Some(desk) = Desk::new() else { return };
    for i in 0..60 {
        desk.write(&format!("photos/{i:02}.bmp"), &bitmap(i, [32, 32]));
    }
    let args = ["--commit-every", "20", "-o", "x.npy", "photos"];
    desk.embed(&args).exits(0);
    let whole = fs::read(desk.path("x.npy")).unwrap();
    fs::remove_file(desk.path("x.npy")).unwrap();
    // No file may have more than 96 or 192 KiB, and no signal comes before the error: parts fit, and the array does not.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 192; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_featvec")]);
    command.args(desk.command(&args).get_args()).current_dir(&desk.folder);
    run(&mut command, b"").exits(2).says("x.npy").says("the same command goes on from there");
    assert!(!desk.path("x.npy").exists());
    desk.embed(&args).exits(0).says("60 pictures have rows already");
    assert!(fs::read(desk.path("x.npy")).unwrap() == whole);
}

#[test]
fn what_failed_is_tried_again_when_asked_for() {
    let Some(desk) = Desk::new() else { return };
    for i in 0..6 {
        desk.write(&format!("photos/{i}.bmp"), &bitmap(i, [32, 32]));
    }
    desk.embed(&["-o", "whole.parquet", "photos"]).exits(0);
    fs::write(desk.path("photos/3.bmp"), "half a pict").unwrap();
    let args = ["-o", "x.parquet", "photos", "gone.bmp"];
    desk.embed(&args).exits(1).says("5 done").says("gone.bmp: No such file");
    // It is repaired, and the output is complete already.
    desk.write("photos/3.bmp", &bitmap(3, [32, 32]));
    desk.write("gone.bmp", &bitmap(9, [32, 32]));
    desk.embed(&[&args[..], &["--retry-failed"]].concat()).exits(0).says("7 done, 0 failed");
    desk.embed(&["-o", "y.parquet", "photos", "gone.bmp"]).exits(0);
    assert!(fs::read(desk.path("x.parquet")).unwrap() == fs::read(desk.path("y.parquet")).unwrap());
}

#[test]
fn what_a_run_has_made_is_no_input_when_it_goes_on() {
    let Some(desk) = Desk::new() else { return };
    desk.write("a.bmp", &bitmap(1, [32, 32]));
    desk.write("b.bmp", &bitmap(2, [32, 32]));
    desk.embed(&["-o", "undisturbed.parquet", "a.bmp", "b.bmp"]).exits(0);
    let whole = fs::read(desk.path("undisturbed.parquet")).unwrap();
    fs::remove_file(desk.path("undisturbed.parquet")).unwrap();
    fs::remove_file(desk.path("undisturbed.parquet.manifest.json")).unwrap();
    desk.write("x.parquet.parts/lock", b"");
    desk.write("x.parquet.manifest.json", b"{}");
    desk.embed(&["-o", "x.parquet", "a.bmp", "b.bmp", "x.parquet.parts"]).exits(0);
    assert!(fs::read(desk.path("x.parquet")).unwrap() == whole);
    desk.embed(&["-o", "x.parquet", "*"]).exits(0);
    assert!(fs::read(desk.path("x.parquet")).unwrap() == whole);
}

#[test]
fn what_there_is_already_is_replaced_by_its_like_only() {
    let Some(desk) = Desk::new() else { return };
    desk.write("photos/a.bmp", &bitmap(1, [32, 32]));
    let picture = fs::read(desk.path("photos/a.bmp")).unwrap();
    desk.embed(&["--format", "csv", "-o", "photos/a.bmp", "photos"]).exits(2).says("--restart replaces");
    assert!(fs::read(desk.path("photos/a.bmp")).unwrap() == picture);
    desk.embed(&["-o", "x.csv", "photos"]).exits(0);
    let whole = fs::read(desk.path("x.csv")).unwrap();
    desk.embed(&["-o", "x.csv", "fotos"]).exits(1).says("left as it was");
    assert!(fs::read(desk.path("x.csv")).unwrap() == whole && !desk.path("x.csv.parts").exists());
    desk.embed(&["-o", "x.csv", "--normalize", "photos"]).exits(0).says("normalize true, not false");
    assert!(fs::read(desk.path("x.csv")).unwrap() != whole);
    // Parts are removed with their folder, and nothing else.
    desk.write("x.csv.parts/mine.txt", b"mine");
    desk.embed(&["-o", "x.csv", "photos"]).exits(2).says("mine.txt").says("move it");
    desk.embed(&["-o", "x.csv", "--restart", "photos"]).exits(2);
    assert!(desk.path("x.csv.parts/mine.txt").exists());
}

#[test]
fn a_pattern_that_matched_nothing_leaves_no_row_once_it_does() {
    let Some(desk) = Desk::new() else { return };
    desk.write("a.bmp", &bitmap(1, [32, 32]));
    desk.embed(&["-o", "x.parquet", "a.bmp", "late/*.bmp"]).exits(1);
    desk.write("late/b.bmp", &bitmap(2, [32, 32]));
    let args = ["-o", "x.parquet", "--retry-failed", "a.bmp", "late/*.bmp"];
    desk.embed(&args).exits(0).says("2 done, 0 failed");
}

#[test]
fn pictures_with_the_same_bytes_are_computed_once() {
    let Some(desk) = Desk::new() else { return };
    for i in 0..40 {
        desk.write(&format!("photos/{i:02}.bmp"), &bitmap(i % 4, [32, 32]));
    }
    desk.embed(&["-o", "x.npy", "photos"]).exits(0).says("36 have the bytes of another one");
    let vectors = array(desk.path("x.npy"));
    let rows: Vec<&[f32]> = vectors.iter_rows().collect();
    assert!((4..40).all(|i| rows[i] == rows[i % 4]));
    assert!(rows[0] != rows[1]);
}

#[test]
fn shares_are_apart_and_all() {
    let Some(desk) = Desk::new() else { return };
    desk.place_pictures(40);
    let mut keys = Vec::new();
    for share in ["1/3", "2/3", "3/3"] {
        desk.embed(&["-o", "x.npy", "--shard", share, "photos"]);
        keys.extend(lines(desk.path("x.paths.txt")));
    }
    keys.sort();
    desk.embed(&["-o", "x.npy", "photos"]).exits(1);
    assert_eq!(keys, lines(desk.path("x.paths.txt")));
    desk.embed(&["-o", "x.npy", "--shard", "4/3", "photos"]).exits(2).says("4/3");
}

#[test]
fn a_dry_run_lists_and_leaves_nothing() {
    let Some(desk) = Desk::new() else { return };
    desk.write("photos/b.bmp", &bitmap(1, [32, 32]));
    desk.write("photos/a.bmp", &bitmap(2, [32, 32]));
    let run = desk.embed(&["--dry-run", "-o", "x.npy", "photos"]).exits(0);
    assert_eq!(run.stdout, "photos/a.bmp\nphotos/b.bmp\n");
    let names: Vec<_> = fs::read_dir(&desk.folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["photos"]);
}

#[test]
fn a_dry_run_lists_what_would_be_tried_again_and_harms_nothing() {
    let Some(desk) = Desk::new() else { return };
    desk.write("photos/a.bmp", &bitmap(1, [32, 32]));
    desk.write("photos/b.bmp", b"BM");
    desk.embed(&["-o", "x.parquet", "photos"]).exits(1);
    let run = desk.embed(&["--dry-run", "--retry-failed", "-o", "x.parquet", "photos"]).exits(0);
    assert_eq!(run.stdout, "photos/b.bmp\n");
    assert!(!desk.path("x.parquet.parts").exists());

    // An earlier run has left parts.
    fs::rename(desk.path("x.parquet"), desk.path("y.parquet")).unwrap();
    fs::rename(desk.path("x.parquet.manifest.json"), desk.path("y.parquet.manifest.json")).unwrap();
    desk.write("photos/b.bmp", &bitmap(2, [32, 32]));
    fs::create_dir(desk.path("x.parquet.parts")).unwrap();
    let kept = desk.path("x.parquet.parts/part-00000.0.arrow");
    fs::write(&kept, "").unwrap();
    let run = desk.embed(&["--dry-run", "--restart", "-o", "x.parquet", "photos"]).exits(0);
    assert_eq!(run.stdout, "photos/a.bmp\nphotos/b.bmp\n");
    assert!(kept.exists());
    desk.embed(&["-o", "x.parquet", "photos"]).exits(2).says("part-00000");
    desk.embed(&["--restart", "-o", "x.parquet", "photos"]).exits(0);
    assert!(!kept.exists());
}

/// The most memory that `command` has held, in MB.
#[cfg(target_os = "linux")]
fn peak_memory(command: &mut Command) -> u64 {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
        peak = peak.max(kilobytes.unwrap_or(0));
        thread::sleep(Duration::from_millis(2));
    }
    assert!(child.wait().unwrap().success());
    peak >> 10
}

#[cfg(target_os = "linux")]
#[test]
fn memory_is_bounded_whatever_the_collection() {
    let Some(desk) = Desk::new() else { return };
    for i in 0..2500 {
        desk.write(&format!("{}/{i:04}.bmp", if i < 100 { "few" } else { "many" }), &bitmap(i, [8, 8]));
    }
    let args = ["--threads", "4", "-o"];
    let few = peak_memory(desk.command(&args).args(["few.parquet", "few"]));
    let many = peak_memory(desk.command(&args).args(["many.parquet", "many"]));
    assert!(many <= few + 48, "{few} MB for 100 pictures, {many} MB for 2400");

    // Pictures of 36 megapixels in files of 108 MB, of holes but for a byte.
    for i in 0..5u8 {
        let path = desk.path(&format!("huge/{i}.bmp"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        write_huge(&path, i);
    }
    let huge = peak_memory(desk.command(&args).args(["huge.parquet", "huge"]));
    // One at a time, of its bytes and its pixels, where four would fit four threads.
    assert!(huge <= few + 300, "{few} MB for small pictures, {huge} MB for huge ones");
}

fn write_huge(path: &Path, byte: u8) {
    let mut file = File::create(path).unwrap();
    let mut head = bitmap_header([6000, 6000]);
    head.push(byte);
    file.write_all(&head).unwrap();
    file.set_len(54 + 3 * 6000 * 6000).unwrap();
}
