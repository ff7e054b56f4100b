//! Subsampled components back to full size, one output row at a time.
//!
//! "Fancy" upsampling is a triangle filter: each output sample is 3/4 the nearest input sample and 1/4 the
//! next nearest, in each subsampled direction, with roundings that alternate so as not to drift.

use crate::error::{Error, Result};
use crate::frame::{Component, Frame};

/// How a component gets to full size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upsampling {
    /// It has full size.
    Full,
    /// Triangle filter, twice the width.
    FancyWide,
    /// Triangle filter, twice the height.
    FancyHigh,
    /// Triangle filter, twice the width and height.
    Fancy,
    /// Every sample several times.
    Replicate {
        /// Times in a row.
        wide: usize,
    },
}

impl Upsampling {
    /// The method that libjpeg takes, which depends on the width too.
    pub(crate) fn choose(frame: &Frame, component: &Component, at: usize) -> Result<Self> {
        let Component { h, v, width, .. } = *component;
        if !frame.max_h.is_multiple_of(h) || !frame.max_v.is_multiple_of(v) {
            let message =
                format!("sampling {h}x{v} of {}x{}, not an integral ratio", frame.max_h, frame.max_v);
            return Err(Error::unsupported(at, message));
        }
        Ok(match (frame.max_h / h, frame.max_v / v) {
            (1, 1) => Self::Full,
            (1, 2) => Self::FancyHigh,
            (2, 1) if width > 2 => Self::FancyWide,
            (2, 2) if width > 2 => Self::Fancy,
            (wide, _) => Self::Replicate { wide },
        })
    }
}

/// Triangle filter along a row: `out` gets two samples for each one of `row`, which has two or more.
pub(crate) fn fancy_wide(row: &[u8], out: &mut [u8]) {
    let [first, .., last] = row else { return };
    let out = &mut out[..2 * row.len()];
    let middle = out.len() - 2;
    let weigh = |near: u8, far: u8, bias: u16| ((3 * u16::from(near) + u16::from(far) + bias) >> 2) as u8;
    for (pair, near) in out[2..middle].as_chunks_mut::<2>().0.iter_mut().zip(row.windows(3)) {
        *pair = [weigh(near[1], near[0], 1), weigh(near[1], near[2], 2)];
    }
    out[0] = *first;
    out[1] = weigh(row[0], row[1], 2);
    out[middle] = weigh(*last, row[row.len() - 2], 1);
    out[middle + 1] = *last;
}

/// Triangle filter between two rows; `below` tells that the output row lies below the nearer one.
pub(crate) fn fancy_high(near: &[u8], far: &[u8], below: bool, out: &mut [u8]) {
    let bias = if below { 2 } else { 1 };
    for ((out, &near), &far) in out.iter_mut().zip(near).zip(far) {
        *out = ((3 * u16::from(near) + u16::from(far) + bias) >> 2) as u8;
    }
}

/// Triangle filter in both directions; `sums` is scratch space of the rows' length.
pub(crate) fn fancy(near: &[u8], far: &[u8], sums: &mut [u16], out: &mut [u8]) {
    for ((sum, &near), &far) in sums.iter_mut().zip(near).zip(far) {
        *sum = 3 * u16::from(near) + u16::from(far);
    }
    let [first, .., last] = *sums else { return };
    let out = &mut out[..2 * sums.len()];
    let middle = out.len() - 2;
    let weigh = |near: u16, far: u16, bias: u16| ((3 * near + far + bias) >> 4) as u8;
    for (pair, near) in out[2..middle].as_chunks_mut::<2>().0.iter_mut().zip(sums.windows(3)) {
        *pair = [weigh(near[1], near[0], 8), weigh(near[1], near[2], 7)];
    }
    out[0] = weigh(first, first, 8);
    out[1] = weigh(first, sums[1], 7);
    out[middle] = weigh(last, sums[sums.len() - 2], 8);
    out[middle + 1] = weigh(last, last, 7);
}

/// Every sample of `row` `wide` times.
pub(crate) fn replicate(row: &[u8], wide: usize, out: &mut [u8]) {
    for (out, &sample) in out.chunks_exact_mut(wide).zip(row) {
        out.fill(sample);
    }
}
