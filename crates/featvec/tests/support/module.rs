//! A small but genuine TF1 Hub module, and archives of it, honest and not.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

pub const INDEX: &[u8] = include_bytes!("v2.ckpt.index");
pub const DATA: &[u8] = include_bytes!("v2.ckpt.data-00000-of-00001");

/// A SavedModel with one empty graph.
const GRAPH: &[u8] = &[0x12, 0x04, 0x0a, 0x00, 0x12, 0x00];

/// The module's files.
pub fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("tfhub_module.pb", vec![0x08, 0x03]),
        ("saved_model.pb", GRAPH.to_vec()),
        ("variables/variables.index", INDEX.to_vec()),
        ("variables/variables.data-00000-of-00001", DATA.to_vec()),
    ]
}

/// Writes the module to `folder`.
pub fn write_to(folder: &Path) {
    for (name, bytes) in files() {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// The module as `.tar.gz`.
pub fn archive() -> Vec<u8> {
    gzip(&tar(&files()))
}

/// Regular files as a tar archive.
pub fn tar(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut tar: Vec<u8> = files.iter().flat_map(|(name, bytes)| member(name, b'0', bytes)).collect();
    tar.resize(tar.len() + 1024, 0);
    tar
}

/// One member of a tar archive, of the type `kind` (`0` file, `2` symbolic link to `bytes`).
pub fn member(name: &str, kind: u8, bytes: &[u8]) -> Vec<u8> {
    let content = if kind == b'0' { bytes } else { &[] };
    let mut header = vec![0; 512];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", content.len()).as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    if kind != b'0' {
        put(157, bytes);
    }
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header.extend_from_slice(content);
    header.resize(header.len().next_multiple_of(512), 0);
    header
}

/// Gzip that does not make anything smaller: tests break off in the middle of it.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
