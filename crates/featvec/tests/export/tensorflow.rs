//! What is written for TensorFlow: structure, numbers, and what is refused. That TensorFlow itself opens it and computes
//! the same, tools/golden/exports.py shows.

use std::collections::BTreeMap;
use std::path::Path;

use featvec::export::{
    GraphOptions, named_tensors, to_checkpoint_v1, to_checkpoint_v2, to_compact, to_frozen_graph,
    to_hub_archive, to_hub_module, to_safetensors, to_saved_model,
};
use featvec::module::{DEFAULT, Format, IMAGE_CLASSIFICATION, IMAGE_FEATURE_VECTOR};
use featvec::network::Network;
use featvec::variables::Variables;
use featvec::{ErrorKind, Limits, LoadOptions, Module, Tensor};
use featvec_formats::{Attr, Graph, HubModule, Input, MetaGraph, Node, SavedModel, TensorName, TensorProto};

use crate::support::{CLASSES, load, numbers, paper, slim};

const SIZE: [usize; 2] = [64, 96];

fn options() -> GraphOptions {
    GraphOptions { size: SIZE, ..GraphOptions::default() }
}

fn images() -> Tensor {
    let shape = [2, SIZE[0], SIZE[1], 3];
    Tensor::new(shape, numbers(shape.iter().product(), 7).map(f32::abs).collect::<Vec<_>>()).unwrap()
}

fn open(path: &Path) -> Module {
    Module::load(path.to_str().unwrap()).unwrap()
}

fn graphs(path: &Path) -> [MetaGraph; 2] {
    HubModule::open(path, &Limits::default()).unwrap().graphs().to_vec().try_into().unwrap()
}

fn count(graph: &MetaGraph, op: &str) -> usize {
    graph.graph.nodes().iter().filter(|node| node.op == op).count()
}

fn bits(tensors: &[Tensor]) -> Vec<Vec<u32>> {
    tensors.iter().map(|tensor| tensor.data().iter().map(|value| value.to_bits()).collect()).collect()
}

/// The numbers of all variables, by name.
fn all_bits(variables: &Variables) -> BTreeMap<String, Vec<u32>> {
    let tensors = named_tensors(variables).unwrap();
    let bits =
        |tensor: featvec_formats::Tensor| tensor.as_f32().unwrap().iter().map(|x| x.to_bits()).collect();
    tensors.into_iter().map(|(name, tensor)| (name, bits(tensor))).collect()
}

/// Every output of every signature of the module at `path` has the bits of the same output of `module`.
#[track_caller]
fn assert_computes_the_same(path: &Path, module: &Module) {
    let exported = open(path);
    assert_eq!(exported.expected_image_size().unwrap(), SIZE);
    for signature in [IMAGE_FEATURE_VECTOR, IMAGE_CLASSIFICATION] {
        let names: Vec<&str> = exported.signatures()[signature].outputs().map(|(name, _)| name).collect();
        assert_eq!(names, Vec::from_iter(module.signatures()[signature].outputs().map(|(name, _)| name)));
        let [a, b] =
            [&exported, module].map(|module| module.run_outputs(signature, &images(), &names).unwrap());
        assert_eq!(bits(&a), bits(&b), "{signature}");
    }
    assert_eq!(all_bits(exported.variables()), all_bits(module.variables()));
}

