//! Batch normalisation with the statistics of the batch itself, as the module's graph for training does.

use crate::simd::Simd;

/// One block of channels of a batch of maps, `image_step` elements apart, normalised in place.
pub(crate) struct NormBlock {
    /// Pixel (0, 0) of the block in the first image.
    pub map: *mut f32,
    pub image_step: usize,
    pub images: usize,
    pub pitch: usize,
    pub h: usize,
    pub w: usize,
    /// One vector.
    pub beta: *const f32,
    pub epsilon: f32,
}

/// `relu((x - mean) / sqrt(variance + epsilon) + beta)` with the biased variance over images and pixels.
///
/// Two passes (mean first, then squared deviations), summed row by row, keep the error of the statistics below
/// that of the convolution before them.
///
/// # Safety
/// The block of every image can be read and written, and one vector be read at `beta`.
#[inline(always)]
pub(crate) unsafe fn batch_norm_block<S: Simd>(simd: S, block: &NormBlock) {
    let count = simd.splat((block.images * block.h * block.w) as f32);
    let zero = simd.splat(0.0);
    let row_at = |image: usize, y: usize| {
        // SAFETY: a row of the block (contract).
        unsafe { block.map.add(image * block.image_step + y * block.pitch) }
    };
    let mut mean = zero;
    let mut variance = zero;
    for pass in 0..2 {
        let mut total = zero;
        for image in 0..block.images {
            let mut image_total = zero;
            for y in 0..block.h {
                let row = row_at(image, y);
                let mut sum = zero;
                for x in 0..block.w {
                    // SAFETY: a pixel of the row.
                    let value = simd.sub(unsafe { simd.load(row.add(x * S::LANES)) }, mean);
                    sum = if pass == 0 { simd.add(sum, value) } else { simd.mul_add(value, value, sum) };
                }
                image_total = simd.add(image_total, sum);
            }
            total = simd.add(total, image_total);
        }
        let average = simd.div(total, count);
        if pass == 0 {
            mean = average;
        } else {
            variance = average;
        }
    }
    let deviation = simd.sqrt(simd.add(variance, simd.splat(block.epsilon)));
    // SAFETY: the caller vouches for `beta`.
    let beta = unsafe { simd.load(block.beta) };
    for image in 0..block.images {
        for y in 0..block.h {
            let row = row_at(image, y);
            for x in 0..block.w {
                // SAFETY: a pixel of the row, this thread's alone.
                unsafe {
                    let value = simd.sub(simd.load(row.add(x * S::LANES)), mean);
                    let normal = simd.add(simd.div(value, deviation), beta);
                    // In this order, what is not a number comes through, on x86 too.
                    simd.store(row.add(x * S::LANES), simd.max(zero, normal));
                }
            }
        }
    }
}
