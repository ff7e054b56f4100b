//! From named tensors to the network's variables, for each kind of source. Shapes and values are checked; what is
//! missing, surplus or no number is named.

use std::collections::BTreeSet;

use super::graph::{ConvNames, Recognized, ShiftNames};
use crate::network::{
    BETA, BIASES, Conv, MOVING_MEAN, MOVING_VARIANCE, Network, PAPER_AUXILIARY, Variant, WEIGHTS,
};
use crate::tensor::first_not_finite;
use crate::variables::{ConvVariables, Shift, Variables};
use crate::{Error, ErrorKind, Result};
use featvec_formats::{Caffemodel, Checkpoint, Tensor};

/// The variables of a Hub module, by the names that its graph gives them.
pub(super) fn from_module(graph: &Recognized, checkpoint: &Checkpoint) -> Result<Variables> {
    let classes = match &graph.logits {
        Some([weights, _]) => Some(last_dimension(checkpoint, weights)?),
        None => None,
    };
    let network = Network { variant: graph.variant, classes };
    let (convs, logits) = read_layers(checkpoint, &network, (&graph.convs, graph.logits.as_ref()))?;
    if let Some(entry) = checkpoint.entries().find(|entry| !graph.declared.contains(&entry.name)) {
        let message = "the module's graph has no such variable";
        return Err(Error::new(ErrorKind::Mismatch, tensor_place(checkpoint, &entry.name), message)
            .with_hint("the graph and the variables are not of one module"));
    }
    finish(
        Variables { network, affine: graph.affine, epsilon: graph.epsilon, convs, logits },
        checkpoint.place(),
    )
}

/// The variables of a checkpoint, by TF-Slim's names, or by Caffe's in the paper's scope. A checkpoint of a training run
/// may hold other tensors too: optimizer slots, averages, counters.
pub(super) fn from_checkpoint(checkpoint: &Checkpoint) -> Result<Variables> {
    let has = |variant: &Variant| {
        let scope = format!("{}/", variant.scope());
        checkpoint.entries().any(|entry| entry.name.starts_with(&scope))
    };
    let Some(variant) = [Variant::Slim, Variant::Paper].into_iter().find(has) else {
        let scope = Variant::Slim.scope();
        let scopes: BTreeSet<_> =
            checkpoint.entries().filter_map(|e| e.name.split('/').next()).take(5).collect();
        let message = format!("no variables under {scope:?}: not a TF-Slim checkpoint of Inception V1");
        let hint = format!("the checkpoint has tensors under {}", Vec::from_iter(scopes).join(", "));
        return Err(Error::new(ErrorKind::Mismatch, checkpoint.place(), message).with_hint(hint));
    };
    let scope = variant.scope();
    let without_logits = Network { variant, classes: None };
    let name = |conv: &Conv, variable: &str| format!("{scope}/{}/{variable}", conv.name);
    let sample = Network { classes: Some(1), ..without_logits };
    let logits_weights = sample.logits().map(|conv| name(&conv, WEIGHTS));
    let classes = match logits_weights.filter(|name| checkpoint.entry(name).is_some()) {
        Some(name) => Some(last_dimension(checkpoint, &name)?),
        None => None,
    };
    let network = Network { classes, ..without_logits };
    let names = |conv: &Conv| ConvNames {
        weights: name(conv, WEIGHTS),
        shift: match variant {
            Variant::Slim => ShiftNames::BatchNorm {
                beta: name(conv, BETA),
                moving: [name(conv, MOVING_MEAN), name(conv, MOVING_VARIANCE)],
            },
            Variant::Paper => ShiftNames::Bias(name(conv, BIASES)),
        },
    };
    let conv_names: Vec<ConvNames> = network.convs().iter().map(names).collect();
    let logits_names = network.logits().map(|conv| [name(&conv, WEIGHTS), name(&conv, BIASES)]);
    let (convs, logits) = read_layers(checkpoint, &network, (&conv_names, logits_names.as_ref()))?;
    refuse_surplus(checkpoint, &network)?;
    let (affine, epsilon) = (variant.affine(), variant.epsilon());
    finish(Variables { network, affine, epsilon, convs, logits }, checkpoint.place())
}

