//! Entropy decoding of one scan: Huffman codes to coefficients, restart markers, and the recovery from
//! damaged data that libjpeg practises.

mod progressive;
mod sequential;

use crate::bits::BitReader;
use crate::coefficients::{Block, Plane};
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::huffman::{Class, HuffmanSpec, HuffmanTable, SkipTable};
use crate::layout::Layout;
use crate::markers::{Marker, Parser, RST0, RST7, ScanHeader, next_marker};
use crate::scan::progressive::{AcScan, DcScan};
use crate::scan::sequential::Tables;

/// Blocks of an MCU that libjpeg allows.
const MAX_BLOCKS_IN_MCU: usize = 10;

/// What a scan adds to a block.
enum Coding {
    /// All coefficients; one pair of tables per component of the scan.
    Sequential(Vec<Tables>),
    /// Some bits of the DC coefficients.
    Dc(DcScan),
    /// Some bits of a band of AC coefficients of one component.
    Ac(Box<AcScan>),
}

/// A block of each MCU of a row.
struct Slot<'f> {
    /// Index of its component in the scan and in the frame.
    index: usize,
    component: usize,
    /// Where the block of the first MCU lies in the component's plane.
    start: usize,
    /// Its place among the blocks of its component in a row of the MCU, and how many these are.
    x: usize,
    step: usize,
    use_of_row: Use,
    block_columns: &'f [bool],
}

/// What of a block is used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    None,
    Dc,
    All,
}

impl Use {
    /// What is used of the blocks of a row whose columns are.
    fn of_row(layout: &Layout, row: usize) -> Use {
        match (layout.uses_row(row), layout.side) {
            (false, _) => Use::None,
            (true, 1) => Use::Dc,
            (true, _) => Use::All,
        }
    }
}

/// Decodes a scan, one row of MCUs after the other.
pub(crate) struct ScanDecoder<'a, 'f> {
    data: &'a [u8],
    frame: &'f Frame,
    layouts: &'f [Layout],
    /// Indices of the frame's components in this scan.
    components: Vec<usize>,
    coding: Coding,
    bits: BitReader<'a>,
    /// DC coefficient of the previous block, for each component of the scan.
    last_dc: [i32; 4],
    restart_interval: u32,
    mcus_to_restart: u32,
    next_restart: u8,
    /// Set where the data of a restart interval ended early: its remaining blocks stay as they are.
    exhausted: bool,
    /// Last row of MCUs that had data.
    last_good_row: usize,
}

impl<'a, 'f> ScanDecoder<'a, 'f> {
    /// Prepares the scan whose header `parser` has just read. Sequential scans leave out AC coefficients that the
    /// components' `layouts` do not use.
    pub(crate) fn new(
        parser: &Parser<'a>,
        frame: &'f Frame,
        layouts: &'f [Layout],
        scan: &ScanHeader,
    ) -> Result<Self> {
        let components: Vec<usize> = scan.components.iter().map(|c| c.index).collect();
        let blocks: usize = components.iter().map(|&c| frame.components[c].h * frame.components[c].v).sum();
        if components.len() > 1 && blocks > MAX_BLOCKS_IN_MCU {
            let message = format!("{blocks} blocks in an MCU; at most {MAX_BLOCKS_IN_MCU}");
            return Err(Error::corrupt(scan.at, message));
        }
        Ok(Self {
            data: parser.data,
            frame,
            layouts,
            coding: Coding::new(parser, frame, layouts, scan)?,
            components,
            bits: BitReader::new(parser.data, parser.at),
            last_dc: [0; 4],
            restart_interval: parser.tables.restart_interval,
            mcus_to_restart: parser.tables.restart_interval,
            next_restart: 0,
            exhausted: false,
            last_good_row: 0,
        })
    }

