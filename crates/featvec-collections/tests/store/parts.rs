//! Rows are there exactly once, whatever happens.

use std::fs;

use featvec::ErrorKind;
use featvec_collections::{Format, Identity, Parts, Provenance, Status, assemble};
use tempfile::tempdir;

use crate::support::{carried, every, files, finish, identity, make, open, row, vector};

#[test]
fn a_run_that_was_killed_goes_on_where_it_was() {
    let folder = tempdir().unwrap();
    let undisturbed = folder.path().join("undisturbed/x.parquet");
    fs::create_dir(undisturbed.parent().unwrap()).unwrap();
    make(&undisturbed, (0..100).map(row));

    let output = folder.path().join("killed/x.parquet");
    fs::create_dir(output.parent().unwrap()).unwrap();
    let mut kills = 0;
    loop {
        let mut parts = open(&output, 7).unwrap();
        let todo: Vec<u32> = (0..100).filter(|i| parts.status(&row(*i).key).is_none()).collect();
        assert_eq!(todo.first().map_or(0, |first| first % 7), 0, "whole parts are there");
        // The rows of less than one part are lost each time.
        todo.iter().take(7 + kills % 13).for_each(|i| parts.append(row(*i)).unwrap());
        if todo.len() <= 7 + kills % 13 {
            // Killed before the parts are removed, it makes the same output again.
            assemble(&mut parts, &output, Format::Parquet, Provenance::default()).unwrap();
            drop(parts);
            finish(open(&output, 7).unwrap(), &output);
            break;
        }
        kills += 1;
        fs::write(parts.folder().join("part-00099.part"), "half a part").unwrap();
        fs::write(parts.folder().join("x.parquet.part"), "half an output").unwrap();
    }
    assert!(kills > 5);
    assert_eq!(files(output.parent().unwrap()), files(undisturbed.parent().unwrap()));
}

#[test]
fn what_is_half_written_is_removed() {
    let folder = tempdir().unwrap();
    let output = folder.path().join("x.npy");
    drop(open(&output, 7).unwrap());
    let parts = Parts::folder_of(&output);
    fs::write(parts.join("part-00000.part"), "half a part").unwrap();
    fs::write(parts.join("x.npy.part"), "half an output").unwrap();
    let opened = open(&output, 7).unwrap();
    assert_eq!(Status::ALL.map(|status| opened.count(status)), [0; 3]);
    let left: Vec<_> = files(&parts).into_iter().map(|(name, _)| name).collect();
    assert_eq!(left, ["lock"]);
}

#[test]
fn a_key_has_one_row() {
    let folder = tempdir().unwrap();
    let output = folder.path().join("x.parquet");
    let mut parts = open(&output, 2).unwrap();
    (0..3).for_each(|i| parts.append(row(i)).unwrap());
    for i in 0..3 {
        let error = parts.append(row(i)).unwrap_err();
        assert!(
            error.kind() == ErrorKind::Argument && error.to_string().contains("a row already"),
            "{error}"
        );
    }
    drop(parts);
    // Somebody copies a part.
    let part = part_paths(&output).remove(0);
    fs::copy(
        &part,
        part.with_file_name(part.file_name().unwrap().to_str().unwrap().replace("00000", "00007")),
    )
    .unwrap();
    let error = open(&output, 2).unwrap_err().to_string();
    assert!(error.contains("part-00007") && error.contains("in another part too"), "{error}");
}

fn part_paths(output: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(Parts::folder_of(output)).unwrap().map(|entry| entry.unwrap().path());
    let mut parts: Vec<_> = entries.filter(|path| path.extension().is_some_and(|x| x == "arrow")).collect();
    parts.sort();
    parts
}

#[test]
fn a_damaged_part_is_refused_by_name_and_its_rows_come_back_where_they_were() {
    let folder = tempdir().unwrap();
    let undisturbed = folder.path().join("undisturbed/x.csv");
    fs::create_dir(undisturbed.parent().unwrap()).unwrap();
    make(&undisturbed, (0..50).map(row));

    let output = folder.path().join("damaged/x.csv");
    fs::create_dir(output.parent().unwrap()).unwrap();
    let mut parts = open(&output, 10).unwrap();
    (0..40).for_each(|i| parts.append(row(i)).unwrap());
    drop(parts);
    let part = part_paths(&output).remove(2);
    let whole = fs::read(&part).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 50) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&part, &damaged).unwrap();
        let error = open(&output, 10).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(text.contains("part-00002") && text.contains("remove this file"), "{text}");
        fs::write(&part, &whole[..at]).unwrap();
        assert_eq!(open(&output, 10).unwrap_err().kind(), ErrorKind::Corrupt);
    }
    fs::remove_file(&part).unwrap();
    let mut parts = open(&output, 10).unwrap();
    let todo: Vec<u32> = (0..50).filter(|i| parts.status(&row(*i).key).is_none()).collect();
    assert_eq!(todo, (20..30).chain(40..50).collect::<Vec<_>>());
    todo.into_iter().for_each(|i| parts.append(row(i)).unwrap());
    finish(parts, &output);
    assert_eq!(files(output.parent().unwrap()), files(undisturbed.parent().unwrap()));
}

