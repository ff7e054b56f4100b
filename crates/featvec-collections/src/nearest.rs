//! The nearest pairs of a set of vectors, each compared with each.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Vectors of a panel: their numbers lie side by side, so that a few vectors are multiplied with all of them at once.
const PANEL: usize = 8;
/// Vectors that are multiplied with a panel at once. Their sums and a panel's numbers fit in 16 registers of 128 bits.
const ROWS: usize = 4;
/// Panels of a block, which stays in the cache while all vectors before it pass by.
const BLOCK_PANELS: usize = 8;
const BLOCK: usize = BLOCK_PANELS * PANEL;

/// Two vectors and the cosine of the angle between them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pair {
    pub rows: [usize; 2],
    pub cosine: f32,
}

/// The `most` pairs with the largest products among `vectors`, which have `values` numbers each and length 1 and lie end to
/// end; largest first. All processors work on it.
pub(crate) fn nearest_pairs(vectors: &[f32], values: usize, most: usize) -> Vec<Pair> {
    let rows: Vec<&[f32]> = vectors.chunks_exact(values).collect();
    let blocks = rows.len().div_ceil(BLOCK);
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Best::new(most)));
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(blocks);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut best = Best::new(most);
                loop {
                    let block = next.fetch_add(1, Ordering::Relaxed);
                    if block >= blocks {
                        break;
                    }
                    compare_block(&rows, block * BLOCK, &mut best);
                }
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                best.pairs.into_iter().for_each(|pair| found.offer(pair));
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner).pairs
}

/// Compares the vectors of the block that begins at `begin` with each other and with all before them.
fn compare_block(rows: &[&[f32]], begin: usize, best: &mut Best) {
    let block = &rows[begin..rows.len().min(begin + BLOCK)];
    let panels: Vec<Vec<[f32; PANEL]>> = block.chunks(PANEL).map(panel).collect();
    for first in (0..begin + block.len()).step_by(ROWS) {
        let some = std::array::from_fn(|i| rows[(first + i).min(rows.len() - 1)]);
        for (p, panel) in panels.iter().enumerate() {
            for (i, products) in products(some, panel).iter().enumerate() {
                for (j, &cosine) in products.iter().enumerate() {
                    let pair = [first + i, begin + p * PANEL + j];
                    if pair[0] < pair[1] && pair[1] < rows.len() {
                        best.offer(Pair { rows: pair, cosine });
                    }
                }
            }
        }
    }
}

/// Vectors side by side; zeros where there are fewer.
fn panel(rows: &[&[f32]]) -> Vec<[f32; PANEL]> {
    let values = rows.first().map_or(0, |row| row.len());
    (0..values).map(|k| std::array::from_fn(|i| rows.get(i).map_or(0.0, |row| row[k]))).collect()
}

fn products(rows: [&[f32]; ROWS], panel: &[[f32; PANEL]]) -> [[f32; PANEL]; ROWS] {
    let mut sums = [[0.0; PANEL]; ROWS];
    let [a, b, c, d] = rows.map(|row| &row[..panel.len()]);
    for (k, column) in panel.iter().enumerate() {
        for (sums, x) in sums.iter_mut().zip([a[k], b[k], c[k], d[k]]) {
            for (sum, y) in sums.iter_mut().zip(column) {
                *sum += x * y;
            }
        }
    }
    sums
}

/// The best pairs so far, best first; among equals those of smaller rows, so that threads make no difference.
struct Best {
    most: usize,
    pairs: Vec<Pair>,
}

impl Best {
    fn new(most: usize) -> Best {
        Best { most, pairs: Vec::new() }
    }

    fn offer(&mut self, pair: Pair) {
        if self.pairs.len() == self.most && self.pairs.last().is_none_or(|worst| pair.cosine < worst.cosine) {
            return;
        }
        let before = |other: &Pair| (other.cosine, pair.rows) > (pair.cosine, other.rows);
        let place = self.pairs.partition_point(before);
        self.pairs.insert(place, pair);
        self.pairs.truncate(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors on the unit circle, at angles that repeat nowhere.
    fn vectors(count: usize, values: usize) -> Vec<f32> {
        (0..count)
            .flat_map(|i| {
                let angle = (i * i * 7 % 1009) as f32;
                let mut vector = vec![0.0; values];
                (vector[0], vector[values - 1]) = (angle.cos(), angle.sin());
                vector
            })
            .collect()
    }

    #[test]
    fn the_pairs_are_those_that_a_plain_loop_finds() {
        for count in [0, 1, 2, 7, 63, 64, 65, 131] {
            let values = 5;
            let vectors = vectors(count, values);
            let row = |i: usize| &vectors[i * values..][..values];
            let mut wanted = Vec::new();
            for j in 0..count {
                for i in 0..j {
                    wanted.push(row(i).iter().zip(row(j)).map(|(x, y)| x * y).sum::<f32>());
                }
            }
            wanted.sort_by(|x, y| y.total_cmp(x));
            wanted.truncate(10);
            let found = nearest_pairs(&vectors, values, 10);
            assert_eq!(found.len(), wanted.len(), "{count}");
            for (pair, wanted) in found.iter().zip(wanted) {
                let [i, j] = pair.rows;
                assert!(i < j && j < count);
                let product: f32 = row(i).iter().zip(row(j)).map(|(x, y)| x * y).sum();
                assert!((pair.cosine - wanted).abs() < 1e-6 && (product - wanted).abs() < 1e-6, "{pair:?}");
            }
        }
    }
}
