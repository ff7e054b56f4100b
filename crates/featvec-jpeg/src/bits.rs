//! Bits of entropy-coded data.

use crate::error::{Error, Result};
use crate::huffman::{Entry, HuffmanTable, LOOKUP_BITS, extend};
use crate::markers::Marker;

/// Reads bits, highest first, up to the next marker, and zeros for ever after: that is what libjpeg feeds its
/// decoder, and what TensorFlow therefore shows of damaged pictures.
#[derive(Debug)]
pub(crate) struct BitReader<'a> {
    data: &'a [u8],
    at: usize,
    /// The next `available` bits at the top; below them there may be a part of the byte that is loaded next.
    window: u64,
    available: u32,
    /// How many of the available bits were made up, at the marker.
    made_up: u32,
    marker: Option<Marker>,
    at_end: bool,
}

/// Bits that a refill makes available at least; a code and its magnitude take at most 32.
const ENOUGH: u32 = 32;

impl<'a> BitReader<'a> {
    pub(crate) fn new(data: &'a [u8], at: usize) -> Self {
        Self { data, at, window: 0, available: 0, made_up: 0, marker: None, at_end: false }
    }

    /// Drops what is left and goes on reading after `at`, or stays before a marker that is still to be
    /// served.
    pub(crate) fn restart(&mut self, at: usize, marker: Option<Marker>) {
        *self = Self { marker, ..Self::new(self.data, at) };
    }

    /// Byte after the last one loaded.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// The marker that ended the data, if one was met.
    pub(crate) fn marker(&self) -> Option<Marker> {
        self.marker
    }

    /// True once bits were used that the data does not have.
    pub(crate) fn exhausted(&self) -> bool {
        self.available < self.made_up
    }

    /// Fails where the file ends without any marker: what follows cannot be a picture that TensorFlow
    /// accepts.
    pub(crate) fn check_end(&self) -> Result<()> {
        if self.at_end {
            let message = "the file ends inside the picture data (no end-of-image marker)";
            return Err(Error::truncated(self.data.len(), message));
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn refill(&mut self) {
        if self.available >= ENOUGH {
            return;
        }
        if let Some(bytes) = self.data.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            let next = u64::from_be_bytes(*bytes);
            // Without FF among the next eight bytes there is neither stuffing nor a marker.
            let has_ff = (!next).wrapping_sub(0x0101_0101_0101_0101) & next & 0x8080_8080_8080_8080;
            if has_ff == 0 && self.marker.is_none() {
                self.window |= next >> self.available;
                self.at += ((63 - self.available) / 8) as usize;
                self.available |= 56;
                return;
            }
        }
        self.refill_bytewise();
    }

    #[cold]
    fn refill_bytewise(&mut self) {
        while self.available <= 56 {
            if let Some(byte) = self.next_byte() {
                self.window |= u64::from(byte) << (56 - self.available);
                self.available += 8;
            } else {
                self.made_up += 63 - self.available;
                self.available = 63;
            }
        }
    }

    /// The next data byte, unless a marker or the end of the file comes first.
    fn next_byte(&mut self) -> Option<u8> {
        if self.marker.is_some() || self.at_end {
            return None;
        }
        let Some((&byte, tail)) = self.data.get(self.at..).and_then(|rest| rest.split_first()) else {
            self.at_end = true;
            return None;
        };
        if byte != 0xFF {
            self.at += 1;
            return Some(byte);
        }
        let Some(fill) = tail.iter().position(|&b| b != 0xFF) else {
            self.at_end = true;
            return None;
        };
        self.at += fill + 2;
        match tail[fill] {
            0 => Some(0xFF),
            code => {
                self.marker = Some(Marker { code, end: self.at });
                None
            }
        }
    }

    #[inline]
    fn drop_bits(&mut self, count: u32) {
        self.window <<= count;
        self.available -= count;
    }

    /// Takes 1 to 16 bits; [`refill`](Self::refill) must have been called.
    #[inline]
    pub(crate) fn take(&mut self, count: u32) -> i32 {
        let bits = (self.window >> (64 - count)) as i32;
        self.drop_bits(count);
        bits
    }

    /// Takes one bit, refilling as needed.
    #[inline]
    pub(crate) fn bit(&mut self) -> bool {
        self.refill();
        self.take(1) != 0
    }

    /// Decodes a symbol, with the coefficient behind it where the table has it; leaves at least 15 bits
    /// available.
    #[inline]
    pub(crate) fn entry(&mut self, table: &HuffmanTable) -> Entry {
        self.refill();
        let mut entry = table.entry(self.window >> (64 - LOOKUP_BITS));
        if entry.length() == 0 {
            entry = table.long_entry(self.window);
        }
        self.drop_bits(entry.length());
        entry
    }

    /// The coefficient of an entry, its magnitude read if need be; 0 where the symbol has none.
    #[inline]
    pub(crate) fn coefficient(&mut self, entry: Entry) -> i16 {
        if entry.value != 0 || entry.size() == 0 {
            return entry.value;
        }
        extend(self.take(entry.size()), entry.size()) as i16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(bits: &mut BitReader<'_>, count: usize) -> Vec<i32> {
        let mut take = || {
            bits.refill();
            bits.take(8)
        };
        (0..count).map(|_| take()).collect()
    }

    #[test]
    fn stuffed_zeros_and_fill_bytes_are_dropped() {
        let data = [1, 0xFF, 0, 2, 0xFF, 0xFF, 0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 0xFF, 0xD9];
        let mut bits = BitReader::new(&data, 0);
        assert_eq!(bytes(&mut bits, 15), [1, 0xFF, 2, 0xFF, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
        assert!(!bits.exhausted());
    }

    #[test]
    fn a_marker_stops_the_data_and_zeros_follow() {
        let data = [7, 8, 0xFF, 0xFF, 0xD3, 9];
        let mut bits = BitReader::new(&data, 0);
        assert_eq!(bytes(&mut bits, 2), [7, 8]);
        assert!(!bits.exhausted());
        assert_eq!(bits.marker(), Some(Marker { code: 0xD3, end: 5 }));
        assert_eq!(bytes(&mut bits, 40), [0; 40]);
        assert!(bits.exhausted());
        assert!(bits.check_end().is_ok());
    }

    #[test]
    fn the_end_of_the_file_is_an_error() {
        for data in [&[7, 8][..], &[7, 8, 0xFF], &[7, 8, 0xFF, 0xFF]] {
            let mut bits = BitReader::new(data, 0);
            assert_eq!(bytes(&mut bits, 3), [7, 8, 0]);
            assert!(bits.check_end().is_err());
        }
    }
}
