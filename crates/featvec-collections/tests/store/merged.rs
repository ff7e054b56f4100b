//! Shards to one output.

use std::fs;
use std::path::{Path, PathBuf};

use featvec::ErrorKind;
use featvec_collections::{
    Format, Identity, Merged, Parts, Provenance, Row, Status, assemble, merge, verify,
};
use tempfile::tempdir;

use crate::support::{carried, every, files, identity, make, make_with, row};

/// The rows `i` of 0..60 with `i % 3 == shard` as the output `path`.
fn shard(path: &Path, shard: u32) {
    shard_called(path, shard, &format!("{}/3", shard + 1));
}

fn shard_called(path: &Path, shard: u32, name: &str) {
    let mut parts = Parts::open(&Parts::folder_of(path), &identity(), &carried(), every(16)).unwrap();
    (0..60).filter(|i| i % 3 == shard).for_each(|i| parts.append(row(i)).unwrap());
    let provenance = Provenance { inputs: vec!["photos".into()], shard: Some(name.into()), seconds: 0.0 };
    assemble(&mut parts, path, Format::of(path).unwrap(), provenance).unwrap();
    parts.discard().unwrap();
}

fn merged(outputs: &[PathBuf], target: &Path) -> featvec::Result<Merged> {
    let scratch = tempfile::tempdir_in(target.parent().unwrap()).unwrap();
    merge(outputs, target, Format::of(target).unwrap(), scratch.path())
}

#[test]
fn shards_give_what_one_run_gives_in_their_order() {
    for ending in ["parquet", "arrow", "npy", "safetensors", "csv", "jsonl", "txt"] {
        let folder = tempdir().unwrap();
        let at = |name: &str| {
            fs::create_dir(folder.path().join(name)).unwrap();
            folder.path().join(name).join(format!("x.{ending}"))
        };
        let outputs: Vec<_> = (0..3).map(|i| at(&format!("shard-{i}"))).collect();
        outputs.iter().zip(0..).for_each(|(output, i)| shard(output, i));
        let [wanted, target] = ["wanted", "target"].map(at);
        let order = (0..3).flat_map(|shard| (0..60).filter(move |i| i % 3 == shard));
        make(&wanted, order.map(row));
        let merged = merged(&outputs, &target).unwrap();
        assert_eq!((merged.repeated, &merged.missing[..]), (0, &[][..]));
        assert!(files(target.parent().unwrap()) == files(wanted.parent().unwrap()), "{ending}");
        assert_eq!(verify(&target).unwrap().count, 0);
    }
}

#[test]
fn missing_shards_are_told() {
    let folder = tempdir().unwrap();
    let outputs = [0, 2].map(|i| folder.path().join(format!("{i}.parquet")));
    outputs.iter().zip([0, 2]).for_each(|(output, i)| shard(output, i));
    let merged = merged(&outputs, &folder.path().join("x.parquet")).unwrap();
    assert_eq!(merged.missing, ["2/3"]);
    assert_eq!(merged.manifest.shard.as_deref(), Some("1/3, 3/3"));
    assert_eq!(merged.manifest.inputs, ["photos"]);
}

#[test]
fn shards_counted_from_0_and_shards_merged_before_are_counted() {
    let folder = tempdir().unwrap();
    let [a, b, c, some, all] =
        ["a", "b", "c", "some", "all"].map(|name| folder.path().join(format!("{name}.csv")));
    for (shard, path) in [&a, &b, &c].into_iter().enumerate() {
        shard_called(path, shard as u32, &format!("{shard}/3"));
    }
    let two = merged(&[a, b], &some).unwrap();
    assert_eq!(
        (two.manifest.shard.as_deref(), &two.missing[..]),
        (Some("3/3, 1/3"), &["2/3".to_string()][..])
    );
    let three = merged(&[some.clone(), c], &all).unwrap();
    assert_eq!((three.manifest.shard, three.missing.len()), (None, 0));

    let other = folder.path().join("other.csv");
    shard_called(&other, 2, "2/4");
    let mixed = merged(&[some, other], &all).unwrap();
    assert_eq!((mixed.manifest.shard.as_deref(), mixed.missing.len()), (Some("3/3, 1/3, 2/4"), 0));
}

