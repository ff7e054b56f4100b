//! Max pooling of a batch, and its gradient.

use core::ops::Range;

use crate::maps::Maps;
use crate::pool::{Pool, PoolRow};
use crate::simd::Simd;
use crate::team::Team;
use crate::train::planes::{self, Planes};

/// The gradient of one output row of a max pool over one block of channels.
pub(crate) struct PoolGradientRow {
    /// The row and the windows that it is the maximum of.
    pub row: PoolRow,
    /// The first pixel of the row of the gradient to the output.
    pub dy: *const f32,
    /// Pixel (0, 0) of the block of the gradient to the input.
    pub dx: *mut f32,
    pub dx_pitch: usize,
}

/// Writes the maximum of each of the windows of `x` to `y`.
///
/// # Panics
/// Where a window has no pixel, or the maps differ in more than the number of pixels.
pub fn max_pool(team: &Team, x: &Maps, pool: Pool, y: &mut Maps) {
    check(x, pool, y);
    let kernels = x.kernels();
    let (x, y) = (Planes::of(x), Planes::of_mut(y));
    planes::share(team, &x, x.blocks(), &|image, block| {
        for row in rows(&x, pool, (&y, [image, block])) {
            // SAFETY: rows of planes of maps that are borrowed, `y` this item's alone; `kernels` proves the
            // instruction set.
            unsafe { (kernels.max_pool_row)(&row) };
        }
    });
}

/// The gradient of [`max_pool`]: adds that to its output `y`, which is `dy`, to `dx`, at the place of the maximum. Where a
/// window has several, its gradient goes to the first of them, row by row, as in TensorFlow.
///
/// # Panics
/// As [`max_pool`].
pub fn max_pool_backward(team: &Team, maps: (&Maps, &Maps), dy: &Maps, pool: Pool, dx: &mut Maps) {
    backward(team, maps, (dy, pool), (dx, false));
}

/// As [`max_pool_backward`], but overwrites `dx`.
///
/// # Panics
/// As [`max_pool`].
pub fn max_pool_backward_overwrite(team: &Team, maps: (&Maps, &Maps), dy: &Maps, pool: Pool, dx: &mut Maps) {
    backward(team, maps, (dy, pool), (dx, true));
}

fn backward(
    team: &Team,
    (x, y): (&Maps, &Maps),
    (dy, pool): (&Maps, Pool),
    (dx, overwrite): (&mut Maps, bool),
) {
    check(x, pool, y);
    check(dx, pool, dy);
    planes::check_alike(x, &[dx]);
    assert_eq!(x.shape(), dx.shape(), "a gradient of another size");
    assert_eq!(y.shape(), dy.shape(), "a gradient of another size");
    let kernels = x.kernels();
    let (x, y, dy, dx) = (Planes::of(x), Planes::of(y), Planes::of(dy), Planes::of_mut(dx));
    planes::share(team, &x, x.blocks(), &|image, block| {
        let [dy, dx] = [&dy, &dx].map(|planes| planes.plane(image, block));
        // SAFETY, for both: rows of planes of maps that are borrowed, `dx` this item's alone; `kernels` proves the
        // instruction set.
        let clear = |rows: Range<usize>| {
            for row in rows {
                // SAFETY: see above.
                unsafe { dx.row(row).write_bytes(0, dx.w * kernels.lanes()) };
            }
        };
        // Rows are cleared just before they are needed, to be in the cache then.
        let mut next = if overwrite { 0 } else { dx.h };
        for (index, row) in rows(&x, pool, (&y, [image, block])).enumerate() {
            clear(next..row.rows.end);
            next = next.max(row.rows.end);
            let (dy, dx, dx_pitch) = (dy.row(index), dx.start, dx.pitch);
            // SAFETY: see above.
            unsafe { (kernels.max_pool_backward)(&PoolGradientRow { row, dy, dx, dx_pitch }) };
        }
        clear(next..dx.h);
    });
}

fn check(x: &Maps, pool: Pool, y: &Maps) {
    planes::check_alike(x, &[y]);
    let ([xc, xh, xw], [yc, yh, yw]) = (x.shape(), y.shape());
    assert_eq!(xc, yc, "a pool keeps its channels");
    pool.check([xh, xw], [yh, yw]);
}

/// The rows of a plane of `y` and the windows of `x` that belong to them.
fn rows(
    x: &Planes<'_>,
    pool: Pool,
    (y, [image, block]): (&Planes<'_>, [usize; 2]),
) -> impl Iterator<Item = PoolRow> {
    let (x, y) = (x.plane(image, block), y.plane(image, block));
    (0..y.h).map(move |row| PoolRow {
        input: x.start,
        input_pitch: x.pitch,
        input_w: x.w,
        rows: pool.rows(row, x.h),
        output: y.row(row),
        output_w: y.w,
        pool,
    })
}

/// Adds the gradient of a row to that of its windows.
///
/// What is left of the gradient to a maximum is given to the pixels of its window that equal it, in their order: the first
/// takes all. So a pixel that is counted twice, because the window is cut off at the edge, does not take it twice.
///
/// # Safety
/// The rows of both inputs and outputs can be read, and the rows of `dx` be written.
#[inline(always)]
pub(crate) unsafe fn gradient_row<S: Simd>(simd: S, gradient: &PoolGradientRow) {
    let row = &gradient.row;
    let lines = row.lines();
    let gradient_lines = row.row_numbers().map(|y| gradient.dx.wrapping_add(y * gradient.dx_pitch));
    for x in 0..row.output_w {
        // SAFETY: a pixel of both output rows (contract).
        let (max, mut left) =
            unsafe { (simd.load(row.output.add(x * S::LANES)), simd.load(gradient.dy.add(x * S::LANES))) };
        let columns = row.columns(x);
        for (line, dx_line) in lines.into_iter().zip(gradient_lines) {
            for column in columns {
                // SAFETY: a pixel of the window in both inputs (contract).
                unsafe {
                    let dx = dx_line.add(column * S::LANES);
                    let taken = simd.where_equal(simd.load(line.add(column * S::LANES)), max, left);
                    simd.store(dx, simd.add(simd.load(dx), taken));
                    left = simd.sub(left, taken);
                }
            }
        }
    }
}