#[test]
fn a_hub_module_has_the_structure_of_tf_hubs_own() {
    let folder = tempfile::tempdir().unwrap();
    let module = slim(folder.path());
    let path = folder.path().join("hub");
    to_hub_module(module.variables(), &options(), &path).unwrap();
    assert_computes_the_same(&path, &module);

    let [inference, train] = graphs(&path);
    assert!(inference.tags.is_empty() && train.tags.iter().eq(["train"]));
    for (graph, updates) in [(&inference, 0), (&train, 114)] {
        let ops =
            ["Conv2D", "FusedBatchNormV3", "Relu", "MaxPool", "ConcatV2", "VarHandleOp", "L2Loss", "Mean"];
        assert_eq!(ops.map(|op| count(graph, op)), [58, 57, 57, 13, 9, 230, 58, 1]);
        assert_eq!(count(graph, "AssignSubVariableOp"), updates);
        let limits = Limits::default();
        assert_eq!(graph.variables(&limits).unwrap().len(), 230);
        assert_eq!(graph.trainable_variables(&limits).unwrap().len(), 116);
        assert_eq!(graph.node_collection("update_ops").unwrap().len(), updates);
        assert_eq!(graph.node_collection("regularization_losses").unwrap().len(), 58);
        // Whatever a collection or signature names is there.
        for variable in graph.variables(&limits).unwrap() {
            let names = [&variable.name, &variable.initializer, &variable.initial_value, &variable.snapshot];
            assert!(names.iter().all(|name| graph.graph.node(name).is_some()), "{variable:?}");
        }
        for name in ["update_ops", "regularization_losses"] {
            let names = graph.node_collection(name).unwrap();
            assert!(names.iter().all(|name| {
                TensorName::parse(name).is_some_and(|tensor| graph.graph.node(&tensor.node).is_some())
            }));
        }
        let name = |signature: &str, output: &str| graph.signatures[signature].outputs[output].name.clone();
        assert_eq!(name(DEFAULT, DEFAULT), "InceptionV1/Logits/SpatialSqueeze:0");
        assert_eq!(graph.signatures[DEFAULT].outputs.len(), 1);
        assert_eq!(name(IMAGE_FEATURE_VECTOR, DEFAULT), "hub_output/feature_vector/SpatialSqueeze:0");
        let endpoint = name(IMAGE_CLASSIFICATION, "InceptionV1/Mixed_5c");
        assert_eq!(endpoint, "InceptionV1/InceptionV1/Mixed_5c/concat:0");
        let shape = &graph.signatures[DEFAULT].outputs[DEFAULT].shape;
        assert_eq!(*shape, Some(vec![None, Some(CLASSES as u64)]));
        assert_eq!(graph.signatures[DEFAULT].inputs["images"].name, "hub_input/images:0");
        let shape = Some(vec![None, Some(64), Some(96), Some(3)]);
        assert_eq!(graph.signatures[DEFAULT].inputs["images"].shape, shape);
    }
    // Only the graph for training drops features and normalises by the batch.
    assert_eq!([&inference, &train].map(|graph| count(graph, "RandomUniform")), [0, 1]);
    let training = |graph: &MetaGraph| {
        let norms = graph.graph.nodes().iter().filter(|node| node.op == "FusedBatchNormV3");
        norms.map(|node| node.attr("is_training").and_then(Attr::as_bool)).collect::<Vec<_>>()
    };
    assert_eq!(training(&inference), [Some(false); 57]);
    assert_eq!(training(&train), [Some(true); 57]);
}

