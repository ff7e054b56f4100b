//! Modules and numbers against what TensorFlow computed, and against Caffe's weights as two other programs ran them.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use common::{Array, array, npz, shared};
use featvec::extractor::RunOptions;
use featvec::module::{IMAGE_CLASSIFICATION, IMAGE_FEATURE_VECTOR};
use featvec::{LoadOptions, Module, Tensor};

const FEATURE_VECTOR: &str = "reference/feature_vector.tar.gz";
const CLASSIFICATION: &str = "reference/classification.tar.gz";

/// TensorFlow's own two CPU backends differ by 1e-6 of the largest feature; the issue allows ten times that.
const FEATURES_TOLERANCE: f64 = 1e-5;
/// The inner endpoints: TensorFlow's `f32` is up to 7.4e-6 from its own `f64` there, another order of summation as much
/// again.
const ENDPOINTS_TOLERANCE: f64 = 3e-5;

/// The array of the file `name` of the shared data.
fn npy(name: &str) -> Array {
    array(&std::fs::read(shared(name).unwrap()).unwrap())
}

/// The file `name` of the shared data, or none after saying loudly that the test is skipped.
fn find(name: &str) -> Option<String> {
    shared(name).map(|path: PathBuf| path.to_str().unwrap().to_string())
}

fn load(name: &str, options: &LoadOptions) -> Option<Module> {
    let module = Module::load_with(&find(name)?, options, &mut |_| {});
    Some(module.unwrap_or_else(|error| panic!("{error}")))
}

fn golden(name: &str) -> Tensor {
    let (shape, data) = npy(&format!("reference/golden/{name}"));
    Tensor::new(shape, data).unwrap()
}

fn first(images: &Tensor, n: usize) -> Tensor {
    let mut shape = images.shape().to_vec();
    let len = images.data().len() / shape[0];
    shape[0] = n;
    Tensor::new(shape, images.data()[..n * len].to_vec()).unwrap()
}

/// The largest difference relative to the largest expected value.
fn worst(got: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let largest = expected.iter().fold(0f32, |max, x| max.max(x.abs()));
    let differences = got.iter().zip(expected).map(|(got, expected)| (got - expected).abs());
    f64::from(differences.fold(0f32, f32::max)) / f64::from(largest)
}

fn relative_l2(got: &[f32], expected: &[f32]) -> f64 {
    let sum = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let difference = sum(&mut got.iter().zip(expected).map(|(g, e)| f64::from(*g) - f64::from(*e)));
    difference / sum(&mut expected.iter().map(|e| f64::from(*e)))
}

fn tags(tags: &[&str]) -> LoadOptions {
    LoadOptions { tags: tags.iter().map(|tag| tag.to_string()).collect(), ..LoadOptions::default() }
}

#[test]
fn features_are_tensorflows() {
    let Some(module) = load(FEATURE_VECTOR, &LoadOptions::default()) else { return };
    assert_eq!(module.expected_image_size().unwrap(), [224, 224]);
    assert_eq!(module.num_image_channels().unwrap(), 3);
    assert_eq!(module.tag_sets(), [BTreeSet::new(), BTreeSet::from(["train".to_string()])]);
    assert_eq!(Vec::from_iter(module.signatures().keys()), ["default", IMAGE_FEATURE_VECTOR]);
    assert_eq!(module.variables().affine.scale, [2.0; 3]);
    assert_eq!(module.variables().affine.offset, [-1.0; 3]);
    assert_eq!(module.variables().epsilon, 0.001);

    let features = module.run(&golden("inputs.npy")).unwrap();
    assert_eq!(features.shape(), [8, 1024]);
    let worst = worst(features.data(), golden("features.npy").data());
    assert!(worst <= FEATURES_TOLERANCE, "{worst:e}");
    let error = relative_l2(features.data(), golden("features_f64.npy").data());
    assert!(error <= 2.0 * 2.25e-6, "against float64: {error:e}");
}

