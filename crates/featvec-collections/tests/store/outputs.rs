//! Outputs do not tell how they were made, and come back.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_ipc::reader::FileReader;
use arrow_schema::{DataType, Field, Schema};
use featvec_collections::{
    CommitEvery, Dtype, Format, Identity, Manifest, Parts, Provenance, Row, Status, assemble, stats, verify,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::tempdir;

use crate::support::{carried, every, files, finish, identity, make, make_with, open, row, targets, vector};

#[test]
fn the_bytes_depend_on_the_rows_alone() {
    let folder = tempdir().unwrap();
    let once = folder.path().join("once");
    fs::create_dir(&once).unwrap();
    for target in targets(&once) {
        make(&target, (0..700).map(row));
    }
    for (name, rows) in [("parts-of-3", 3), ("parts-of-256", 256), ("parts-of-257", 257)] {
        let other = folder.path().join(name);
        fs::create_dir(&other).unwrap();
        for target in targets(&other) {
            let mut parts = open(&target, rows).unwrap();
            // As if all had failed at first, and were retried.
            if rows == 257 {
                let failed = |i| Row { status: Status::Unreadable, vector: None, ..row(i) };
                (0..700).for_each(|i| parts.append(failed(i)).unwrap());
            }
            let order: Vec<u32> = if rows == 257 { (0..700).rev().collect() } else { (0..700).collect() };
            order.into_iter().for_each(|i| parts.append(row(i)).unwrap());
            finish(parts, &target);
        }
        for (a, b) in files(&once).iter().zip(files(&other)) {
            assert!(*a == b, "{name}: {} differs", b.0);
        }
    }
}

#[test]
fn formats_that_were_there_before_look_as_they_did() {
    let folder = tempdir().unwrap();
    let rows = || (2..4).chain([5]).map(|i| Row { key: format!("a,{i}.jpg"), ..row(i) });
    targets(folder.path()).iter().for_each(|target| drop(make(target, rows())));
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(read("npy/x.failed.txt"), "a,3.jpg\treason 3:\\tbad\n");
    assert_eq!(read("npy/x.paths.txt"), "a,2.jpg\na,5.jpg\n");
    assert!(
        read("csv/x.csv").starts_with("path,f0,f1,f2,f3,f4,f5\n\"a,2.jpg\",8.857142,9.714286,0.0,"),
        "{}",
        read("csv/x.csv")
    );
    assert!(
        read("jsonl/x.jsonl").starts_with("{\"path\":\"a,2.jpg\",\"vector\":[8.857142,9.714286,0.0,"),
        "{}",
        read("jsonl/x.jsonl")
    );
    assert!(read("txt/x.txt").starts_with("a,2.jpg\t8.857142 9.714286 0.0 "), "{}", read("txt/x.txt"));
    let array = featvec::npy::read(
        &fs::read(folder.path().join("npy/x.npy")).unwrap()[..],
        &featvec::Limits::default(),
    )
    .unwrap();
    assert_eq!((array.shape(), array.as_f32()), (&[2, 6][..], Some(&[vector(2), vector(5)].concat()[..])));
    let manifest = read("npy/x.npy.manifest.json");
    assert!(manifest.contains("\"undecodable\": 1") && manifest.contains("\"ok\": 2"), "{manifest}");
}

#[test]
fn a_list_of_failures_of_an_earlier_run_goes() {
    let folder = tempdir().unwrap();
    let target = folder.path().join("x.npy");
    make(&target, (0..5).map(row));
    assert!(folder.path().join("x.failed.txt").exists());
    make(&target, (0..3).map(row));
    assert!(!folder.path().join("x.failed.txt").exists());
}

#[test]
fn outputs_of_all_formats_lie_beside_each_other() {
    let folder = tempdir().unwrap();
    let outputs = ["npy", "safetensors", "csv", "jsonl", "txt", "arrow", "parquet"]
        .map(|format| folder.path().join(format!("x.{format}")));
    outputs.iter().for_each(|output| drop(make(output, (0..5).map(row))));
    for output in outputs {
        assert_eq!(verify(&output).unwrap().problems, Vec::<String>::new());
    }
}

#[test]
fn every_format_comes_back_in_both_types_with_several_dimensions_and_empty() {
    for dtype in [Dtype::F32, Dtype::F16] {
        for rows in [0, 1, 40] {
            let folder = tempdir().unwrap();
            let identity = Identity { dtype, shape: vec![1, 2, 3], ..identity() };
            for target in targets(folder.path()) {
                make_with(&target, &identity, (0..rows).map(row));
                assert_eq!(verify(&target).unwrap().problems, Vec::<String>::new(), "{}", target.display());
                let before = files(folder.path());
                let mut parts = Parts::adopt(&target, &identity, &carried(), every(9)).unwrap();
                for i in 0..rows {
                    assert_eq!(
                        parts.status(&row(i).key),
                        Some(row(i).status),
                        "{} row {i}",
                        target.display()
                    );
                }
                let provenance = Provenance { inputs: vec!["photos".into()], ..Provenance::default() };
                assemble(&mut parts, &target, Format::of(&target).unwrap(), provenance).unwrap();
                parts.discard().unwrap();
                let after = files(folder.path());
                // A format without failed rows escapes the tabs of their reasons, once.
                assert!(after == before, "{} {dtype} {rows}", target.display());
            }
        }
    }
}

#[test]
fn nothing_is_replaced_that_is_no_plain_file() {
    let folder = tempdir().unwrap();
    let target = folder.path().join("x.npy");
    fs::create_dir(&target).unwrap();
    let mut parts = open(&target, 1).unwrap();
    parts.append(row(0)).unwrap();
    let error = assemble(&mut parts, &target, Format::Npy, Provenance::default()).unwrap_err().to_string();
    assert!(error.contains("x.npy: not a plain file"), "{error}");
}

#[test]
fn keys_with_control_characters_come_back() {
    let folder = tempdir().unwrap();
    // A line break, what it is written as, and one of a picture that failed.
    let keys = [(0, "a\nb.jpg"), (1, "a\\nb.jpg"), (3, "bad\t.jpg"), (2, "plain.jpg")];
    for target in targets(folder.path()) {
        make(&target, keys.map(|(i, key)| Row { key: key.into(), ..row(i) }));
        assert_eq!(verify(&target).unwrap().problems, Vec::<String>::new(), "{}", target.display());
        let before = files(target.parent().unwrap());
        let parts = Parts::adopt(&target, &identity(), &carried(), every(9)).unwrap();
        for (i, key) in keys {
            assert_eq!(parts.status(key), Some(row(i).status), "{key:?} in {}", target.display());
        }
        finish(parts, &target);
        assert!(files(target.parent().unwrap()) == before, "{}", target.display());
    }
    let target = folder.path().join("npy/x.npy");
    let manifest = fs::read_to_string(Manifest::path_of(&target)).unwrap();
    fs::write(Manifest::path_of(&target), manifest.replace("\"2\": \"bad", "\"3\": \"bad")).unwrap();
    let error = verify(&target).unwrap_err().to_string();
    assert!(error.contains("manifest: its key of the row 3 is not plain.jpg"), "{error}");
}

#[test]
fn a_name_need_not_say_the_format() {
    let folder = tempdir().unwrap();
    for format in Format::ALL {
        let target = folder.path().join(format!("{}-vectors", format.name()));
        let mut parts = open(&target, 9).unwrap();
        (0..9).for_each(|i| parts.append(row(i)).unwrap());
        assemble(&mut parts, &target, format, Provenance::default()).unwrap();
        parts.discard().unwrap();
        assert_eq!(
            (verify(&target).unwrap().count, stats(&target).unwrap().rows),
            (0, 9),
            "{}",
            format.name()
        );
        let parts = Parts::adopt(&target, &identity(), &carried(), every(9)).unwrap();
        assert_eq!(parts.count(Status::Ok), (0..9).filter(|i| row(*i).status == Status::Ok).count() as u64);
    }
}

#[test]
fn long_columns_make_small_batches_groups_and_parts() {
    let folder = tempdir().unwrap();
    let carried = Arc::new(Schema::new(vec![Field::new("text", DataType::Utf8, true)]));
    let long = |i: u32| {
        let text: ArrayRef =
            Arc::new(StringArray::from(vec![char::from(b'a' + (i % 26) as u8).to_string().repeat(100_000)]));
        let columns = RecordBatch::try_new(carried.clone(), vec![text]).unwrap();
        Row { key: i.to_string(), columns: Some(columns), ..row(0) }
    };
    let make = |target: &Path, every: CommitEvery| {
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        let mut parts = Parts::open(&Parts::folder_of(target), &identity(), &carried, every).unwrap();
        (0..200).for_each(|i| parts.append(long(i)).unwrap());
        parts.commit().unwrap();
        let names = files(parts.folder()).into_iter().map(|(name, _)| name);
        let count = names.filter(|name| name.starts_with("part-")).count();
        finish(parts, target);
        count
    };
    for name in ["x.arrow", "x.parquet"] {
        let [once, often] = ["once", "often"].map(|place| folder.path().join(place).join(name));
        assert_eq!(make(&once, every(200)), 1);
        assert_eq!(make(&often, CommitEvery { bytes: 2_000_000, ..every(200) }), 10);
        assert!(fs::read(&once).unwrap() == fs::read(&often).unwrap(), "{name}");
        assert_eq!(verify(&once).unwrap().count, 0);
    }
    let arrow = FileReader::try_new(File::open(folder.path().join("once/x.arrow")).unwrap(), None).unwrap();
    assert!(arrow.map(|batch| batch.unwrap().num_rows()).all(|rows| rows == 10));
    let parquet = File::open(folder.path().join("once/x.parquet")).unwrap();
    let parquet = ParquetRecordBatchReaderBuilder::try_new(parquet).unwrap();
    let groups: Vec<_> = parquet.metadata().row_groups().iter().map(|group| group.num_rows()).collect();
    assert_eq!(groups, [170, 30]);
}

#[cfg(unix)]
#[test]
fn a_link_stays_a_link() {
    let folder = tempdir().unwrap();
    let (real, link) = (folder.path().join("big-disk"), folder.path().join("x.npy"));
    fs::create_dir(&real).unwrap();
    fs::write(real.join("y.npy"), "old").unwrap();
    std::os::unix::fs::symlink(real.join("y.npy"), &link).unwrap();
    make(&link, (0..3).map(row));
    assert!(link.is_symlink());
    assert_eq!(verify(&link).unwrap().rows, 3);
    let names: Vec<_> = files(&real).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["y.npy", "y.npy.manifest.json", "y.paths.txt"]);
}
