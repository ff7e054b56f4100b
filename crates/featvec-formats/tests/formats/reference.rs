//! The large files made by TensorFlow and Caffe, which lie beside the project.

use std::collections::{BTreeMap, BTreeSet};

use featvec_formats::{
    Caffemodel, Checkpoint, CheckpointFormat, DataType, Limits, MetaGraph, Source, TensorData, npy, source,
};

use crate::support::shared;

fn tags(tags: &[&str]) -> BTreeSet<String> {
    tags.iter().map(|&tag| tag.to_owned()).collect()
}

fn open_module(name: &str) -> Option<featvec_formats::HubModule> {
    match source::open(&shared(&format!("reference/{name}"))?, &Limits::default()).unwrap() {
        Source::HubModule(module) => Some(module),
        other => panic!("not a module: {other:?}"),
    }
}

/// Names and shapes as TensorFlow listed them.
fn listed_variables() -> Option<BTreeMap<String, Vec<usize>>> {
    let text = std::fs::read_to_string(shared("reference/variables.txt")?).unwrap();
    let parse = |line: &str| {
        let (name, shape) = line.split_once(char::is_whitespace).unwrap();
        let digits = |c: char| !c.is_ascii_digit();
        let sizes = shape.split(digits).filter(|size| !size.is_empty()).map(|size| size.parse().unwrap());
        (name.to_owned(), sizes.collect())
    };
    Some(text.lines().filter(|line| line.starts_with("InceptionV1/")).map(parse).collect())
}

#[test]
fn the_feature_vector_module_is_what_tensorflow_says_it_is() {
    let Some(module) = open_module("feature_vector.tar.gz") else { return };
    let limits = Limits::default();
    assert_eq!(module.graphs().len(), 2);
    assert_eq!(module.assets(), &[] as &[String]);
    let graph = module.graph(&tags(&[])).unwrap();
    let training = module.graph(&tags(&["train"])).unwrap();
    assert!(module.graph(&tags(&["serve"])).is_none());
    assert_eq!(graph.tensorflow_version, "2.15.1");

    let signature = graph.signature("image_feature_vector").unwrap();
    let images = &signature.inputs["images"];
    assert_eq!(images.dtype, DataType::F32);
    assert_eq!(images.shape, Some(vec![None, Some(224), Some(224), Some(3)]));
    assert_eq!(signature.outputs["default"].shape, Some(vec![None, Some(1024)]));
    assert_eq!(signature.outputs.len(), 18);
    assert_eq!(
        graph.image_module_info(&limits).unwrap().map(|info| (info.height, info.width)),
        Some((224, 224))
    );

    assert_eq!(graph.variables(&limits).unwrap().len(), 228);
    assert_eq!(training.trainable_variables(&limits).unwrap().len(), 114);
    assert_eq!(training.node_collection("regularization_losses").unwrap().len(), 57);
    assert_eq!(training.node_collection("update_ops").unwrap().len(), 114);
    let count = |graph: &MetaGraph, op: &str| graph.graph.nodes().iter().filter(|node| node.op == op).count();
    assert_eq!(count(graph, "Conv2D"), 57);
    assert_eq!(count(graph, "MaxPool"), 13);
    assert_eq!(count(graph, "ConcatV2"), 9);
}

#[test]
fn a_node_of_the_module_has_its_inputs_and_parameters() {
    let Some(module) = open_module("feature_vector.tar.gz") else { return };
    let graph = &module.graph(&tags(&[])).unwrap().graph;
    let scale =
        graph.nodes().iter().find(|node| node.op == "Mul" && node.name.starts_with("hub_input")).unwrap();
    let constant = scale.tensors().map(|tensor| graph.node(&tensor.node).unwrap());
    let constant = constant.last().unwrap().attr("value").unwrap().as_tensor().unwrap();
    assert_eq!(constant.decode(&Limits::default()).unwrap().as_f32(), Some(&[2.0][..]));

    let conv = graph.nodes().iter().find(|node| node.op == "Conv2D").unwrap();
    assert_eq!(conv.attr("strides").unwrap().as_ints(), Some(&[1, 2, 2, 1][..]));
    assert_eq!(conv.attr("padding").unwrap().as_str(), Some("SAME"));
    let norm = graph.nodes().iter().find(|node| node.op.starts_with("FusedBatchNorm")).unwrap();
    assert_eq!(norm.attr("epsilon").unwrap().as_float(), Some(0.001));
    assert_eq!(norm.attr("is_training").unwrap().as_bool(), Some(false));
}

