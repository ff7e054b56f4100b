//! Pillow's `BILINEAR` on 8-bit pictures: a triangle as wide as the shrinking (so it antialiases), weights in
//! fixed point, one pass across and one down, and a result rounded to 8 bits between them.

use std::ops::Range;

use super::region::Region;

/// Fraction bits of the weights: what 32 bits leave beside a byte and two bits for sums above it.
const WEIGHT_BITS: u32 = 32 - 8 - 2;
/// Half of the lowest bit that survives the shift back to bytes.
const HALF: i32 = 1 << (WEIGHT_BITS - 1);

/// The consecutive inputs of one output position, with their weights.
struct Window {
    inputs: Range<usize>,
    weights: Vec<i32>,
}

fn windows(input: usize, output: usize) -> Vec<Window> {
    let scale = input as f64 / output as f64;
    let support = scale.max(1.0);
    (0..output)
        .map(|i| {
            let centre = (i as f64 + 0.5) * scale;
            // Converting to usize truncates, and a float below zero becomes 0.
            let inputs = (centre - support + 0.5) as usize..input.min((centre + support + 0.5) as usize);
            let triangle: Vec<f64> = inputs
                .clone()
                .map(|x| (1.0 - ((x as f64 - centre + 0.5) * (1.0 / support)).abs()).max(0.0))
                .collect();
            let total: f64 = triangle.iter().sum();
            let fixed = |weight: f64| (0.5 + weight / total * f64::from(1 << WEIGHT_BITS)) as i32;
            Window { inputs, weights: triangle.into_iter().map(fixed).collect() }
        })
        .collect()
}

/// Resizes `source` to `(height, width)`; `levels` gives the value of each byte.
pub(super) fn resize(source: &Region, levels: &[f32; 256], (height, width): (usize, usize), out: &mut [f32]) {
    let columns = windows(source.width(), width);
    let rows = windows(source.height(), height);
    let rows_lost = source.height() as i64 - height as i64;
    let columns_lost = source.width() as i64 - width as i64;
    // Pillow 13 goes down first where that drops much more; until Pillow 12 it always went across first.
    if rows_lost > 0 && rows_lost > 2 * columns_lost {
        down_then_across(source, &rows, &columns, levels, out);
    } else {
        across_then_down(source, &rows, &columns, levels, out);
    }
}

fn down_then_across(
    source: &Region,
    rows: &[Window],
    columns: &[Window],
    levels: &[f32; 256],
    out: &mut [f32],
) {
    let mut sums = vec![0; source.width() * 3];
    let mut across_row = vec![0; columns.len() * 3];
    for (window, out_row) in rows.iter().zip(out.chunks_exact_mut(columns.len() * 3)) {
        sums.fill(HALF);
        for (y, &weight) in window.inputs.clone().zip(&window.weights) {
            add(&mut sums, source.row(y), weight);
        }
        let down_row: Vec<u8> = sums.iter().map(|&sum| to_byte(sum)).collect();
        across(&down_row, columns, &mut across_row);
        for (value, &byte) in out_row.iter_mut().zip(&across_row) {
            *value = levels[usize::from(byte)];
        }
    }
}

/// Each input row is resized across once and added to the output rows whose window it is in: a picture of very
/// many rows needs no more memory than one of few.
fn across_then_down(
    source: &Region,
    rows: &[Window],
    columns: &[Window],
    levels: &[f32; 256],
    out: &mut [f32],
) {
    let mut sums = vec![HALF; out.len()];
    let mut row = vec![0; columns.len() * 3];
    let mut done = 0;
    for y in 0..source.height() {
        done += rows[done..].iter().take_while(|window| window.inputs.end <= y).count();
        across(source.row(y), columns, &mut row);
        let open = rows[done..].iter().take_while(|window| window.inputs.start <= y);
        for (window, sums) in open.zip(sums.chunks_exact_mut(row.len()).skip(done)) {
            add(sums, &row, window.weights[y - window.inputs.start]);
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