/// The numbers of the network's layers, from the variables with the given names.
fn read_layers(
    checkpoint: &Checkpoint,
    network: &Network,
    (conv_names, logits_names): (&[ConvNames], Option<&[String; 2]>),
) -> Result<(Vec<ConvVariables>, Option<ConvVariables>)> {
    let mut convs = Vec::new();
    for (conv, names) in network.convs().iter().zip(conv_names) {
        let channels = &conv.shape[3..];
        convs.push(ConvVariables {
            weights: read(checkpoint, &names.weights, &conv.shape)?,
            shift: match &names.shift {
                ShiftNames::BatchNorm { beta, moving: [mean, variance] } => Shift::BatchNorm {
                    beta: read(checkpoint, beta, channels)?,
                    moving_mean: read(checkpoint, mean, channels)?,
                    moving_variance: read(checkpoint, variance, channels)?,
                },
                ShiftNames::Bias(bias) => Shift::Bias(read(checkpoint, bias, channels)?),
            },
        });
    }
    let logits = match (network.logits(), logits_names) {
        (Some(conv), Some([weights, biases])) => Some(ConvVariables {
            weights: read(checkpoint, weights, &conv.shape)?,
            shift: Shift::Bias(read(checkpoint, biases, &conv.shape[3..])?),
        }),
        _ => None,
    };
    Ok((convs, logits))
}

/// A weight that the network does not have means another network, even if all of ours are there. Whatever hangs below
/// a variable's name is an optimizer's.
fn refuse_surplus(checkpoint: &Checkpoint, network: &Network) -> Result<()> {
    let known: BTreeSet<String> = network.variables().into_iter().map(|variable| variable.name).collect();
    let scope = format!("{}/", network.variant.scope());
    let is_slot = |name: &str| {
        let mut parents = name.match_indices('/').map(|(end, _)| &name[..end]);
        parents.any(|parent| known.contains(parent))
    };
    for entry in checkpoint.entries().filter(|entry| entry.name.starts_with(&scope)) {
        if !known.contains(&entry.name) && !is_slot(&entry.name) {
            let place = tensor_place(checkpoint, &entry.name);
            return Err(Error::new(ErrorKind::Mismatch, place, "Inception V1 has no such variable")
                .with_hint("the checkpoint is of another network"));
        }
    }
    Ok(())
}

/// The variables of a caffemodel: filters are `[oc, ic, kh, kw]`, and the first one's input channels blue, green, red.
pub(super) fn from_caffemodel(model: &Caffemodel, place: &str) -> Result<Variables> {
    let without_logits = Network { variant: Variant::Paper, classes: None };
    let sample = Network { classes: Some(1), ..without_logits };
    let classifier = sample.logits().and_then(|conv| model.layer(&conv.name));
    let classes = classifier.and_then(|layer| layer.blobs.get(1)).map(|bias| bias.shape().iter().product());
    if classes == Some(0) {
        return Err(Error::new(ErrorKind::Mismatch, place, "a classifier without classes"));
    }
    let network = Network { classes, ..without_logits };
    let mut convs = Vec::new();
    for (index, conv) in network.convs().iter().enumerate() {
        let mut numbers = caffe_layer(model, conv, place)?;
        if index == 0 {
            let oc = conv.shape[3];
            for pixel in numbers.weights.chunks_exact_mut(conv.shape[2] * oc) {
                let (blue, rest) = pixel.split_at_mut(oc);
                blue.swap_with_slice(&mut rest[oc..]);
            }
        }
        convs.push(numbers);
    }
    let logits = network.logits().map(|conv| caffe_layer(model, &conv, place)).transpose()?;
    let known: BTreeSet<String> =
        network.convs().into_iter().chain(network.logits()).map(|conv| conv.name).collect();
    let surplus = |layer: &&featvec_formats::Layer| {
        let auxiliary = PAPER_AUXILIARY.iter().any(|scope| layer.name.starts_with(scope));
        !layer.blobs.is_empty() && !known.contains(&layer.name) && !auxiliary
    };
    if let Some(layer) = model.layers.iter().find(surplus) {
        let place = format!("{place}: layer {:?}", layer.name);
        return Err(Error::new(ErrorKind::Mismatch, place, "GoogLeNet has no such layer with numbers")
            .with_hint("the caffemodel is of another network"));
    }
    let (affine, epsilon) = (network.variant.affine(), network.variant.epsilon());
    finish(Variables { network, affine, epsilon, convs, logits }, place.to_string())
}

