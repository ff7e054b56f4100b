//! Random numbers that are the same on every machine for the same seed.

/// SplitMix64.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn byte(&mut self) -> u8 {
        self.next() as u8
    }

    /// A number in `0..end`; 0 if that is empty.
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() % end as u64) as usize }
    }

    /// True once in `times` calls.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// 1 half of the time, 2 a quarter of it, and so on.
    pub fn few(&mut self) -> u32 {
        1 + self.next().trailing_zeros()
    }

    /// One of `choices`, which must not be empty.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A number of the kind that readers get wrong: near a power of two, or near `around`.
    pub fn integer(&mut self, around: u64) -> u64 {
        let power = 1u64 << self.below(64);
        match self.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => around.wrapping_add(1),
            3 => around.wrapping_sub(1),
            4 => power,
            5 => power.wrapping_sub(1),
            6 => power.wrapping_neg(),
            _ => self.next() >> self.below(64),
        }
    }
}
