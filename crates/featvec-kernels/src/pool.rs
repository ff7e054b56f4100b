//! Max pooling, and the mean over a whole map.

use crate::simd::Simd;

/// One output row of a max pool over one block of channels.
pub(crate) struct PoolRow {
    /// Pixel (0, 0) of the input block.
    pub input: *const f32,
    pub input_pitch: usize,
    pub input_w: usize,
    /// The input rows that the window covers, cut at the map's edge.
    pub rows: core::ops::Range<usize>,
    /// The first pixel of the output row.
    pub output: *mut f32,
    pub output_w: usize,
    pub size: usize,
    pub stride: usize,
    /// Columns by which the first window begins left of the map.
    pub left: usize,
}

/// Pixels outside the map do not take part, as in TensorFlow and Caffe.
///
/// # Safety
/// The rows named can be read and the output row be written.
#[inline(always)]
pub(crate) unsafe fn max_pool_row<S: Simd>(simd: S, row: &PoolRow) {
    let outside = simd.splat(f32::NEG_INFINITY);
    // The largest of a column of pixels, which up to three windows have in common.
    let column = |x: usize| {
        let mut max = outside;
        for y in row.rows.start..row.rows.end {
            // SAFETY: a pixel of the rows named (contract).
            max = simd.max(max, unsafe { simd.load(row.input.add(y * row.input_pitch + x * S::LANES)) });
        }
        max
    };
    let mut last = [outside; 2];
    let mut next = 0;
    for x in 0..row.output_w {
        let end = (x * row.stride + row.size - row.left).min(row.input_w);
        let start = (x * row.stride).saturating_sub(row.left);
        // Windows of up to three columns keep two.
        let mut max = outside;
        let kept = if row.size <= 3 { next.max(start) } else { start };
        if kept > start {
            max = last[1];
            if kept > start + 1 {
                max = simd.max(max, last[0]);
            }
        }
        for x in kept..end {
            let column = column(x);
            max = simd.max(max, column);
            last = [last[1], column];
        }
        next = next.max(end);
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
