//! Pillow's `BILINEAR` on 8-bit pictures: a triangle as wide as the shrinking (so it antialiases), weights in
//! fixed point, one pass across and one down, and a result rounded to 8 bits between them.

use std::ops::Range;

use super::region::Region;

/// Fraction bits of the weights: what 32 bits leave beside a byte and two bits for sums above it.
const WEIGHT_BITS: u32 = 32 - 8 - 2;
/// Half of the lowest bit that survives the shift back to bytes.
const HALF: i32 = 1 << (WEIGHT_BITS - 1);

/// So many weights are kept at a time: those of a row of any camera, but not of a picture that is all width.
const BLOCK_WEIGHTS: usize = 1 << 16;

/// The consecutive inputs of one output position, with their weights.
struct Window {
    inputs: Range<usize>,
    weights: Vec<i32>,
}

/// One side of a resize.
#[derive(Clone, Copy)]
struct Axis {
    input: usize,
    output: usize,
}

impl Axis {
    fn scale(self) -> f64 {
        self.input as f64 / self.output as f64
    }

    /// The window of output position `i`.
    fn window(self, i: usize) -> Window {
        let support = self.scale().max(1.0);
        let centre = (i as f64 + 0.5) * self.scale();
        // Converting to usize truncates, and a float below zero becomes 0.
        let inputs = (centre - support + 0.5) as usize..self.input.min((centre + support + 0.5) as usize);
        let triangle = |x: usize| (1.0 - ((x as f64 - centre + 0.5) * (1.0 / support)).abs()).max(0.0);
        let total: f64 = inputs.clone().map(triangle).sum();
        let fixed = |weight: f64| (0.5 + weight / total * f64::from(1 << WEIGHT_BITS)) as i32;
        Window { weights: inputs.clone().map(|x| fixed(triangle(x))).collect(), inputs }
    }

    fn windows(self, outputs: Range<usize>) -> Vec<Window> {
        outputs.map(|i| self.window(i)).collect()
    }

    /// The output positions in blocks of at most [`BLOCK_WEIGHTS`] weights, or of one position.
    fn blocks(self) -> impl Iterator<Item = Range<usize>> {
        let window_len = 2 * (self.input / self.output + 1);
        let len = (BLOCK_WEIGHTS / window_len).max(1);
        (0..self.output).step_by(len).map(move |start| start..self.output.min(start + len))
    }

    fn lost(self) -> i64 {
        self.input as i64 - self.output as i64
    }
}

/// Resizes `source` to `(height, width)`; `levels` gives the value of each byte.
pub(super) fn resize(source: &Region, levels: &[f32; 256], (height, width): (usize, usize), out: &mut [f32]) {
    let rows = Axis { input: source.height(), output: height };
    let columns = Axis { input: source.width(), output: width };
    // Pillow 13 goes down first where that drops much more; until Pillow 12 it always went across first.
    if rows.lost() > 0 && rows.lost() > 2 * columns.lost() {
        down_then_across(source, [rows, columns], levels, out);
    } else {
        across_then_down(source, [rows, columns], levels, out);
    }
}

/// Each output row is made on its own. Few columns are dropped on this way, so that there are few weights across.
fn down_then_across(source: &Region, [rows, columns]: [Axis; 2], levels: &[f32; 256], out: &mut [f32]) {
    let columns = columns.windows(0..columns.output);
    let mut sums = vec![0; source.width() * 3];
    let mut across_row = vec![0; columns.len() * 3];
    for (i, out_row) in out.chunks_exact_mut(columns.len() * 3).enumerate() {
        let window = rows.window(i);
        sums.fill(HALF);
        for (y, &weight) in window.inputs.clone().zip(&window.weights) {
            add(&mut sums, source.row(y), weight);
        }
        let down_row: Vec<u8> = sums.iter().map(|&sum| to_byte(sum)).collect();
        across(&down_row, &columns, &mut across_row);
        for (value, &byte) in out_row.iter_mut().zip(&across_row) {
            *value = levels[usize::from(byte)];
        }
    }
}

/// Each input row is resized across once and added to the output rows whose window it is in: a picture of very
/// many rows needs no more memory than one of few, and one of very many columns is gone through block by block.
fn across_then_down(source: &Region, [rows, columns]: [Axis; 2], levels: &[f32; 256], out: &mut [f32]) {
    let rows = rows.windows(0..rows.output);
    let mut sums = vec![HALF; out.len()];
    for block in columns.blocks() {
        let windows = columns.windows(block.clone());
        let block = block.start * 3..block.end * 3;
        let mut row = vec![0; block.len()];
        let mut done = 0;
        for y in 0..source.height() {
            done += rows[done..].iter().take_while(|window| window.inputs.end <= y).count();
            across(source.row(y), &windows, &mut row);
            let open = rows[done..].iter().take_while(|window| window.inputs.start <= y);
            for (window, sums) in open.zip(sums.chunks_exact_mut(columns.output * 3).skip(done)) {
                add(&mut sums[block.clone()], &row, window.weights[y - window.inputs.start]);
            }
        }
    }
    for (value, &sum) in out.iter_mut().zip(&sums) {
        *value = levels[usize::from(to_byte(sum))];
    }
}

fn add(sums: &mut [i32], row: &[u8], weight: i32) {
    for (sum, &byte) in sums.iter_mut().zip(row) {
        *sum += i32::from(byte) * weight;
    }
}

/// One row resized to the output's width.
fn across(row: &[u8], columns: &[Window], out: &mut [u8]) {
    for (window, pixel) in columns.iter().zip(out.chunks_exact_mut(3)) {
        let mut sums = [HALF; 3];
        let inputs = &row[window.inputs.start * 3..window.inputs.end * 3];
        for (rgb, &weight) in inputs.chunks_exact(3).zip(&window.weights) {
            for (sum, &byte) in sums.iter_mut().zip(rgb) {
                *sum += i32::from(byte) * weight;
            }
        }
        pixel.copy_from_slice(&sums.map(to_byte));
    }
}

fn to_byte(sum: i32) -> u8 {
    (sum >> WEIGHT_BITS).clamp(0, 255) as u8
}
