//! What a thread computes with: the kernels of convolutions, for maps and for plain matrices.

use featvec_kernels::train::{Algorithm, Convolution, Scratch};
use featvec_kernels::{Kernels, Maps, Team};
use ndarray::Array2;
use std::num::NonZeroUsize;

use crate::{Error, Result};

/// A thread's own kernels and memory.
pub(super) struct Worker {
    kernels: &'static Kernels,
    team: Team,
    scratch: Scratch,
}

impl Worker {
    /// # Errors
    /// Where the system has no memory for it.
    pub fn new() -> Result<Worker> {
        let team = Team::new(NonZeroUsize::MIN).map_err(|error| Error::io("starting threads", error))?;
        Ok(Worker { kernels: Kernels::best(), team, scratch: Scratch::new() })
    }

    /// A matrix as a factor: a map with a pixel for each row.
    pub fn factor(&self, matrix: &Array2<f32>) -> Maps {
        self.map(matrix, [1, matrix.nrows()], 0)
    }

    /// The matrix that a factor was made of.
    pub fn matrix(&self, factor: &Maps) -> Array2<f32> {
        let [columns, _, rows] = factor.shape();
        let mut values = vec![0.0; rows * columns];
        factor.store(&mut values);
        Array2::from_shape_vec((rows, columns), values).expect("as many numbers as the map has")
    }

    fn map(&self, values: &Array2<f32>, [h, w]: [usize; 2], halo: usize) -> Maps {
        let mut map = Maps::new(self.kernels, 1, [values.ncols(), h, w], halo);
        map.load(values.as_standard_layout().as_slice().expect("made row by row"));
        map
    }

    /// A stride-1 convolution with `weights` of `shape` over maps of `size`.
    pub fn convolution(&mut self, weights: &[f32], shape: [usize; 4], size: [usize; 2]) -> Convolution {
        let mut convolution = Convolution::new(self.kernels, shape, size, Algorithm::Winograd);
        convolution.set_filter(&self.team, &mut self.scratch, &[weights]);
        convolution
    }

    /// The sums of `convolution` over the map `values`, a pixel a row.
    pub fn convolve(
        &mut self,
        convolution: &Convolution,
        values: &Array2<f32>,
        size: [usize; 2],
    ) -> Array2<f32> {
        let input = self.map(values, size, convolution.shape()[0] / 2);
        self.run(convolution, &input)
    }

    fn run(&mut self, convolution: &Convolution, input: &Maps) -> Array2<f32> {
        let ([_, _, _, oc], [_, h, w]) = (convolution.shape(), input.shape());
        let mut output = Maps::new(self.kernels, 1, [oc, h, w], 0);
        convolution.forward(&self.team, &mut self.scratch, input, &mut output);
        let mut sums = vec![0.0; h * w * oc];
        output.store(&mut sums);
        Array2::from_shape_vec((h * w, oc), sums).expect("as many sums as pixels and channels")
    }

    /// `a b`, where `a` is a factor.
    pub fn product(&mut self, a: &Maps, b: &Array2<f32>) -> Array2<f32> {
        let [ic, h, w] = a.shape();
        let b = b.as_standard_layout();
        let weights = b.as_slice().expect("made so");
        let convolution = self.convolution(weights, [1, 1, ic, b.ncols()], [h, w]);
        self.run(&convolution, a)
    }

    /// `a^T b` of two factors.
    pub fn inner_product(&mut self, a: &Maps, b: &Maps) -> Array2<f32> {
        let ([ic, h, w], [oc, ..]) = (a.shape(), b.shape());
        let convolution = Convolution::new(self.kernels, [1, 1, ic, oc], [h, w], Algorithm::Direct);
        let mut sums = vec![0.0; ic * oc];
        convolution.backward_filter(&self.team, &mut self.scratch, (a, b), &mut [&mut sums]);
        Array2::from_shape_vec((ic, oc), sums).expect("as many sums as channels")
    }
}
