//! The mean of a batch over all pixels, and its gradient.

use crate::maps::Maps;
use crate::pool::MeanBlock;
use crate::team::Team;
use crate::train::planes::{self, Planes};

/// Writes the mean of each channel of each image of `x` to `y`, of the shape `[c, 1, 1]`.
///
/// # Panics
/// Where `y` has another shape.
pub fn global_mean(team: &Team, x: &Maps, y: &mut Maps) {
    check(x, y);
    let kernels = x.kernels();
    let (x, y) = (Planes::of(x), Planes::of_mut(y));
    planes::share(team, &x, x.blocks(), &|image, block| {
        let (x, y) = (x.plane(image, block), y.plane(image, block));
        // SAFETY: planes of maps that are borrowed, `y` this item's alone; `kernels` proves the instruction set.
        unsafe {
            (kernels.mean_block)(&MeanBlock {
                input: x.start,
                pitch: x.pitch,
                h: x.h,
                w: x.w,
                output: y.start,
            })
        };
    });
}

/// The gradient of [`global_mean`]: writes that to its input to `dx`, given that to its output, `dy`.
///
/// # Panics
/// As [`global_mean`].
pub fn global_mean_backward(team: &Team, dy: &Maps, dx: &mut Maps) {
    check(dx, dy);
    let lanes = dx.kernels().lanes();
    let (dy, dx) = (Planes::of(dy), Planes::of_mut(dx));
    planes::share(team, &dx, dx.blocks(), &|image, block| {
        let (dy, dx) = (dy.plane(image, block), dx.plane(image, block));
        // SAFETY: the pixel of a plane of maps that are borrowed.
        let dy = unsafe { core::slice::from_raw_parts(dy.start, lanes) };
        let pixels = (dx.h * dx.w) as f32;
        for y in 0..dx.h {
            // SAFETY: a row of a plane of maps that are borrowed mutably, this item's alone.
            let row = unsafe { core::slice::from_raw_parts_mut(dx.row(y), dx.w * lanes) };
            for pixel in row.chunks_exact_mut(lanes) {
                for (dx, dy) in pixel.iter_mut().zip(dy) {
                    *dx = dy / pixels;
                }
            }
        }
    });
}

fn check(maps: &Maps, mean: &Maps) {
    planes::check_alike(maps, &[mean]);
    assert_eq!(mean.shape(), [maps.shape()[0], 1, 1], "a mean has one pixel");
}
