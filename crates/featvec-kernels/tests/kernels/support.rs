//! What the tests have in common: reproducible numbers, teams, batches of maps, distances.

use std::num::NonZeroUsize;

use featvec_kernels::{Kernels, Maps, Team};

/// Reproducible numbers.
pub struct Numbers(pub u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0
    }

    /// Numbers in [-1, 1), multiples of 2^-12 so that products and short sums are exact in `f32`.
    pub fn take(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| ((self.next() >> 51) as f32 - 4096.0) / 4096.0).collect()
    }

    /// What `make` makes of bytes.
    pub fn take_bytes<T>(&mut self, len: usize, make: impl Fn(u8) -> T) -> Vec<T> {
        (0..len).map(|_| make((self.next() >> 56) as u8)).collect()
    }
}

pub fn team(members: usize) -> Team {
    Team::new(NonZeroUsize::new(members).unwrap()).unwrap()
}

/// Maps of so many images, a shape and a halo, with these numbers, `[n, h, w, c]`.
pub fn loaded(
    kernels: &'static Kernels,
    (images, shape, halo): (usize, [usize; 3], usize),
    values: &[f32],
) -> Maps {
    let mut maps = Maps::new(kernels, images, shape, halo);
    maps.load(values);
    maps
}

/// The numbers of maps.
pub fn stored(maps: &Maps) -> Vec<f32> {
    let mut values = vec![f32::NAN; maps.images() * maps.shape().iter().product::<usize>()];
    maps.store(&mut values);
    values
}

/// The largest difference, relative to the largest value expected.
pub fn worst(got: &[f32], expected: &[f64]) -> f64 {
    let got: Vec<f64> = got.iter().map(|x| f64::from(*x)).collect();
    worst_of(&got, expected)
}

pub fn worst_of(got: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let largest = expected.iter().fold(1e-30f64, |max, x| max.max(x.abs()));
    let difference = |(got, expected): (&f64, &f64)| (got - expected).abs();
    // A maximum would pass over what is not a number.
    assert!(got.iter().all(|x| x.is_finite()));
    got.iter().zip(expected).map(difference).fold(0.0, f64::max) / largest
}
