//! Blocks of sequential scans: all 64 coefficients at once.

use crate::bits::BitReader;
use crate::coefficients::Block;
use crate::huffman::{HuffmanTable, SkipTable};
use crate::markers::ZIGZAG;

/// The codes of one component.
pub(crate) struct Tables {
    pub(crate) dc: HuffmanTable,
    pub(crate) ac: HuffmanTable,
    /// Where some blocks' AC coefficients are not wanted.
    pub(crate) skips: Option<SkipTable>,
}

impl Tables {
    /// Decodes the AC coefficients into `block` and returns the difference of its DC coefficient to the
    /// previous one.
    #[inline]
    pub(crate) fn decode(&self, bits: &mut BitReader<'_>, block: &mut Block) -> i32 {
        let entry = bits.entry(&self.dc);
        let dc = i32::from(bits.coefficient(entry));
        let mut k = 1;
        while k < 64 {
            let mut entry = bits.entry(&self.ac);
            if entry.value != 0 {
                k += entry.run();
                block[usize::from(ZIGZAG[k])] = entry.value;
                k += 1;
                if k >= 64 {
                    break;
                }
                // It took no more than a look-up has, which leaves enough for another one.
                entry = bits.next_entry(&self.ac);
            }
            let value = bits.coefficient(entry);
            if value != 0 {
                k += entry.run();
                block[usize::from(ZIGZAG[k])] = value;
                k += 1;
            } else if entry.run() == 15 {
                k += 16;
            } else {
                break;
            }
        }
        dc
    }

    /// Like [`decode`](Self::decode), but passes over the AC coefficients.
    #[inline]
    pub(crate) fn skip(&self, skips: &SkipTable, bits: &mut BitReader<'_>) -> i32 {
        let entry = bits.entry(&self.dc);
        let dc = i32::from(bits.coefficient(entry));
        let mut k = 1;
        while k < 64 {
            bits.refill();
            let skip = skips.skip(bits.lookup());
            let after = k + usize::from(skip.coefficients);
            // In damaged data a block may end amid the symbols.
            if skip.length() > 0 && after < 64 {
                bits.drop_bits(skip.length());
                if skip.is_end {
                    break;
                }
                k = after;
                continue;
            }
            let entry = bits.next_entry(&self.ac);
            if bits.coefficient(entry) != 0 {
                k += entry.run() + 1;
            } else if entry.run() == 15 {
                k += 16;
            } else {
                break;
            }
        }
        dc
    }
}
