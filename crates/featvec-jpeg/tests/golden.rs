//! Every fixture against TensorFlow's pixels, bit for bit; see `fixtures/README.md`.

use std::fs;
use std::path::{Path, PathBuf};

use featvec_jpeg::{Decoder, Idct, Options, Scale};

fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "jpg"));
    files.sort();
    files
}

fn decode(path: &Path, (idct, scale): (Idct, Scale)) -> featvec_jpeg::Result<Vec<u8>> {
    Decoder::new(&fs::read(path).unwrap())?.decode(&Options { idct, scale, ..Options::default() })
}

/// Compares all fixtures that have a golden of this kind, and returns how many these are.
fn compare(how: (Idct, Scale), extension: &str) -> usize {
    let mut compared = 0;
    for path in fixtures() {
        let Ok(golden) = fs::read(path.with_extension(extension)) else { continue };
        let pixels = decode(&path, how).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(pixels.len(), golden.len(), "{}: size", path.display());
        let wrong = pixels.iter().zip(&golden).filter(|(a, b)| a != b).count();
        assert_eq!(wrong, 0, "{}: {wrong} of {} values differ", path.display(), golden.len());
        compared += 1;
    }
    compared
}

#[test]
fn fast_equals_tensorflow() {
    assert_eq!(compare((Idct::Fast, Scale::Full), "fast.rgb"), 37);
}

#[test]
fn accurate_equals_tensorflow_integer_accurate() {
    assert_eq!(compare((Idct::Accurate, Scale::Full), "accurate.rgb"), 32);
}

#[test]
fn what_is_shrunk_equals_tensorflow_with_a_ratio() {
    for (scale, extension) in
        [(Scale::Half, "ratio2.rgb"), (Scale::Quarter, "ratio4.rgb"), (Scale::Eighth, "ratio8.rgb")]
    {
        assert_eq!(compare((Idct::Fast, scale), extension), 32, "{extension}");
    }
}

#[test]
fn what_tensorflow_refuses_is_refused() {
    let mut refused = 0;
    for path in fixtures().iter().filter(|path| !path.with_extension("fast.rgb").exists()) {
        assert!(decode(path, (Idct::Fast, Scale::Full)).is_err(), "{} was accepted", path.display());
        refused += 1;
    }
    assert_eq!(refused, 2);
}
