//! The student before it is taught, and as a network with batch normalisation afterwards.

use super::fit::Fitted;
use super::layers::{Filter, Layers};
use crate::network::{Body, Network};
use crate::variables::{ConvVariables, Shift, Variables};

/// The logit of the background class, which the teacher does not know, below the smallest bias of the others.
const BACKGROUND: f32 = 10.0;

/// The student with the teacher's filters, or the centres of them; the first one for pictures scaled as TF-Slim does it.
pub(super) fn untaught(network: Network, teacher: &Variables) -> Layers {
    let teachers = Layers::of(teacher);
    let shapes = teacher.network.convs().into_iter().zip(network.convs());
    let mut filters: Vec<Filter> = shapes
        .enumerate()
        .map(|(conv, (from, to))| centre(teachers.filter(conv), from.shape, to.shape))
        .collect();
    let (from, to) = (teacher.affine, network.variant.affine());
    // An input x is x * from.scale + from.offset to the teacher and s = x * to.scale + to.offset to the student.
    let first = &mut filters[0];
    let bias = first.nrows() - 1;
    for row in 0..bias {
        let channel = row % 3;
        let scale = from.scale[channel] / to.scale[channel];
        let offset = from.offset[channel] - to.offset[channel] * scale;
        let weights = first.row(row).to_owned();
        first.row_mut(bias).scaled_add(offset, &weights);
        first.row_mut(row).mapv_inplace(|weight| weight * scale);
    }
    Layers::new(network, filters)
}

/// The middle of a filter of shape `from`, as large as `to` says.
fn centre(filter: &Filter, from: [usize; 4], to: [usize; 4]) -> Filter {
    let [kh, kw, ic, oc] = to;
    let (top, left) = ((from[0] - kh) / 2, (from[1] - kw) / 2);
    let bias = filter.nrows() - 1;
    Filter::from_shape_fn((kh * kw * ic + 1, oc), |(row, output)| {
        if row == kh * kw * ic {
            return filter[[bias, output]];
        }
        let (y, x, channel) = (row / ic / kw, row / ic % kw, row % ic);
        filter[[((y + top) * from[1] + x + left) * ic + channel, output]]
    })
}

/// The network whose convolutions are `fitted`, with the teacher's classes behind a background class.
///
/// Batch normalisation has no factor to learn, so each output leaves it with variance 1 at the photographs; the next layers'
/// filters, and those of the classes, make up for that. Moving averages are the statistics of the photographs.
///
/// Also what each channel of each stage's result has been divided by.
pub(super) fn with_statistics(
    network: Network,
    teacher: &Variables,
    fitted: &[Fitted],
) -> (Variables, Vec<Vec<f64>>) {
    let epsilon = network.variant.epsilon();
    let rest = (1.0 + f64::from(epsilon)).sqrt();
    // What each channel of the current map has been divided by.
    let mut scales: Vec<f64> = vec![1.0; 3];
    let mut convs = Vec::with_capacity(fitted.len());
    let mut add = |index: usize, input: &[f64]| -> Vec<f64> {
        let Fitted { filter, mean, variance, .. } = &fitted[index];
        let deviations: Vec<f64> =
            variance.iter().map(|variance| variance.max(f64::from(epsilon)).sqrt()).collect();
        let rows = filter.nrows() - 1;
        let weights = filter.indexed_iter().take(rows * filter.ncols()).map(|((row, output), weight)| {
            (f64::from(*weight) * input[row % input.len()] / deviations[output]) as f32
        });
        let bias = filter.row(rows);
        let beta = bias.iter().zip(mean).zip(&deviations);
        convs.push(ConvVariables {
            weights: weights.collect(),
            shift: Shift::BatchNorm {
                beta: beta.map(|((b, mean), d)| ((f64::from(*b) + mean) / d / rest) as f32).collect(),
                moving_mean: mean.iter().zip(&deviations).map(|(mean, d)| (mean / d) as f32).collect(),
                moving_variance: variance.iter().zip(&deviations).map(|(v, d)| (v / d / d) as f32).collect(),
            },
        });
        // A variance below epsilon stays below 1, and its output is scaled by what remains of it.
        variance.iter().zip(&deviations).map(|(v, d)| d * (v / d / d + f64::from(epsilon)).sqrt()).collect()
    };
    let mut index = 0;
    let mut stages = Vec::new();
    for stage in network.stages() {
        match stage.body {
            Body::MaxPool(_) => {}
            Body::Conv(_) => {
                scales = add(index, &scales);
                index += 1;
            }
            Body::Mixed(_) => {
                let b0 = add(index, &scales);
                let r1 = add(index + 1, &scales);
                let b1 = add(index + 2, &r1);
                let r2 = add(index + 3, &scales);
                let b2 = add(index + 4, &r2);
                let b3 = add(index + 5, &scales);
                scales = [b0, b1, b2, b3].concat();
                index += 6;
            }
        }
        stages.push(scales.clone());
    }
    let logits = teacher.logits.as_ref().map(|logits| with_background(logits, &scales));
    (Variables { network, affine: network.variant.affine(), epsilon, convs, logits }, stages)
}

/// The teacher's classes behind a background class that is never the likeliest, for features divided by `scales`.
fn with_background(logits: &ConvVariables, scales: &[f64]) -> ConvVariables {
    let folded = logits.fold(0.0);
    let classes = folded.bias.len();
    let mut weights = Vec::with_capacity(scales.len() * (classes + 1));
    for (row, scale) in folded.weights.chunks_exact(classes).zip(scales) {
        weights.push(0.0);
        weights.extend(row.iter().map(|weight| (f64::from(*weight) * scale) as f32));
    }
    let lowest = folded.bias.iter().copied().fold(f32::INFINITY, f32::min);
    let bias = [&[lowest - BACKGROUND], &folded.bias[..]].concat();
    ConvVariables { weights, shift: Shift::Bias(bias) }
}
