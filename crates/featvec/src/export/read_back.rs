//! Reading back what was exported, and comparing it.

use std::collections::BTreeSet;
use std::path::Path;

use featvec_formats::{Attr, Graph, compact_steps};

use super::GraphOptions;
use super::saved_model::SERVE;
use crate::extractor::{FeatureExtractor, RunOptions};
use crate::module::{DEFAULT, IMAGE_CLASSIFICATION, IMAGE_FEATURE_VECTOR, TRAIN, variables_of_saved_model};
use crate::network::WEIGHTS;
use crate::plan::{Mode, Value};
use crate::variables::Variables;
use crate::{Error, ErrorKind, Limits, LoadOptions, Module, Result, Tensor};

/// Compares a Hub module, both its graphs, and runs it on a picture.
pub(super) fn hub_module(path: &Path, variables: &Variables, options: &GraphOptions) -> Result<()> {
    let tags = BTreeSet::from([TRAIN.to_string()]);
    let training = Module::open(path, &LoadOptions { tags, ..LoadOptions::default() })?;
    // Logits behind dropout are none of the network's values, so this graph is read without them.
    compare(&variables.without_logits(), training.variables())?;
    let module = Module::open(path, &LoadOptions::default())?;
    compare(variables, module.variables())?;
    if module.expected_image_size()? != options.size || module.batch_norm_decay() != options.batch_norm_decay
    {
        return Err(differs("the size of pictures or the decay of the moving averages"));
    }
    run(&module, variables, options.size)
}

/// Compares a checkpoint or the like.
pub(super) fn checkpoint(path: &Path, variables: &Variables) -> Result<()> {
    let module = Module::open(path, &LoadOptions::default())?;
    compare(variables, module.variables())?;
    run(&module, variables, module.expected_image_size()?)
}

/// Compares a compact file, filters within half of a step.
pub(super) fn compact(path: &Path, variables: &Variables) -> Result<()> {
    let module = Module::open(path, &LoadOptions::default())?;
    let read = module.variables();
    compare_by(variables, read, |(name, channels), a, b| {
        name != WEIGHTS && bits_of(a) == bits_of(b) || name == WEIGHTS && are_rounded(a, b, channels)
    })?;
    run(&module, read, module.expected_image_size()?)
}

/// Compares a SavedModel: its graph must be recognised, and its variables the same.
pub(super) fn saved_model(path: &Path, variables: &Variables) -> Result<()> {
    let tags = BTreeSet::from([SERVE.to_string()]);
    compare(variables, &variables_of_saved_model(path, &tags, &Limits::default())?)
}

/// Compares the constants of a frozen graph.
pub(super) fn frozen_graph(path: &Path, variables: &Variables) -> Result<()> {
    let bytes = std::fs::read(path).map_err(|error| Error::io(path.display().to_string(), error))?;
    let limits = Limits::default();
    let graph = Graph::parse(&bytes, &limits)?;
    for (name, tensor) in super::named_tensors(variables)? {
        let constant = graph.node(&name).and_then(|node| node.attr("value")).and_then(Attr::as_tensor);
        let found = constant.map(|constant| constant.decode(&limits)).transpose()?;
        let bits = |tensor: &featvec_formats::Tensor| tensor.as_f32().map(bits_of);
        if found.as_ref().is_none_or(|found| found.shape() != tensor.shape() || bits(found) != bits(&tensor))
        {
            return Err(differs(&name));
        }
    }
    Ok(())
}

/// Every number, bit by bit.
fn compare(written: &Variables, read: &Variables) -> Result<()> {
    compare_by(written, read, |_, a, b| bits_of(a) == bits_of(b))
}

/// Every variable, by `same`, which is told the variable's name and output channels.
fn compare_by(
    written: &Variables,
    read: &Variables,
    same: impl Fn((&str, usize), &[f32], &[f32]) -> bool,
) -> Result<()> {
    if written.network != read.network {
        return Err(differs("the network"));
    }
    let affine =
        |variables: &Variables| [variables.affine.scale, variables.affine.offset].map(|v| bits_of(&v));
    if affine(written) != affine(read) || written.epsilon.to_bits() != read.epsilon.to_bits() {
        let message = "this format has no place for the module's own scale of pictures or epsilon";
        return Err(Error::new(ErrorKind::Mismatch, "", message)
            .with_hint("export to a format with a graph, such as a Hub module"));
    }
    let layers = written.network.convs().into_iter().chain(written.network.logits());
    let written = written.convs.iter().chain(&written.logits);
    let read = read.convs.iter().chain(&read.logits);
    for ((layer, written), read) in layers.zip(written).zip(read) {
        let (written, read) = (written.named(), read.named());
        let channels = layer.shape[3];
        let all_same = written.len() == read.len()
            && written.iter().zip(&read).all(|(a, b)| a.0 == b.0 && same((a.0, channels), a.1, b.1));
        if !all_same {
            return Err(differs(&format!("{}/{WEIGHTS} or its siblings", layer.name)));
        }
    }
    Ok(())
}

/// Whether `read` are the numbers that a compact file holds which are nearest to `written`.
fn are_rounded(written: &[f32], read: &[f32], channels: usize) -> bool {
    // The nearest, but for the rounding of a quotient of up to 1023; and zero for what is next to nothing.
    const MOST_STEPS: f32 = 0.5001;
    let steps = compact_steps(written, channels);
    let mut all = written.iter().zip(read).zip(steps.iter().cycle());
    written.len() == read.len()
        && all.all(|((a, b), step)| (a - b).abs() <= MOST_STEPS * step + f32::MIN_POSITIVE)
}

fn bits_of(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn differs(what: &str) -> Error {
    Error::corrupt(what, "it is not what was written").with_hint("is the disk in order?")
}

/// The module's outputs for a picture must have the bits that the network itself computes.
fn run(module: &Module, variables: &Variables, [h, w]: [usize; 2]) -> Result<()> {
    // Every colour somewhere, and no symmetry.
    let pixel = |i: usize| (i.wrapping_mul(2_654_435_761) >> 7 & 0xff) as f32 / 255.0;
    let picture = Tensor::new([1, h, w, 3], (0..h * w * 3).map(pixel).collect::<Vec<_>>())?;
    let extractor = FeatureExtractor::new(variables.clone(), &RunOptions::default())?;
    let features = (IMAGE_FEATURE_VECTOR, Value::Features);
    let logits = variables.network.classes.map(|_| (IMAGE_CLASSIFICATION, Value::Logits));
    for (signature, value) in [features].into_iter().chain(logits) {
        let expected = extractor.run(&picture, Mode::Inference, &[value])?;
        let found = module.run_outputs(signature, &picture, &[DEFAULT])?;
        let bits =
            |tensors: &[Tensor]| tensors.iter().map(|tensor| bits_of(tensor.data())).collect::<Vec<_>>();
        if bits(&found) != bits(&expected) {
            return Err(differs(&format!("the output of signature {signature:?}")));
        }
    }
    Ok(())
}
