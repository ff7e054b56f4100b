//! Convolutions that read the same maps, with what follows each: normalisation or a bias, and the ReLU.

use std::ops::Range;

use featvec_kernels::train::{
    Convolution, ImageConvolution, Normal, Scratch, Statistics, moments, normalize, normalize_backward,
};
use featvec_kernels::{Maps, Team};

use super::layer::Layer;
use crate::variables::{Shift, Variables};

/// What all blocks work with.
pub(super) struct Context<'a> {
    pub team: &'a Team,
    pub scratch: &'a mut Scratch,
    pub variables: &'a Variables,
    pub layers: &'a mut [Layer],
}

/// What a block reads: pictures `[n, h, w, 3]`, or maps.
#[derive(Clone, Copy)]
pub(super) enum Input<'a> {
    Images(&'a [f32]),
    Maps(&'a Maps),
}

pub(super) enum Filter {
    Image(ImageConvolution),
    Maps(Convolution),
}

/// A layer of a block.
struct Part {
    /// Which of the network's layers.
    layer: usize,
    /// Its channels of the sums.
    channels: Range<usize>,
    /// What normalised its sums in the last pass forward.
    scale: Scale,
}

#[derive(Default)]
struct Scale {
    mean: Vec<f32>,
    variance: Vec<f32>,
    rstd: Vec<f32>,
    beta: Vec<f32>,
}

impl Scale {
    fn normal(&self) -> Normal<'_> {
        Normal { mean: &self.mean, rstd: &self.rstd, beta: &self.beta }
    }
}

pub(super) struct Block {
    filter: Filter,
    parts: Vec<Part>,
    /// What the filters give; on the way back the gradient to that.
    sums: Maps,
}

impl Block {
    /// A block of `layers` (each an index and its channels) whose filters give `sums`.
    pub fn new(filter: Filter, layers: &[(usize, usize)], sums: Maps) -> Block {
        let mut from = 0;
        let part = |&(layer, channels): &(usize, usize)| {
            from += channels;
            Part { layer, channels: from - channels..from, scale: Scale::default() }
        };
        Block { filter, parts: layers.iter().map(part).collect(), sums }
    }

    /// Makes the filters of `variables` ready.
    pub fn set_filter(&mut self, (team, scratch): (&Team, &mut Scratch), variables: &Variables) {
        let weights: Vec<&[f32]> =
            self.parts.iter().map(|part| &variables.layer(part.layer).weights[..]).collect();
        match &mut self.filter {
            Filter::Image(filter) => filter.set_filter(weights[0]),
            Filter::Maps(filter) => filter.set_filter(team, scratch, &weights),
        }
    }

    /// Whether any of its layers is trained.
    pub fn is_trained(&self, layers: &[Layer]) -> bool {
        self.parts.iter().any(|part| layers[part.layer].is_trained())
    }

    /// Whether any of its filters is.
    pub fn has_trained_filter(&self, layers: &[Layer]) -> bool {
        self.parts.iter().any(|part| layers[part.layer].weights.is_some())
    }