fn caffe_layer(model: &Caffemodel, conv: &Conv, place: &str) -> Result<ConvVariables> {
    let place = format!("{place}: layer {:?}", conv.name);
    let mismatch = |message: String| Error::new(ErrorKind::Mismatch, place.as_str(), message);
    let layer = model.layer(&conv.name).ok_or_else(|| {
        mismatch("it is missing".to_string()).with_hint("the caffemodel is not of BVLC's GoogLeNet")
    })?;
    let [weights, bias] = &layer.blobs[..] else {
        return Err(mismatch(format!("{} arrays of numbers, not weights and bias", layer.blobs.len())));
    };
    let [kh, kw, ic, oc] = conv.shape;
    // Older files write a fully connected layer's weights as [1, 1, oc, ic].
    let significant =
        |tensor: &Tensor| tensor.shape().iter().copied().filter(|dim| *dim != 1).collect::<Vec<_>>();
    let expected: Vec<_> = [oc, ic, kh, kw].into_iter().filter(|dim| *dim != 1).collect();
    if significant(weights) != expected || weights.shape().len() > 4 {
        return Err(mismatch(format!("weights of shape {:?}, not {:?}", weights.shape(), [oc, ic, kh, kw])));
    }
    if bias.shape().iter().product::<usize>() != oc {
        return Err(mismatch(format!("biases of shape {:?}, not [{oc}]", bias.shape())));
    }
    let floats = |tensor: &Tensor| tensor.clone().into_f32().map_err(|error| error.within(&place));
    let (oihw, bias) = (floats(weights)?, floats(bias)?);
    let mut hwio = Vec::with_capacity(oihw.len());
    for tap in 0..kh * kw {
        for i in 0..ic {
            hwio.extend((0..oc).map(|o| oihw[(o * ic + i) * kh * kw + tap]));
        }
    }
    Ok(ConvVariables { weights: hwio, shift: Shift::Bias(bias) })
}

fn tensor_place(checkpoint: &Checkpoint, name: &str) -> String {
    format!("{}: tensor {name:?}", checkpoint.place())
}

fn read(checkpoint: &Checkpoint, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    let place = || tensor_place(checkpoint, name);
    let entry = checkpoint.entry(name).ok_or_else(|| {
        let message = format!("it is missing; a tensor of shape {shape:?} expected");
        Error::new(ErrorKind::Mismatch, place(), message)
            .with_hint("the checkpoint is not a whole Inception V1")
    })?;
    if entry.shape != shape {
        let message = format!("its shape is {:?}, not {shape:?}", entry.shape);
        return Err(
            Error::new(ErrorKind::Mismatch, place(), message).with_hint("another network of this name?")
        );
    }
    checkpoint.read(name)?.into_f32().map_err(|error| error.within(&place()))
}

fn last_dimension(checkpoint: &Checkpoint, name: &str) -> Result<usize> {
    let shape = checkpoint.entry(name).map(|entry| &entry.shape[..]).unwrap_or_default();
    shape.last().copied().filter(|classes| *classes > 0).ok_or_else(|| {
        let message = "weights of a classifying layer expected: [1, 1, 1024, classes]";
        Error::new(ErrorKind::Mismatch, tensor_place(checkpoint, name), message)
    })
}

/// Refuses numbers that would make every feature vector useless.
fn finish(variables: Variables, place: String) -> Result<Variables> {
    let layers = variables.network.convs().into_iter().chain(variables.network.logits());
    for (conv, numbers) in layers.zip(variables.convs.iter().chain(&variables.logits)) {
        if let Shift::BatchNorm { moving_variance, .. } = &numbers.shift
            && let Some(index) = moving_variance.iter().position(|v| *v + variables.epsilon <= 0.0)
        {
            let place = format!("{place}: {}/{MOVING_VARIANCE}", conv.name);
            let message =
                format!("element {index} is {}; a variance above zero expected", moving_variance[index]);
            return Err(Error::new(ErrorKind::Corrupt, place, message)
                .with_hint("the training that wrote it diverged, or the file is damaged"));
        }
        for (name, values) in numbers.named() {
            if let Some(index) = first_not_finite(values) {
                let place = format!("{place}: {}/{name}", conv.name);
                let message = format!("element {index} is {}; finite numbers expected", values[index]);
                return Err(Error::new(ErrorKind::Corrupt, place, message)
                    .with_hint("the training that wrote it diverged, or the file is damaged"));
            }
        }
    }
    Ok(variables)
}