/// The names are those of the module that TF Hub's library exported.
#[test]
fn variables_and_collections_are_those_of_the_reference() {
    let shared =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference/classification.tar.gz");
    if !shared.exists() {
        eprintln!("SKIPPED: ../shared is missing");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let module = open(&shared);
    let path = folder.path().join("hub");
    to_hub_module(module.variables(), &GraphOptions::of(&module).unwrap(), &path).unwrap();
    let featvec_formats::Source::HubModule(reference) =
        featvec_formats::source::open(&shared, &Limits::default()).unwrap()
    else {
        panic!("a Hub module")
    };
    for ours in graphs(&path) {
        let theirs = reference.graph(&ours.tags).unwrap();
        let limits = Limits::default();
        let names = |graph: &MetaGraph, trainable| {
            let variables =
                if trainable { graph.trainable_variables(&limits) } else { graph.variables(&limits) };
            Vec::from_iter(variables.unwrap().into_iter().map(|variable| variable.name))
        };
        assert_eq!(names(&ours, false), names(theirs, false));
        assert_eq!(names(&ours, true), names(theirs, true));
        for key in ["update_ops", "regularization_losses"] {
            assert_eq!(ours.node_collection(key).unwrap(), theirs.node_collection(key).unwrap());
        }
        assert_eq!(ours.attachments(&limits).unwrap(), theirs.attachments(&limits).unwrap());
        assert_eq!(
            ours.collections.keys().collect::<Vec<_>>(),
            theirs.collections.keys().collect::<Vec<_>>()
        );
        for (name, signature) in &ours.signatures {
            let theirs = &theirs.signatures[name];
            assert_eq!(signature.inputs, theirs.inputs);
            // The nodes that pass logits and probabilities on are fewer here.
            let shapes = |info: &featvec_formats::TensorInfo| (info.dtype, info.shape.clone());
            assert!(signature.outputs.iter().all(|(key, info)| shapes(info) == shapes(&theirs.outputs[key])));
            let default = name == DEFAULT;
            assert!(default || signature.outputs.keys().eq(theirs.outputs.keys()));
        }
    }
}

#[test]
fn the_papers_network_is_a_module_too() {
    let folder = tempfile::tempdir().unwrap();
    let module = paper(folder.path());
    let path = folder.path().join("hub.tar.gz");
    to_hub_archive(module.variables(), &options(), &path).unwrap();
    assert_computes_the_same(&path, &module);
    let exported = open(&path);
    assert_eq!(exported.tag_sets().len(), 2);
    // Its pools are Caffe's at its own size only.
    let any = LoadOptions { any_size: true, ..LoadOptions::default() };
    let any = Module::load_with(path.to_str().unwrap(), &any, &mut |_| {}).unwrap();
    let other = Tensor::new([1, 96, 96, 3], vec![0.5; 96 * 96 * 3]).unwrap();
    assert!(any.run(&other).unwrap_err().to_string().contains("it runs at 64x96 only"));

    let refused = |options: &GraphOptions, text: &str| {
        let error = to_hub_module(module.variables(), options, &folder.path().join("x")).unwrap_err();
        assert!(error.kind() == ErrorKind::Argument && error.to_string().contains(text), "{error}");
    };
    refused(&GraphOptions { size: [65, 96], ..options() }, "no pools like Caffe's");
    refused(&GraphOptions { any_size: true, ..options() }, "it must be fixed");
    assert!(!folder.path().join("x").exists());

    let unpacked = folder.path().join("hub");
    to_hub_module(module.variables(), &options(), &unpacked).unwrap();
    let [_, train] = graphs(&unpacked);
    assert!(!train.collections.contains_key("update_ops"));
    assert_eq!(train.node_collection("regularization_losses").unwrap().len(), 58);
}

/// `change` of the graph for inference is noticed, with this text.
#[track_caller]
fn assert_refused(folder: &Path, change: impl Fn(&mut Node), text: &str) {
    let file = folder.join("saved_model.pb");
    let sound = std::fs::read(&file).unwrap();
    let mut model = SavedModel::parse(&sound, &Limits::default()).unwrap();
    let mut nodes = model.graphs[0].graph.nodes().to_vec();
    nodes.iter_mut().for_each(&change);
    assert_ne!(nodes, model.graphs[0].graph.nodes(), "nothing was changed");
    model.graphs[0].graph = Graph::new(nodes).unwrap();
    std::fs::write(&file, model.encode().unwrap()).unwrap();
    let error = Module::load(folder.to_str().unwrap()).err().expect("refused");
    assert!(error.to_string().contains(text) && error.kind() == ErrorKind::Mismatch, "{error}");
    std::fs::write(&file, sound).unwrap();
}

#[test]
fn impostors_of_the_papers_network_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hub");
    to_hub_module(paper(folder.path()).variables(), &options(), &path).unwrap();
    let set = |op: &'static str, name: &'static str, attr: Attr| {
        move |node: &mut Node| {
            if node.op == op {
                node.attrs.insert(name.to_string(), attr.clone());
            }
        }
    };
    let text = |text: &str| Attr::Bytes(text.as_bytes().to_vec());
    assert_refused(&path, set("LRN", "alpha", Attr::Float(1e-4)), "depth_radius, bias, alpha and beta");
    assert_refused(&path, set("LRN", "depth_radius", Attr::Int(3)), "depth_radius, bias, alpha and beta");
    assert_refused(&path, set("MaxPool", "padding", text("VALID")), "padding VALID, not SAME");
    assert_refused(&path, set("BiasAdd", "data_format", text("NCHW")), "the layout NCHW");
    let shape = |sizes: [u64; 2]| Attr::Shape(Some(vec![None, Some(sizes[0]), Some(sizes[1]), Some(3)]));
    assert_refused(&path, set("Placeholder", "shape", shape([65, 96])), "65x96, at which SAME pools");
    assert_refused(&path, set("Placeholder", "shape", Attr::Shape(None)), "at which SAME pools");
    let border = TensorProto::of(
        &featvec_formats::Tensor::new(
            vec![4, 2],
            featvec_formats::TensorData::I32(vec![0, 0, 2, 3, 2, 3, 0, 0]),
        )
        .unwrap(),
    );
    let narrower = |node: &mut Node| {
        if node.name.ends_with("Pad/paddings") {
            node.attrs.insert("value".to_string(), Attr::Tensor(border.clone()));
        }
    };
    assert_refused(&path, narrower, "3 rows and columns on all sides");
    // The normalisation is left out.
    let bypass = |node: &mut Node| {
        let [Input::Tensor(input)] = &mut node.inputs[..] else { return };
        if node.op == "MaxPool" && input.node.ends_with("/LRN") {
            input.node = input.node.replace("/LRN", "/Relu").replace("Conv2d_2c_3x3", "conv2/3x3");
        }
    };
    assert_refused(&path, bypass, "LRN expected");
}