#[test]
fn every_endpoint_is_tensorflows() {
    let Some(module) = load(FEATURE_VECTOR, &LoadOptions::default()) else { return };
    let expected = npz(shared("reference/golden/endpoints_image0.npz").unwrap());
    let image = first(&golden("inputs.npy"), 1);
    let outputs = module.run_signature(IMAGE_FEATURE_VECTOR, &image).unwrap();
    assert_eq!(outputs.len(), 18);
    assert_eq!(outputs.len(), expected.len());
    for (name, output) in outputs {
        let (shape, data) = &expected[&name.replace('/', "__")];
        assert_eq!(&output.shape()[1..], shape, "{name}"); // the golden has no batch dimension
        let tight = name == "default" || name.ends_with("global_pool");
        let tolerance = if tight { FEATURES_TOLERANCE } else { ENDPOINTS_TOLERANCE };
        let worst = worst(output.data(), data);
        assert!(worst <= tolerance, "{name}: {worst:e}");
    }
}

#[test]
fn logits_and_predictions_are_tensorflows() {
    let Some(module) = load(CLASSIFICATION, &LoadOptions::default()) else { return };
    let images = golden("inputs.npy");
    let logits = module.run(&images).unwrap();
    let worst_logit = worst(logits.data(), golden("logits.npy").data());
    assert!(worst_logit <= FEATURES_TOLERANCE, "{worst_logit:e}");
    let names = ["InceptionV1/Predictions", "InceptionV1/Logits", "default"];
    let outputs = module.run_outputs(IMAGE_CLASSIFICATION, &images, &names).unwrap();
    let worst_probability = worst(outputs[0].data(), golden("softmax.npy").data());
    assert!(worst_probability <= 1e-4, "{worst_probability:e}"); // exp magnifies the logits' error
    assert!(outputs[1] == logits && outputs[2] == logits);
    let features = module.run_outputs(IMAGE_FEATURE_VECTOR, &images, &["default"]).unwrap();
    let worst_feature = worst(features[0].data(), golden("features.npy").data());
    assert!(worst_feature <= FEATURES_TOLERANCE, "{worst_feature:e}");
}

#[test]
fn the_graph_for_training_normalises_by_the_batch() {
    let Some(module) = load(FEATURE_VECTOR, &tags(&["train"])) else { return };
    let images = first(&golden("inputs.npy"), 4);
    let features = module.run(&images).unwrap();
    let error = relative_l2(features.data(), golden("train_features.npy").data());
    assert!(error <= 1e-5, "{error:e}");
    // A classification module's logits go through dropout there, its features do not.
    let module = load(CLASSIFICATION, &tags(&["train"])).unwrap();
    let again = module.run_outputs(IMAGE_FEATURE_VECTOR, &images, &["default"]).unwrap();
    assert!(again[0] == features);
    let error = module.run(&images).unwrap_err();
    assert!(error.to_string().contains("dropout"), "{error}");
}

#[test]
fn the_same_bits_for_any_batch_and_thread_count() {
    let images = match find(FEATURE_VECTOR) {
        Some(_) => golden("inputs.npy"),
        None => return,
    };
    let many = Tensor::new([32, 224, 224, 3], images.data().repeat(4)).unwrap();
    let mut expected: Option<Tensor> = None;
    for threads in [1, 2, 3] {
        let run = RunOptions { threads: NonZeroUsize::new(threads), ..RunOptions::default() };
        let module = load(FEATURE_VECTOR, &LoadOptions { run, ..LoadOptions::default() }).unwrap();
        for n in [0, 1, 3, 32] {
            let features = module.run(&first(&many, n)).unwrap();
            assert_eq!(features.shape(), [n, 1024]);
            if let Some(expected) = &expected {
                assert!(features.data() == &expected.data()[..n * 1024], "{threads} threads, batch {n}");
            }
            if n == 32 {
                expected.get_or_insert(features);
            }
        }
    }
}

#[test]
fn every_instruction_set_gives_tensorflows_features() {
    let Some(path) = find(FEATURE_VECTOR) else { return };
    let image = first(&golden("inputs.npy"), 1);
    let expected = first(&golden("features.npy"), 1);
    for kernels in featvec_kernels::Kernels::present() {
        let run = RunOptions { isa: Some(kernels.name().to_string()), ..RunOptions::default() };
        let options = LoadOptions { run, ..LoadOptions::default() };
        let module = Module::load_with(&path, &options, &mut |_| {}).unwrap();
        let worst = worst(module.run(&image).unwrap().data(), expected.data());
        assert!(worst <= FEATURES_TOLERANCE, "{kernels:?}: {worst:e}");
    }
}

