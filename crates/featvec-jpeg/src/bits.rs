//! Bits of entropy-coded data.

use crate::error::{Error, Result};
use crate::huffman::{Entry, HuffmanTable, LOOKUP_BITS, extend};
use crate::markers::Marker;

/// Reads bits, highest first, up to the next marker, and zeros for ever after: that is what libjpeg feeds its
/// decoder, and what TensorFlow therefore shows of damaged pictures.
///
/// The data are copied ahead to a buffer without the stuffed zeros, so that bits are taken from it without looking
/// for markers.
#[derive(Debug)]
pub(crate) struct BitReader<'a> {
    data: &'a [u8],
    /// Byte of the file after the last one copied.
    at: usize,
    marker: Option<Marker>,
    at_end: bool,
    /// What was copied, up to `end`; zeros follow it where a marker or the end of the file does.
    buffer: Box<[u8; BUFFER_BYTES]>,
    end: usize,
    /// Byte of the buffer that is loaded next.
    next: usize,
    /// The next `available` bits at the top; below them there may be a part of the byte that is loaded next.
    window: u64,
    available: u32,
}

const BUFFER_BYTES: usize = 1 << 14;

/// More than an MCU can take: ten blocks of 64 codes of 17 bits, each with 15 more.
const MCU_BYTES: usize = 1 << 12;

impl<'a> BitReader<'a> {
    pub(crate) fn new(data: &'a [u8], at: usize) -> Self {
        let buffer = Box::new([0; BUFFER_BYTES]);
        Self { data, at, marker: None, at_end: false, buffer, end: 0, next: 0, window: 0, available: 0 }
    }

    /// Drops what is left and goes on reading after `at`, or stays before a marker that is still to be
    /// served.
    pub(crate) fn restart(&mut self, at: usize, marker: Option<Marker>) {
        (self.at, self.marker, self.at_end) = (at, marker, false);
        (self.end, self.next, self.window, self.available) = (0, 0, 0, 0);
        self.buffer[..MCU_BYTES].fill(0);
    }

    /// A byte of the file before which there is no marker that has not been met.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// The byte of the file that is being decoded.
    pub(crate) fn byte(&self) -> usize {
        let taken = (self.next - self.available as usize / 8).min(self.end);
        let left = &self.buffer[taken..self.end];
        let stuffed = left.iter().filter(|&&byte| byte == 0xFF).count();
        self.at.saturating_sub(left.len() + stuffed + if self.marker.is_some() { 2 } else { 0 })
    }

    /// The marker that ended the data, if one was met.
    pub(crate) fn marker(&self) -> Option<Marker> {
        self.marker
    }

    fn has_ended(&self) -> bool {
        self.marker.is_some() || self.at_end
    }

    /// True once bits were used that the data does not have.
    #[inline]
    pub(crate) fn exhausted(&self) -> bool {
        8 * self.next > 8 * self.end + self.available as usize
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

    /// Makes sure that the buffer holds an MCU; to be called before each one.
    #[inline]
    pub(crate) fn begin_mcu(&mut self) {
        if self.next + MCU_BYTES > self.end && !self.has_ended() {
            self.fill();
        }
    }

    #[cold]
    fn fill(&mut self) {
        let start = self.next.min(self.end);
        self.buffer.copy_within(start..self.end, 0);
        (self.end, self.next) = (self.end - start, self.next - start);
        while self.end < BUFFER_BYTES - MCU_BYTES {
            if let Some(bytes) = self.data.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
                self.buffer[self.end..self.end + 8].copy_from_slice(bytes);
                let word = u64::from_le_bytes(*bytes);
                // The highest bit of the first byte that is FF.
                let ff = (!word).wrapping_sub(0x0101_0101_0101_0101) & word & 0x8080_8080_8080_8080;
                let plain = ff.trailing_zeros() as usize / 8;
                self.end += plain;
                self.at += plain;
                if plain == 8 {
                    continue;
                }
            }
            let Some(byte) = self.next_byte() else {
                self.buffer[self.end..self.end + MCU_BYTES].fill(0);
                return;
            };
            self.buffer[self.end] = byte;
            self.end += 1;
        }
    }

    /// The next data byte, unless a marker or the end of the file comes first.
    fn next_byte(&mut self) -> Option<u8> {
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

    /// Makes 56 bits available at least; a code and its magnitude take at most 32.
    #[inline]
    pub(crate) fn refill(&mut self) {
        let bytes = self.buffer.get(self.next..).and_then(|rest| rest.first_chunk::<8>());
        self.window |= bytes.map_or(0, |bytes| u64::from_be_bytes(*bytes)) >> self.available;
        self.next += ((63 - self.available) / 8) as usize;
        self.available |= 56;
    }

    /// The next bits, as many as a look-up takes.
    #[inline]
    pub(crate) fn lookup(&self) -> usize {
        (self.window >> (64 - LOOKUP_BITS)) as usize
    }

    #[inline]
    pub(crate) fn drop_bits(&mut self, count: u32) {
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
        if self.available == 0 {
            self.refill();
        }
        self.take(1) != 0
    }

    /// Decodes a symbol, with the coefficient behind it where the table has it; leaves at least 39 bits
    /// available.
    #[inline]
    pub(crate) fn entry(&mut self, table: &HuffmanTable) -> Entry {
        self.refill();
        self.next_entry(table)
    }

    /// Like [`entry`](Self::entry), from what is available: at least 32 bits.
    #[inline]
    pub(crate) fn next_entry(&mut self, table: &HuffmanTable) -> Entry {
        let mut entry = table.entry(self.lookup());
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
            bits.begin_mcu();
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

    #[test]
    fn the_buffer_is_filled_again_and_again() {
        let clean: Vec<u8> = (0..5 * BUFFER_BYTES).map(|i| (i * i / 7) as u8).collect();
        let mut data = vec![0xFF, 0xD0];
        for &byte in &clean {
            data.push(byte);
            data.extend((byte == 0xFF).then_some(0));
        }
        data.extend([0xFF, 0xD9]);
        let mut bits = BitReader::new(&data, 2);
        let half = clean.len() / 2;
        let read = |bits: &mut BitReader<'_>, count| -> Vec<u8> {
            bytes(bits, count).into_iter().map(|byte| byte as u8).collect()
        };
        assert!(read(&mut bits, half) == clean[..half]);
        let stuffed = clean[..half].iter().filter(|&&byte| byte == 0xFF).count();
        assert_eq!(bits.byte(), 2 + half + stuffed);
        assert!(read(&mut bits, clean.len() - half) == clean[half..]);
        assert!(!bits.exhausted());
        assert_eq!(bits.byte(), data.len() - 2);
        assert_eq!(bits.marker().map(|marker| marker.code), Some(0xD9));
    }
}
