//! TensorFlow's bilinear resize in f32, without antialiasing: every output pixel is a blend of the four input
//! pixels around one point, however much the picture shrinks.
//!
//! The order of the f32 operations is TensorFlow's (across first, then down), so the result equals its bit for
//! bit. Each input row in use is blended across once and kept for the output rows that share it.

use super::region::Region;

/// Which point of the input an output pixel is read from.
#[derive(Clone, Copy)]
pub(super) enum Grid {
    /// `i * scale`: TensorFlow 1's default. The top left pixels coincide, the rest shifts.
    Legacy,
    /// `(i + 0.5) * scale - 0.5`: the centres of both pictures coincide; TensorFlow 2.
    HalfPixel,
}

/// The two inputs of one output position and where between them it lies.
struct Tap {
    low: usize,
    high: usize,
    /// 0 at `low`, 1 at `high`.
    lerp: f32,
}

impl Grid {
    fn taps(self, input: usize, output: usize) -> Vec<Tap> {
        let scale = input as f32 / output as f32;
        let last = input - 1;
        (0..output)
            .map(|i| {
                let at = match self {
                    Grid::Legacy => i as f32 * scale,
                    Grid::HalfPixel => (i as f32 + 0.5) * scale - 0.5,
                };
                let floor = at.floor();
                // A float below zero becomes 0: left of the first centre there is nothing to blend with.
                Tap { low: last.min(floor as usize), high: last.min(at.ceil() as usize), lerp: at - floor }
            })
            .collect()
    }

    /// The inputs that are read for an output.
    pub(super) fn reads(self, input: usize, output: usize) -> Vec<usize> {
        self.taps(input, output).iter().flat_map(|tap| [tap.low, tap.high]).collect()
    }
}

/// Resizes `source` to `(height, width)`; `levels` gives the value of each byte.
pub(super) fn resize(
    source: &Region,
    grid: Grid,
    levels: &[f32; 256],
    (height, width): (usize, usize),
    out: &mut [f32],
) {
    let mut columns = grid.taps(source.width(), width);
    for tap in &mut columns {
        (tap.low, tap.high) = (source.offset(tap.low), source.offset(tap.high));
    }
    let mut upper = BlendedRow::new(width);
    let mut lower = BlendedRow::new(width);
    for (tap, out_row) in grid.taps(source.height(), height).iter().zip(out.chunks_exact_mut(width * 3)) {
        if lower.y == Some(tap.low) {
            std::mem::swap(&mut upper, &mut lower);
        }
        upper.load(tap.low, source, &columns, levels);
        lower.load(tap.high, source, &columns, levels);
        for ((value, &top), &bottom) in out_row.iter_mut().zip(&upper.values).zip(&lower.values) {
            *value = top + (bottom - top) * tap.lerp;
        }
    }
}

/// An input row after the blend across: `width * 3` values.
struct BlendedRow {
    y: Option<usize>,
    values: Vec<f32>,
}

impl BlendedRow {
    fn new(width: usize) -> BlendedRow {
        BlendedRow { y: None, values: vec![0.0; width * 3] }
    }

    /// Loads row `y` of `source`, in which the `columns` are offsets.
    fn load(&mut self, y: usize, source: &Region, columns: &[Tap], levels: &[f32; 256]) {
        if self.y == Some(y) {
            return;
        }
        self.y = Some(y);
        let row = source.row(y);
        for (tap, pixel) in columns.iter().zip(self.values.chunks_exact_mut(3)) {
            let left = &row[tap.low..][..3];
            let right = &row[tap.high..][..3];
            for channel in 0..3 {
                let (left, right) = (levels[left[channel] as usize], levels[right[channel] as usize]);
                pixel[channel] = left + (right - left) * tap.lerp;
            }
        }
    }
}
