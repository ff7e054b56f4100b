//! Subsampled components back to full size, one output row at a time.
//!
//! "Fancy" upsampling is a triangle filter: each output sample is 3/4 the nearest input sample and 1/4 the
//! next nearest, in each subsampled direction, with roundings that alternate so as not to drift.

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
    /// The method that libjpeg takes for `ratio` output columns and rows a sample, which depends on the `width`
    /// too. Without `smooth` no samples are blended.
    pub(crate) fn choose(ratio: (usize, usize), width: usize, smooth: bool) -> Self {
        match ratio {
            (1, 1) => Self::Full,
            (1, 2) if smooth => Self::FancyHigh,
            (2, 1) if smooth && width > 2 => Self::FancyWide,
            (2, 2) if smooth && width > 2 => Self::Fancy,
            (wide, _) => Self::Replicate { wide },
        }
    }

    /// Whether samples are blended along a row.
    pub(crate) fn blends_across(self) -> bool {
        matches!(self, Self::Fancy | Self::FancyWide)
    }

    /// Whether rows are blended.
    pub(crate) fn blends_down(self) -> bool {
        matches!(self, Self::Fancy | Self::FancyHigh)
    }
}

/// The samples that an output position is made from, in one direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tap {
    pub(crate) near: usize,
    /// The next nearest, or the nearest where nothing is blended.
    pub(crate) far: usize,
    /// The output position lies after the middle of the nearest sample.
    after: bool,
}

/// The taps of output `positions`, `ratio` of which there are for each of `len` samples.
pub(crate) fn taps(positions: &[usize], ratio: usize, blends: bool, len: usize) -> Vec<Tap> {
    let tap = |&position: &usize| {
        let near = position / ratio;
        let after = !position.is_multiple_of(ratio);
        let far = if after { (near + 1).min(len - 1) } else { near.saturating_sub(1) };
        Tap { near, far: if blends { far } else { near }, after }
    };
    positions.iter().map(tap).collect()
}

/// A blend along one direction, before the shift by two bits: at most 1022.
#[inline]
fn blend(near: u8, far: u8) -> u16 {
    3 * u16::from(near) + u16::from(far)
}

/// What is added before the shift by two bits.
const BEFORE: u16 = 1;
const AFTER: u16 = 2;
/// What is added before the shift by four bits, where both directions are blended.
const BEFORE_BOTH: u16 = 8;
const AFTER_BOTH: u16 = 7;

/// Triangle filter along a row: `out` gets two samples for each one of `row`, which has two or more; `sums` is
/// scratch space of the row's length.
pub(crate) fn fancy_wide(row: &[u8], sums: &mut [u16], out: &mut [u8]) {
    for (sum, &sample) in sums.iter_mut().zip(row) {
        *sum = sample.into();
    }
    across::<2, BEFORE, AFTER>(sums, out);
}

/// Triangle filter between two rows; `below` tells that the output row lies below the nearer one.
pub(crate) fn fancy_high(near: &[u8], far: &[u8], below: bool, out: &mut [u8]) {
    let bias = if below { AFTER } else { BEFORE };
    for ((out, &near), &far) in out.iter_mut().zip(near).zip(far) {
        *out = ((blend(near, far) + bias) >> 2) as u8;
    }
}

/// Triangle filter in both directions; `sums` is scratch space of the rows' length.
pub(crate) fn fancy(near: &[u8], far: &[u8], sums: &mut [u16], out: &mut [u8]) {
    for ((sum, &near), &far) in sums.iter_mut().zip(near).zip(far) {
        *sum = blend(near, far);
    }
    across::<4, BEFORE_BOTH, AFTER_BOTH>(sums, out);
}

/// Blends two or more `sums` along their row.
fn across<const SHIFT: u32, const BEFORE: u16, const AFTER: u16>(sums: &[u16], out: &mut [u8]) {
    let [first, .., last] = *sums else { return };
    let inner = 1..sums.len() - 1;
    let pair = |left: u16, near: u16, right: u16| {
        let before = (3 * near + left + BEFORE) >> SHIFT;
        let after = (3 * near + right + AFTER) >> SHIFT;
        // Two bytes at once, as this compiles to vectors.
        (before | after << 8).to_le_bytes()
    };
    let pairs = out.as_chunks_mut::<2>().0;
    let neighbours = sums.iter().zip(&sums[inner.clone()]).zip(&sums[2..]);
    for (out, ((&left, &near), &right)) in pairs[inner.clone()].iter_mut().zip(neighbours) {
        *out = pair(left, near, right);
    }
    pairs[0] = pair(first, first, sums[1]);
    pairs[inner.end] = pair(sums[inner.end - 1], last, last);
}

/// Every sample of `row` `wide` times.
pub(crate) fn replicate(row: &[u8], wide: usize, out: &mut [u8]) {
    for (out, &sample) in out.chunks_exact_mut(wide).zip(row) {
        out.fill(sample);
    }
}

/// The output samples of `taps` alone, from the nearer and the farther row.
pub(crate) fn pick(
    upsampling: Upsampling,
    (near, far, below): (&[u8], &[u8], bool),
    taps: &[Tap],
    out: &mut [u8],
) {
    for (out, tap) in out.iter_mut().zip(taps) {
        let bias = if tap.after { AFTER } else { BEFORE };
        *out = match upsampling {
            Upsampling::Full | Upsampling::Replicate { .. } => near[tap.near],
            Upsampling::FancyWide => ((blend(near[tap.near], near[tap.far]) + bias) >> 2) as u8,
            Upsampling::FancyHigh => {
                let bias = if below { AFTER } else { BEFORE };
                ((blend(near[tap.near], far[tap.near]) + bias) >> 2) as u8
            }
            Upsampling::Fancy => {
                let bias = if tap.after { AFTER_BOTH } else { BEFORE_BOTH };
                let sum = |x: usize| blend(near[x], far[x]);
                ((3 * sum(tap.near) + sum(tap.far) + bias) >> 4) as u8
            }
        };
    }
}