#[test]
fn parts_of_another_making_are_refused_with_what_differs() {
    let folder = tempdir().unwrap();
    let output = folder.path().join("x.parquet");
    let mut parts = open(&output, 1).unwrap();
    parts.append(row(0)).unwrap();
    drop(parts);
    let at = Parts::folder_of(&output);
    let other = Identity { preset: "tf2".into(), ..identity() };
    let error = Parts::open(&at, &other, &carried(), every(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    let text = error.to_string();
    assert!(text.contains("preset tf1-retrain, not tf2") && text.contains("--restart"), "{text}");
    let text =
        Parts::open(&at, &identity(), &carried().project(&[0]).unwrap(), every(1)).unwrap_err().to_string();
    assert!(text.contains("input_Status Utf8") && text.contains("--restart"), "{text}");
    let other = Identity { module: "elsewhere".into(), version: "1.0".into(), ..identity() };
    assert_eq!(Parts::open(&at, &other, &carried(), every(1)).unwrap().count(Status::Ok), 1);
}

#[test]
fn one_process_at_a_time_writes() {
    let folder = tempdir().unwrap();
    let output = folder.path().join("x.parquet");
    let first = open(&output, 1).unwrap();
    let error = open(&output, 1).unwrap_err().to_string();
    assert!(error.contains("another process") && error.contains("wait"), "{error}");
    drop(first);
    open(&output, 1).unwrap();
}

#[test]
fn what_was_computed_of_the_same_bytes_is_known_before_and_after_commits_and_kills() {
    let folder = tempdir().unwrap();
    let output = folder.path().join("x.parquet");
    let mut parts = open(&output, 8).unwrap();
    (0..20).for_each(|i| parts.append(row(i)).unwrap());
    let check = |parts: &mut Parts, rows: u32| {
        for i in 0..20 {
            let known = parts.known(&[i as u8 + 1; 32]).unwrap();
            let expected = row(i).status == Status::Ok && i < rows;
            assert_eq!(known.is_some(), expected, "{i}");
            assert!(
                known.is_none_or(|known| known.vector == vector(i) && known.size == Some([640 + i, 480]))
            );
        }
        let mut near = [1; 32];
        near[31] = 2;
        assert_eq!(parts.known(&near).unwrap(), None, "only the first bytes are the same");
    };
    check(&mut parts, 20);
    drop(parts);
    check(&mut open(&output, 8).unwrap(), 16);
}

#[test]
fn rows_that_are_retried_stay_where_they_were() {
    let folder = tempdir().unwrap();
    let good = |i: u32| {
        let ok = row(i).status == Status::Ok;
        featvec_collections::Row {
            size: Some([640 + i, 480]),
            status: Status::Ok,
            error: None,
            vector: Some(vector(i)),
            content_hash: if ok { row(i).content_hash } else { Some([200; 32]) },
            ..row(i)
        }
    };
    for ending in ["parquet", "npy", "jsonl"] {
        let wanted = folder.path().join(format!("wanted-{ending}/x.{ending}"));
        let output = folder.path().join(format!("retried-{ending}/x.{ending}"));
        fs::create_dir(wanted.parent().unwrap()).unwrap();
        fs::create_dir(output.parent().unwrap()).unwrap();
        make(&wanted, (0..60).map(|i| if i == 18 { row(i) } else { good(i) }));
        make(&output, (0..60).map(row));
        for _ in 0..2 {
            let mut parts = Parts::adopt(&output, &identity(), &carried(), every(9)).unwrap();
            for i in (0..60).filter(|i| *i != 18) {
                if parts.status(&row(i).key) != Some(Status::Ok) {
                    parts.append(good(i)).unwrap();
                }
            }
            // The second time from the output itself.
            finish(parts, &output);
        }
        assert_eq!(files(output.parent().unwrap()), files(wanted.parent().unwrap()));
    }
}

#[test]
fn an_output_is_not_adopted_by_a_run_of_another_making() {
    let folder = tempdir().unwrap();
    let output = folder.path().join("x.csv");
    make(&output, (0..5).map(row));
    let other = Identity { normalize: true, ..identity() };
    let error = Parts::adopt(&output, &other, &carried(), every(9)).unwrap_err().to_string();
    assert!(error.contains("normalize false, not true") && error.contains("--restart"), "{error}");
    fs::write(&output, "path,f0\n").unwrap();
    let error = Parts::adopt(&output, &identity(), &carried(), every(9)).unwrap_err().to_string();
    assert!(error.contains("x.csv: 8 bytes"), "{error}");
}
