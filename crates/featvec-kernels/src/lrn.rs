//! Local response normalisation across channels (the paper's; Caffe's form, power 3/4).

use crate::simd::{MAX_LANES, Simd};

/// A row of pixels of all channels: the channels of a pixel lie in several blocks.
pub(crate) struct LrnRow {
    /// The row in block 0.
    pub input: *const f32,
    pub input_plane: usize,
    pub output: *mut f32,
    pub output_plane: usize,
    pub w: usize,
    pub channels: usize,
    pub size: usize,
    pub alpha: f32,
    pub k: f32,
}

/// `x / (k + alpha / size * sum of squares over size channels)^0.75`; channels beyond the ends count as zero.
///
/// # Safety
/// All blocks of the input row can be read, all blocks of the output row be written.
#[inline(always)]
pub(crate) unsafe fn lrn_row<S: Simd>(simd: S, row: &LrnRow) {
    let scale = simd.splat(row.alpha / row.size as f32);
    let k = simd.splat(row.k);
    let half = row.size / 2;
    let mut window = [0.0f32; MAX_LANES];
    for block in 0..row.channels.div_ceil(S::LANES) {
        for x in 0..row.w {
            // SAFETY: every index is a channel of pixel `x` of the input row, or the same place in the output
            // row (contract); `window` has room for a vector.
            unsafe {
                let at = |channel: usize| {
                    let (block, lane) = (channel / S::LANES, channel % S::LANES);
                    *row.input.add(block * row.input_plane + x * S::LANES + lane)
                };
                for (lane, sum) in window[..S::LANES].iter_mut().enumerate() {
                    let channel = block * S::LANES + lane;
                    *sum = 0.0;
                    for neighbour in channel.saturating_sub(half)..(channel + half + 1).min(row.channels) {
                        *sum += at(neighbour) * at(neighbour);
                    }
                }
                let sum = simd.load(window.as_ptr());
                let base = simd.mul_add(scale, sum, k);
                let root = simd.sqrt(base);
                let power = simd.mul(root, simd.sqrt(root));
                let value = simd.load(row.input.add(block * row.input_plane + x * S::LANES));
                simd.store(row.output.add(block * row.output_plane + x * S::LANES), simd.div(value, power));
            }
        }
    }
}
