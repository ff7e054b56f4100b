//! What several test files need: arrays that Python wrote, and the folder of reference data.
#![allow(dead_code, reason = "each test file is a crate of its own and uses a part of this")]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Shape and values of an array; integers are converted.
pub type Array = (Vec<usize>, Vec<f32>);

/// The arrays of a `.npz` file by name.
pub fn npz(path: impl AsRef<Path>) -> BTreeMap<String, Array> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let u16_at = |at: usize| usize::from(u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap()));
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    // The record that ends a ZIP file leads to the directory, and that to the members.
    let end = bytes.windows(4).rposition(|window| window == b"PK\x05\x06").expect("a ZIP file");
    let mut entry = u32_at(end + 16);
    let mut arrays = BTreeMap::new();
    for _ in 0..u16_at(end + 10) {
        let (method, stored_bytes, name_bytes) = (u16_at(entry + 10), u32_at(entry + 20), u16_at(entry + 28));
        let name = std::str::from_utf8(&bytes[entry + 46..][..name_bytes]).unwrap();
        let local = u32_at(entry + 42);
        let stored = &bytes[local + 30 + u16_at(local + 26) + u16_at(local + 28)..][..stored_bytes];
        let mut npy = Vec::new();
        match method {
            0 => npy.extend_from_slice(stored),
            8 => drop(flate2::read::DeflateDecoder::new(stored).read_to_end(&mut npy).unwrap()),
            other => panic!("{}: compression {other}", path.display()),
        }
        arrays.insert(name.trim_end_matches(".npy").to_string(), array(&npy));
        entry += 46 + name_bytes + u16_at(entry + 30) + u16_at(entry + 32);
    }
    arrays
}

/// The array of a `.npy` file's bytes.
pub fn array(npy: &[u8]) -> Array {
    assert!(npy.starts_with(b"\x93NUMPY\x01"), "npy version 1");
    let header_bytes = usize::from(u16::from_le_bytes([npy[8], npy[9]]));
    let (header, data) = npy[10..].split_at(header_bytes);
    let header = std::str::from_utf8(header).unwrap();
    assert!(header.contains("'fortran_order': False"), "{header}");
    let between = |start: &str, end: char| {
        let rest = &header[header.find(start).unwrap() + start.len()..];
        &rest[..rest.find(end).unwrap()]
    };
    let shape = between("'shape': (", ')').split(',').filter_map(|side| side.trim().parse().ok()).collect();
    let values = match between("'descr': '", '\'') {
        "|u1" => data.iter().map(|&byte| f32::from(byte)).collect(),
        "<f4" => data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
        "<f8" => data.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes) as f32).collect(),
        other => panic!("values of type {other}"),
    };
    (shape, values)
}

/// `path` in the folder of shared reference data; says so and gives `None` where that folder is missing.
pub fn shared(path: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    if !root.is_dir() {
        eprintln!("SKIPPED: ../shared is missing");
        return None;
    }
    Some(root.join(path))
}

/// A BMP file of `width` x `height` pixels, each red, green, blue as `pixel` gives it for column and row.
pub fn bmp(width: usize, height: usize, pixel: impl Fn(usize, usize) -> [u8; 3]) -> Vec<u8> {
    const HEADERS: usize = 14 + 40;
    let row_bytes = (width * 3).next_multiple_of(4);
    let mut file = b"BM".to_vec();
    for number in [HEADERS + row_bytes * height, 0, HEADERS, 40, width, height] {
        file.extend((number as u32).to_le_bytes());
    }
    file.extend([1, 0, 24, 0]);
    file.resize(HEADERS, 0);
    for y in (0..height).rev() {
        let start = file.len();
        for x in 0..width {
            let [red, green, blue] = pixel(x, y);
            file.extend([blue, green, red]);
        }
        file.resize(start + row_bytes, 0);
    }
    file
}