    /// Computes the sums and what normalises them.
    pub fn forward(&mut self, context: &mut Context<'_>, input: Input<'_>) {
        match (&mut self.filter, input) {
            (Filter::Image(filter), Input::Images(images)) => {
                filter.forward(context.team, images, &mut self.sums);
            }
            (Filter::Maps(filter), Input::Maps(maps)) => {
                filter.forward(context.team, context.scratch, maps, &mut self.sums);
            }
            _ => unreachable!("only the first convolution reads pictures"),
        }
        let of_batch = |part: &Part| context.layers[part.layer].observed.is_some();
        let moments = self.parts.iter().any(of_batch).then(|| moments(context.team, &self.sums));
        for part in &mut self.parts {
            let epsilon = f64::from(context.variables.epsilon);
            let rstd = |variance: &[f32]| {
                variance.iter().map(|v| (1.0 / (f64::from(*v) + epsilon).sqrt()) as f32).collect()
            };
            let moments = moments.as_ref().filter(|_| context.layers[part.layer].observed.is_some());
            part.scale = match (&context.variables.layer(part.layer).shift, moments) {
                (Shift::Bias(bias), _) => Scale {
                    mean: vec![0.0; bias.len()],
                    variance: Vec::new(),
                    rstd: vec![1.0; bias.len()],
                    beta: bias.clone(),
                },
                (Shift::BatchNorm { beta, moving_mean, moving_variance }, moments) => {
                    let (mean, variance) = match moments {
                        Some(moments) => {
                            (&moments.mean[part.channels.clone()], &moments.variance[part.channels.clone()])
                        }
                        None => (&moving_mean[..], &moving_variance[..]),
                    };
                    Scale {
                        mean: mean.to_vec(),
                        variance: variance.to_vec(),
                        rstd: rstd(variance),
                        beta: beta.clone(),
                    }
                }
            };
        }
    }

    /// Writes the result of layer `part` to `y`, from a channel on.
    pub fn normalize(&self, context: &Context<'_>, part: usize, y: (&mut Maps, usize)) {
        let Part { channels, scale, .. } = &self.parts[part];
        normalize(context.team, &self.sums, channels.clone(), &scale.normal(), y);
    }

    /// From the gradient to the result of layer `part`, `dy` from a channel on, to that of its sums, which takes their
    /// place, and of what was added to them.
    pub fn normalize_backward(&mut self, context: &mut Context<'_>, part: usize, dy: (&Maps, usize)) {
        let Part { layer, channels, scale } = &self.parts[part];
        let layer = &mut context.layers[*layer];
        let statistics = if layer.observed.is_some() { Statistics::Batch } else { Statistics::Fixed };
        let normal = scale.normal();
        let dshift =
            normalize_backward(context.team, &mut self.sums, channels.clone(), &normal, dy, statistics);
        if let Some(shift) = &mut layer.shift {
            shift.add(dshift);
        }
    }

    /// From the gradient to the sums to those of the filters.
    pub fn backward_filter(&self, context: &mut Context<'_>, input: Input<'_>) {
        if !self.has_trained_filter(context.layers) {
            return;
        }
        let mut gradients: Vec<Vec<f32>> = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            gradients.push(match &mut context.layers[part.layer].weights {
                Some(weights) => weights.room(),
                None => vec![0.0; context.variables.layer(part.layer).weights.len()],
            });
        }
        let mut parts: Vec<&mut [f32]> = gradients.iter_mut().map(|part| &mut part[..]).collect();
        match (&self.filter, input) {
            (Filter::Image(filter), Input::Images(_)) => {
                filter.backward_filter(context.team, context.scratch, &self.sums, parts[0]);
            }
            (Filter::Maps(filter), Input::Maps(maps)) => {
                filter.backward_filter(context.team, context.scratch, (maps, &self.sums), &mut parts);
            }
            _ => unreachable!("only the first convolution reads pictures"),
        }
        for (part, gradient) in self.parts.iter().zip(gradients) {
            if let Some(weights) = &mut context.layers[part.layer].weights {
                weights.add(gradient);
            }
        }
    }

    /// From the gradient to the sums to that of the maps that were read.
    pub fn backward_input(&self, context: &mut Context<'_>, dinput: &mut Maps) {
        match &self.filter {
            Filter::Image(_) => unreachable!("nobody asks for the gradient to the pictures"),
            Filter::Maps(filter) => {
                filter.backward_input(context.team, context.scratch, &self.sums, dinput);
            }
        }
    }

    /// Tells the layers what the statistics of the last batch were.
    pub fn observe(&self, layers: &mut [Layer]) {
        let [_, h, w] = self.sums.shape();
        for Part { layer, scale, .. } in &self.parts {
            if let Some(observed) = &mut layers[*layer].observed {
                observed.add(&scale.mean, &scale.variance, self.sums.images() * h * w);
            }
        }
    }
}
