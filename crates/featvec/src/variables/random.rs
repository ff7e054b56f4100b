//! Numbers to begin training with.

use featvec_kernels::Affine;

use super::{ConvVariables, Shift, Variables};
use crate::network::{BATCH_NORM_EPSILON, Conv, Network, PAPER_MEAN, Variant};
use crate::random::Random;

/// The deviation of TF-Slim's filters.
const SLIM_DEVIATION: f32 = 0.01;
/// What TF-Slim multiplies a variance by that a normal distribution cut at two deviations makes smaller.
const TRUNCATION: f32 = 1.3;
/// What Caffe's convolutions begin with as their bias.
const PAPER_BIAS: f32 = 0.2;

impl Variables {
    /// A network as its authors begin to train it; the same numbers for the same `seed`.
    ///
    /// TF-Slim: filters from a normal distribution of deviation 0.01 that is cut at two deviations, the classifying
    /// layer's by [`with_classes`](Variables::with_classes), zeros, and moving variances of 1. Caffe: uniform filters
    /// of variance `1 / (kh * kw * ic)`, biases of 0.2 (of the classifying layer 0).
    pub fn random(network: Network, seed: u64) -> Variables {
        let convs = network.convs();
        let numbers = |(stream, conv): (usize, &Conv)| {
            let random = Random::new(seed, 1 + stream as u64);
            let channels = conv.shape[3];
            match network.variant {
                Variant::Slim => ConvVariables {
                    weights: truncated_normals(random, conv, SLIM_DEVIATION),
                    shift: Shift::BatchNorm {
                        beta: vec![0.0; channels],
                        moving_mean: vec![0.0; channels],
                        moving_variance: vec![1.0; channels],
                    },
                },
                Variant::Paper => ConvVariables {
                    weights: uniform(random, conv),
                    shift: Shift::Bias(vec![PAPER_BIAS; channels]),
                },
            }
        };
        let (affine, epsilon) = match network.variant {
            Variant::Slim => (Affine { scale: [2.0; 3], offset: [-1.0; 3] }, BATCH_NORM_EPSILON),
            Variant::Paper => (Affine { scale: [255.0; 3], offset: PAPER_MEAN.map(|mean| -mean) }, 0.0),
        };
        let variables = Variables {
            network: Network { classes: None, ..network },
            affine,
            epsilon,
            convs: convs.iter().enumerate().map(numbers).collect(),
            logits: None,
        };
        match network.classes {
            Some(classes) => variables.with_classes(classes, seed),
            None => variables,
        }
    }

    /// The same network with a new classifying layer for `classes` classes in place of any that it had: a normal
    /// distribution of variance `2 / 1024` that is cut at two deviations, as TF-Slim begins (Caffe: uniform, of half that
    /// variance); the biases are zero.
    pub fn with_classes(mut self, classes: usize, seed: u64) -> Variables {
        self.network.classes = Some(classes);
        self.logits = self.network.logits().map(|conv| {
            let random = Random::new(seed, 0);
            let weights = match self.network.variant {
                Variant::Slim => {
                    let fan_in = conv.shape[2] as f32;
                    truncated_normals(random, &conv, (TRUNCATION * 2.0 / fan_in).sqrt())
                }
                Variant::Paper => uniform(random, &conv),
            };
            ConvVariables { weights, shift: Shift::Bias(vec![0.0; classes]) }
        });
        self
    }
}

fn truncated_normals(random: Random, conv: &Conv, deviation: f32) -> Vec<f32> {
    (0..conv.shape.iter().product()).map(|index| deviation * random.truncated_normal(index)).collect()
}

/// Caffe's "Xavier" filler.
fn uniform(random: Random, conv: &Conv) -> Vec<f32> {
    let [kh, kw, ic, _] = conv.shape;
    let end = (3.0 / (kh * kw * ic) as f32).sqrt();
    (0..conv.shape.iter().product()).map(|index| end * (2.0 * random.uniform(index) - 1.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deviation(values: &[f32]) -> f32 {
        let squares: f64 = values.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
        (squares / values.len() as f64).sqrt() as f32
    }

    #[test]
    fn networks_begin_as_their_authors_train_them() {
        for variant in [Variant::Slim, Variant::Paper] {
            let variables = Variables::random(Network { variant, classes: Some(10) }, 7);
            variables.check().unwrap();
            let again = Variables::random(variables.network, 7);
            assert!(variables.convs.iter().zip(&again.convs).all(|(a, b)| a.weights == b.weights));
            let other = Variables::random(variables.network, 8);
            assert!(variables.convs.iter().zip(&other.convs).all(|(a, b)| a.weights != b.weights));
            for (conv, numbers) in variables.network.convs().iter().zip(&variables.convs) {
                let [kh, kw, ic, _] = conv.shape;
                // A normal distribution that is cut at two deviations has 0.88 of its deviation left.
                let expected = match variant {
                    Variant::Slim => 0.8796 * 0.01,
                    Variant::Paper => (1.0 / (kh * kw * ic) as f32).sqrt(),
                };
                let found = deviation(&numbers.weights);
                assert!((found / expected - 1.0).abs() < 0.05, "{}: {found}, not {expected}", conv.name);
            }
            let found = deviation(&variables.logits.unwrap().weights);
            let expected = if variant == Variant::Slim { (2.0f32 / 1024.0).sqrt() } else { 1.0 / 32.0 };
            assert!((found / expected - 1.0).abs() < 0.05, "{found}, not {expected}");
        }
    }
}
