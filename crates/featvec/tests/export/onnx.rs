//! ONNX models: run by a naive interpreter, and compared with what the module itself computes.

use std::collections::HashMap;

use featvec::export::{ExportOptions, OnnxModel, to_onnx};
use featvec::module::{DEFAULT, IMAGE_CLASSIFICATION, IMAGE_FEATURE_VECTOR};
use featvec::{ErrorKind, Limits, LoadOptions, Module, Tensor};
use featvec_formats::onnx::{Attribute, Node, Size};

use crate::support::{SLIM_INDEX, numbers, paper, slim};

/// Both sum in `f32`, in different orders.
const TOLERANCE: f32 = 2e-5;

fn options(signature: &str, outputs: &[&str], size: [usize; 2]) -> ExportOptions {
    ExportOptions {
        signature: signature.to_string(),
        outputs: outputs.iter().map(|name| name.to_string()).collect(),
        size: Some(size),
    }
}

/// A value of a model: its sizes, and its numbers in row-major order.
type Array = (Vec<usize>, Vec<f32>);

/// Runs `model` on `images` by the definitions of ONNX's operators, one loop each.
fn interpret(model: &OnnxModel, images: &Tensor) -> HashMap<String, Array> {
    let graph = &model.graph;
    let mut values: HashMap<String, Array> = HashMap::new();
    values.insert(graph.inputs[0].name.clone(), (images.shape().to_vec(), images.data().to_vec()));
    for constant in &graph.initializers {
        let shape = constant.shape.iter().map(|size| *size as usize).collect();
        values.insert(constant.name.clone(), (shape, constant.numbers().collect()));
    }
    for node in &graph.nodes {
        let inputs: Vec<&Array> = node.inputs.iter().map(|name| &values[name]).collect();
        let value = compute(node, &inputs);
        values.insert(node.outputs[0].clone(), value);
    }
    values
}

fn ints(node: &Node, name: &str) -> Vec<usize> {
    let found = node.attributes.iter().find(|(attribute, _)| attribute == name);
    match found {
        Some((_, Attribute::Ints(values))) => values.iter().map(|value| *value as usize).collect(),
        other => panic!("{}: {name} is {other:?}", node.name),
    }
}

fn float(node: &Node, name: &str) -> f32 {
    match node.attributes.iter().find(|(attribute, _)| attribute == name) {
        Some((_, Attribute::Float(value))) => *value,
        Some((_, Attribute::Int(value))) => *value as f32,
        other => panic!("{}: {name} is {other:?}", node.name),
    }
}

