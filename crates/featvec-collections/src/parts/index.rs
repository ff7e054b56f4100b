//! Which rows there are, and in which part.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use sha2::{Digest, Sha256};

use crate::Status;

/// Where a row lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The part, counted from 0 in the order of their numbers.
    pub part: u32,
    /// The row of that part.
    pub row: u16,
    pub status: Status,
}

/// Why a row cannot be added.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Its key has a row that did not fail.
    Done,
    /// Another key has its ordinal.
    Taken,
    /// There is no ordinal left.
    Full,
}

/// The rows of all parts by key and by content. Keys are held as 16 bytes of their SHA-256, contents as 8 of theirs.
///
/// A row takes 20 + 12 bytes in two hash tables, which are between 7/16 and 7/8 full and have a byte more for each place,
/// and 8 bytes in a vector that doubles: 47 to 94 bytes in all.
#[derive(Debug, Default)]
pub(super) struct Index {
    ordinals: HashMap<[u8; 16], u32>,
    contents: HashMap<[u8; 8], u32>,
    /// By ordinal; nothing where a part was removed.
    places: Vec<Option<Place>>,
    /// No ordinal below this one is free.
    free_from: u32,
    counts: [u64; Status::ALL.len()],
}

impl Index {
    /// How many rows have `status`.
    pub fn count(&self, status: Status) -> u64 {
        self.counts[status as usize]
    }

    /// What became of the key of this hash.
    pub fn status(&self, key_hash: &[u8; 16]) -> Option<Status> {
        self.place(*self.ordinals.get(key_hash)?).map(|place| place.status)
    }

    /// Removes the row of the key of this hash.
    pub fn remove(&mut self, key_hash: &[u8; 16]) {
        if let Some(ordinal) = self.ordinals.remove(key_hash)
            && let Some(place) = self.places.get_mut(ordinal as usize)
            && let Some(Place { status, .. }) = place.take()
        {
            self.counts[status as usize] -= 1;
            self.free_from = self.free_from.min(ordinal);
        }
    }

    /// The row that has a vector of this content.
    pub fn with_content(&self, content_hash: &[u8; 32]) -> Option<Place> {
        self.place(*self.contents.get(&content_prefix(content_hash))?)
    }

    pub fn place(&self, ordinal: u32) -> Option<Place> {
        self.places.get(ordinal as usize).copied().flatten()
    }

    /// One more than the largest ordinal.
    pub fn len(&self) -> u32 {
        self.places.len() as u32
    }

    /// The ordinal of a new row of `key`: that of its failed row, or the first free one.
    pub fn ordinal_for(&mut self, key: &str) -> Result<u32, Refusal> {
        if let Some(&ordinal) = self.ordinals.get(&key_hash(key)) {
            return match self.place(ordinal) {
                Some(place) if place.status == Status::Ok => Err(Refusal::Done),
                _ => Ok(ordinal),
            };
        }
        while self.place(self.free_from).is_some() {
            self.free_from += 1;
        }
        if self.free_from == u32::MAX { Err(Refusal::Full) } else { Ok(self.free_from) }
    }

    /// Adds a row, or replaces the failed row of the same key and ordinal.
    pub fn insert(
        &mut self,
        key: &str,
        content: Option<[u8; 32]>,
        (ordinal, place): (u32, Place),
    ) -> Result<(), Refusal> {
        let old = self.place(ordinal);
        match self.ordinals.entry(key_hash(key)) {
            Entry::Occupied(known)
                if *known.get() == ordinal && old.is_some_and(|old| old.status != Status::Ok) => {}
            Entry::Occupied(_) => return Err(Refusal::Done),
            Entry::Vacant(_) if old.is_some() => return Err(Refusal::Taken),
            Entry::Vacant(vacant) => drop(vacant.insert(ordinal)),
        }
        if let Some(old) = old {
            self.counts[old.status as usize] -= 1;
        }
        self.counts[place.status as usize] += 1;
        if self.places.len() <= ordinal as usize {
            self.places.resize(ordinal as usize + 1, None);
        }
        self.places[ordinal as usize] = Some(place);
        if let Some(content) = content.filter(|_| place.status == Status::Ok) {
            self.contents.entry(content_prefix(&content)).or_insert(ordinal);
        }
        Ok(())
    }
}

/// Two keys with the same 128 bits are not to be expected before 10^18 of them.
pub(crate) fn key_hash(key: &str) -> [u8; 16] {
    let hash: [u8; 32] = Sha256::digest(key).into();
    hash.first_chunk().copied().unwrap_or_default()
}

/// Who finds a row by these compares the whole hash.
fn content_prefix(hash: &[u8; 32]) -> [u8; 8] {
    hash.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(row: u16, status: Status) -> Place {
        Place { part: 0, row, status }
    }

    #[test]
    fn a_failed_row_is_replaced_where_it_stands_and_a_good_one_never() {
        let mut index = Index::default();
        for (row, key) in ["a", "b", "c"].into_iter().enumerate() {
            let ordinal = index.ordinal_for(key).unwrap();
            let status = if key == "b" { Status::Unreadable } else { Status::Ok };
            index.insert(key, Some([row as u8; 32]), (ordinal, place(row as u16, status))).unwrap();
        }
        assert_eq!(index.ordinal_for("a"), Err(Refusal::Done));
        assert_eq!(index.insert("a", None, (0, place(9, Status::Ok))), Err(Refusal::Done));
        assert_eq!(index.insert("d", None, (2, place(9, Status::Ok))), Err(Refusal::Taken));
        assert_eq!(index.with_content(&[1; 32]), None, "a failed row has no vector");
        assert_eq!(index.ordinal_for("b"), Ok(1));
        index.insert("b", Some([1; 32]), (1, place(3, Status::Ok))).unwrap();
        assert_eq!(index.place(1), Some(place(3, Status::Ok)));
        assert_eq!(index.with_content(&[1; 32]), index.place(1));
        assert_eq!(Status::ALL.map(|status| index.count(status)), [3, 0, 0]);
        assert_eq!((index.ordinal_for("d"), index.len()), (Ok(3), 3));
    }

    #[test]
    fn new_rows_fill_the_gap_of_a_part_that_is_gone() {
        let mut index = Index::default();
        index.insert("a", None, (0, place(0, Status::Ok))).unwrap();
        index.insert("d", None, (3, place(0, Status::Ok))).unwrap();
        for (key, ordinal) in [("b", 1), ("c", 2), ("e", 4)] {
            assert_eq!(index.ordinal_for(key), Ok(ordinal));
            index.insert(key, None, (ordinal, place(0, Status::Ok))).unwrap();
        }
        assert_eq!(index.len(), 5);
    }

    #[test]
    fn a_place_takes_eight_bytes() {
        assert_eq!(size_of::<Option<Place>>(), 8);
    }
}
