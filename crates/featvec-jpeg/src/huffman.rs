//! Huffman codes as files spell them and as the decoder looks them up.

mod standard;

use crate::error::{Error, Result};

/// Bits that one table look-up resolves.
pub(crate) const LOOKUP_BITS: u32 = 11;

/// Look-ups that there are.
const LOOKUPS: usize = 1 << LOOKUP_BITS;

/// A code as the file gives it: how many codes of each length, and their symbols in order.
#[derive(Clone, Debug)]
pub(crate) struct HuffmanSpec {
    counts: [u8; 16],
    symbols: [u8; 256],
}

impl HuffmanSpec {
    /// `symbols` holds at most 256 entries and at least as many as `counts` sums up to.
    pub(crate) fn new(counts: [u8; 16], symbols: &[u8]) -> Self {
        let mut all = [0; 256];
        all[..symbols.len()].copy_from_slice(symbols);
        Self { counts, symbols: all }
    }
}

/// What the next bits of the stream mean.
///
/// A non-zero `value` is a whole coefficient, its magnitude bits included in the length. Otherwise
/// [`size`](Self::size) bits of the coefficient follow; with a size of 0 the symbol is an end of block or a
/// run of zeros.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Entry {
    pub(crate) value: i16,
    symbol: u8,
    length: u8,
}

impl Entry {
    /// Bits to drop; 0 for a code that is longer than the look-up.
    #[inline]
    pub(crate) fn length(self) -> u32 {
        u32::from(self.length)
    }

    /// Zero coefficients before this one (high half of the symbol).
    #[inline]
    pub(crate) fn run(self) -> usize {
        usize::from(self.symbol >> 4)
    }

    /// Bits of the code alone.
    fn code_length(self) -> u32 {
        if self.value == 0 { self.length() } else { self.length() - self.size() }
    }

    /// Bits of magnitude that the symbol announces (its low half).
    #[inline]
    pub(crate) fn size(self) -> u32 {
        u32::from(self.symbol & 15)
    }
}

/// A code ready for decoding.
#[derive(Clone, Debug)]
pub(crate) struct HuffmanTable {
    lookup: Box<[Entry; LOOKUPS]>,
    /// Largest code of each length, -1 where there is none.
    max_code: [i32; 17],
    /// What to add to a code of each length to get its symbol's index.
    symbol_offset: [i32; 17],
    symbols: [u8; 256],
}

/// Several symbols that are passed over at once, with the magnitudes behind them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Skip {
    length: u8,
    /// Coefficients that the symbols stand for.
    pub(crate) coefficients: u8,
    /// An end of block is the last of them.
    pub(crate) is_end: bool,
}

impl Skip {
    /// Bits to drop, at most [`LOOKUP_BITS`] + 15; 0 for a code that is longer than the look-up.
    #[inline]
    pub(crate) fn length(self) -> u32 {
        u32::from(self.length)
    }
}

/// A code of AC coefficients ready for passing over them.
#[derive(Clone, Debug)]
pub(crate) struct SkipTable(Box<[Skip; LOOKUPS]>);

impl SkipTable {
    pub(crate) fn new(table: &HuffmanTable) -> Self {
        let mut skips = Box::new([Skip::default(); LOOKUPS]);
        for (bits, skip) in skips.iter_mut().enumerate() {
            loop {
                // Zeros are moved in from below: of the last symbol only the code has to be among the bits, not
                // the magnitude.
                let entry = table.entry(bits << skip.length);
                if entry.length() == 0 || skip.length() + entry.code_length() > LOOKUP_BITS {
                    break;
                }
                skip.length += (entry.code_length() + entry.size()) as u8;
                if entry.size() == 0 && entry.run() < 15 {
                    skip.is_end = true;
                    break;
                }
                skip.coefficients += entry.run() as u8 + 1;
            }
        }
        Self(skips)
    }

    /// What a look-up passes over.
    #[inline]
    pub(crate) fn skip(&self, bits: usize) -> Skip {
        self.0[bits % LOOKUPS]
    }
}

/// Which coefficients a code is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Symbols are sizes only.
    Dc,
    Ac,
    /// AC coefficients of a refinement scan: whatever size a symbol names, only a sign follows it.
    Refinement,
}

impl HuffmanTable {
    /// Builds the look-up tables; `at` is the byte of the scan that needs them.
    pub(crate) fn new(spec: &HuffmanSpec, class: Class, at: usize) -> Result<Self> {
        let mut table = Self {
            lookup: Box::new([Entry::default(); LOOKUPS]),
            max_code: [-1; 17],
            symbol_offset: [0; 17],
            symbols: spec.symbols,
        };
        let (mut code, mut index) = (0_i32, 0_usize);
        for (length, &count) in (1_u32..).zip(&spec.counts) {
            let count = usize::from(count);
            if count > 0 {
                let symbols = spec.symbols.get(index..index + count);
                let symbols =
                    symbols.ok_or_else(|| Error::corrupt(at, "a Huffman table of over 256 codes"))?;
                // The code of all ones is reserved, so what follows the last code must still fit.
                if code + count as i32 >= 1 << length {
                    return Err(Error::corrupt(at, format!("too many Huffman codes of {length} bits")));
                }
                if class == Class::Dc
                    && let Some(size) = symbols.iter().find(|&&size| size > 15)
                {
                    return Err(Error::corrupt(at, format!("a DC Huffman code for {size} bits")));
                }
                table.symbol_offset[length as usize] = index as i32 - code;
                for &symbol in symbols {
                    if length <= LOOKUP_BITS {
                        table.fill(code as usize, length, (symbol, class));
                    }
                    code += 1;
                }
                table.max_code[length as usize] = code - 1;
                index += count;
            }
            code <<= 1;
        }
        Ok(table)
    }

    /// Enters every look-up that begins with `code`, together with the coefficient behind it where that fits.
    fn fill(&mut self, code: usize, length: u32, (symbol, class): (u8, Class)) {
        let free = LOOKUP_BITS - length;
        let size = u32::from(symbol & 15);
        for tail in 0..1_usize << free {
            let entry = if size > 0 && size <= free && class != Class::Refinement {
                let magnitude = (tail >> (free - size)) as i32;
                Entry { value: extend(magnitude, size) as i16, symbol, length: (length + size) as u8 }
            } else {
                Entry { value: 0, symbol, length: length as u8 }
            };
            self.lookup[code << free | tail] = entry;
        }
    }

    /// The meaning of a look-up; of length 0 for a code longer than [`LOOKUP_BITS`].
    #[inline]
    pub(crate) fn entry(&self, bits: usize) -> Entry {
        self.lookup[bits % LOOKUPS]
    }

    /// Decodes the code at the top of `window` (its upper 17 bits) by length. A code that does not exist
    /// takes 17 bits and stands for symbol 0, as in libjpeg.
    #[cold]
    pub(crate) fn long_entry(&self, window: u64) -> Entry {
        for length in 1..=16_u32 {
            let code = (window >> (64 - length)) as i32;
            if code <= self.max_code[length as usize] {
                let index = (code + self.symbol_offset[length as usize]) as usize & 255;
                return Entry { value: 0, symbol: self.symbols[index], length: length as u8 };
            }
        }
        Entry { length: 17, ..Entry::default() }
    }
}

/// The coefficient that `size` bits of magnitude stand for: a leading zero marks the negative ones.
#[inline]
pub(crate) fn extend(magnitude: i32, size: u32) -> i32 {
    if magnitude >> (size - 1) == 0 { magnitude - (1 << size) + 1 } else { magnitude }
}
