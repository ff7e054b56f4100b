//! Local response normalisation of a batch, and its gradient: the paper's network has it.

use crate::lrn::LrnRow;
use crate::maps::Maps;
use crate::program::Lrn;
use crate::simd::Simd;
use crate::team::Team;
use crate::train::planes::{self, Planes};

/// The gradient of a row of pixels of all channels. Each pair is the row in block 0, and the elements from one block to
/// the next.
pub(crate) struct LrnGradientRow {
    x: (*const f32, usize),
    dy: (*const f32, usize),
    dx: (*mut f32, usize),
    w: usize,
    blocks: usize,
    /// Channels on each side of a window's middle: no more than there are.
    reach: usize,
    /// Already divided by the size of the window.
    alpha: f32,
    k: f32,
    /// [`scratch_len`] zeros.
    scratch: *mut f32,
}

/// Writes `x / (k + alpha / size * sum)^0.75` to `y`, where the sum is that of the squares of the `size` channels around
/// `x`.
///
/// # Panics
/// Where the maps have different shapes, the size is even, or `k` is not positive.
pub fn lrn(team: &Team, x: &Maps, lrn: &Lrn, y: &mut Maps) {
    check(x, lrn, &[y]);
    let (kernels, [channels, h, w]) = (x.kernels(), x.shape());
    let planes = [x.map().plane(), y.map().plane()];
    let (images, x, y) = (x.images(), Planes::of(x), Planes::of_mut(y));
    team.share(images * h, &|item| {
        let (image, row) = (item / h, item % h);
        let row = LrnRow {
            input: x.plane(image, 0).row(row),
            input_plane: planes[0],
            output: y.plane(image, 0).row(row),
            output_plane: planes[1],
            w,
            channels,
            size: lrn.size,
            alpha: lrn.alpha,
            k: lrn.k,
        };
        // SAFETY: rows of maps that are borrowed, that of `y` this item's alone; `kernels` proves the instruction set.
        unsafe { (kernels.lrn_row)(&row) };
    });
}

/// The gradient of [`lrn()`]: writes that to its input `x` to `dx`, given that to its output, `dy`.
///
/// # Panics
/// As [`lrn()`].
pub fn lrn_backward(team: &Team, x: &Maps, lrn: &Lrn, dy: &Maps, dx: &mut Maps) {
    check(x, lrn, &[dy, dx]);
    let (kernels, [_, h, w]) = (x.kernels(), x.shape());
    let steps = [x, dy, dx].map(|maps| maps.map().plane());
    let (images, alpha, k) = (x.images(), lrn.alpha / lrn.size as f32, lrn.k);
    let channels = x.map().blocks() * kernels.lanes();
    let reach = (lrn.size / 2).min(channels);
    let scratch_len = scratch_len(channels, reach);
    let (x, dy, dx) = (Planes::of(x), Planes::of(dy), Planes::of_mut(dx));
    team.share(images * h, &|item| {
        let (image, row) = (item / h, item % h);
        let [x_row, dy_row, dx_row] = [&x, &dy, &dx].map(|planes| planes.plane(image, 0).row(row));
        let mut scratch = vec![0.0; scratch_len];
        let row = LrnGradientRow {
            x: (x_row, steps[0]),
            dy: (dy_row, steps[1]),
            dx: (dx_row, steps[2]),
            w,
            blocks: x.blocks(),
            reach,
            alpha,
            k,
            scratch: scratch.as_mut_ptr(),
        };
        // SAFETY: rows of maps that are borrowed, that of `dx` this item's alone; `kernels` proves the instruction set.
        unsafe { (kernels.lrn_backward)(&row) };
    });
}

fn check(x: &Maps, lrn: &Lrn, others: &[&Maps]) {
    planes::check_alike(x, others);
    assert!(others.iter().all(|other| other.shape() == x.shape()), "normalisation keeps the shape");
    assert!(lrn.size % 2 == 1, "an even window has no middle");
    assert!(lrn.k > 0.0, "a power of what may be zero");
}

/// Room for two sequences of `channels` numbers with `reach` zeros on each side.
fn scratch_len(channels: usize, reach: usize) -> usize {
    2 * (channels + 2 * reach)
}

/// With `s` what is under the power, `dx = dy / s^0.75 - 1.5 * alpha / size * x * sum of (dy * x / s^1.75)`, where the sum
/// is over the channels around `x`, in whose windows it is.
///
/// # Safety
/// All blocks of the rows `x` and `dy` can be read, all of `dx` be written, and `scratch` is as it says.
#[inline(always)]
pub(crate) unsafe fn gradient_row<S: Simd>(simd: S, row: &LrnGradientRow) {
    let (reach, size) = (row.reach, 2 * row.reach + 1);
    let (scale, k, factor) = (simd.splat(row.alpha), simd.splat(row.k), simd.splat(-1.5 * row.alpha));
    let squares = row.scratch;
    let parts = squares.wrapping_add(row.blocks * S::LANES + 2 * reach);
    // SAFETY, for every block: a pixel of a block of the rows, or a vector of the scratch memory, whose zeros before and
    // after stand for the channels beyond the ends (contract).
    for pixel in 0..row.w {
        let at = |(start, step): (*const f32, usize), block: usize| {
            start.wrapping_add(block * step + pixel * S::LANES)
        };
        let dx_at = |block: usize| row.dx.0.wrapping_add(block * row.dx.1 + pixel * S::LANES);
        for block in 0..row.blocks {
            // SAFETY: see above.
            unsafe {
                let x = simd.load(at(row.x, block));
                simd.store(squares.add(reach + block * S::LANES), simd.mul(x, x));
            }
        }
        for block in 0..row.blocks {
            // SAFETY: see above.
            unsafe {
                let base = simd.mul_add(scale, window(simd, squares.add(block * S::LANES), size), k);
                let root = simd.sqrt(base);
                let own = simd.div(simd.load(at(row.dy, block)), simd.mul(root, simd.sqrt(root)));
                simd.store(dx_at(block), own);
                let part = simd.div(simd.mul(own, simd.load(at(row.x, block))), base);
                simd.store(parts.add(reach + block * S::LANES), part);
            }
        }
        for block in 0..row.blocks {
            // SAFETY: see above.
            unsafe {
                let sum = window(simd, parts.add(block * S::LANES), size);
                let others = simd.mul(simd.mul(factor, simd.load(at(row.x, block))), sum);
                simd.store(dx_at(block), simd.add(simd.load(dx_at(block)), others));
            }
        }
    }
}

/// The sums of the windows of `size` numbers that begin at `from` and at each of the next places.
///
/// # Safety
/// `size` vectors, each an element on, can be read.
#[inline(always)]
unsafe fn window<S: Simd>(simd: S, from: *const f32, size: usize) -> S::V {
    let mut sum = simd.splat(0.0);
    for offset in 0..size {
        // SAFETY: the caller vouches for it.
        sum = simd.add(sum, unsafe { simd.load(from.add(offset)) });
    }
    sum
}
