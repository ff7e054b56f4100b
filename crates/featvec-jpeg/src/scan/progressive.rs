//! Blocks of progressive scans: a band of coefficients, or one more bit of it.

use crate::bits::BitReader;
use crate::coefficients::Block;
use crate::error::Result;
use crate::huffman::HuffmanTable;
use crate::markers::ZIGZAG;
use crate::scan::dc_overflow;

/// A scan of DC coefficients, down to bit `low`.
pub(crate) enum DcScan {
    /// The upper bits; one code per component of the scan.
    First { tables: Vec<HuffmanTable>, low: u8 },
    /// One bit more.
    Refine { low: u8 },
}

impl DcScan {
    /// Adds to a block of the scan's component with this index and previous DC coefficient.
    #[inline]
    pub(crate) fn decode(
        &self,
        bits: &mut BitReader<'_>,
        block: &mut Block,
        (component, last): (usize, &mut i32),
    ) -> Result<()> {
        match self {
            Self::First { tables, low } => {
                let entry = bits.entry(&tables[component]);
                let difference = i32::from(bits.coefficient(entry));
                *last = last.checked_add(difference).ok_or_else(|| dc_overflow(bits.byte()))?;
                block[0] = (*last << low) as i16;
            }
            Self::Refine { low } => {
                if bits.bit() {
                    block[0] |= 1 << low;
                }
            }
        }
        Ok(())
    }
}

/// A scan of AC coefficients `first..=last` (zigzag) of one component, down to bit `low`.
pub(crate) struct AcScan {
    table: HuffmanTable,
    first: usize,
    last: usize,
    low: u8,
    refines: bool,
    /// Blocks, the current one included, that have no further new coefficients in the band.
    end_run: u32,
}

impl AcScan {
    pub(crate) fn new(table: HuffmanTable, (first, last): (u8, u8), low: u8, refines: bool) -> Self {
        Self { table, first: first.into(), last: last.into(), low, refines, end_run: 0 }
    }

    /// Forgets the run of finished blocks, at a restart marker.
    pub(crate) fn end_run(&mut self) {
        self.end_run = 0;
    }

    #[inline]
    pub(crate) fn decode(&mut self, bits: &mut BitReader<'_>, block: &mut Block) {
        if self.refines {
            self.refine(bits, block);
        } else if self.end_run > 0 {
            self.end_run -= 1;
        } else {
            self.first_pass(bits, block);
        }
    }

    fn first_pass(&mut self, bits: &mut BitReader<'_>, block: &mut Block) {
        let mut k = self.first;
        while k <= self.last {
            let entry = bits.entry(&self.table);
            let value = bits.coefficient(entry);
            if value != 0 {
                k += entry.run();
                block[usize::from(ZIGZAG[k])] = value << self.low;
                k += 1;
            } else if entry.run() == 15 {
                k += 16;
            } else {
                self.end_run = run_length(bits, entry.run()) - 1;
                break;
            }
        }
    }

    fn refine(&mut self, bits: &mut BitReader<'_>, block: &mut Block) {
        let mut k = self.first;
        if self.end_run == 0 {
            while k <= self.last {
                let entry = bits.entry(&self.table);
                let new = if entry.size() > 0 {
                    signed_bit(self.low, bits.take(1) != 0)
                } else if entry.run() == 15 {
                    0
                } else {
                    self.end_run = run_length(bits, entry.run());
                    break;
                };
                k = self.pass_over(bits, block, (k, entry.run()));
                if new != 0 {
                    block[usize::from(ZIGZAG[k])] = new;
                }
                k += 1;
            }
        }
        if self.end_run > 0 {
            self.pass_over(bits, block, (k, usize::MAX));
            self.end_run -= 1;
        }
    }

    /// Refines the non-zero coefficients from `k` on until `zeros` zeros are passed and another one follows;
    /// returns where.
    fn pass_over(
        &self,
        bits: &mut BitReader<'_>,
        block: &mut Block,
        (k, mut zeros): (usize, usize),
    ) -> usize {
        for k in k..=self.last {
            let coefficient = &mut block[usize::from(ZIGZAG[k])];
            if *coefficient == 0 {
                if zeros == 0 {
                    return k;
                }
                zeros -= 1;
            } else if bits.bit() && *coefficient & (1 << self.low) == 0 {
                *coefficient = coefficient.wrapping_add(signed_bit(self.low, *coefficient > 0));
            }
        }
        self.last + 1
    }
}

fn signed_bit(low: u8, positive: bool) -> i16 {
    if positive { 1 << low } else { -1 << low }
}

/// Blocks of an end-of-band run, whose length has `exponent` bits below the leading one.
fn run_length(bits: &mut BitReader<'_>, exponent: usize) -> u32 {
    let below = if exponent == 0 { 0 } else { bits.take(exponent as u32) as u32 };
    (1 << exponent) + below
}
