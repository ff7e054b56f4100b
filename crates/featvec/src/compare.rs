//! Two arrays of vectors or of images that should be equal: how far apart they are, and the likely cause.

mod encoding;
mod rows;

use std::fmt;

use crate::{Error, ErrorKind, Result, Tensor};

pub use encoding::Encoding;
pub(crate) use rows::cosine;

/// How two arrays differ.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The largest difference between two elements.
    pub max_error: f64,
    /// The row that it is in.
    pub max_error_row: usize,
    /// [`max_error`](Comparison::max_error) in units of the largest magnitude in the second array.
    pub max_error_of_largest: f64,
    /// The length of the difference in units of the length of the second array, both taken as one vector.
    pub relative_l2: f64,
    /// The cosine between the two rows at each index; 1 for two rows of zeros, 0 for one.
    pub cosines: Vec<f64>,
    /// Why they differ, as far as the numbers tell.
    pub cause: Cause,
}

/// Why two arrays differ.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Cause {
    /// They do not: all bits are the same.
    Identical,
    /// Sums were rounded in another order.
    Noise,
    /// Something was computed with fewer bits.
    Precision,
    /// Values that are no finite numbers: how many in each array.
    NotFinite([usize; 2]),
    /// All of the second array is the first times this.
    Scaled(f64),
    /// The rows have the same directions, and those of the first array (or of the second) have length 1.
    Normalized {
        /// Whether it is the first array that is normalised.
        first: bool,
    },
    /// The rows have the same directions and other lengths.
    RowsScaled,
    /// Row `i` of the first array is row `i + shift` of the second.
    Shifted(isize),
    /// The same rows in another order; so many of those looked at are elsewhere.
    Reordered {
        /// Rows that are in another place.
        moved: usize,
        /// Rows that were looked at.
        examined: usize,
    },
    /// Most rows agree and these do not.
    SomeRows(Vec<usize>),
    /// Images in other forms: what the first are, and what the second are.
    Images([String; 2]),
    /// Rows are similar as those of one picture prepared in two ways are.
    Preparation,
    /// Rows have hardly more to do with each other than with their neighbours.
    Unknown,
}

/// Relative errors up to this are what another order of summation gives in 32 bits.
const NOISE: f64 = 1e-5;
/// Relative errors up to this are what numbers of 16 bits give: those of bfloat16 are rounded by up to 2^-9.
const PRECISION: f64 = 3e-3;

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Identical => write!(f, "identical, bit for bit"),
            Cause::Noise => write!(f, "the noise of 32-bit sums in another order"),
            Cause::Precision => write!(f, "fewer bits in one of them: half precision, bfloat16 or TF32"),
            Cause::NotFinite([a, b]) => write!(f, "values that are no finite numbers: {a} in A, {b} in B"),
            Cause::Scaled(factor) => write!(f, "one factor everywhere: B = {factor:.6} * A"),
            Cause::Normalized { first } => {
                let which = if *first { "A" } else { "B" };
                write!(f, "{which} is L2-normalised and the other is not: same directions, other lengths")
            }
            Cause::RowsScaled => {
                write!(f, "each row has a factor of its own: same directions, other lengths")
            }
            Cause::Shifted(shift) => {
                let (rows, other) = if *shift > 0 { ("A", "B") } else { ("B", "A") };
                let by = shift.unsigned_abs();
                write!(f, "shifted: row i of {rows} is row i + {by} of {other}; {rows} lacks the first {by}")
            }
            Cause::Reordered { moved, examined } => {
                write!(f, "the same rows in another order: {moved} of {examined} rows are elsewhere")
            }
            Cause::SomeRows(rows) => {
                let shown: Vec<_> = rows.iter().take(10).map(usize::to_string).collect();
                let more = if rows.len() > shown.len() { ", ..." } else { "" };
                write!(f, "{} rows differ and all others agree: rows {}{more}", rows.len(), shown.join(", "))
            }
            Cause::Images([a, b]) => write!(f, "the same images in two forms: A is {a}, B is {b}"),
            Cause::Preparation => {
                write!(f, "the same pictures prepared in two ways: preset, resize, crop or JPEG decoder")
            }
            Cause::Unknown => write!(
                f,
                "none that the numbers alone show: pictures with wrong channels (BGR) or in a wrong range (0..255, -1..1), \
                 another module, another output, or other pictures"
            ),
        }
    }
}

/// Compares `a` with `b`, both `[n, ...]`; the errors are relative to `b`. Dimensions of 1 do not count.
///
/// Images `[n, h, w, 3]` may also differ in the order of their channels, in the place of the channels' dimension, and
/// in their range: of those forms the two that explain the difference are named.
///
/// # Errors
/// [`ErrorKind::Mismatch`] for shapes that do not fit, with what that may mean.
pub fn compare(a: &Tensor, b: &Tensor) -> Result<Comparison> {
    if let Some(result) = compare_layouts(a, b)? {
        return Ok(result);
    }
    if significant(a) != significant(b) {
        return Err(shape_error(a, b));
    }
    let mut comparison = measure(a, b);
    comparison.cause = explain(a, b, &comparison);
    Ok(comparison)
}