#[test]
fn no_file_of_an_output_that_is_merged_is_replaced() {
    let folder = tempdir().unwrap();
    let [a, b] = ["a.npy", "b.csv"].map(|name| folder.path().join(name));
    make(&a, (0..5).map(row));
    make(&b, (5..9).map(row));
    let before = files(folder.path());
    let error = merged(&[a.clone(), b], &a).unwrap_err().to_string();
    assert!(error.contains("it is an input"), "{error}");
    assert!(files(folder.path()) == before);
}

#[test]
fn a_row_that_several_have_is_there_once_and_two_rows_of_a_key_are_refused() {
    let folder = tempdir().unwrap();
    let [a, b, c, target] = ["a", "b", "c", "x"].map(|name| folder.path().join(format!("{name}.parquet")));
    make(&a, (0..30).map(row));
    make(&b, (20..40).map(row));
    let done = merged(&[a.clone(), b.clone()], &target).unwrap();
    assert_eq!(
        (done.repeated, done.manifest.count(Status::Ok)),
        (10, (0..40).filter(|i| row(*i).status == Status::Ok).count() as u64)
    );
    let rows = fs::read(&target).unwrap();
    make(&target, (0..40).map(row));
    assert_eq!(fs::read(&target).unwrap(), rows);

    let unlike: [fn(Row) -> Row; 4] = [
        |row| Row { vector: Some([1.0; 6].to_vec()), ..row },
        |row| Row { size: None, ..row },
        |row| Row { columns: None, ..row },
        |row| Row { status: Status::Unreadable, vector: None, ..row },
    ];
    for unlike in unlike {
        make(&c, [unlike(row(0))]);
        let error = merged(&[a.clone(), c.clone()], &target).unwrap_err();
        let text = error.to_string();
        assert!(
            error.kind() == ErrorKind::Mismatch && text.contains("0000") && text.contains("a.parquet"),
            "{text}"
        );
    }
}

#[test]
fn outputs_of_another_making_are_refused_with_what_differs() {
    let folder = tempdir().unwrap();
    let [a, b, target] = ["a.parquet", "b.parquet", "x.parquet"].map(|name| folder.path().join(name));
    make(&a, (0..3).map(row));
    for (other, wanted) in [
        (Identity { module_sha256: "00".repeat(32), ..identity() }, "module_sha256 0000"),
        (Identity { preset: "keras-pil".into(), ..identity() }, "preset keras-pil, not tf1-retrain"),
        (Identity { size: [299, 299], ..identity() }, "size [299,299], not [224,224]"),
    ] {
        make_with(&b, &other, (3..6).map(row));
        let error = merged(&[a.clone(), b.clone()], &target).unwrap_err();
        let text = error.to_string();
        assert!(
            error.kind() == ErrorKind::Mismatch && text.contains("b.parquet") && text.contains(wanted),
            "{text}"
        );
        assert!(!target.exists());
    }
    let text = merged(&[a.clone(), b], &a).unwrap_err().to_string();
    assert!(text.contains("cannot be the output too"), "{text}");
}

#[test]
fn a_damaged_output_is_not_merged() {
    let folder = tempdir().unwrap();
    let [a, target] = ["a.csv", "x.csv"].map(|name| folder.path().join(name));
    make(&a, (0..3).map(row));
    let text = fs::read_to_string(&a).unwrap();
    fs::write(&a, text.replacen("8.857142", "8.857143", 1)).unwrap();
    let error = merged(&[a], &target).unwrap_err();
    assert!(
        error.kind() == ErrorKind::Corrupt && error.to_string().contains("a.csv: other bytes"),
        "{error}"
    );
}
