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
    for x in 0..row.output_w {
        let start = (x * row.stride).saturating_sub(row.left);
        let end = (x * row.stride + row.size - row.left).min(row.input_w);
        // SAFETY: `start < end <= input_w` and the rows are inside the map (contract).
        unsafe {
            let mut max = simd.splat(f32::NEG_INFINITY);
            for y in row.rows.start..row.rows.end {
                let line = row.input.add(y * row.input_pitch);
                for column in start..end {
                    max = simd.max(max, simd.load(line.add(column * S::LANES)));
                }
            }
            simd.store(row.output.add(x * S::LANES), max);
        }
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