fn compute(node: &Node, inputs: &[&Array]) -> Array {
    let (shape, data) = inputs[0];
    let per_channel = |f: &dyn Fn(f32, f32) -> f32| {
        let pixels = shape[2] * shape[3];
        let channel = |i: usize| inputs[1].1[i / pixels % shape[1]];
        (shape.clone(), data.iter().enumerate().map(|(i, x)| f(*x, channel(i))).collect())
    };
    match node.operator.as_str() {
        "Mul" => per_channel(&|x, y| x * y),
        "Add" => per_channel(&|x, y| x + y),
        "Relu" => (shape.clone(), data.iter().map(|x| x.max(0.0)).collect()),
        "Transpose" => {
            let axes = ints(node, "perm");
            let to: Vec<usize> = axes.iter().map(|axis| shape[*axis]).collect();
            let stride = |axis: usize| shape[axis + 1..].iter().product::<usize>();
            let at = |mut i: usize| {
                let mut from = 0;
                for (axis, size) in axes.iter().zip(&to).rev() {
                    from += i % size * stride(*axis);
                    i /= size;
                }
                data[from]
            };
            let moved = (0..data.len()).map(at).collect();
            (to, moved)
        }
        "Conv" => {
            let ((filter, weights), (_, bias)) = (inputs[1], inputs[2]);
            assert_eq!((filter[1], bias.len()), (shape[1], filter[0]), "{}", node.name);
            let taps = filter[2] * filter[3];
            windows(node, shape, filter[0], &|image, channel, reached| {
                reached.iter().fold(bias[channel], |sum, &(tap, pixel)| {
                    (0..shape[1]).fold(sum, |sum, ic| {
                        let x = data[(image * shape[1] + ic) * shape[2] * shape[3] + pixel];
                        x.mul_add(weights[(channel * shape[1] + ic) * taps + tap], sum)
                    })
                })
            })
        }
        "MaxPool" => windows(node, shape, shape[1], &|image, channel, reached| {
            let plane = &data[(image * shape[1] + channel) * shape[2] * shape[3]..];
            reached.iter().fold(f32::NEG_INFINITY, |most, &(_, pixel)| most.max(plane[pixel]))
        }),
        "LRN" => {
            let (pixels, half) = (shape[2] * shape[3], float(node, "size") as usize / 2);
            let scale = float(node, "alpha") / float(node, "size");
            let normed = |(i, x): (usize, &f32)| {
                let channel = i / pixels % shape[1];
                let square = |other: usize| data[i + other * pixels - channel * pixels].powi(2);
                let sum: f32 =
                    (channel.saturating_sub(half)..(channel + half + 1).min(shape[1])).map(square).sum();
                x / (float(node, "bias") + scale * sum).powf(float(node, "beta"))
            };
            (shape.clone(), data.iter().enumerate().map(normed).collect())
        }
        "Concat" => {
            let pixels = shape[2] * shape[3];
            let of_image = |image: usize| {
                inputs
                    .iter()
                    .flat_map(move |(shape, data)| data.chunks(shape[1] * pixels).nth(image).unwrap())
            };
            let channels = inputs.iter().map(|(shape, _)| shape[1]).sum();
            let joined = (0..shape[0]).flat_map(of_image).copied().collect();
            (vec![shape[0], channels, shape[2], shape[3]], joined)
        }
        "GlobalAveragePool" => {
            let pixels = shape[2] * shape[3];
            let mean = |plane: &[f32]| plane.iter().sum::<f32>() / pixels as f32;
            (vec![shape[0], shape[1], 1, 1], data.chunks(pixels).map(mean).collect())
        }
        "Flatten" => (vec![shape[0], shape[1..].iter().product()], data.clone()),
        "Softmax" => {
            let rows = data.chunks(shape[1]).flat_map(|row| {
                let sum: f32 = row.iter().map(|x| x.exp()).sum();
                row.iter().map(move |x| x.exp() / sum)
            });
            (shape.clone(), rows.collect())
        }
        other => panic!("{}: the operator {other}", node.name),
    }
}

/// A tap of a window, and the pixel under it.
type Reached = (usize, usize);

/// Moves the window of `node` over maps of `shape`. `f` gets image, output channel, and what the window reaches, which
/// padding is not among.
fn windows(
    node: &Node,
    shape: &[usize],
    channels: usize,
    f: &dyn Fn(usize, usize, &[Reached]) -> f32,
) -> Array {
    let (size, strides, pads) = (ints(node, "kernel_shape"), ints(node, "strides"), ints(node, "pads"));
    assert!((0..2).all(|axis| pads[axis] < size[axis] && pads[axis + 2] < size[axis]), "{}", node.name);
    let (h, w) = (shape[2], shape[3]);
    let out = |axis: usize| (shape[axis + 2] + pads[axis] + pads[axis + 2] - size[axis]) / strides[axis] + 1;
    let (rows, columns) = (out(0), out(1));
    let mut values = vec![0.0; shape[0] * channels * rows * columns];
    for y in 0..rows {
        for x in 0..columns {
            let place = |tap: usize| {
                let row = (y * strides[0] + tap / size[1]).checked_sub(pads[0]).filter(|row| *row < h)?;
                let column =
                    (x * strides[1] + tap % size[1]).checked_sub(pads[1]).filter(|column| *column < w)?;
                Some((tap, row * w + column))
            };
            let reached: Vec<_> = (0..size[0] * size[1]).filter_map(place).collect();
            for image in 0..shape[0] {
                for channel in 0..channels {
                    values[((image * channels + channel) * rows + y) * columns + x] =
                        f(image, channel, &reached);
                }
            }
        }
    }
    (vec![shape[0], channels, rows, columns], values)
}

