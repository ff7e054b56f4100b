//! A disk that takes no more: nothing that was committed is lost.

#![cfg(unix)]

use std::path::{Path, PathBuf};
use std::process::Command;

use featvec_collections::{CommitEvery, Format, Parts, Provenance, Status, assemble};
use tempfile::tempdir;

use crate::support::{carried, every, files, finish, identity, make, row};

/// Rows with vectors long enough for limits, which count in blocks, to hit all places of a file.
const ROWS: u32 = 60;

/// Set in a process of its own, whose files the shell limits.
const OUTPUT: &str = "FEATVEC_TEST_OUTPUT";

/// Not a test by itself: what runs with limited files.
#[test]
fn appends_and_assembles_in_a_process_of_its_own() {
    let Some(output) = std::env::var_os(OUTPUT).map(PathBuf::from) else {
        return;
    };
    if let Err(error) = append_and_assemble(&output) {
        println!("refused: {error}");
        std::process::exit(7);
    }
}

fn append_and_assemble(output: &Path) -> featvec::Result<()> {
    let mut parts = Parts::open(&Parts::folder_of(output), &identity(), &carried(), every(20))?;
    for i in (0..ROWS).filter(|i| parts.status(&row(*i).key).is_none()).collect::<Vec<_>>() {
        parts.append(row(i))?;
    }
    assemble(
        &mut parts,
        output,
        Format::of(output).unwrap(),
        Provenance { inputs: vec!["photos".into()], ..Provenance::default() },
    )?;
    parts.discard()
}

#[test]
fn whatever_write_fails_the_committed_rows_are_there() {
    let folder = tempdir().unwrap();
    let mut refusals = 0;
    for ending in ["parquet", "csv"] {
        let wanted = folder.path().join(format!("wanted-{ending}"));
        std::fs::create_dir(&wanted).unwrap();
        make(&wanted.join(format!("x.{ending}")), (0..ROWS).map(row));
        for blocks in 0..24 {
            let place = folder.path().join(format!("{ending}-{blocks}"));
            std::fs::create_dir(&place).unwrap();
            let output = place.join(format!("x.{ending}"));
            // Without the signal, a write beyond the limit fails as on a full disk.
            let run = Command::new("sh")
                .args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" --exact disk::appends_and_assembles_in_a_process_of_its_own --nocapture")])
                .arg(std::env::current_exe().unwrap())
                .env(OUTPUT, &output)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&run.stdout).into_owned();
            if run.status.code() == Some(7) {
                refusals += 1;
                assert!(said.contains("File too large"), "{said}");
                assert!(!output.exists(), "an output is there whole or not at all");
            } else {
                assert!(run.status.success(), "{said}{}", String::from_utf8_lossy(&run.stderr));
            }
            if !output.exists() {
                let parts =
                    Parts::open(&Parts::folder_of(&output), &identity(), &carried(), CommitEvery::default())
                        .unwrap();
                let rows: u64 = Status::ALL.iter().map(|status| parts.count(*status)).sum();
                assert_eq!(rows % 20, 0, "{rows} rows");
                drop(parts);
                append_and_assemble(&output).unwrap();
            }
            assert!(files(&place) == files(&wanted), "{ending} with {blocks} blocks");
        }
    }
    assert!((8..40).contains(&refusals), "{refusals} of 48");
}

#[test]
fn a_commit_that_failed_can_be_made_again() {
    let folder = tempdir().unwrap();
    let output = folder.path().join("x.csv");
    let mut parts = Parts::open(&Parts::folder_of(&output), &identity(), &carried(), every(100)).unwrap();
    (0..5).for_each(|i| parts.append(row(i)).unwrap());
    let (at, aside) = (parts.folder().to_owned(), folder.path().join("aside"));
    std::fs::rename(&at, &aside).unwrap();
    assert_eq!(parts.commit().unwrap_err().kind(), featvec::ErrorKind::Io);
    std::fs::rename(&aside, &at).unwrap();
    parts.commit().unwrap();
    (5..9).for_each(|i| parts.append(row(i)).unwrap());
    assert_eq!(finish(parts, &output).count(Status::Ok), 7);
}