#[test]
fn the_modules_variables_have_the_listed_shapes_and_sound_checksums() {
    let (Some(module), Some(listed)) = (open_module("feature_vector.tar.gz"), listed_variables()) else {
        return;
    };
    let checkpoint = module.checkpoint().unwrap();
    assert_eq!(checkpoint.format(), CheckpointFormat::V2);
    let found: BTreeMap<_, _> = checkpoint.entries().map(|e| (e.name.clone(), e.shape.clone())).collect();
    assert_eq!(found.len(), 228);
    for (name, shape) in &found {
        assert_eq!(listed.get(name), Some(shape), "{name}");
    }
    checkpoint.verify().unwrap();
}

#[test]
fn the_classification_module_has_its_own_signature_and_two_more_variables() {
    let Some(module) = open_module("classification.tar.gz") else { return };
    let graph = module.graph(&tags(&[])).unwrap();
    let signature = graph.signature("image_classification").unwrap();
    assert_eq!(signature.outputs["default"].shape, Some(vec![None, Some(1001)]));
    assert_eq!(module.checkpoint().unwrap().entries().count(), 230);
    module.checkpoint().unwrap().verify().unwrap();
}

#[test]
fn the_v1_checkpoint_holds_the_same_numbers_as_the_module() {
    let (Some(module), Some(path)) =
        (open_module("classification.tar.gz"), shared("reference/inception_v1.ckpt"))
    else {
        return;
    };
    let Source::Checkpoint(v1) = source::open(&path, &Limits::default()).unwrap() else { panic!() };
    assert_eq!(v1.format(), CheckpointFormat::V1);
    let step = v1.read("global_step").unwrap();
    assert_eq!((step.dtype(), step.shape()), (DataType::I64, &[][..]));
    let v2: &Checkpoint = module.checkpoint().unwrap();
    for entry in v2.entries() {
        assert_eq!(v1.read(&entry.name).unwrap(), v2.read(&entry.name).unwrap(), "{}", entry.name);
    }
}

#[test]
fn googlenet_has_its_layers_and_blobs() {
    let Some(path) = shared("googlenet/bvlc_googlenet.caffemodel") else { return };
    let Source::Caffemodel(model) = source::open(&path, &Limits::default()).unwrap() else { panic!() };
    assert_eq!(model.name, "GoogleNet");
    let convolutions = model.layers.iter().filter(|layer| layer.kind == "Convolution").count();
    let layer = |name: &str| Caffemodel::layer(&model, name).unwrap();
    let first = layer("conv1/7x7_s2");
    assert_eq!(first.kind, "Convolution");
    assert_eq!(first.blobs[0].data().len(), 64 * 3 * 7 * 7);
    assert_eq!(first.blobs[1].data().len(), 64);
    assert!(convolutions >= 57, "{convolutions}");
    assert_eq!(layer("loss3/classifier").blobs[0].data().len(), 1000 * 1024);
}

#[test]
fn numpys_own_arrays_are_read_and_written_byte_for_byte() {
    for name in
        ["reference/golden/features.npy", "reference/golden/features_f64.npy", "reference/golden/logits.npy"]
    {
        let Some(path) = shared(name) else { return };
        let bytes = std::fs::read(path).unwrap();
        let tensor = npy::read(&bytes[..], &Limits::default()).unwrap();
        assert_eq!(tensor.shape()[0], 8);
        assert!(matches!(tensor.data(), TensorData::F32(_) | TensorData::F64(_)));
        let mut written = Vec::new();
        npy::write(&mut written, &tensor).unwrap();
        assert!(written == bytes, "{name} is written differently from numpy");
    }
}