/// Exports all outputs of `signature`, runs the model, and compares with the module.
fn assert_computes_the_same(module: &Module, signature: &str, size: [usize; 2]) {
    let names: Vec<&str> = module.signatures()[signature].outputs().map(|(name, _)| name).collect();
    let model = to_onnx(module, &options(signature, &names, size)).unwrap();
    let shape = [2, size[0], size[1], 3];
    let images = Tensor::new(shape, numbers(shape.iter().product(), 7).map(f32::abs).collect()).unwrap();
    let values = interpret(&model, &images);
    let expected = module.run_outputs(signature, &images, &names).unwrap();
    for ((name, expected), declared) in names.iter().zip(&expected).zip(&model.graph.outputs) {
        let (shape, data) = &values[*name];
        assert_eq!(shape, expected.shape(), "{name}");
        let sizes = [Size::Named("n".to_string())].into_iter();
        let sizes = sizes.chain(shape[1..].iter().map(|size| Size::Known(*size as i64)));
        assert_eq!((&*declared.name, &declared.shape), (*name, &Vec::from_iter(sizes)));
        let largest = expected.data().iter().fold(0.0f32, |most, x| most.max(x.abs()));
        let error = data.iter().zip(expected.data()).fold(0.0f32, |most, (x, y)| most.max((x - y).abs()));
        assert!(largest > 0.0 && error <= TOLERANCE * largest, "{name}: {error} of {largest}");
    }
}

#[test]
fn tf_slims_network_computes_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let module = slim(folder.path());
    assert_computes_the_same(&module, IMAGE_CLASSIFICATION, [33, 65]);
    assert_computes_the_same(&module, IMAGE_FEATURE_VECTOR, [48, 32]);
}

#[test]
fn the_papers_network_computes_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let module = paper(folder.path());
    assert_computes_the_same(&module, IMAGE_CLASSIFICATION, [33, 65]);
    assert_computes_the_same(&module, IMAGE_FEATURE_VECTOR, [48, 32]);
}

#[test]
fn every_number_and_node_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let model = to_onnx(&slim(folder.path()), &ExportOptions::default()).unwrap();
    let mut bytes = model.encode();
    let limits = Limits::default();
    model.verify(&bytes, &limits).unwrap();
    assert_eq!((model.ir_version, model.opset), (7, 13));
    let operators = |name: &str| model.graph.nodes.iter().filter(|node| node.operator == name).count();
    assert_eq!(["Conv", "Relu", "MaxPool", "Concat"].map(operators), [57, 57, 13, 9]);
    assert_eq!(model.graph.initializers.len(), 2 * 57 + 2);

    // The lowest bit of the last constant.
    let last = &model.graph.initializers.last().unwrap().bytes;
    let place = bytes.windows(last.len()).rposition(|window| window == last).unwrap();
    bytes[place] ^= 1;
    let error = model.verify(&bytes, &limits).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.place().ends_with("/biases"), "{error}");
    assert!(model.verify(&bytes[..bytes.len() / 2], &limits).is_err());
}

#[test]
fn what_no_output_needs_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let module = slim(folder.path());
    let third = module.output_name(DEFAULT, "MaxPool_2a_3x3").unwrap();
    let model = to_onnx(&module, &options(DEFAULT, &[&third], [32, 32])).unwrap();
    let operators: Vec<&str> = model.graph.nodes.iter().map(|node| node.operator.as_str()).collect();
    assert_eq!(operators, ["Transpose", "Mul", "Add", "Conv", "Relu", "MaxPool", "Transpose"]);
}

#[test]
fn what_cannot_be_exported_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let module = slim(folder.path());
    let refused = |options: ExportOptions, kind, text: &str| {
        let error = to_onnx(&module, &options).unwrap_err();
        assert!(error.to_string().contains(text) && error.kind() == kind, "{error}");
    };
    refused(options("nosuch", &[DEFAULT], [32, 32]), ErrorKind::Argument, "no signature \"nosuch\"");
    refused(options(DEFAULT, &["nosuch"], [32, 32]), ErrorKind::Argument, "no output \"nosuch\"");
    refused(options(DEFAULT, &[DEFAULT, DEFAULT], [32, 32]), ErrorKind::Mismatch, "have this name");
    refused(options(DEFAULT, &[DEFAULT], [31, 32]), ErrorKind::Argument, "at least 32x32");
    refused(options(DEFAULT, &[DEFAULT], [1 << 13, 1 << 12]), ErrorKind::Limit, "more than");

    let train = LoadOptions { tags: ["train".to_string()].into(), ..LoadOptions::default() };
    let path = folder.path().join(SLIM_INDEX);
    let training = Module::load_with(path.to_str().unwrap(), &train, &mut |_| {}).unwrap();
    let error = to_onnx(&training, &ExportOptions::default()).unwrap_err();
    assert!(error.to_string().contains("without --tags train"), "{error}");

    let fixed = Module::load(path.to_str().unwrap()).unwrap();
    let error = to_onnx(&fixed, &options(DEFAULT, &[DEFAULT], [32, 32])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch, "{error}");
}
