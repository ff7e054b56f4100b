//! The trained numbers of a network, layer by layer, in the form that training changes them.

mod begin_from;
mod random;

use featvec_kernels::Affine;

use crate::network::{BETA, BIASES, Conv, MOVING_MEAN, MOVING_VARIANCE, Network, WEIGHTS};
use crate::{Error, ErrorKind, Result};

pub use begin_from::{BeginFrom, Trained};

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

impl Variables {
    /// The same without the classifying layer.
    pub fn without_logits(&self) -> Variables {
        let network = Network { classes: None, ..self.network };
        Variables { network, logits: None, convs: self.convs.clone(), ..*self }
    }

    /// The layers with numbers, by their convolution and in order, the classifying layer last.
    pub fn layers(&self) -> impl Iterator<Item = (Conv, &ConvVariables)> {
        let convs = self.network.convs().into_iter().chain(self.network.logits());
        convs.zip(self.convs.iter().chain(&self.logits))
    }

    /// All variables in order: the name as a checkpoint spells it, the shape, the numbers.
    pub fn named(&self) -> impl Iterator<Item = (String, Vec<usize>, &[f32])> {
        let scope = self.network.variant.scope();
        self.layers().flat_map(move |(conv, numbers)| {
            numbers.named().into_iter().map(move |(name, values)| {
                let shape = if name == WEIGHTS { &conv.shape[..] } else { &conv.shape[3..] };
                (format!("{scope}/{}/{name}", conv.name), shape.to_vec(), values)
            })
        })
    }

    /// The numbers of layer `index` of [`layers`](Variables::layers).
    pub(crate) fn layer(&self, index: usize) -> &ConvVariables {
        self.convs.iter().chain(&self.logits).nth(index).expect("a layer of the network")
    }

    pub(crate) fn layer_mut(&mut self, index: usize) -> &mut ConvVariables {
        self.convs.iter_mut().chain(&mut self.logits).nth(index).expect("a layer of the network")
    }

    /// Checks that there are numbers for every layer of the network, as many as its shapes say.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] that names the first layer whose numbers do not fit.
    pub fn check(&self) -> Result<()> {
        let mismatch = |name: &str, message: String| Err(Error::new(ErrorKind::Mismatch, name, message));
        let convs = self.network.convs();
        if self.convs.len() != convs.len() || self.logits.is_some() != self.network.classes.is_some() {
            return mismatch("variables", "there are not as many layers as the network has".to_string());
        }
        for (conv, numbers) in self.layers() {
            for (name, values) in numbers.named() {
                let shape = if name == WEIGHTS { &conv.shape[..] } else { &conv.shape[3..] };
                if values.len() != shape.iter().product::<usize>() || values.is_empty() {
                    return mismatch(&conv.name, format!("{} {name}, not {shape:?}", values.len()));
                }
            }
        }
        Ok(())
    }
}

/// A convolution as inference runs it: batch normalisation folded into filter and bias.
pub(crate) struct Folded {
    pub weights: Vec<f32>,
    pub bias: Vec<f32>,
}

impl ConvVariables {
    /// The numbers with their names as TensorFlow spells them, the weights first.
    pub fn named(&self) -> Vec<(&'static str, &[f32])> {
        let mut named: Vec<(&'static str, &[f32])> = vec![(WEIGHTS, &self.weights)];
        match &self.shift {
            Shift::Bias(bias) => named.push((BIASES, bias)),
            Shift::BatchNorm { beta, moving_mean, moving_variance } => {
                named.extend([
                    (BETA, &beta[..]),
                    (MOVING_MEAN, moving_mean),
                    (MOVING_VARIANCE, moving_variance),
                ]);
            }
        }
        named
    }

    /// The numbers of [`named`](ConvVariables::named), to be changed.
    pub(crate) fn named_mut(&mut self) -> Vec<(&'static str, &mut Vec<f32>)> {
        let mut named = vec![(WEIGHTS, &mut self.weights)];
        match &mut self.shift {
            Shift::Bias(bias) => named.push((BIASES, bias)),
            Shift::BatchNorm { beta, moving_mean, moving_variance } => {
                named.extend([(BETA, beta), (MOVING_MEAN, moving_mean), (MOVING_VARIANCE, moving_variance)]);
            }
        }
        named
    }

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
                let mut weights = self.weights.clone();
                for row in weights.chunks_exact_mut(scale.len()) {
                    for (w, scale) in row.iter_mut().zip(&scale) {
                        *w = (f64::from(*w) * scale) as f32;
                    }
                }
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
