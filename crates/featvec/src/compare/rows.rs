//! What the rows of two arrays have to do with each other.

use super::{Cause, PRECISION};
use crate::Tensor;

/// Rows with such a cosine are parallel, up to numbers of 16 bits.
const PARALLEL: f64 = 1.0 - PRECISION * PRECISION / 2.0;
/// How many pairs of rows are looked at in the search for another order: a second or two of work.
const MOST_PAIRS: usize = 2_000_000;

pub(super) fn explain(a: &Tensor, b: &Tensor, cosines: &[f64]) -> Cause {
    if let Some(factor) = common_factor(a, b) {
        return Cause::Scaled(factor);
    }
    if cosines.iter().all(|cosine| *cosine > PARALLEL) {
        let unit = |tensor: &Tensor| {
            tensor.iter_rows().all(|row| (norm(row) - 1.0).abs() < 1e-3 || row.iter().all(|x| *x == 0.0))
        };
        return match (unit(a), unit(b)) {
            (true, false) => Cause::Normalized { first: true },
            (false, true) => Cause::Normalized { first: false },
            _ => Cause::RowsScaled,
        };
    }
    if let Some(cause) = order(a, b) {
        return cause;
    }
    let differ: Vec<usize> = a
        .iter_rows()
        .zip(b.iter_rows())
        .enumerate()
        .filter(|(_, (a, b))| relative_error(a, b, 1.0) > PRECISION)
        .map(|(row, _)| row)
        .collect();
    if 2 * differ.len() <= cosines.len() {
        return Cause::SomeRows(differ);
    }
    likeness(b, cosines)
}

/// The factor that makes all of `a` equal to `b`, if there is one.
fn common_factor(a: &Tensor, b: &Tensor) -> Option<f64> {
    let factor = dot(a.data(), b.data()) / dot(a.data(), a.data());
    (relative_error(a.data(), b.data(), factor) < PRECISION).then_some(factor)
}

/// `a` against `b` as vectors of one picture: how far apart are the pictures in `b` among each other?
///
/// All features are positive, so any two rows have a large cosine; what counts is how much larger it is where the row
/// should be the same.
fn likeness(b: &Tensor, cosines: &[f64]) -> Cause {
    let rows: Vec<_> = b.iter_rows().collect();
    let neighbours: Vec<f64> = rows.windows(2).map(|pair| 1.0 - cosine(pair[0], pair[1])).collect();
    let same = median(cosines.iter().map(|cosine| 1.0 - cosine).collect());
    let other = if neighbours.is_empty() { 0.4 } else { median(neighbours) };
    if same < 0.5 * other { Cause::Preparation } else { Cause::Unknown }
}

/// The middle one of `values`; 0 if there are none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Whether rows of `a` are found elsewhere in `b`. Of large arrays only some rows are looked for.
fn order(a: &Tensor, b: &Tensor) -> Option<Cause> {
    let rows = a.rows();
    let step = rows.saturating_mul(rows).div_ceil(MOST_PAIRS).clamp(1, rows.max(1));
    let targets: Vec<_> = b.iter_rows().map(|row| (row, norm(row))).collect();
    let examined = a.iter_rows().enumerate().step_by(step);
    let found: Vec<(usize, Option<usize>)> =
        examined.map(|(i, row)| (i, place_of(row, i, &targets))).collect();
    if let Some(shift) = common_shift(&found, rows) {
        return Some(Cause::Shifted(shift));
    }
    let mut places: Vec<usize> = found.iter().filter_map(|(_, place)| *place).collect();
    places.sort_unstable();
    places.dedup();
    let moved = found.iter().filter(|(row, place)| *place != Some(*row)).count();
    (moved > 0 && places.len() == found.len()).then_some(Cause::Reordered { moved, examined: found.len() })
}

/// How far all rows are moved that could be moved so far. Those at one end have no place to go.
fn common_shift(found: &[(usize, Option<usize>)], rows: usize) -> Option<isize> {
    let (row, place) = found.get(found.len() / 2)?;
    let shift = (*place)? as isize - *row as isize;
    let mut places = found.iter().filter_map(|(row, place)| {
        let expected = row.checked_add_signed(shift).filter(|expected| *expected < rows)?;
        Some(*place == Some(expected))
    });
    (shift != 0 && places.by_ref().take(2).filter(|fits| *fits).count() == 2 && places.all(|fits| fits))
        .then_some(shift)
}

/// The row of `targets` that is `row`; its own index `here`, if that is one.
fn place_of(row: &[f32], here: usize, targets: &[(&[f32], f64)]) -> Option<usize> {
    let length = norm(row);
    let is_same = |j: usize| {
        let (target, target_length) = targets[j];
        // Lengths are cheap to compare and tell most rows apart.
        (length - target_length).abs() <= PRECISION * target_length
            && relative_error(row, target, 1.0) < PRECISION
    };
    std::iter::once(here).chain(0..targets.len()).find(|j| is_same(*j))
}

/// The cosine of the angle between two rows; 1 for two rows of zeros, 0 for one.
pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let (length_a, length_b) = (norm(a), norm(b));
    if length_a == 0.0 || length_b == 0.0 {
        return if length_a == length_b { 1.0 } else { 0.0 };
    }
    dot(a, b) / (length_a * length_b)
}

/// The length of `a * factor - b` in units of the length of `b`.
fn relative_error(a: &[f32], b: &[f32], factor: f64) -> f64 {
    let squares: f64 = a.iter().zip(b).map(|(x, y)| (f64::from(*x) * factor - f64::from(*y)).powi(2)).sum();
    super::ratio(squares.sqrt(), norm(b))
}

fn norm(row: &[f32]) -> f64 {
    dot(row, row).sqrt()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}
