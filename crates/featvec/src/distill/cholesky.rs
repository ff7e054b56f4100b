//! Systems of linear equations with a symmetric, positive definite matrix, block by block.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView1, ArrayView2, ArrayViewMut2, Axis, Slice};
use std::ops::Range;

/// Rows of a block: the products between blocks are most of the work, and fast.
const BLOCK: usize = 48;

/// The lower factor `L` of `A = L L^T`.
pub(super) struct Cholesky(Array2<f64>);

impl Cholesky {
    /// Factors `a`, of which the lower triangle counts; none if it is not positive definite.
    pub fn new(mut a: Array2<f64>) -> Option<Cholesky> {
        let n = a.nrows();
        for start in (0..n).step_by(BLOCK) {
            let end = n.min(start + BLOCK);
            for j in start..end {
                for i in j..n {
                    let dot: f64 = (start..j).map(|k| a[[i, k]] * a[[j, k]]).sum();
                    let rest = a[[i, j]] - dot;
                    a[[i, j]] = if i > j { rest / a[[j, j]] } else { rest.sqrt() };
                }
                // The root of a number below zero is not a number.
                if a[[j, j]].is_nan() || a[[j, j]] <= 0.0 {
                    return None;
                }
            }
            let (_, below) = a.view_mut().split_at(Axis(0), end);
            let (done, mut rest) = below.split_at(Axis(1), end);
            let done = done.slice_axis(Axis(1), Slice::from(start..end));
            general_mat_mul(-1.0, &done, &done.t(), 1.0, &mut rest);
        }
        Some(Cholesky(a))
    }

    /// Puts the solution `X` of `A X = B` in the place of `b`.
    pub fn solve(&self, b: &mut Array2<f64>) {
        let (l, n) = (&self.0, self.0.nrows());
        let starts: Vec<usize> = (0..n).step_by(BLOCK).collect();
        for start in &starts {
            let end = n.min(start + BLOCK);
            let (before, block) = b.view_mut().split_at(Axis(0), *start);
            let (mut block, _) = block.split_at(Axis(0), end - start);
            general_mat_mul(-1.0, &part(l, *start..end, 0..*start), &before, 1.0, &mut block);
            for i in 0..end - start {
                let (done, row) = block.view_mut().split_at(Axis(0), i);
                let factors = (*start..start + i).map(|column| l[[start + i, column]]);
                eliminate(row, factors.zip(done.outer_iter()), l[[start + i, start + i]]);
            }
        }
        for start in starts.iter().rev() {
            let end = n.min(start + BLOCK);
            let (block, after) = b.view_mut().split_at(Axis(0), end);
            let (_, mut block) = block.split_at(Axis(0), *start);
            general_mat_mul(-1.0, &part(l, end..n, *start..end).t(), &after, 1.0, &mut block);
            for i in (0..end - start).rev() {
                let (row, done) = block.view_mut().split_at(Axis(0), i + 1);
                let (_, row) = row.split_at(Axis(0), i);
                let factors = (start + i + 1..end).map(|row| l[[row, start + i]]);
                eliminate(row, factors.zip(done.outer_iter()), l[[start + i, start + i]]);
            }
        }
    }
}

fn part(l: &Array2<f64>, rows: Range<usize>, columns: Range<usize>) -> ArrayView2<'_, f64> {
    let mut part = l.view();
    part.slice_axis_inplace(Axis(0), rows.into());
    part.slice_axis_inplace(Axis(1), columns.into());
    part
}

/// Takes from the first of `rows` the known ones times their factors, and divides it by `pivot`.
fn eliminate<'a>(
    mut rows: ArrayViewMut2<'_, f64>,
    known: impl Iterator<Item = (f64, ArrayView1<'a, f64>)>,
    pivot: f64,
) {
    let mut row = rows.row_mut(0);
    known.for_each(|(factor, known)| row.scaled_add(-factor, &known));
    row /= pivot;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solutions_solve_across_blocks() {
        for n in [1, 5, BLOCK, 2 * BLOCK + 7] {
            let root = Array2::from_shape_fn((n, n), |(i, j)| ((i * 31 + j * 17) % 23) as f64 - 11.0);
            let a = root.dot(&root.t()) + Array2::<f64>::eye(n);
            let x = Array2::from_shape_fn((n, 3), |(i, j)| (i + 2 * j) as f64 / 7.0 - 1.0);
            let mut b = a.dot(&x);
            Cholesky::new(a).unwrap().solve(&mut b);
            assert!((b - x).iter().all(|error| error.abs() < 1e-8));
        }
    }

    #[test]
    fn what_is_not_positive_definite_is_refused() {
        assert!(Cholesky::new(Array2::from_diag_elem(3, -1.0)).is_none());
        assert!(Cholesky::new(Array2::from_elem((2, 2), f64::NAN)).is_none());
    }
}
