//! Random numbers by counter: each is a function of a seed, a stream and its index, so that they can be had in any
//! order, on any thread, and again after a restart.

/// A stream of random numbers.
#[derive(Clone, Copy)]
pub(crate) struct Random {
    key: u64,
}

/// Spreads any change of its argument over all bits (the finaliser of SplitMix64).
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// 2^64 over the golden ratio: multiples of it lie far apart.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// The stream `stream` of those that belong to `seed`.
    pub(crate) fn new(seed: u64, stream: u64) -> Random {
        Random { key: mix(mix(seed.wrapping_add(STEP)).wrapping_add(stream.wrapping_mul(STEP))) }
    }

    /// The stream `stream` of those that belong to this one.
    pub(crate) fn stream(&self, stream: u64) -> Random {
        Random::new(self.key, stream)
    }

    /// A whole number below `end`, number `index`.
    ///
    /// # Panics
    /// If `end` is 0.
    pub(crate) fn below(&self, index: usize, end: usize) -> usize {
        assert!(end > 0);
        // The high half of the product: no number is likelier than another by more than one part in 2^64 / end.
        ((u128::from(self.bits(index as u64)) * end as u128) >> 64) as usize
    }

    /// The numbers 0 to `len - 1` in random order.
    pub(crate) fn permutation(&self, len: u32) -> Vec<u32> {
        let mut numbers: Vec<u32> = (0..len).collect();
        for index in (1..numbers.len()).rev() {
            numbers.swap(index, self.below(index, index + 1));
        }
        numbers
    }

    fn bits(&self, index: u64) -> u64 {
        mix(self.key.wrapping_add(index.wrapping_add(1).wrapping_mul(STEP)))
    }

    /// Number `index`, uniform in [0, 1).
    pub(crate) fn uniform(&self, index: usize) -> f32 {
        (self.bits(index as u64) >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Number `index` of a normal distribution of variance 1 that is drawn again beyond 2.
    pub(crate) fn truncated_normal(&self, index: usize) -> f32 {
        // A stream of its own for the tries, of which one in twenty fails.
        let tries = Random::new(self.key, index as u64);
        let mut normals = (0..).map(|attempt| {
            let bits = tries.bits(attempt);
            let unit = |bits: u64| (bits as f64 + 0.5) / f64::from(1u32 << 31) / 2.0;
            let (radius, angle) = (unit(bits >> 32), unit(bits & 0xffff_ffff));
            (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
        });
        normals.find(|x| x.abs() <= 2.0).unwrap_or(0.0) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(values: &[f32]) -> [f64; 2] {
        let n = values.len() as f64;
        let mean = values.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
        [mean, values.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n]
    }

    #[test]
    fn numbers_are_distributed_as_they_say() {
        let random = Random::new(1, 2);
        let uniform: Vec<f32> = (0..100_000).map(|i| random.uniform(i)).collect();
        let [mean, variance] = moments(&uniform);
        assert!((mean - 0.5).abs() < 0.005 && (variance - 1.0 / 12.0).abs() < 0.002, "{mean} {variance}");
        assert!(uniform.iter().all(|x| (0.0..1.0).contains(x)));
        let normal: Vec<f32> = (0..100_000).map(|i| random.truncated_normal(i)).collect();
        let [mean, variance] = moments(&normal);
        // The variance of a normal distribution cut at 2 is 0.7737.
        assert!(mean.abs() < 0.01 && (variance - 0.7737).abs() < 0.01, "{mean} {variance}");
        assert!(normal.iter().all(|x| x.abs() <= 2.0));
    }

    #[test]
    fn whole_numbers_and_orders_are_fair() {
        let random = Random::new(3, 4);
        let mut counts = [0; 7];
        (0..70_000).for_each(|index| counts[random.below(index, 7)] += 1);
        assert!(counts.iter().all(|count| (9_600..10_400).contains(count)), "{counts:?}");
        let mut firsts = [0; 5];
        for stream in 0..5_000 {
            let mut order = random.stream(stream).permutation(5);
            firsts[order[0] as usize] += 1;
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2, 3, 4]);
        }
        assert!(firsts.iter().all(|count| (850..1_150).contains(count)), "{firsts:?}");
        assert!(random.permutation(0).is_empty());
    }

    #[test]
    fn streams_and_seeds_differ() {
        let first = |seed, stream| (0..4).map(|i| Random::new(seed, stream).bits(i)).collect::<Vec<_>>();
        let all = [first(0, 0), first(0, 1), first(1, 0), first(1, 1)].concat();
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
