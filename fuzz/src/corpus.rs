//! What is changed: files of the project's own tests, the graph of a TF-Hub module, and small files built here.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use featvec_formats::onnx::{Attribute, Graph, Initializer, Model, Node, Size, Value};
use featvec_formats::protobuf::Writer;
use featvec_formats::{BundleWriter, Tensor, TensorData};
use flate2::read::GzDecoder;

/// A file of the project's tests, below `crates`.
pub fn fixture(name: &str) -> Vec<u8> {
    read(&crates().join(name))
}

/// The pictures of the project's tests that are small enough to be changed some hundred times in a second.
pub fn pictures() -> Vec<Vec<u8>> {
    const MOST_BYTES: usize = 4 << 10;
    const ENDINGS: [&str; 6] = ["bmp", "gif", "jpg", "png", "tif", "webp"];
    let mut pictures = Vec::new();
    for folder in ["featvec/tests/fixtures/images", "featvec-jpeg/tests/fixtures"] {
        let is_picture =
            |path: &PathBuf| path.extension().is_some_and(|end| ENDINGS.iter().any(|known| end == *known));
        let files = files_in(&crates().join(folder)).into_iter().filter(is_picture);
        pictures.extend(files.map(|path| read(&path)).filter(|bytes| bytes.len() <= MOST_BYTES));
    }
    assert!(
        pictures.len() > 50,
        "the pictures of the tests are the corpus, and only {} were found",
        pictures.len()
    );
    pictures
}

/// The graph for inference of a module that TF-Hub's library exported, without what nothing reads.
pub fn graph() -> Vec<u8> {
    let mut graph = Vec::new();
    let packed = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/inception_v1_graph.pb.gz"));
    GzDecoder::new(&packed[..]).read_to_end(&mut graph).expect("the corpus is sound");
    graph
}

/// The index and the shard of a checkpoint with the first variables of the network.
pub fn first_variables() -> (Vec<u8>, Vec<u8>) {
    let mut writer = BundleWriter::new();
    let mut add = |name: &str, shape: &[usize]| {
        let values = vec![0.5; shape.iter().product()];
        let tensor =
            Tensor::new(shape.to_vec(), TensorData::F32(values)).expect("as many values as the shape says");
        writer.add(&format!("InceptionV1/{name}"), &tensor).expect("a new name");
    };
    let layers: [(&str, [usize; 4]); 2] =
        [("Conv2d_1a_7x7", [7, 7, 3, 64]), ("Conv2d_2b_1x1", [1, 1, 64, 64])];
    for (layer, shape) in layers {
        add(&format!("{layer}/weights"), &shape);
        for variable in ["beta", "moving_mean", "moving_variance"] {
            add(&format!("{layer}/BatchNorm/{variable}"), &shape[3..]);
        }
    }
    writer.finish()
}

/// An ONNX model of one convolution and its ReLU.
pub fn onnx() -> Vec<u8> {
    let texts = |texts: &[&str]| texts.iter().map(|text| text.to_string()).collect::<Vec<_>>();
    let node = |operator: &str, inputs: &[&str], output: &str| Node {
        name: output.to_string(),
        operator: operator.to_string(),
        inputs: texts(inputs),
        outputs: texts(&[output]),
        attributes: vec![
            ("pads".to_string(), Attribute::Ints(vec![1, 1, 0, 2])),
            ("group".to_string(), Attribute::Int(1)),
            ("alpha".to_string(), Attribute::Float(0.5)),
        ],
    };
    let value = |name: &str| Value {
        name: name.to_string(),
        shape: vec![Size::Named("n".to_string()), Size::Known(3), Size::Known(8), Size::Known(8)],
    };
    let graph = Graph {
        name: "network".to_string(),
        nodes: vec![node("Conv", &["images", "filter", "bias"], "conv"), node("Relu", &["conv"], "relu")],
        initializers: vec![
            Initializer::new("filter", &[4, 3, 2, 2], [0.25; 48]),
            Initializer::new("bias", &[4], [0.5; 4]),
        ],
        inputs: vec![value("images")],
        outputs: vec![value("relu")],
    };
    let [producer, producer_version] = ["featvec", "1"].map(String::from);
    Model { ir_version: 7, opset: 13, producer, producer_version, graph }.encode()
}

/// Caffemodels with the layers in the form of before 2014 and of after.
pub fn caffemodels() -> [Vec<u8>; 2] {
    let mut old = Writer::new();
    old.bytes(1, "GoogleNet");
    for (name, kind) in [("conv1/7x7_s2", 4), ("conv1/relu_7x7", 18), ("loss3/classifier", 14)] {
        old.message(2, |layer| {
            layer.bytes(2, "data").bytes(3, name).bytes(4, name).uint64(5, kind);
            for shape in [[3, 2, 2, 2], [1, 1, 1, 3]] {
                layer.message(6, |blob| {
                    for (number, size) in (1..).zip(shape) {
                        blob.uint64(number, size);
                    }
                    blob.packed_float(5, &vec![0.25; shape.iter().product::<u64>() as usize]);
                });
            }
        });
    }
    let mut new = Writer::new();
    new.bytes(1, "GoogleNet");
    for (name, kind) in [("conv1/7x7_s2", "Convolution"), ("loss3/classifier", "InnerProduct")] {
        new.message(100, |layer| {
            layer.bytes(1, name).bytes(2, kind).bytes(3, "data").bytes(4, name);
            layer.message(7, |blob| {
                blob.packed_float(5, &[0.5; 24]).message(7, |shape| {
                    shape.packed_int64(1, &[3, 2, 2, 2]);
                });
            });
            layer.message(7, |blob| {
                blob.packed_double(8, &[0.5; 3]).message(7, |shape| {
                    shape.packed_int64(1, &[3]);
                });
            });
        });
    }
    [old.finish(), new.finish()]
}

/// The files in `folder`, sorted; none if there is no such folder.
pub fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    files
}

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates")
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{} is part of the corpus: {error}", path.display()))
}
