//! Modules with random numbers.

use std::path::Path;

use featvec::network::{Network, Variant};
use featvec::{LoadOptions, Module};
use featvec_formats::protobuf::Writer;
use featvec_formats::{BundleWriter, Tensor as Variable, TensorData};

pub const CLASSES: usize = 10;

pub const SLIM_INDEX: &str = "model.ckpt.index";

/// Numbers in [-1, 1), the same at every run.
pub fn numbers(len: usize, seed: usize) -> impl Iterator<Item = f32> {
    (0..len as u32).map(move |i| {
        let hash = (i + seed as u32).wrapping_mul(2_654_435_761) ^ i.wrapping_mul(0x9e37);
        (hash >> 8) as f32 / (1 << 23) as f32 - 1.0
    })
}

/// A filter whose results are of order one.
pub fn filter([kh, kw, ic, oc]: [usize; 4], seed: usize) -> Vec<f32> {
    let scale = (6.0 / (kh * kw * ic) as f32).sqrt();
    numbers(kh * kw * ic * oc, seed).map(|x| x * scale).collect()
}

/// A TF-Slim checkpoint with random numbers.
pub fn slim(folder: &Path) -> Module {
    let network = Network { variant: Variant::Slim, classes: Some(CLASSES) };
    let mut writer = BundleWriter::new();
    for (seed, variable) in network.variables().into_iter().enumerate() {
        let numbers = match *variable.shape {
            [kh, kw, ic, oc] => filter([kh, kw, ic, oc], seed),
            _ if variable.name.ends_with("variance") => {
                numbers(variable.shape[0], seed).map(|x| 1.5 + x).collect()
            }
            _ => numbers(variable.shape[0], seed).map(|x| 0.3 * x).collect(),
        };
        let tensor = Variable::new(variable.shape, TensorData::F32(numbers)).unwrap();
        writer.add(&variable.name, &tensor).unwrap();
    }
    let (index, shard) = writer.finish();
    let path = folder.join(SLIM_INDEX);
    std::fs::write(&path, index).unwrap();
    std::fs::write(folder.join("model.ckpt.data-00000-of-00001"), shard).unwrap();
    load(&path)
}

/// A caffemodel with random numbers.
pub fn paper(folder: &Path) -> Module {
    let network = Network { variant: Variant::Paper, classes: Some(CLASSES) };
    let mut model = Writer::new();
    model.bytes(1, "GoogLeNet");
    for (seed, conv) in network.convs().into_iter().chain(network.logits()).enumerate() {
        let [kh, kw, ic, oc] = conv.shape;
        let blob = |layer: &mut Writer, sizes: &[usize], numbers: &[f32]| {
            let sizes: Vec<i64> = sizes.iter().map(|size| *size as i64).collect();
            layer.message(7, |blob| {
                blob.packed_float(5, numbers).message(7, |shape| {
                    shape.packed_int64(1, &sizes);
                });
            });
        };
        model.message(100, |layer| {
            layer.bytes(1, &conv.name);
            layer.bytes(2, if conv.name.contains("classifier") { "InnerProduct" } else { "Convolution" });
            blob(layer, &[oc, ic, kh, kw], &filter(conv.shape, seed));
            blob(layer, &[oc], &Vec::from_iter(numbers(oc, seed).map(|x| 0.3 * x)));
        });
    }
    let path = folder.join("random.caffemodel");
    std::fs::write(&path, model.finish()).unwrap();
    load(&path)
}

pub fn load(path: &Path) -> Module {
    let options = LoadOptions { any_size: true, ..LoadOptions::default() };
    Module::load_with(path.to_str().unwrap(), &options, &mut |_| {}).unwrap()
}