#[test]
fn what_a_module_has_of_its_own_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut variables = slim(folder.path()).variables().clone();
    variables.affine.scale = [2.0, 1.5, 0.1];
    variables.affine.offset = [-1.0, 0.0, 0.3];
    variables.epsilon = 0.01;
    let own = GraphOptions { any_size: true, batch_norm_decay: 0.99, ..options() };
    let path = folder.path().join("hub");
    to_hub_module(&variables, &own, &path).unwrap();
    let module = open(&path);
    let read = module.variables();
    assert_eq!((read.affine.scale, read.affine.offset), (variables.affine.scale, variables.affine.offset));
    assert_eq!((read.epsilon, GraphOptions::of(&module).unwrap()), (0.01, own));
    assert_eq!(module.run(&images()).unwrap().shape(), [2, CLASSES]);
    let other = Tensor::new([1, 33, 65, 3], vec![0.5; 33 * 65 * 3]).unwrap();
    assert_eq!(module.run(&other).unwrap().shape(), [1, CLASSES]);

    // A checkpoint has no place for them.
    for result in [
        to_checkpoint_v1(&variables, &folder.path().join("x.ckpt")),
        to_checkpoint_v2(&variables, &folder.path().join("x")),
        to_safetensors(&variables, &folder.path().join("x.safetensors")),
        to_compact(&variables, &Vec::new(), &folder.path().join("x.fvm")),
    ] {
        let error = result.unwrap_err();
        assert!(error.to_string().contains("no place for the module's own scale"), "{error}");
        assert_eq!(error.kind(), ErrorKind::Mismatch);
    }
    let left = |entry: std::fs::DirEntry| entry.file_name().into_string().unwrap();
    let left: Vec<_> = folder.path().read_dir().unwrap().map(|entry| left(entry.unwrap())).collect();
    assert!(left.iter().all(|name| name == "hub" || name.starts_with("model.ckpt")), "{left:?}");
}

