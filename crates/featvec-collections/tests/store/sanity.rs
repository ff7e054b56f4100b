//! What `verify` and `stats` find.

use std::fs;

use featvec_collections::{Dtype, Identity, Manifest, Row, Status, stats, verify};
use tempfile::tempdir;

use crate::support::{identity, make, make_with, row};

fn with_vector(i: u32, vector: [f32; 6]) -> Row {
    let columns = row(i).columns;
    Row {
        key: format!("{i}.jpg"),
        content_hash: Some([i as u8; 32]),
        size: None,
        status: Status::Ok,
        error: None,
        vector: Some(vector.to_vec()),
        columns,
    }
}

#[test]
fn a_sound_output_has_no_problems_and_others_have() {
    let folder = tempdir().unwrap();
    let x = folder.path().join("x.parquet");
    make(&x, (0..40).map(row));
    let sound = verify(&x).unwrap();
    assert_eq!((sound.rows, sound.count), (40, 0));

    make(&x, [with_vector(0, [0.0, 1.0, f32::NAN, 0.0, 0.0, 0.0]), with_vector(1, [f32::INFINITY; 6])]);
    let problems = verify(&x).unwrap().problems;
    assert_eq!(problems, ["0.jpg: number 2 of its vector is NaN", "1.jpg: number 0 of its vector is inf"]);

    let normalized = Identity { normalize: true, ..identity() };
    let half = [0.5, 0.5, 0.5, 0.5, 0.0, 0.0];
    make_with(&x, &normalized, [with_vector(0, half), with_vector(1, [0.0; 6]), with_vector(2, [0.6; 6])]);
    let problems = verify(&x).unwrap().problems;
    assert!(
        problems.len() == 1 && problems[0].starts_with("2.jpg: its vector is to have length 1, and has 1.46"),
        "{problems:?}"
    );

    // 16-bit floats are rounded more.
    let sixth = [(1f32 / 6.0).sqrt(); 6];
    make_with(&x, &Identity { dtype: Dtype::F16, ..normalized }, [with_vector(0, sixth)]);
    assert_eq!(verify(&x).unwrap().count, 0);

    let manifest = Manifest::path_of(&x);
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("\"ok\": 1", "\"ok\": 2")).unwrap();
    assert_eq!(verify(&x).unwrap().problems, ["1 rows are ok; the manifest says 2"]);
    fs::write(&manifest, text.replace("x.parquet", "../x.parquet")).unwrap();
    assert!(verify(&x).unwrap().problems[0].contains("that of another file"));
    fs::remove_file(&x).unwrap();
    fs::write(&manifest, text).unwrap();
    assert!(verify(&x).unwrap().problems[0].contains("not there"));
}

#[test]
fn what_16_bits_do_not_hold_fails_and_is_never_infinite() {
    let folder = tempdir().unwrap();
    let x = folder.path().join("x.npy");
    let half = Identity { dtype: Dtype::F16, ..identity() };
    let manifest = make_with(&x, &half, [with_vector(0, [65504.0; 6]), with_vector(1, [65520.0; 6])]);
    assert_eq!([Status::Ok, Status::Undecodable].map(|status| manifest.count(status)), [1, 1]);
    assert_eq!(verify(&x).unwrap().problems, Vec::<String>::new());
    let failed = fs::read_to_string(folder.path().join("x.failed.txt")).unwrap();
    assert!(failed.starts_with("1.jpg\t65520, ") && failed.contains("use --dtype f32"), "{failed}");
}

#[test]
fn many_problems_are_counted() {
    let folder = tempdir().unwrap();
    let x = folder.path().join("x.arrow");
    make(&x, (0..100).map(|i| with_vector(i, [f32::NAN; 6])));
    let verification = verify(&x).unwrap();
    assert_eq!((verification.count, verification.problems.len()), (100, 20));
}

#[test]
fn the_figures_are_right() {
    let folder = tempdir().unwrap();
    let x = folder.path().join("x.parquet");
    let mut rows = vec![
        with_vector(1, [3.0, 0.0, 4.0, 7.0, 0.0, 0.0]),
        with_vector(2, [0.0, 5.0, 12.0, 7.0, 0.0, 0.0]),
        with_vector(3, [0.0, 5.0, 12.0, 7.0, 0.0, 0.0]),
        with_vector(4, [0.0, 5.1, 12.0, 7.0, 0.0, 0.0]),
        with_vector(5, [f32::NAN; 6]),
        with_vector(6, [1.0, 1.0, 1.0, 7.0, 0.0, 0.0]),
        row(4),
    ];
    rows[5].content_hash = Some([1; 32]);
    make(&x, rows);
    let found = stats(&x).unwrap();
    assert_eq!((found.rows, found.values), (7, 6));
    assert_eq!((found.by_status["ok"], found.by_status["unreadable"]), (6, 1));
    let norms = found.norms.unwrap();
    let wanted = [52f32.sqrt(), 218f32.sqrt(), (5.1f32 * 5.1 + 193.0).sqrt()];
    assert!(
        [norms.min, norms.median, norms.max].iter().zip(wanted).all(|(x, y)| (x - y).abs() < 1e-5),
        "{norms:?}"
    );
    assert_eq!((&found.dead[..], &found.constant[..]), (&[4, 5][..], &[3][..]));
    assert_eq!(
        (found.not_finite, found.zero_vectors, found.repeated_vectors, found.repeated_contents),
        (1, 0, 1, 1)
    );
    assert_eq!((found.compared, found.compared_all, found.nearest.len()), (4, true, 6));
    assert_eq!(found.nearest[0].keys, ["2.jpg", "4.jpg"]);
    assert!((found.nearest[0].cosine - 0.99998).abs() < 2e-5, "{}", found.nearest[0].cosine);
}

#[test]
fn any_array_of_vectors_has_figures() {
    let folder = tempdir().unwrap();
    let x = folder.path().join("x.npy");
    make(&x, (0..3).map(row));
    for name in ["x.npy.manifest.json", "x.paths.txt"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    let found = stats(&x).unwrap();
    assert_eq!((found.rows, found.compared), (3, 3));
    assert!(found.nearest.iter().all(|pair| ["0", "1", "2"].contains(&&pair.keys[0][..])));
    make(&x, []);
    let found = stats(&x).unwrap();
    assert_eq!((found.rows, found.norms, found.dead.len(), found.nearest.len()), (0, None, 0, 0));
}
