//! OpenCV's `INTER_LINEAR` on 8-bit pictures: half-pixel centres, no antialiasing, weights in 1/2048, and an
//! intermediate row that loses its lowest four bits before the blend down.

use super::region::Region;

/// The weight 1 in the fixed-point arithmetic of the resize.
const ONE: f32 = 2048.0;

/// The two inputs of an output position, and their weights.
struct Tap {
    inputs: [usize; 2],
    weights: [i32; 2],
}

fn taps(input: usize, output: usize) -> impl Iterator<Item = Tap> {
    // The inverse of the inverse, as OpenCV has it: not always the same f64 as input / output.
    let scale = 1.0 / (output as f64 / input as f64);
    (0..output).map(move |i| {
        let at = ((i as f64 + 0.5) * scale - 0.5) as f32;
        let lerp = at - at.floor();
        let fixed = |weight: f32| (weight * ONE).round_ties_even() as i32;
        // At the borders both inputs are the same: the weights add up to the whole.
        let inputs = [at.floor(), at.floor() + 1.0].map(|at| (at as usize).min(input - 1));
        Tap { inputs, weights: [fixed(1.0 - lerp), fixed(lerp)] }
    })
}

/// The inputs that are read for an output.
pub(super) fn reads(input: usize, output: usize) -> Vec<usize> {
    taps(input, output).flat_map(|tap| tap.inputs).collect()
}

/// Resizes `source` to `(height, width)`; `levels` gives the value of each byte.
pub(super) fn resize(source: &Region, levels: &[f32; 256], (height, width): (usize, usize), out: &mut [f32]) {
    let offsets = |tap: Tap| Tap { inputs: tap.inputs.map(|x| source.offset(x)), ..tap };
    let columns: Vec<Tap> = taps(source.width(), width).map(offsets).collect();
    let mut upper = BlendedRow::new(width);
    let mut lower = BlendedRow::new(width);
    for (tap, out_row) in taps(source.height(), height).zip(out.chunks_exact_mut(width * 3)) {
        let [y, y_next] = tap.inputs;
        if lower.y == Some(y) {
            std::mem::swap(&mut upper, &mut lower);
        }
        upper.load(y, source, &columns);
        lower.load(y_next, source, &columns);
        for ((value, &top), &bottom) in out_row.iter_mut().zip(&upper.values).zip(&lower.values) {
            let sum = ((tap.weights[0] * top) >> 16) + ((tap.weights[1] * bottom) >> 16);
            *value = levels[((sum + 2) >> 2).clamp(0, 255) as usize];
        }
    }
}

/// An input row after the blend across, in 1/128: `width * 3` values.
struct BlendedRow {
    y: Option<usize>,
    values: Vec<i32>,
}

impl BlendedRow {
    fn new(width: usize) -> BlendedRow {
        BlendedRow { y: None, values: vec![0; width * 3] }
    }

    /// Loads row `y` of `source`, in which the `columns` are offsets.
    fn load(&mut self, y: usize, source: &Region, columns: &[Tap]) {
        if self.y == Some(y) {
            return;
        }
        self.y = Some(y);
        let row = source.row(y);
        for (tap, pixel) in columns.iter().zip(self.values.chunks_exact_mut(3)) {
            let [left, right] = tap.inputs.map(|offset| &row[offset..][..3]);
            for channel in 0..3 {
                let sum = left[channel] as i32 * tap.weights[0] + right[channel] as i32 * tap.weights[1];
                pixel[channel] = sum >> 4;
            }
        }
    }
}