#[test]
fn checkpoints_and_safetensors_open_again() {
    let folder = tempfile::tempdir().unwrap();
    for module in [slim(folder.path()), paper(folder.path())] {
        let variables = module.variables();
        let place = |name: &str| folder.path().join(format!("{:?}-{name}", variables.network.variant));
        to_checkpoint_v1(variables, &place("v1.ckpt")).unwrap();
        to_checkpoint_v2(variables, &place("v2.ckpt")).unwrap();
        to_safetensors(variables, &place("x.safetensors")).unwrap();
        for (name, format) in [
            ("v1.ckpt", Format::CheckpointV1),
            ("v2.ckpt", Format::CheckpointV2),
            ("x.safetensors", Format::Safetensors),
        ] {
            let exported = open(&place(name));
            assert_eq!((exported.format(), exported.variables().network), (format, variables.network));
            assert_eq!(all_bits(exported.variables()), all_bits(variables));
        }
        let state = std::fs::read_to_string(folder.path().join("checkpoint")).unwrap();
        assert!(
            state.starts_with(&format!("model_checkpoint_path: \"{:?}-v2.ckpt\"", variables.network.variant))
        );
    }
}

#[test]
fn a_compact_module_is_nearly_the_same_and_small() {
    let folder = tempfile::tempdir().unwrap();
    let about = vec![("what".to_string(), "random numbers".to_string())];
    for module in [slim(folder.path()), paper(folder.path())] {
        let (path, again) = (folder.path().join("x.fvm"), folder.path().join("again.fvm"));
        to_compact(module.variables(), &about, &path).unwrap();
        let compact = load(&path);
        assert_eq!((compact.format(), compact.about()), (Format::Compact, &about[..]));
        assert_eq!(compact.variables().network, module.variables().network);
        let bytes = std::fs::read(&path).unwrap();
        let parameters = compact.variables().network.parameters();
        assert!(bytes.len() < parameters * 12 / 8, "{} bytes", bytes.len());
        let [a, b] = [&module, &compact].map(|module| module.run(&images()).unwrap());
        let distance =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
        let zeros = vec![0.0; a.data().len()];
        let relative = distance(a.data(), b.data()) / distance(a.data(), &zeros);
        assert!(relative > 0.0 && relative < 0.02, "{relative}");

        // What has been rounded is not rounded further.
        to_compact(compact.variables(), &about, &again).unwrap();
        assert!(std::fs::read(&again).unwrap() == bytes);
    }
}

#[test]
fn a_saved_model_restores_itself() {
    let folder = tempfile::tempdir().unwrap();
    let module = slim(folder.path());
    let path = folder.path().join("1");
    to_saved_model(module.variables(), &options(), &path).unwrap();
    let bytes = std::fs::read(path.join("saved_model.pb")).unwrap();
    let model = SavedModel::parse(&bytes, &Limits::default()).unwrap();
    let [graph] = &model.graphs[..] else { panic!("one graph") };
    assert!(model.schema_version == 1 && graph.tags.iter().eq(["serve"]));
    let serving = &graph.signatures["serving_default"];
    assert_eq!(serving.method, "tensorflow/serving/predict");
    assert_eq!(serving.inputs.keys().collect::<Vec<_>>(), ["images"]);
    assert_eq!(serving.outputs.keys().collect::<Vec<_>>(), ["default", "probabilities"]);
    let saver = graph.saver.as_ref().unwrap();
    let restore = graph.graph.node(&saver.restore).unwrap();
    assert_eq!(restore.inputs.len(), 230);
    // Each variable gets the value that the checkpoint has under its name.
    let names = graph.graph.node("save/RestoreV2/tensor_names").unwrap().attr("value").unwrap();
    let names = names.as_tensor().unwrap().decode(&Limits::default()).unwrap();
    let featvec_formats::TensorData::Strings(names) = names.data() else { panic!("names") };
    for input in &restore.inputs {
        let Input::Control(assign) = input else { panic!("{input:?}") };
        let assign: Vec<_> = graph.graph.node(assign).unwrap().tensors().collect();
        assert_eq!(assign[0].node.as_bytes(), names[assign[1].output as usize]);
    }
    for name in [&saver.filename, &saver.save] {
        assert!(graph.graph.node(&TensorName::parse(name).unwrap().node).is_some());
    }
    // Not a Hub module, and says so.
    let error = Module::load(path.to_str().unwrap()).err().unwrap();
    assert!(error.to_string().contains("not a TF1 Hub module"), "{error}");
}