    /// Adds the MCUs of row `row` of the frame to `planes` (all components of the frame, each beginning with
    /// row `first`).
    pub(crate) fn decode_mcu_row(&mut self, planes: &mut [Plane], row: usize, first: usize) -> Result<()> {
        let (frame, layouts) = (self.frame, self.layouts);
        if let [component] = *self.components {
            // Alone in its scan, a component is coded block after block, without the padding of the last
            // MCUs.
            let geometry = &frame.components[component];
            let layout = &layouts[component];
            let plane = &mut planes[component];
            let rows = row * geometry.v..geometry.blocks_high.min((row + 1) * geometry.v);
            let start = (row - first) * geometry.v * plane.stride;
            for (y, blocks) in rows.zip(plane.blocks[start..].chunks_exact_mut(plane.stride)) {
                let use_of_row = Use::of_row(layout, y);
                let columns = layout.block_columns()[..geometry.blocks_wide].iter();
                for (block, &used) in blocks.iter_mut().zip(columns) {
                    if self.begin_mcu(row)? {
                        self.decode_block(block, 0, if used { use_of_row } else { Use::None })?;
                        self.exhausted = self.bits.exhausted();
                    }
                }
            }
        } else {
            let slots = self.slots(planes, row, first);
            for column in 0..frame.mcus_wide {
                if !self.begin_mcu(row)? {
                    continue;
                }
                for slot in &slots {
                    let used = slot.block_columns[column * slot.step + slot.x];
                    let block = &mut planes[slot.component].blocks[slot.start + column * slot.step];
                    self.decode_block(block, slot.index, if used { slot.use_of_row } else { Use::None })?;
                }
                self.exhausted = self.bits.exhausted();
            }
        }
        self.bits.check_end()
    }

    /// The blocks of an MCU of row `row`, in the order in which they are coded.
    fn slots(&self, planes: &[Plane], row: usize, first: usize) -> Vec<Slot<'f>> {
        let mut slots = Vec::with_capacity(MAX_BLOCKS_IN_MCU);
        for (index, &component) in self.components.iter().enumerate() {
            let (geometry, layout) = (&self.frame.components[component], &self.layouts[component]);
            for y in 0..geometry.v {
                let start = ((row - first) * geometry.v + y) * planes[component].stride;
                let use_of_row = Use::of_row(layout, row * geometry.v + y);
                slots.extend((0..geometry.h).map(|x| Slot {
                    index,
                    component,
                    start: start + x,
                    x,
                    step: geometry.h,
                    use_of_row,
                    block_columns: layout.block_columns(),
                }));
            }
        }
        slots
    }

    /// Last row of MCUs that had data.
    pub(crate) fn last_good_row(&self) -> usize {
        self.last_good_row
    }

    /// Hands the position after the scan back to the parser.
    pub(crate) fn finish(self, parser: &mut Parser<'a>) {
        parser.at = self.bits.position();
        parser.pending = self.bits.marker();
    }

    /// Passes a restart marker where one is due; false where there is no data for the MCU.
    #[inline]
    fn begin_mcu(&mut self, row: usize) -> Result<bool> {
        if !self.exhausted {
            self.last_good_row = row;
        }
        if self.restart_interval > 0 {
            if self.mcus_to_restart == 0 {
                self.restart()?;
            }
            self.mcus_to_restart -= 1;
        }
        self.bits.begin_mcu();
        Ok(!self.exhausted)
    }

    /// Decodes the next block, which belongs to the scan's component with this index. Of a block that is not used
    /// nothing is written: the next row may have no data for its place.
    #[inline]
    fn decode_block(&mut self, block: &mut Block, component: usize, used: Use) -> Result<()> {
        match &mut self.coding {
            Coding::Sequential(tables) => {
                let tables = &tables[component];
                let difference = match &tables.skips {
                    Some(skips) if used != Use::All => tables.skip(skips, &mut self.bits),
                    _ => tables.decode(&mut self.bits, block),
                };
                let last = &mut self.last_dc[component];
                *last = last.checked_add(difference).ok_or_else(|| dc_overflow(self.bits.byte()))?;
                if used != Use::None {
                    // Corrupt files leave the range of 16 bits; libjpeg stores the lower bits.
                    block[0] = *last as i16;
                }
                Ok(())
            }
            Coding::Dc(scan) => scan.decode(&mut self.bits, block, (component, &mut self.last_dc[component])),
            Coding::Ac(scan) => {
                scan.decode(&mut self.bits, block);
                Ok(())
            }
        }
    }

    /// Passes the restart marker that is due. Where another one is found, the steps of the standard's
    /// informative resynchronisation, as libjpeg takes them, decide whether data was lost here or comes
    /// twice.
    #[cold]
    fn restart(&mut self) -> Result<()> {
        self.bits.check_end()?;
        let expected = self.next_restart;
        let mut marker = match self.bits.marker() {
            Some(marker) => marker,
            None => next_marker(self.data, self.bits.position())?,
        };
        // The distance by which a restart marker is ahead of the expected one, modulo 8.
        let ahead = |marker: Marker| (marker.code - RST0).wrapping_sub(expected) & 7;
        let pending = loop {
            match marker.code {
                RST0..=RST7 => match ahead(marker) {
                    0 | 3..=5 => break None,
                    1 | 2 => break Some(marker),
                    _ => marker = next_marker(self.data, marker.end)?,
                },
                ..0xC0 => marker = next_marker(self.data, marker.end)?,
                _ => break Some(marker),
            }
        };
        self.bits.restart(marker.end, pending);
        // Before a marker out of turn there is no data; the first MCU is still decoded, from zeros.
        self.exhausted &= pending.is_some();
        self.next_restart = (expected + 1) & 7;
        self.mcus_to_restart = self.restart_interval;
        self.last_dc = [0; 4];
        if let Coding::Ac(scan) = &mut self.coding {
            scan.end_run();
        }
        Ok(())
    }
}

