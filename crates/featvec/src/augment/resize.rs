//! The four ways in which TensorFlow 1 resizes (`tf.image.resize_images`): output pixel `i` is read at `i * scale`.

use crate::preset::{RECIPROCAL_LEVELS, Region, resize_bilinear};

/// A way to resize.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// A blend of the four pixels around a point.
    Bilinear,
    /// The pixel at a point.
    Nearest,
    /// Cubics through the sixteen pixels around a point; values may lie outside [0, 1].
    Bicubic,
    /// The mean of the pixels that an output pixel covers, in parts too.
    Area,
}

/// An input position and how much of it goes into an output position.
type Tap = (usize, f32);

impl Resize {
    /// All, in TensorFlow's order.
    pub const ALL: [Resize; 4] = [Resize::Bilinear, Resize::Nearest, Resize::Bicubic, Resize::Area];

    /// Resizes `region`, scaled to [0, 1], to `(height, width)`.
    pub(super) fn resize(self, region: &Region, (height, width): (usize, usize), out: &mut [f32]) {
        let taps: fn(usize, usize) -> Vec<Vec<Tap>> = match self {
            Resize::Bilinear => return resize_bilinear(region, (height, width), out),
            Resize::Nearest => nearest,
            Resize::Bicubic => bicubic,
            Resize::Area => area,
        };
        let columns = taps(region.width(), width);
        for (rows, out_row) in taps(region.height(), height).iter().zip(out.chunks_exact_mut(width * 3)) {
            out_row.fill(0.0);
            for &(y, y_weight) in rows {
                let row = region.row(y);
                let (out_pixels, _) = out_row.as_chunks_mut::<3>();
                for (out_pixel, taps) in out_pixels.iter_mut().zip(&columns) {
                    for &(x, x_weight) in taps {
                        let weight = y_weight * x_weight;
                        for (value, byte) in out_pixel.iter_mut().zip(&row[x * 3..][..3]) {
                            *value += weight * RECIPROCAL_LEVELS[usize::from(*byte)];
                        }
                    }
                }
            }
        }
    }
}

fn scale(input: usize, output: usize) -> f32 {
    input as f32 / output as f32
}

fn nearest(input: usize, output: usize) -> Vec<Vec<Tap>> {
    let scale = scale(input, output);
    (0..output).map(|i| vec![(((i as f32 * scale) as usize).min(input - 1), 1.0)]).collect()
}

fn bicubic(input: usize, output: usize) -> Vec<Vec<Tap>> {
    /// TensorFlow looks weights up in a table of so many steps from one pixel to the next.
    const STEPS: f32 = 1024.0;
    /// The slope of Keys' cubic.
    const A: f32 = -0.75;
    let near = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let scale = scale(input, output);
    (0..output)
        .map(|i| {
            let at = i as f32 * scale;
            let floor = at.floor();
            let t = ((at - floor) * STEPS).round_ties_even() / STEPS;
            let weights = [far(1.0 + t), near(t), near(1.0 - t), far(2.0 - t)];
            let place = |tap: usize| (floor as usize + tap).saturating_sub(1).min(input - 1);
            weights.iter().enumerate().map(|(tap, weight)| (place(tap), *weight)).collect()
        })
        .collect()
}

fn area(input: usize, output: usize) -> Vec<Vec<Tap>> {
    let scale = scale(input, output);
    (0..output)
        .map(|i| {
            let (start, end) = (i as f32 * scale, (i + 1) as f32 * scale);
            let covered = |x: usize| (end.min((x + 1) as f32) - start.max(x as f32)) / scale;
            (start.floor() as usize..end.ceil() as usize).map(|x| (x.min(input - 1), covered(x))).collect()
        })
        .collect()
}
