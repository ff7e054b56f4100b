//! Running the program, and reading what it wrote.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use featvec::{Limits, Tensor, npy};

pub const FEATURE_VECTOR: &str = "reference/feature_vector.tar.gz";
pub const CLASSIFICATION: &str = "reference/classification.tar.gz";
pub const GOOGLENET: &str = "googlenet/bvlc_googlenet.caffemodel";

/// How a run ended.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// Fails unless the exit code is `code`.
    #[track_caller]
    pub fn exits(self, code: i32) -> Run {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Fails unless stderr has `text`.
    #[track_caller]
    pub fn says(self, text: &str) -> Run {
        assert!(self.stderr.contains(text), "{text:?} is not in {self:#?}");
        self
    }
}

/// The program, with nothing of the tester's environment that it looks at.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_featvec"));
    for variable in ["FEATVEC_MODULE", "FEATVEC_MIRRORS", "TFHUB_CACHE_DIR", "TFHUB_MODEL_LOAD_FORMAT"] {
        command.env_remove(variable);
    }
    command
}

/// Runs the program with `args`.
pub fn featvec<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Run {
    run(program().args(args), b"")
}

/// Runs `command` with `stdin`.
pub fn run(command: &mut Command, stdin: &[u8]) -> Run {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that reads no stdin closes it.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// `path` in the project.
pub fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// `path` in the folder of shared reference data; says so and gives `None` where that folder is missing.
pub fn shared(path: &str) -> Option<PathBuf> {
    let folder = project("../shared");
    if !folder.exists() {
        eprintln!("SKIPPED: ../shared is missing");
        return None;
    }
    Some(folder.join(path))
}

/// A photograph of the shared data.
pub fn sample(name: &str) -> Option<PathBuf> {
    shared(&format!("photos/samples/{name}"))
}

/// The array of floats in the file `path`.
pub fn array(path: impl AsRef<Path>) -> Tensor {
    let array = npy::read(File::open(path).unwrap(), &Limits::default()).unwrap();
    Tensor::new(array.shape().to_vec(), array.into_f32().unwrap()).unwrap()
}

/// Writes `values` of `shape` as an array to `path`.
pub fn write_array(path: impl AsRef<Path>, shape: &[usize], values: &[f32]) {
    let mut rows = npy::RowWriter::new(File::create(path).unwrap(), &shape[1..]).unwrap();
    rows.append(values).unwrap();
    assert_eq!(rows.rows(), shape[0]);
    rows.finish().unwrap();
}

/// The lines of the file `path`.
pub fn lines(path: impl AsRef<Path>) -> Vec<String> {
    std::fs::read_to_string(path).unwrap().lines().map(String::from).collect()
}

/// Fails unless `actual` is within `tolerance` of the largest value of `golden`.
#[track_caller]
pub fn assert_close(actual: &[f32], golden: &[f32], tolerance: f64) {
    assert_eq!(actual.len(), golden.len());
    let largest = golden.iter().fold(0.0f64, |largest, x| largest.max(f64::from(x.abs())));
    let error =
        actual.iter().zip(golden).fold(0.0f64, |e, (x, y)| e.max((f64::from(*x) - f64::from(*y)).abs()));
    assert!(error <= tolerance * largest, "{error} of {largest}");
}
