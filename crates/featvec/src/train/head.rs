//! Dropout and the classifying layer.

use featvec_kernels::train::{Algorithm, Convolution, Scratch};
use featvec_kernels::{Kernels, Maps, Team};

use super::block::Context;
use crate::random::Random;
use crate::variables::{ConvVariables, Shift, Variables};

/// The classifying layer for one number of pictures. To it, the vectors of a batch are one map of `n` pixels, so that its
/// products are those of a 1x1 convolution.
pub(super) struct Head {
    filter: Convolution,
    /// The feature vectors, as far as they are not dropped: `[1024, 1, n]`.
    input: Maps,
    /// The logits, or the gradient to them: `[classes, 1, n]`.
    logits: Maps,
    /// What each element of the feature vectors was multiplied by.
    factors: Vec<f32>,
}

impl Head {
    /// For `n` pictures; none where the network has no classifying layer.
    pub fn new(kernels: &'static Kernels, variables: &Variables, n: usize) -> Option<Head> {
        let shape = variables.network.logits()?.shape;
        let [_, _, ic, oc] = shape;
        Some(Head {
            filter: Convolution::new(kernels, shape, [1, n], Algorithm::Direct),
            input: Maps::new(kernels, 1, [ic, 1, n], 0),
            logits: Maps::new(kernels, 1, [oc, 1, n], 0),
            factors: vec![1.0; ic * n],
        })
    }

    pub fn set_filter(&mut self, (team, scratch): (&Team, &mut Scratch), numbers: &ConvVariables) {
        self.filter.set_filter(team, scratch, &[&numbers.weights]);
    }

    /// The logits `[n, classes]` of `features` `[n, 1024]`, of which each element is kept with the probability `keep` and
    /// then divided by it.
    pub fn forward(
        &mut self,
        context: &mut Context<'_>,
        features: &[f32],
        (keep, random): (f32, Random),
    ) -> Vec<f32> {
        for (index, factor) in self.factors.iter_mut().enumerate() {
            *factor = if random.uniform(index) < keep { 1.0 / keep } else { 0.0 };
        }
        let kept: Vec<f32> = features.iter().zip(&self.factors).map(|(x, factor)| x * factor).collect();
        self.input.load(&kept);
        self.filter.forward(context.team, context.scratch, &self.input, &mut self.logits);
        let [classes, _, n] = self.logits.shape();
        let mut logits = vec![0.0; classes * n];
        self.logits.store(&mut logits);
        if let Some(ConvVariables { shift: Shift::Bias(bias), .. }) = &context.variables.logits {
            for row in logits.chunks_exact_mut(classes) {
                row.iter_mut().zip(bias).for_each(|(logit, bias)| *logit += bias);
            }
        }
        logits
    }

    /// Adds the layer's gradients, given that to the logits; returns that to the feature vectors.
    pub fn backward(&mut self, context: &mut Context<'_>, dlogits: &[f32]) -> Vec<f32> {
        self.logits.load(dlogits);
        let classes = self.logits.shape()[0];
        let layer = context.layers.last_mut().expect("the classifying layer is the last");
        if let Some(weights) = &mut layer.weights {
            let mut gradient = weights.room();
            let maps = (&self.input, &self.logits);
            self.filter.backward_filter(context.team, context.scratch, maps, &mut [&mut gradient]);
            weights.add(gradient);
        }
        if let Some(bias) = &mut layer.shift {
            let mut gradient = bias.room();
            gradient.fill(0.0);
            for row in dlogits.chunks_exact(classes) {
                gradient.iter_mut().zip(row).for_each(|(sum, d)| *sum += d);
            }
            bias.add(gradient);
        }
        // The input is not needed again.
        self.filter.backward_input(context.team, context.scratch, &self.logits, &mut self.input);
        let mut dfeatures = vec![0.0; self.factors.len()];
        self.input.store(&mut dfeatures);
        dfeatures.iter_mut().zip(&self.factors).for_each(|(d, factor)| *d *= factor);
        dfeatures
    }
}
