//! Figures that show whether vectors are sane.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use featvec::Result;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::nearest::{Pair, nearest_pairs};
use crate::output::{Output, columns, real};
use crate::verify::refuse_damage;
use crate::{Manifest, Status};

/// Most vectors that are compared with each other.
const MOST_COMPARED: usize = 20_000;
/// Most bytes of them.
const MOST_COMPARED_BYTES: usize = 128 << 20;
/// How many of the nearest pairs are told.
const PAIRS: usize = 10;

/// Figures of an output.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    /// How many rows there are.
    pub rows: u64,
    /// How many have which status, by its name.
    pub by_status: BTreeMap<&'static str, u64>,
    /// How many numbers a vector has.
    pub values: usize,
    /// Lengths of the vectors; nothing where there are none.
    pub norms: Option<Norms>,
    /// How many vectors are all zeros.
    pub zero_vectors: u64,
    /// How many vectors have a number that is not finite. They count nowhere else.
    pub not_finite: u64,
    /// Dimensions that are 0 in every vector.
    pub dead: Vec<usize>,
    /// Dimensions that have one value, other than 0, in every vector. Both are empty with fewer than two vectors.
    pub constant: Vec<usize>,
    /// How many vectors are the same as one before, bit for bit.
    pub repeated_vectors: u64,
    /// How many pictures have the bytes of one before.
    pub repeated_contents: u64,
    /// How many different vectors were compared with each other.
    pub compared: usize,
    /// Whether those are all; if not, they are drawn at random, the same ones each time.
    pub compared_all: bool,
    /// The pairs of different vectors with the smallest angles, smallest first.
    pub nearest: Vec<NearestPair>,
}

/// Lengths of vectors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Norms {
    pub min: f32,
    pub median: f32,
    pub max: f32,
}

/// Two pictures whose vectors point in nearly the same direction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NearestPair {
    /// The cosine of the angle between them.
    pub cosine: f32,
    /// Their keys.
    pub keys: [String; 2],
}

/// Figures of `output`. It need not have a manifest; where it has one, its files are compared with it first. Pairs are compared exactly among up to 20 000 different vectors (of up
/// to 128 MB), above on a sample; beside those it takes up to 82 bytes a row.
///
/// # Errors
/// A file that cannot be read, is damaged, or is no table of vectors.
pub fn stats(output: &Path) -> Result<Stats> {
    let path = real(output);
    if let Some(manifest) = Manifest::read(&path)? {
        refuse_damage(&path, &manifest)?;
    }
    let opened = Output::open(&path)?;
    let values = opened.values();
    let mut stats = Stats { values, ..Stats::default() };
    let mut norms = Vec::new();
    let mut range: Option<[Vec<f32>; 2]> = None;
    let mut seen = [HashMap::new(), HashMap::new()];
    let mut sample = Sample::new((MOST_COMPARED_BYTES / (values * size_of::<f32>())).clamp(2, MOST_COMPARED));
    for batch in opened.table().rows {
        let batch = batch?;
        let columns = columns(&batch, &path)?;
        for row in 0..batch.num_rows() {
            stats.rows += 1;
            let status = columns.status(row).unwrap_or(Status::Undecodable);
            *stats.by_status.entry(status.name()).or_default() += 1;
            if let Some(hash) = columns.content_hash(row) {
                stats.repeated_contents += u64::from(!is_new(&mut seen[0], &hash));
            }
            let Some(vector) = columns.vector(row) else {
                continue;
            };
            if !vector.iter().all(|value| value.is_finite()) {
                stats.not_finite += 1;
                continue;
            }
            let norm = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt() as f32;
            norms.push(norm);
            stats.zero_vectors += u64::from(norm == 0.0);
            let [low, high] = range.get_or_insert_with(|| [vector.clone(), vector.clone()]);
            for ((low, high), value) in low.iter_mut().zip(high).zip(&vector) {
                (*low, *high) = (low.min(*value), high.max(*value));
            }
            let mut bytes = Vec::new();
            columns.vector_bytes(row, &mut bytes);
            if !is_new(&mut seen[1], &Sha256::digest(&bytes).into()) {
                stats.repeated_vectors += 1;
            } else if norm > 0.0 {
                sample.offer(columns.keys.value(row), &vector, norm);
            }
        }
    }
    norms.sort_by(f32::total_cmp);
    stats.norms = (norms.first().copied().zip(norms.last().copied())).map(|(min, max)| Norms {
        min,
        median: norms[norms.len() / 2],
        max,
    });
    if let Some([low, high]) = range.filter(|_| norms.len() > 1) {
        let same = low.into_iter().zip(high).enumerate().filter(|(_, (low, high))| low == high);
        let (dead, constant): (Vec<_>, Vec<_>) = same.partition(|(_, (low, _))| *low == 0.0);
        stats.dead = dead.into_iter().map(|(i, _)| i).collect();
        stats.constant = constant.into_iter().map(|(i, _)| i).collect();
    }
    stats.compared = sample.keys.len();
    stats.compared_all = sample.offered == sample.keys.len() as u64;
    let pairs = nearest_pairs(&sample.vectors, values, PAIRS);
    let named =
        |Pair { rows, cosine }| NearestPair { cosine, keys: rows.map(|row| sample.keys[row].clone()) };
    stats.nearest = pairs.into_iter().map(named).collect();
    Ok(stats)
}

/// Whether nothing with this hash has been seen before.
fn is_new(seen: &mut HashMap<[u8; 16], ()>, hash: &[u8; 32]) -> bool {
    seen.insert(hash.first_chunk().copied().unwrap_or_default(), ()).is_none()
}

/// Vectors of length 1, each of those offered with the same probability.
struct Sample {
    most: usize,
    offered: u64,
    random: u64,
    keys: Vec<String>,
    /// End to end.
    vectors: Vec<f32>,
}

impl Sample {
    fn new(most: usize) -> Sample {
        Sample { most, offered: 0, random: 1, keys: Vec::new(), vectors: Vec::new() }
    }

    fn offer(&mut self, key: &str, vector: &[f32], norm: f32) {
        self.offered += 1;
        let unit = vector.iter().map(|value| value / norm);
        if self.keys.len() < self.most {
            self.keys.push(key.to_string());
            self.vectors.extend(unit);
            return;
        }
        let place = (self.next_random() % self.offered) as usize;
        if place < self.most {
            self.keys[place] = key.to_string();
            let old = self.vectors[place * vector.len()..].iter_mut();
            old.zip(unit).for_each(|(old, new)| *old = new);
        }
    }

    /// SplitMix64.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.random;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_fair_and_the_same_each_time() {
        let draw = || {
            let mut sample = Sample::new(100);
            (0..1000u32).for_each(|i| sample.offer(&i.to_string(), &[i as f32], 1.0));
            sample
        };
        let sample = draw();
        assert_eq!((sample.keys.len(), sample.offered), (100, 1000));
        assert!(sample.keys.iter().zip(&sample.vectors).all(|(key, value)| key.parse() == Ok(*value)));
        let mean = sample.vectors.iter().sum::<f32>() / 100.0;
        // The standard deviation of such a mean is 27.
        assert!((mean - 500.0).abs() < 110.0, "{mean}");
        assert_eq!(draw().keys, sample.keys);
    }
}
