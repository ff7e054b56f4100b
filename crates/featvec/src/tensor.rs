//! Batches: rows of `f32` with a shape.

use crate::{Error, ErrorKind, Result};

/// A dense tensor of `f32`, row-major, the last dimension fastest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl Tensor {
    /// A tensor of `shape` over `data`.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] where `data` has another number of elements than `shape`.
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<f32>) -> Result<Tensor> {
        let shape = shape.into();
        let len = shape.iter().try_fold(1usize, |len, dim| len.checked_mul(*dim));
        if len != Some(data.len()) {
            let message = format!("{} elements do not fill the shape {shape:?}", data.len());
            return Err(Error::new(ErrorKind::Mismatch, "", message));
        }
        Ok(Tensor { shape, data })
    }

    /// A tensor of zeros.
    pub(crate) fn zeros(shape: Vec<usize>) -> Tensor {
        let data = vec![0.0; shape.iter().product()];
        Tensor { shape, data }
    }

    /// The size of each dimension.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    pub(crate) fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// The elements, without their shape.
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }

    /// Size of the first dimension: 1 for a scalar.
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// The elements of each entry of the first dimension. An empty tensor has no rows to give.
    pub fn iter_rows(&self) -> std::slice::ChunksExact<'_, f32> {
        let len = self.data.len() / self.rows().max(1);
        self.data.chunks_exact(len.max(1))
    }
}

/// The first of `values` that is no finite number.
pub(crate) fn first_not_finite(values: &[f32]) -> Option<usize> {
    // Whole chunks without a branch are vectors to the compiler; every picture goes through here.
    const CHUNK: usize = 4096;
    let is_bad = |chunk: &[f32]| !chunk.iter().fold(true, |all, value| all & value.is_finite());
    let chunk = values.chunks(CHUNK).position(is_bad)?;
    let start = chunk * CHUNK;
    values[start..].iter().position(|value| !value.is_finite()).map(|index| start + index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_that_is_not_finite_is_found_wherever_it_is() {
        assert_eq!(first_not_finite(&[]), None);
        for (len, index) in [(1, 0), (4096, 4095), (10_000, 4096), (10_000, 9_999)] {
            let mut values = vec![f32::MAX; len];
            assert_eq!(first_not_finite(&values), None);
            values[len - 1] = f32::INFINITY;
            values[index] = f32::NAN;
            assert_eq!(first_not_finite(&values), Some(index));
        }
    }
}