#[test]
fn a_slim_checkpoint_gives_the_modules_features() {
    let Some(module) = load("reference/inception_v1.ckpt", &LoadOptions::default()) else { return };
    assert_eq!(module.expected_image_size().unwrap(), [224, 224]);
    let images = golden("inputs.npy");
    let worst_feature = worst(module.run(&images).unwrap().data(), golden("features.npy").data());
    assert!(worst_feature <= FEATURES_TOLERANCE, "{worst_feature:e}");
}

#[test]
fn other_sizes_run_when_asked_for() {
    let Some(path) = find(FEATURE_VECTOR) else { return };
    let any = LoadOptions { any_size: true, ..LoadOptions::default() };
    let module = Module::load_with(&path, &any, &mut |_| {}).unwrap();
    for [h, w] in [[32, 32], [33, 65], [160, 96], [299, 299]] {
        let features = module.run(&Tensor::new([1, h, w, 3], vec![0.25; h * w * 3]).unwrap()).unwrap();
        assert!(features.data().iter().all(|x| x.is_finite()), "{h}x{w}");
    }
    let small = Tensor::new([1, 31, 32, 3], vec![0.0; 31 * 32 * 3]).unwrap();
    assert!(module.run(&small).unwrap_err().to_string().contains("at least 32x32"));
    let strict = Module::load(&path).unwrap();
    let other = Tensor::new([1, 64, 64, 3], vec![0.0; 64 * 64 * 3]).unwrap();
    assert!(strict.run(&other).unwrap_err().to_string().contains("224"));
}

#[test]
fn calls_are_checked_as_hub_checks_them() {
    let Some(module) = load(FEATURE_VECTOR, &LoadOptions::default()) else { return };
    let images = Tensor::new([0, 224, 224, 3], Vec::new()).unwrap();
    let message = |error: featvec::Error| error.to_string();
    assert!(message(module.run_signature("nonsense", &images).unwrap_err()).contains("image_feature_vector"));
    let unknown = module.run_outputs("default", &images, &["Mixed_9z"]).unwrap_err();
    assert!(message(unknown).contains("InceptionV1/Mixed_5c"));
    let dictionary = |names: &[&str]| names.iter().map(|name| (name.to_string(), images.clone())).collect();
    let inputs: BTreeMap<String, Tensor> = dictionary(&["images"]);
    assert_eq!(module.call("default", &inputs).unwrap()["default"].shape(), [0, 1024]);
    for wrong in [dictionary(&["image"]), dictionary(&[]), dictionary(&["images", "more"])] {
        assert!(message(module.call("default", &wrong).unwrap_err()).contains("takes the inputs"));
    }
    let nan = Tensor::new([1, 224, 224, 3], vec![f32::NAN; 224 * 224 * 3]).unwrap();
    assert!(message(module.run(&nan).unwrap_err()).contains("NaN"));
    let path = find(FEATURE_VECTOR).unwrap();
    let error = Module::load_with(&path, &tags(&["serve"]), &mut |_| {}).err().unwrap();
    assert!(message(error).contains("train"));
}

#[test]
fn caffes_googlenet_is_read_and_run() {
    let Some(module) = load("googlenet/bvlc_googlenet.caffemodel", &LoadOptions::default()) else { return };
    assert_eq!(module.variables().network.classes, Some(1000));
    let mean = [104.0, 117.0, 123.0];
    for name in ["dog", "parrot", "cat"] {
        let array = |what: &str| npy(&format!("googlenet/golden/{name}_{what}.npy")).1;
        // Blue, green, red planes minus the mean, as Caffe takes them, back to what a module takes.
        let planes = array("input_bgr_chw");
        let pixels = 224 * 224;
        let picture: Vec<f32> = (0..pixels * 3)
            .map(|i| (i / 3, 2 - i % 3))
            .map(|(pixel, c)| ((f64::from(planes[c * pixels + pixel]) + mean[c]) / 255.0) as f32)
            .collect();
        let images = Tensor::new([1, 224, 224, 3], picture).unwrap();
        let features = worst(module.run(&images).unwrap().data(), &array("pool5_1024"));
        assert!(features <= FEATURES_TOLERANCE, "{name}: features {features:e}");
        let outputs = module.run_outputs(IMAGE_CLASSIFICATION, &images, &["default"]).unwrap();
        let logits = worst(outputs[0].data(), &array("logits_1000"));
        assert!(logits <= FEATURES_TOLERANCE, "{name}: logits {logits:e}");
    }
}
