//! Seeded random numbers (SplitMix64).

/// A stream of numbers that depends on its seed alone.
pub(super) struct Random(u64);

impl Random {
    /// One stream for each `seed` and `path` (of numbers such as picture and view).
    pub fn new(seed: u64, path: &[usize]) -> Random {
        let mut random = Random(seed);
        for part in path {
            random.0 = random.next() ^ *part as u64;
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// In [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// One of the numbers below `end`, which is not zero.
    pub fn below(&mut self, end: usize) -> usize {
        ((self.unit() * end as f64) as usize).min(end - 1)
    }

    /// `count` of the numbers below `end` (all of them where there are fewer), ascending.
    pub fn choose(&mut self, count: usize, end: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..end).collect();
        let count = count.min(end);
        for i in 0..count {
            let other = i + self.below(end - i);
            all.swap(i, other);
        }
        all.truncate(count);
        all.sort_unstable();
        all
    }
}
