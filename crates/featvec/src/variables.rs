//! The trained numbers of a network, layer by layer, in the form that training changes them.

use featvec_kernels::Affine;

use crate::network::Network;

/// What a convolution adds to its result before the ReLU.
#[derive(Clone, Debug)]
pub enum Shift {
    /// TF-Slim: batch normalisation without scale.
    BatchNorm {
        /// The summand, one per channel.
        beta: Vec<f32>,
        /// Moving average of the mean, one per channel.
        moving_mean: Vec<f32>,
        /// Moving average of the variance, one per channel.
        moving_variance: Vec<f32>,
    },
    /// Caffe: a bias, one per channel.
    Bias(Vec<f32>),
}

/// The trained numbers of one convolution.
#[derive(Clone, Debug)]
pub struct ConvVariables {
    /// The filter, `[kh, kw, ic, oc]`; its input channels are red, green, blue where it reads the picture.
    pub weights: Vec<f32>,
    /// What is added.
    pub shift: Shift,
}

/// A network with its trained numbers: all that a forward pass depends on.
#[derive(Clone, Debug)]
pub struct Variables {
    /// Which network they belong to.
    pub network: Network,
    /// What is done to the picture, in [0, 1], before the first convolution.
    pub affine: Affine,
    /// What batch normalisation adds to the variance.
    pub epsilon: f32,
    /// In the order of [`Network::convs`].
    pub convs: Vec<ConvVariables>,
    /// The classifying layer, with a bias.
    pub logits: Option<ConvVariables>,
}

/// A convolution as inference runs it: batch normalisation folded into filter and bias.
pub(crate) struct Folded {
    pub weights: Vec<f32>,
    pub bias: Vec<f32>,
}

impl ConvVariables {
    /// `w / sqrt(variance + epsilon)` and `beta - mean / sqrt(variance + epsilon)`, computed in `f64` so that folding
    /// adds one rounding only.
    pub(crate) fn fold(&self, epsilon: f32) -> Folded {
        match &self.shift {
            Shift::Bias(bias) => Folded { weights: self.weights.clone(), bias: bias.clone() },
            Shift::BatchNorm { beta, moving_mean, moving_variance } => {
                let scale: Vec<f64> = moving_variance
                    .iter()
                    .map(|variance| 1.0 / (f64::from(*variance) + f64::from(epsilon)).sqrt())
                    .collect();
                let weights = self
                    .weights
                    .chunks_exact(scale.len())
                    .flat_map(|row| row.iter().zip(&scale).map(|(w, scale)| (f64::from(*w) * scale) as f32))
                    .collect();
                let bias = beta
                    .iter()
                    .zip(moving_mean)
                    .zip(&scale)
                    .map(|((beta, mean), scale)| (f64::from(*beta) - f64::from(*mean) * scale) as f32)
                    .collect();
                Folded { weights, bias }
            }
        }
    }
}