/// Compares images of which one array has the channels first.
fn compare_layouts(a: &Tensor, b: &Tensor) -> Result<Option<Comparison>> {
    let (first, last) = ("channels first (NCHW)", "channels last (NHWC)");
    let (a, b, forms) = match (a.shape(), b.shape()) {
        (&[n, h, w, 3], &[m, 3, p, q]) if [n, h, w] == [m, p, q] => (a, &channels_last(b)?, [last, first]),
        (&[n, 3, h, w], &[m, p, q, 3]) if [n, h, w] == [m, p, q] => (&channels_last(a)?, b, [first, last]),
        _ => return Ok(None),
    };
    let mut comparison = measure(a, b);
    let known = encoding::explain(a, b).unwrap_or_default();
    let describe = |form: &str, known: &str| match known {
        "" => form.to_string(),
        known => format!("{form}, {known}"),
    };
    let [known_a, known_b] = known;
    comparison.cause = Cause::Images([describe(forms[0], &known_a), describe(forms[1], &known_b)]);
    Ok(Some(comparison))
}

/// `[n, 3, h, w]` as `[n, h, w, 3]`.
fn channels_last(images: &Tensor) -> Result<Tensor> {
    let &[n, c, h, w] = images.shape() else {
        return Err(Error::new(ErrorKind::Mismatch, "", "images have four dimensions"));
    };
    let mut data = Vec::with_capacity(images.data().len());
    for image in images.iter_rows() {
        for pixel in 0..h * w {
            data.extend((0..c).map(|channel| image[channel * h * w + pixel]));
        }
    }
    Tensor::new([n, h, w, c], data)
}

fn significant(tensor: &Tensor) -> (usize, Vec<usize>) {
    let row_shape = tensor.shape().get(1..).unwrap_or_default();
    (tensor.rows(), row_shape.iter().copied().filter(|size| *size != 1).collect())
}

fn shape_error(a: &Tensor, b: &Tensor) -> Error {
    let ((rows_a, row_a), (rows_b, row_b)) = (significant(a), significant(b));
    let error = Error::new(ErrorKind::Mismatch, "", format!("A is {:?}, B is {:?}", a.shape(), b.shape()));
    if row_a == row_b {
        let fewer = if rows_a < rows_b { "A" } else { "B" };
        return error
            .with_hint(format!("{fewer} lacks rows: pictures that failed have none, see x.failed.txt"));
    }
    match (row_a.as_slice(), row_b.as_slice()) {
        ([_], [1000 | 1001]) | ([1000 | 1001], [_]) => {
            error.with_hint("one looks like logits: the outputs differ")
        }
        ([_, _, _], [_]) | ([_], [_, _, _]) => {
            error.with_hint("one has maps and the other vectors: the endpoints differ")
        }
        ([_, _, 3], [_, _, 3]) => error.with_hint("the images differ in size"),
        _ => error.with_hint("the outputs or the modules differ"),
    }
}

/// Everything but the cause.
fn measure(a: &Tensor, b: &Tensor) -> Comparison {
    let (mut max_error, mut max_error_row, mut largest) = (0.0, 0, 0.0f64);
    let (mut squares, mut length) = (0.0, 0.0);
    for (row, (a, b)) in a.iter_rows().zip(b.iter_rows()).enumerate() {
        for (x, y) in a.iter().zip(b).map(|(x, y)| (f64::from(*x), f64::from(*y))) {
            let error = (x - y).abs();
            // A NaN is further away than anything.
            if error > max_error || (error.is_nan() && !f64::is_nan(max_error)) {
                (max_error, max_error_row) = (error, row);
            }
            largest = largest.max(y.abs());
            squares += error * error;
            length += y * y;
        }
    }
    Comparison {
        max_error,
        max_error_row,
        max_error_of_largest: ratio(max_error, largest),
        relative_l2: ratio(squares.sqrt(), length.sqrt()),
        cosines: a.iter_rows().zip(b.iter_rows()).map(|(a, b)| cosine(a, b)).collect(),
        cause: Cause::Identical,
    }
}

/// `error / size`, where nothing is no error even of nothing.
fn ratio(error: f64, size: f64) -> f64 {
    if error == 0.0 { 0.0 } else { error / size }
}

fn explain(a: &Tensor, b: &Tensor, comparison: &Comparison) -> Cause {
    let not_finite = [a, b].map(|tensor| tensor.data().iter().filter(|x| !x.is_finite()).count());
    if not_finite != [0, 0] {
        return Cause::NotFinite(not_finite);
    }
    if comparison.max_error == 0.0 {
        return Cause::Identical;
    }
    if comparison.relative_l2 <= NOISE {
        return Cause::Noise;
    }
    if comparison.relative_l2 <= PRECISION {
        return Cause::Precision;
    }
    if let (&[_, _, _, 3], Some(forms)) = (a.shape(), encoding::explain(a, b)) {
        return Cause::Images(forms);
    }
    rows::explain(a, b, &comparison.cosines)
}
