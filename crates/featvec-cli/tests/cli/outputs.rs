//! `featvec merge`, `verify` and `stats`, on outputs that the library makes.

use std::fs;
use std::path::{Path, PathBuf};

use arrow_schema::Schema;
use featvec_collections::{
    CommitEvery, Dtype, Format, Identity, Manifest, Parts, Provenance, Row, Status, assemble,
};
use serde_json::Value;

use super::support::featvec;

fn identity() -> Identity {
    Identity {
        module: "module.tar.gz".into(),
        module_sha256: "5e".repeat(32),
        network: "inception_v1".into(),
        tags: Vec::new(),
        signature: "image_feature_vector".into(),
        endpoint: "default".into(),
        shape: vec![3],
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

/// An output of pictures `keys`, the last of which failed.
fn make(path: &Path, identity: &Identity, shard: &str, keys: &[&str]) {
    let folder = Parts::folder_of(path);
    let mut parts = Parts::open(&folder, identity, &Schema::empty(), CommitEvery::default()).unwrap();
    for (i, key) in keys.iter().enumerate() {
        let ok = i + 1 < keys.len();
        let row = Row {
            key: key.to_string(),
            content_hash: None,
            size: None,
            status: if ok { Status::Ok } else { Status::Unreadable },
            error: (!ok).then(|| "it vanished".to_string()),
            vector: ok.then(|| vec![3.0 + i as f32, 4.0, 0.0]),
            columns: None,
        };
        parts.append(row).unwrap();
    }
    let provenance =
        Provenance { inputs: vec!["photos".into()], shard: Some(shard.into()), ..Provenance::default() };
    assemble(&mut parts, path, Format::of(path).unwrap(), provenance).unwrap();
    parts.discard().unwrap();
}

fn two_shards(folder: &Path) -> [PathBuf; 2] {
    let [a, b] = ["a.parquet", "b.npy"].map(|name| folder.join(name));
    make(&a, &identity(), "1/2", &["1.jpg", "2.jpg", "bad\x1b.jpg"]);
    make(&b, &identity(), "2/2", &["3.jpg", "4.jpg"]);
    [a, b]
}

#[test]
fn shards_are_merged_verified_and_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = two_shards(folder.path());
    let all = folder.path().join("all.jsonl");
    let run = featvec([Path::new("merge"), "-o".as_ref(), &all, &a, &b]).exits(0);
    assert_eq!(run.stdout, format!("{}: 3 vectors, 2 failed; 0 repeated\n", all.display()));
    let lines = fs::read_to_string(&all).unwrap();
    assert!(
        lines.starts_with("{\"path\":\"1.jpg\",\"vector\":[3.0,4.0,0.0]}\n") && lines.lines().count() == 3,
        "{lines}"
    );

    let run = featvec([Path::new("verify"), &a, &b, &all]).exits(0);
    let [a_text, b_text, all_text] = [&a, &b, &all].map(|path| path.display().to_string());
    assert_eq!(
        run.stdout,
        format!("sound    {a_text}, 3 rows\nsound    {b_text}, 2 rows\nsound    {all_text}, 5 rows\n")
    );

    let run = featvec([Path::new("stats"), &all]).exits(0);
    for line in [
        "rows       5: 3 ok, 2 unreadable",
        "numbers    3 a vector",
        "lengths    5.0000 to 5.6569, median 5.0000",
        "dead       1 dimension: 2",
        "constant   1 dimension: 1",
        "repeated   1 vectors, 0 files",
        "different  2 vectors, all compared",
        "nearest    0.98995  1.jpg  2.jpg",
    ] {
        assert!(run.stdout.lines().any(|found| found == line), "{line:?} is not in\n{}", run.stdout);
    }
    let json: Value =
        serde_json::from_str(&featvec([Path::new("stats"), "--json".as_ref(), &all]).exits(0).stdout)
            .unwrap();
    assert_eq!(
        (&json["rows"], &json["dead"], &json["nearest"][0]["keys"][1]),
        (&5.into(), &vec![2].into(), &"2.jpg".into())
    );
}

#[test]
fn a_missing_shard_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let [_, b] = two_shards(folder.path());
    let all = folder.path().join("all.csv");
    let run = featvec([Path::new("merge"), "--json".as_ref(), "-o".as_ref(), &all, &b]).exits(1);
    let run = run.says("shard 1/2 is not among the outputs");
    let json: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&json["missing_shards"], &json["rows"]["ok"]), (&vec!["1/2"].into(), &1.into()));
    assert!(all.exists());
}

#[test]
fn what_does_not_belong_together_is_not_merged() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = two_shards(folder.path());
    make(&b, &Identity { preset: "tf2".into(), ..identity() }, "2/2", &["3.jpg", "4.jpg"]);
    let all = folder.path().join("all.npy");
    let run = featvec([Path::new("merge"), "-o".as_ref(), &all, &a, &b]).exits(2);
    run.says("b.npy: made otherwise than").says("preset tf2, not tf1-retrain");
    featvec([Path::new("merge"), "-o".as_ref(), Path::new("all.tiff"), &a])
        .exits(2)
        .says("let it end in .parquet");
    featvec([Path::new("merge"), "-o".as_ref(), &a, &a]).exits(2).says("cannot be the output too");
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!all.exists() && !left.iter().any(|name| name.to_string_lossy().ends_with(".part")), "{left:?}");
}

#[test]
fn damage_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = two_shards(folder.path());
    let mut bytes = fs::read(&b).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&b, bytes).unwrap();
    let run = featvec([Path::new("verify"), &a, &b]).exits(1);
    assert!(run.stdout.contains("sound    ") && run.stdout.contains("unsound  "), "{}", run.stdout);
    assert!(run.stdout.contains("b.npy: other bytes than were written"), "{}", run.stdout);
    let json = featvec([Path::new("verify"), "--json".as_ref(), &b]).exits(1).stdout;
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["sound"], false);
    featvec([Path::new("stats"), &b]).exits(2).says("other bytes than were written");
    fs::remove_file(Manifest::path_of(&a)).unwrap();
    let c = folder.path().join("c.csv");
    make(&c, &identity(), "1/1", &["5.jpg", "6.jpg"]);
    let run = featvec([Path::new("verify"), &a, Path::new("nowhere.npy"), &c, &b]).exits(2);
    assert!(run.stdout.contains("sound    ") && run.stdout.contains("unsound  "), "{}", run.stdout);
    run.says("no manifest is there").says("nowhere.npy");
    featvec([Path::new("stats"), &a]).exits(0);
    featvec([Path::new("stats"), Path::new("nowhere.npy")]).exits(2).says("nowhere.npy");
}

#[test]
fn inputs_are_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    for list in ["list.txt", "x.paths.txt", "x.failed.txt", "x.npy.manifest.json"] {
        fs::write(at(list), "a.jpg\n").unwrap();
        let output = if list == "list.txt" { at(list) } else { at("x.npy") };
        for input in [at(list), format!("@{}", at(list))] {
            let run = featvec(["embed", "-o", &output, &input]).exits(2);
            run.says(list).says("cannot be the output too");
        }
        assert_eq!(fs::read_to_string(at(list)).unwrap(), "a.jpg\n");
        fs::remove_file(at(list)).unwrap();
    }
}