impl Coding {
    fn new(parser: &Parser<'_>, frame: &Frame, layouts: &[Layout], scan: &ScanHeader) -> Result<Self> {
        let dc = |slot: u8| table(&parser.tables.dc, slot, (Class::Dc, frame.progressive, scan.at));
        let ac_class = if frame.progressive && scan.high != 0 { Class::Refinement } else { Class::Ac };
        let ac = |slot: u8| table(&parser.tables.ac, slot, (ac_class, frame.progressive, scan.at));
        if !frame.progressive {
            let tables = scan.components.iter().map(|c| {
                let (dc, ac) = (dc(c.dc_table)?, ac(c.ac_table)?);
                let skips = layouts[c.index].skips_ac().then(|| SkipTable::new(&ac));
                Ok(Tables { dc, ac, skips })
            });
            return tables.collect::<Result<_>>().map(Self::Sequential);
        }
        let ScanHeader { first, last, high, low, .. } = *scan;
        let band =
            if first == 0 { last == 0 } else { first <= last && last < 64 && scan.components.len() == 1 };
        if !band || low > 13 || high != 0 && high != low + 1 {
            let message = format!(
                "a progressive scan of coefficients {first} to {last}, bits {high} to {low}, {} components",
                scan.components.len()
            );
            return Err(Error::corrupt(scan.at, message));
        }
        let refines = high != 0;
        if first > 0 {
            let table = ac(scan.components[0].ac_table)?;
            return Ok(Self::Ac(Box::new(AcScan::new(table, (first, last), low, refines))));
        }
        if refines {
            return Ok(Self::Dc(DcScan::Refine { low }));
        }
        let tables = scan.components.iter().map(|c| dc(c.dc_table)).collect::<Result<_>>()?;
        Ok(Self::Dc(DcScan::First { tables, low }))
    }
}

fn dc_overflow(at: usize) -> Error {
    Error::corrupt(at, "DC coefficients add up to more than 32 bits")
}

/// The code in `slot`, ready for use. Sequential files may leave out the codes of the standard's annex K, as
/// Motion JPEG does.
fn table(
    specs: &[Option<HuffmanSpec>; 4],
    slot: u8,
    (class, progressive, at): (Class, bool, usize),
) -> Result<HuffmanTable> {
    match specs.get(usize::from(slot)) {
        Some(Some(spec)) => HuffmanTable::new(spec, class, at),
        Some(None) if slot < 2 && !progressive => {
            HuffmanTable::new(&HuffmanSpec::standard(class, slot), class, at)
        }
        _ => Err(Error::corrupt(at, format!("{class:?} Huffman table {slot} is missing"))),
    }
}
