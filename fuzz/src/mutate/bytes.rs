//! Changes to bytes without known structure.

use std::ops::Range;

use crate::rng::Rng;

/// Changes `bytes` in one place or a few.
pub fn mutate(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..rng.few() {
        match rng.below(8) {
            0 => {
                bytes.drain(range(bytes.len(), rng));
            }
            1 => {
                let copy = bytes[range(bytes.len(), rng)].to_vec();
                let at = rng.below(bytes.len() + 1);
                bytes.splice(at..at, copy);
            }
            2 => {
                let at = rng.below(bytes.len() + 1);
                let noise: Vec<u8> = (0..rng.below(16)).map(|_| rng.byte()).collect();
                bytes.splice(at..at, noise);
            }
            3 if rng.one_in(4) => bytes.truncate(rng.below(bytes.len() + 1)),
            _ => overwrite(bytes, rng),
        }
    }
}

/// Changes `bytes` in one place, but not how many there are.
pub fn overwrite(bytes: &mut [u8], rng: &mut Rng) {
    if bytes.is_empty() {
        return;
    }
    let at = rng.below(bytes.len());
    match rng.below(4) {
        0 => bytes[at] ^= 1 << rng.below(8),
        1 => bytes[at] = rng.byte(),
        2 => bytes[at] = rng.pick(&[0, 1, 0x7f, 0x80, 0xff]),
        _ => {
            let width = (1 << rng.below(4)).min(bytes.len() - at);
            let mut number = rng.integer(u64::from(bytes[at])).to_le_bytes();
            if rng.one_in(2) {
                number[..width].reverse();
            }
            bytes[at..at + width].copy_from_slice(&number[..width]);
        }
    }
}

/// Changes bytes near the beginning more often than elsewhere, since that is where headers are.
pub fn mutate_header(bytes: &mut Vec<u8>, header_bytes: usize, rng: &mut Rng) {
    if rng.one_in(3) {
        return mutate(bytes, rng);
    }
    let end = header_bytes.min(bytes.len());
    for _ in 0..rng.few() {
        overwrite(&mut bytes[..end], rng);
    }
}

fn range(length: usize, rng: &mut Rng) -> Range<usize> {
    let start = rng.below(length + 1);
    let most = if rng.one_in(2) { 8 } else { length };
    start..start + rng.below((length - start).min(most) + 1)
}
