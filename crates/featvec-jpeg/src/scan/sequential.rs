//! Blocks of sequential scans: all 64 coefficients at once.

use crate::bits::BitReader;
use crate::coefficients::Block;
use crate::huffman::HuffmanTable;
use crate::markers::ZIGZAG;

/// The codes of one component.
pub(crate) struct Tables {
    pub(crate) dc: HuffmanTable,
    pub(crate) ac: HuffmanTable,
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
            let entry = bits.entry(&self.ac);
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
}
