//! Rows to store, and where.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow_array::types::Int8Type;
use arrow_array::{ArrayRef, DictionaryArray, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use featvec_collections::{
    CommitEvery, Dtype, Format, Identity, Manifest, Parts, Provenance, Row, Status, assemble,
};

pub const VALUES: usize = 6;

pub fn identity() -> Identity {
    Identity {
        module: "module.tar.gz".into(),
        module_sha256: "5e".repeat(32),
        network: "inception_v1".into(),
        tags: Vec::new(),
        signature: "image_feature_vector".into(),
        endpoint: "default".into(),
        shape: vec![VALUES],
        precision: "f32".into(),
        preset: "tf1-retrain".into(),
        decode: "exact".into(),
        exif: "ignore".into(),
        size: [224, 224],
        normalize: false,
        dtype: Dtype::F32,
        version: "0.1.0".into(),
    }
}

/// A number, and a text that its table holds by number.
pub fn carried() -> SchemaRef {
    let labels = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("Status", labels, true)]))
}

/// The row `i` of a table: every fifth and seventh failed, the tenth is in no other table.
pub fn row(i: u32) -> Row {
    let status = match i {
        i if i % 7 == 3 => Status::Undecodable,
        i if i % 5 == 4 => Status::Unreadable,
        _ => Status::Ok,
    };
    let ok = status == Status::Ok;
    let label: DictionaryArray<Int8Type> =
        [Some(["cat", "dog", "owl"][i as usize % 3])].into_iter().collect();
    let columns: [ArrayRef; 2] = [Arc::new(Int64Array::from(vec![i64::from(i)])), Arc::new(label)];
    Row {
        key: format!("photos/{i:04}, \"ü\".jpg"),
        content_hash: (status != Status::Unreadable).then(|| [(i as u8).wrapping_add(1); 32]),
        size: ok.then_some([640 + i, 480]),
        status,
        error: (!ok).then(|| format!("reason {i}:\tbad")),
        vector: ok.then(|| vector(i)),
        columns: (i != 10).then(|| RecordBatch::try_new(carried(), columns.to_vec()).unwrap()),
    }
}

pub fn vector(i: u32) -> Vec<f32> {
    (0..VALUES as u32).map(|j| if j == 2 { 0.0 } else { (i * 31 + j * 17 % 11) as f32 / 7.0 }).collect()
}

/// Commits after so many rows, and at no other time.
pub fn every(rows: usize) -> CommitEvery {
    CommitEvery { rows, bytes: usize::MAX, time: Duration::MAX }
}

pub fn open(output: &Path, rows: usize) -> featvec::Result<Parts> {
    Parts::open(&Parts::folder_of(output), &identity(), &carried(), every(rows))
}

/// Makes the output `path` of `rows`.
pub fn make(path: &Path, rows: impl IntoIterator<Item = Row>) -> Manifest {
    make_with(path, &identity(), rows)
}

pub fn make_with(path: &Path, identity: &Identity, rows: impl IntoIterator<Item = Row>) -> Manifest {
    let mut parts = Parts::open(&Parts::folder_of(path), identity, &carried(), every(16)).unwrap();
    rows.into_iter().for_each(|row| parts.append(row).unwrap());
    finish(parts, path)
}

pub fn finish(mut parts: Parts, path: &Path) -> Manifest {
    let provenance = Provenance { inputs: vec!["photos".into()], ..Provenance::default() };
    let manifest = assemble(&mut parts, path, Format::of(path).unwrap(), provenance).unwrap();
    parts.discard().unwrap();
    manifest
}

/// The files of a folder, and of those in it, by name with their bytes; of manifests only what does not depend on time.
pub fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            files.extend(
                self::files(&path).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)),
            );
        } else {
            files.push((name, content(path)));
        }
    }
    files.sort();
    files
}

fn content(path: PathBuf) -> Vec<u8> {
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if !path.to_string_lossy().ends_with(".manifest.json") {
        return bytes;
    }
    let text = String::from_utf8(bytes).unwrap();
    text.lines().filter(|line| !line.contains("\"seconds\"")).collect::<Vec<_>>().join("\n").into_bytes()
}

/// A file for each format, in a folder of its own: the lists beside them have the same names.
pub fn targets(folder: &Path) -> Vec<PathBuf> {
    let target = |ending| {
        let own = folder.join(ending);
        std::fs::create_dir_all(&own).unwrap();
        own.join(format!("x.{ending}"))
    };
    ["parquet", "arrow", "npy", "safetensors", "csv", "jsonl", "txt"].map(target).to_vec()
}
