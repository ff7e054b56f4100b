//! How members share out the items of a step.

use core::sync::atomic::{AtomicU64, Ordering};

/// The items of a step that are taken so far: members with an even index take them from the front, the others from
/// the back, until they meet.
///
/// Items are ordered by their rows of the map. Members that start at opposite ends keep to their own half of each map
/// from phase to phase, where the input already lies in their core's cache.
#[derive(Default)]
pub(crate) struct Claims(AtomicU64);

/// The number taken from the back is counted in the upper half.
const BACK: u64 = 1 << 32;

impl Claims {
    pub(crate) fn reset(&mut self) {
        *self.0.get_mut() = 0;
    }

    /// The next of `items` for the member `index`; none when all are taken.
    pub(crate) fn next(&self, index: usize, items: usize) -> Option<usize> {
        let from_front = index.is_multiple_of(2);
        let taken = self.0.fetch_add(if from_front { 1 } else { BACK }, Ordering::Relaxed);
        let (front, back) = ((taken % BACK) as usize, (taken / BACK) as usize);
        let left = items.checked_sub(front + back).filter(|left| *left > 0)?;
        Some(if from_front { front } else { front + left - 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_claimed_once_whoever_asks() {
        for order in
            [[0, 0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1], [0, 1, 3, 2, 1, 1, 0], [1, 0, 0, 0, 1, 2, 3]]
        {
            let claims = Claims::default();
            let mut items: Vec<_> = order.into_iter().filter_map(|member| claims.next(member, 5)).collect();
            items.sort();
            assert_eq!(items, [0, 1, 2, 3, 4], "{order:?}");
        }
    }
}
