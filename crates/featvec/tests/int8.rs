//! The int8 mode against `f32`, on real weights and photographs.

mod common;

use std::num::NonZeroUsize;

use common::shared;
use featvec::calibration::Calibration;
use featvec::extractor::{FeatureExtractor, RunOptions};
use featvec::pictures::{Found, Preparation, find};
use featvec::plan::{Mode, Value};
use featvec::variables::Variables;
use featvec::{Kernels, LoadOptions, Module, Precision, Preset, Tensor};

const GOOGLENET: &str = "googlenet/bvlc_googlenet.caffemodel";

fn load(name: &str) -> Option<Module> {
    Some(Module::load(shared(name)?.to_str().unwrap()).unwrap_or_else(|error| panic!("{error}")))
}

/// One picture in `step` of a folder of photographs.
fn photographs(folder: &str, step: usize) -> Option<Tensor> {
    let pictures = find([shared(folder)?]).into_iter().filter_map(|found| match found {
        Found::Picture(path) => Some(path),
        _ => None,
    });
    let paths: Vec<_> = pictures.step_by(step).collect();
    let batch = Preparation::new(Preset::default(), [224, 224])
        .prepare_batch(&paths, std::thread::available_parallelism().unwrap())
        .unwrap();
    Some(batch.images)
}

/// `count` images, evenly spread over `images`.
fn some(images: &Tensor, count: usize) -> Tensor {
    let rows: Vec<&[f32]> = images.iter_rows().collect();
    let data: Vec<f32> = (0..count).flat_map(|i| rows[i * rows.len() / count]).copied().collect();
    Tensor::new([count, 224, 224, 3], data).unwrap()
}

fn int8(variables: &Variables, isa: Option<&str>, threads: Option<usize>) -> FeatureExtractor {
    let options = RunOptions {
        threads: threads.and_then(NonZeroUsize::new),
        isa: isa.map(String::from),
        precision: Precision::Int8,
    };
    FeatureExtractor::new(variables.clone(), &options).unwrap()
}

fn features_and_logits(extractor: &FeatureExtractor, images: &Tensor) -> [Tensor; 2] {
    let values = [Value::Features, Value::Logits];
    extractor.run(images, Mode::Inference, &values).unwrap().try_into().unwrap()
}

fn mean_cosine(a: &Tensor, b: &Tensor) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let cosines = a.iter_rows().zip(b.iter_rows()).map(|(a, b)| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt());
    cosines.sum::<f64>() / a.rows() as f64
}

fn top_1_agreement(a: &Tensor, b: &Tensor) -> f64 {
    let top = |row: &[f32]| (0..row.len()).max_by(|i, j| row[*i].total_cmp(&row[*j]));
    let same = a.iter_rows().zip(b.iter_rows()).filter(|(a, b)| top(a) == top(b)).count();
    same as f64 / a.rows() as f64
}

#[test]
fn vectors_and_classes_are_those_of_f32() {
    let (Some(module), Some(images)) = (load(GOOGLENET), photographs("photos/caltech", 4)) else { return };
    let exact = features_and_logits(module.extractor(), &images);
    let extractor = int8(module.variables(), None, None);
    for (calibration, cosine, agreement) in [
        (None, 0.9985, 0.95), // the pictures that are built in
        (Some(some(&images, 32)), 0.999, 0.97),
    ] {
        let built_in = calibration.is_none();
        if let Some(pictures) = calibration {
            extractor.calibrate(Calibration::measure(module.extractor(), &pictures).unwrap());
        }
        let close = features_and_logits(&extractor, &images);
        let got = (mean_cosine(&close[0], &exact[0]), top_1_agreement(&close[1], &exact[1]));
        println!("{} pictures, built in: {built_in}: cosine, agreement {got:?}", images.rows());
        assert!(got.0 >= cosine && got.1 >= agreement, "built in: {built_in}: {got:?}");
        assert!(close[0] != exact[0], "int8 was not in use");
    }
}

#[test]
fn the_same_bits_on_any_instruction_set_in_any_batch_on_any_threads() {
    let (Some(module), Some(images)) = (load(GOOGLENET), photographs("photos/samples", 2)) else { return };
    let calibration = Calibration::measure(module.extractor(), &some(&images, 3)).unwrap();
    let run = |isa: &str, threads: usize, images: &Tensor| {
        let extractor = int8(module.variables(), Some(isa), Some(threads));
        extractor.calibrate(calibration.clone());
        // The classifying layer is `f32`, so its bits are those of the instruction set.
        extractor.run(images, Mode::Inference, &[Value::Features]).unwrap().remove(0)
    };
    let best = Kernels::best().name();
    let expected = run(best, 1, &images);
    for threads in [2, 3] {
        assert!(run(best, threads, &images) == expected, "{threads} threads");
        let alone = run(best, threads, &some(&images, 1));
        assert!(alone.data() == &expected.data()[..1024], "alone, {threads} threads");
    }
    for kernels in Kernels::present() {
        let alone = run(kernels.name(), 2, &some(&images, 1));
        assert!(alone.data() == &expected.data()[..1024], "{kernels:?}");
    }
}

#[test]
fn the_modules_of_tf_slim_run_at_other_sizes_and_give_inner_endpoints() {
    let Some(path) = shared("reference/feature_vector.tar.gz") else { return };
    let options = |precision| LoadOptions {
        any_size: true,
        run: RunOptions { precision, ..RunOptions::default() },
        ..LoadOptions::default()
    };
    let load =
        |precision| Module::load_with(path.to_str().unwrap(), &options(precision), &mut |_| {}).unwrap();
    let (exact, close) = (load(Precision::F32), load(Precision::Int8));
    let images = photographs("photos/samples", 4).unwrap();
    let images = Tensor::new([1, 160, 96, 3], images.data()[..160 * 96 * 3].to_vec()).unwrap();
    close.calibrate(&images).unwrap();
    let exact = exact.run_signature("image_feature_vector", &images).unwrap();
    let close = close.run_signature("image_feature_vector", &images).unwrap();
    for (name, exact) in &exact {
        let cosine = mean_cosine(exact, &close[name]);
        // These weights are random, which magnifies rounding from stage to stage: 0.9999 at the first, 0.97 at the last.
        assert!(cosine >= 0.96, "{name}: {cosine}");
    }
}

#[test]
fn graphs_for_training_and_no_pictures_are_refused() {
    let Some(path) = shared("reference/feature_vector.tar.gz") else { return };
    let path = path.to_str().unwrap();
    let run = RunOptions { precision: Precision::Int8, ..RunOptions::default() };
    let options = LoadOptions { tags: ["train".to_string()].into(), run, ..LoadOptions::default() };
    let error = Module::load_with(path, &options, &mut |_| {}).err().unwrap();
    assert!(error.to_string().contains("statistics of each batch"), "{error}");
    let none = Tensor::new([0, 224, 224, 3], Vec::new()).unwrap();
    assert!(Module::load(path).unwrap().calibrate(&none).unwrap_err().to_string().contains("no pictures"));
}
