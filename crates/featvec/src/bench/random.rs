//! A network and pictures of random numbers: the time of a pass does not depend on their values.

use featvec_kernels::Affine;

use crate::network::{BATCH_NORM_EPSILON, Network, Variant};
use crate::tensor::Tensor;
use crate::variables::{ConvVariables, Shift, Variables};

/// Numbers in [-1, 1), the same at every run.
fn numbers(len: usize) -> impl Iterator<Item = f32> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0)
}

/// TF-Slim's network without classifying layer.
pub fn random_variables() -> Variables {
    let network = Network { variant: Variant::Slim, classes: None };
    let convs = network.convs().into_iter().map(|conv| {
        let [kh, kw, ic, oc] = conv.shape;
        let scale = (6.0 / (kh * kw * ic) as f32).sqrt(); // keeps activations of order one
        ConvVariables {
            weights: numbers(kh * kw * ic * oc).map(|x| x * scale).collect(),
            shift: Shift::Bias(numbers(oc).collect()),
        }
    });
    let affine = Affine { scale: [2.0; 3], offset: [-1.0; 3] };
    Variables { network, affine, epsilon: BATCH_NORM_EPSILON, convs: convs.collect(), logits: None }
}

/// Pictures `[n, h, w, 3]` in [0, 1).
pub fn random_images(n: usize, [h, w]: [usize; 2]) -> Tensor {
    let mut images = Tensor::zeros(vec![n, h, w, 3]);
    let values = numbers(images.data().len());
    for (x, value) in images.data_mut().iter_mut().zip(values) {
        *x = (value + 1.0) / 2.0;
    }
    images
}
