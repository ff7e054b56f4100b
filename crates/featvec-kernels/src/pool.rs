//! Max pooling, and the mean over a whole map.

use core::ops::Range;

use crate::simd::Simd;

/// The windows of a max pool. Pixels outside the map do not take part, as in TensorFlow and Caffe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Rows and columns of a window, 1 to 3.
    pub size: usize,
    /// Pixels from one window to the next.
    pub stride: usize,
    /// Rows and columns by which the first window begins outside the map.
    pub before: [usize; 2],
}

impl Pool {
    /// # Panics
    /// Where a window of a map of `input` rows and columns pooled to `output` has no pixel, or too many.
    pub(crate) fn check(&self, input: [usize; 2], output: [usize; 2]) {
        let Pool { size, stride, before } = *self;
        assert!((1..=PoolRow::MAX_SIZE).contains(&size), "a window of {size}x{size}");
        for (before, [out, len]) in before.into_iter().zip([[output[0], input[0]], [output[1], input[1]]]) {
            assert!(stride > 0 && before < size, "a window wholly in the padding");
            let last = (out - 1).checked_mul(stride);
            let begins_inside = last.is_some_and(|last| last < before + len);
            assert!(begins_inside, "the last window begins outside the map");
        }
    }

    /// The rows of a map of `h` rows that the windows of the output row `y` cover.
    pub(crate) fn rows(&self, y: usize, h: usize) -> Range<usize> {
        let top = self.before[0];
        (y * self.stride).saturating_sub(top)..(y * self.stride + self.size - top).min(h)
    }
}

/// One output row of a max pool over one block of channels.
pub(crate) struct PoolRow {
    /// Pixel (0, 0) of the input block.
    pub input: *const f32,
    pub input_pitch: usize,
    pub input_w: usize,
    /// The input rows that the window covers, cut at the map's edge.
    pub rows: Range<usize>,
    /// The first pixel of the output row.
    pub output: *mut f32,
    pub output_w: usize,
    pub pool: Pool,
}

impl PoolRow {
    /// Rows and columns of the largest window.
    pub(crate) const MAX_SIZE: usize = 3;

    /// Columns of the window of the output pixel `x`. As with the rows, one that is cut off at the map's edge counts a
    /// neighbour twice instead, which does not change a maximum: no branches.
    #[inline(always)]
    pub(crate) fn columns(&self, x: usize) -> [usize; PoolRow::MAX_SIZE] {
        let Pool { size, stride, before: [_, left] } = self.pool;
        let start = (x * stride).saturating_sub(left);
        let last = (x * stride + size - left).min(self.input_w) - 1;
        [start, (start + 1).min(last), last]
    }

    /// The rows of the window, in the same way.
    #[inline(always)]
    pub(crate) fn row_numbers(&self) -> [usize; PoolRow::MAX_SIZE] {
        let last = self.rows.end - 1;
        [self.rows.start, (self.rows.start + 1).min(last), last]
    }

    /// Where the rows of the window begin.
    #[inline(always)]
    pub(crate) fn lines(&self) -> [*const f32; PoolRow::MAX_SIZE] {
        self.row_numbers().map(|y| self.input.wrapping_add(y * self.input_pitch))
    }
}

/// Maximum over the window of each pixel of the row.
///
/// # Safety
/// The rows named can be read and the output row be written.
#[inline(always)]
pub(crate) unsafe fn max_pool_row<S: Simd>(simd: S, row: &PoolRow) {
    let [a, b, c] = row.lines();
    // SAFETY: pixel `x` of the rows named, for those that the window has (contract).
    let column = |x: usize| unsafe {
        let at = |line: *const f32| simd.load(line.add(x * S::LANES));
        simd.max(simd.max(at(a), at(b)), at(c))
    };
    for x in 0..row.output_w {
        let [left, middle, right] = row.columns(x);
        let max = simd.max(simd.max(column(left), column(middle)), column(right));
        // SAFETY: a pixel of the output row (contract).
        unsafe { simd.store(row.output.add(x * S::LANES), max) };
    }
}

/// One block of channels to be averaged over all pixels.
pub(crate) struct MeanBlock {
    pub input: *const f32,
    pub pitch: usize,
    pub h: usize,
    pub w: usize,
    pub output: *mut f32,
}

/// Sums row by row, then over the rows: the error stays that of `h + w` additions for any map size.
///
/// # Safety
/// The block can be read, and one vector be written at `output`.
#[inline(always)]
pub(crate) unsafe fn mean_block<S: Simd>(simd: S, block: &MeanBlock) {
    let mut total = simd.splat(0.0);
    for y in 0..block.h {
        let mut sum = simd.splat(0.0);
        for x in 0..block.w {
            // SAFETY: a pixel of the block (contract).
            sum = simd.add(sum, unsafe { simd.load(block.input.add(y * block.pitch + x * S::LANES)) });
        }
        total = simd.add(total, sum);
    }
    let mean = simd.div(total, simd.splat((block.h * block.w) as f32));
    // SAFETY: the caller vouches for the output.
    unsafe { simd.store(block.output, mean) }
}
