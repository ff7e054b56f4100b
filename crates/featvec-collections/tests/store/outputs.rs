//! Outputs do not tell how they were made, and come back.

use std::fs;

use featvec_collections::{Dtype, Format, Identity, Parts, Provenance, Status, assemble, verify};
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
                let failed =
                    |i| featvec_collections::Row { status: Status::Unreadable, vector: None, ..row(i) };
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
    let rows = || (2..4).chain([5]).map(|i| featvec_collections::Row { key: format!("a,{i}.jpg"), ..row(i) });
    targets(folder.path()).iter().for_each(|target| drop(make(target, rows())));
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(read("x.failed.txt"), "a,3.jpg\treason 3:\\tbad\n");
    assert_eq!(read("x.paths.txt"), "a,2.jpg\na,5.jpg\n");
    assert!(
        read("x.csv").starts_with("path,f0,f1,f2,f3,f4,f5\n\"a,2.jpg\",8.857142,9.714286,0.0,"),
        "{}",
        read("x.csv")
    );
    assert!(
        read("x.jsonl").starts_with("{\"path\":\"a,2.jpg\",\"vector\":[8.857142,9.714286,0.0,"),
        "{}",
        read("x.jsonl")
    );
    // x.txt and its companions would meet those of the others; the table itself has its own name.
    assert!(read("x.txt").starts_with("a,2.jpg\t8.857142 9.714286 0.0 "), "{}", read("x.txt"));
    let array =
        featvec::npy::read(&fs::read(folder.path().join("x.npy")).unwrap()[..], &featvec::Limits::default())
            .unwrap();
    assert_eq!((array.shape(), array.as_f32()), (&[2, 6][..], Some(&[vector(2), vector(5)].concat()[..])));
    let manifest = read("x.npy.manifest.json");
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
                fs::remove_dir_all(folder.path()).unwrap();
                fs::create_dir(folder.path()).unwrap();
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
