//! `featvec compare`: the causes that the numbers show, each made here on purpose.

use std::path::Path;

use serde_json::Value;

use super::support::{FEATURE_VECTOR, featvec, program, run, sample, shared, write_array};

/// Rows like those of a network: positive, and similar to each other.
fn vectors(rows: usize) -> Vec<Vec<f32>> {
    let value = |row: usize, column: usize| {
        let noise = ((row * 7919 + column * 104_729 + 13) % 1009) as f32 / 1009.0;
        1.0 + noise + (column % 5) as f32
    };
    (0..rows).map(|row| (0..64).map(|column| value(row, column)).collect()).collect()
}

/// Smooth pictures `[2, 16, 16, 3]` with three different channels.
fn images() -> Vec<[f32; 3]> {
    (0..2 * 16 * 16)
        .map(|pixel| {
            let (y, x) = ((pixel / 16) as f32 / 32.0, (pixel % 16) as f32 / 16.0);
            [y, x * y, 0.25 + x / 2.0]
        })
        .collect()
}

/// Compares `a` with `b`, both of `shapes`.
fn compare(shapes: [&[usize]; 2], a: &[f32], b: &[f32]) -> (Option<i32>, Value) {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["a.npy", "b.npy"].map(|name| folder.path().join(name));
    write_array(&paths[0], shapes[0], a);
    write_array(&paths[1], shapes[1], b);
    let args = [Path::new("compare"), &paths[0], &paths[1], Path::new("--format"), Path::new("json")];
    let run = featvec(args);
    (run.code, serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{run:#?}")))
}

#[track_caller]
fn assert_cause(a: Vec<Vec<f32>>, cause: &str) {
    let b = vectors(8);
    let shape = [8, 64];
    let (code, result) = compare([&shape, &shape], &a.concat(), &b.concat());
    assert_eq!(code, Some(1));
    assert_eq!(result["cause"], cause);
}

fn mapped(map: impl Fn(f32) -> f32) -> Vec<Vec<f32>> {
    vectors(8).into_iter().map(|row| row.into_iter().map(&map).collect()).collect()
}

#[test]
fn equal_files_are_equal() {
    let b = vectors(8).concat();
    let (code, result) = compare([&[8, 64], &[8, 64]], &b, &b);
    assert_eq!((code, result["cause"].as_str()), (Some(0), Some("identical, bit for bit")));
    assert_eq!((&result["max_error"], &result["cosine_min"]), (&0.0.into(), &1.0.into()));

    let noisy: Vec<f32> = b.iter().enumerate().map(|(i, x)| x * (1.0 + (i % 3) as f32 * 1e-6)).collect();
    let (code, result) = compare([&[8, 64], &[8, 1, 1, 64]], &noisy, &b);
    assert_eq!(code, Some(0));
    assert_eq!(result["cause"], "the noise of 32-bit sums in another order");
}

#[test]
fn errors_are_measured() {
    let (code, result) = compare([&[2, 2], &[2, 2]], &[3.0, 4.0, 0.0, 1.0], &[3.0, 4.0, 1.0, 1.0]);
    assert_eq!(code, Some(1));
    assert_eq!((&result["max_error"], &result["max_error_row"]), (&1.0.into(), &1.into()));
    assert_eq!(result["max_error_of_largest"], 0.25);
    assert!((result["relative_l2"].as_f64().unwrap() - 1.0 / 27f64.sqrt()).abs() < 1e-12);
    assert_eq!(result["cause"], "1 rows differ and all others agree: rows 1");
}

#[test]
fn scale_and_normalisation_are_told_apart() {
    assert_cause(mapped(|x| x * 2.0), "one factor everywhere: B = 0.500000 * A");
    let normalized = |row: Vec<f32>| {
        let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        row.into_iter().map(|x| x / length).collect()
    };
    let cause = "A is L2-normalised and the other is not: same directions, other lengths";
    assert_cause(vectors(8).into_iter().map(normalized).collect(), cause);
}

#[test]
fn another_order_of_rows_is_found() {
    let mut rows = vectors(8);
    rows.rotate_left(1);
    assert_cause(rows, "shifted: row i of A is row i + 1 of B; A lacks the first 1");
    let mut rows = vectors(8);
    rows.swap(1, 6);
    assert_cause(rows, "the same rows in another order: 2 of 8 rows are elsewhere");
    let mut rows = vectors(8);
    rows[5][0] = 100.0;
    assert_cause(rows, "1 rows differ and all others agree: rows 5");
}

#[test]
fn precision_and_nan_are_named() {
    let bfloat16 = mapped(|x| f32::from_bits((x.to_bits() + 0x8000) & 0xffff_0000));
    assert_cause(bfloat16, "fewer bits in one of them: half precision, bfloat16 or TF32");
    let mut rows = vectors(8);
    rows[2][3] = f32::NAN;
    assert_cause(rows, "values that are no finite numbers: 1 in A, 0 in B");
}

#[test]
fn forms_of_images_are_recognised() {
    let rgb = images();
    let nhwc = [2, 16, 16, 3];
    let check = |shape: &[usize], a: Vec<f32>, form: &str| {
        let (code, result) = compare([shape, &nhwc], &a, rgb.as_flattened());
        assert_eq!(code, Some(1), "{form}");
        assert_eq!(result["cause"], format!("the same images in two forms: {form}"));
    };
    let map = |f: &dyn Fn([f32; 3]) -> [f32; 3]| rgb.iter().flat_map(|pixel| f(*pixel)).collect::<Vec<f32>>();
    check(&nhwc, map(&|[r, g, b]| [b, g, r]), "A is BGR in 0..1, B is RGB in 0..1");
    check(&nhwc, map(&|p| p.map(|x| (x * 255.0).round())), "A is RGB in 0..255, B is RGB in 0..1");
    check(&nhwc, map(&|p| p.map(|x| x * 2.0 - 1.0)), "A is RGB in -1..1, B is RGB in 0..1");
    let caffe = map(&|[r, g, b]| [b * 255.0 - 104.0, g * 255.0 - 117.0, r * 255.0 - 123.0]);
    check(&nhwc, caffe, "A is BGR minus Caffe's mean colour, B is RGB in 0..1");
    let planes =
        |image: &[[f32; 3]]| (0..3).flat_map(|c| image.iter().map(move |p| p[c])).collect::<Vec<_>>();
    let nchw = [planes(&rgb[..256]), planes(&rgb[256..])].concat();
    check(&[2, 3, 16, 16], nchw, "A is channels first (NCHW), B is channels last (NHWC)");
}

#[test]
fn shapes_that_do_not_fit_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["a.npy", "b.npy", "c.npy"].map(|name| folder.path().join(name));
    write_array(&paths[0], &[2, 64], &[1.0; 128]);
    write_array(&paths[1], &[3, 64], &[1.0; 192]);
    write_array(&paths[2], &[2, 1001], &[1.0; 2002]);
    let compare = |a: usize, b: usize| featvec([Path::new("compare"), &paths[a], &paths[b]]).exits(2);
    compare(0, 1).says("A is [2, 64], B is [3, 64]").says("A lacks rows").says("x.failed.txt");
    compare(0, 2).says("logits");
    featvec([Path::new("compare"), &paths[0], Path::new("nosuch.npy")]).exits(2).says("nosuch.npy");
}

#[test]
fn the_presets_that_made_two_files_are_found() {
    let (Some(module), Some(picture)) = (shared(FEATURE_VECTOR), sample("hot_dog.jpg")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let embed = |preset: &str| {
        let output = folder.path().join(format!("{preset}.npy"));
        featvec([
            Path::new("embed"),
            Path::new("--module"),
            &module,
            Path::new("--preset"),
            Path::new(preset),
            Path::new("-o"),
            &output,
            &picture,
        ])
        .exits(0);
        output
    };
    let (a, b) = (embed("keras-pil"), embed("tf1-retrain"));
    let args = [
        Path::new("compare"),
        &a,
        &b,
        Path::new("--module"),
        &module,
        Path::new("--images"),
        &picture,
        Path::new("--format"),
        Path::new("json"),
    ];
    let result: Value = serde_json::from_str(&featvec(args).exits(1).stdout).unwrap();
    let made_by: Vec<_> = result["findings"].as_array().unwrap().iter().map(|f| &f["made_by"]).collect();
    assert_eq!(made_by, ["keras-pil, RGB in 0..1", "tf1-retrain, RGB in 0..1"]);
}

#[test]
fn an_empty_list_of_pictures_proves_nothing() {
    let Some(module) = shared(FEATURE_VECTOR) else { return };
    let folder = tempfile::tempdir().unwrap();
    // No factor or order makes one of the other, so the pictures would have to tell.
    let [a, b] = [5, 7].map(|period| {
        let path = folder.path().join(format!("{period}.npy"));
        let values: Vec<f32> = (0..1024).map(|i| (i % period) as f32).collect();
        write_array(&path, &[1, 1024], &values);
        path
    });
    let mut command = program();
    command.arg("compare").args([&a, &b]).arg("--module").arg(&module).args(["--images", "-"]);
    run(&mut command, b"\n").exits(2).says("--images names no pictures");
}