#[test]
fn a_frozen_graph_holds_every_number() {
    let folder = tempfile::tempdir().unwrap();
    let module = slim(folder.path());
    let path = folder.path().join("frozen.pb");
    let features = module.variables().without_logits();
    for variables in [module.variables(), &features] {
        to_frozen_graph(variables, &options(), &path).unwrap();
        let graph = Graph::parse(&std::fs::read(&path).unwrap(), &Limits::default()).unwrap();
        assert!(graph.nodes().iter().all(|node| !node.op.contains("Var")));
        for (name, tensor) in named_tensors(variables).unwrap() {
            let constant = graph.node(&name).unwrap().attr("value").unwrap().as_tensor().unwrap();
            assert!(constant.decode(&Limits::default()).unwrap() == tensor, "{name}");
        }
        let has = |name: &str| graph.node(name).is_some();
        let logits = variables.network.classes.is_some();
        let expected = [true, true, logits, logits];
        assert_eq!(["images", "feature_vector", "logits", "probabilities"].map(has), expected);
    }
}

#[test]
fn features_alone_and_labels() {
    let folder = tempfile::tempdir().unwrap();
    let module = slim(folder.path());
    let features = module.variables().without_logits();
    let path = folder.path().join("features");
    to_hub_module(&features, &options(), &path).unwrap();
    let exported = open(&path);
    assert_eq!(exported.signatures().keys().collect::<Vec<_>>(), [DEFAULT, IMAGE_FEATURE_VECTOR]);
    assert_eq!(exported.variables().network, Network { classes: None, ..module.variables().network });
    assert_eq!(bits(&[exported.run(&images()).unwrap()]), bits(&[module.run(&images()).unwrap()]));

    let labels: Vec<String> = (0..CLASSES).map(|class| format!("class {class}")).collect();
    let path = folder.path().join("labels");
    let named = GraphOptions { labels: labels.clone(), ..options() };
    to_hub_module(module.variables(), &named, &path).unwrap();
    let text = std::fs::read_to_string(path.join("labels.txt")).unwrap();
    assert_eq!(text.lines().collect::<Vec<_>>(), labels);
    let error = to_hub_module(&features, &named, &folder.path().join("x")).unwrap_err();
    assert!(error.to_string().contains("10 labels for 0 classes"), "{error}");
    let broken = GraphOptions { labels: vec!["two\nlines".to_string(); CLASSES], ..options() };
    let error = to_hub_module(module.variables(), &broken, &folder.path().join("x")).unwrap_err();
    assert!(error.to_string().contains("not one line"), "{error}");
}

#[test]
fn what_is_there_is_not_replaced_and_nothing_is_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let module = slim(folder.path());
    let variables = module.variables();
    let target = folder.path().join("taken");
    std::fs::create_dir(&target).unwrap();
    std::fs::write(target.join("photo.jpg"), "dear").unwrap();
    for result in
        [to_hub_module(variables, &options(), &target), to_saved_model(variables, &options(), &target)]
    {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Io);
    }
    assert_eq!(std::fs::read(target.join("photo.jpg")).unwrap(), b"dear");
    let missing = folder.path().join("no/such");
    for result in [
        to_hub_module(variables, &options(), &missing),
        to_hub_archive(variables, &options(), &missing),
        to_saved_model(variables, &options(), &missing),
        to_frozen_graph(variables, &options(), &missing),
        to_checkpoint_v1(variables, &missing),
        to_checkpoint_v2(variables, &missing),
        to_safetensors(variables, &missing),
    ] {
        let error = result.unwrap_err();
        assert!(error.kind() == ErrorKind::Io && error.to_string().contains("no/such"), "{error}");
    }
    let part = |entry: std::fs::DirEntry| entry.path().extension().is_some_and(|end| end == "part");
    assert!(!folder.path().read_dir().unwrap().any(|entry| part(entry.unwrap())));
}
