//! The segments between the entropy-coded scans: markers, tables and headers.

use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::huffman::HuffmanSpec;

pub(crate) const SOI: u8 = 0xD8;
pub(crate) const EOI: u8 = 0xD9;
const SOS: u8 = 0xDA;
const DQT: u8 = 0xDB;
const DNL: u8 = 0xDC;
const DRI: u8 = 0xDD;
const DHT: u8 = 0xC4;
const DAC: u8 = 0xCC;
const TEM: u8 = 0x01;
const COM: u8 = 0xFE;
pub(crate) const RST0: u8 = 0xD0;
pub(crate) const RST7: u8 = 0xD7;

/// Position of each coefficient of the zigzag sequence in a block stored row by row. Sixteen more entries
/// catch the runs of corrupt data that pass the end of the block: like libjpeg, they write to the last
/// coefficient.
pub(crate) const ZIGZAG: [u8; 80] = {
    let mut order = [63; 80];
    let (mut x, mut y, mut i) = (0, 0, 0);
    while i < 64 {
        order[i] = y * 8 + x;
        let rising = (x + y) % 2 == 0;
        if rising && x == 7 || !rising && y != 7 && x == 0 {
            y += 1;
        } else if rising && y == 0 || !rising && y == 7 {
            x += 1;
        } else if rising {
            x += 1;
            y -= 1;
        } else {
            x -= 1;
            y += 1;
        }
        i += 1;
    }
    order
};

/// A marker and the byte of the file after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) code: u8,
    pub(crate) end: usize,
}

/// Finds the next marker at or after `from`, passing over anything else, stuffed zeros and fill bytes.
pub(crate) fn next_marker(data: &[u8], from: usize) -> Result<Marker> {
    let mut at = from;
    loop {
        let rest = data.get(at..).unwrap_or_default();
        let Some(gap) = rest.iter().position(|&b| b == 0xFF) else { break };
        let Some(fill) = rest[gap..].iter().position(|&b| b != 0xFF) else { break };
        at += gap + fill + 1;
        let code = rest[gap + fill];
        if code != 0 {
            return Ok(Marker { code, end: at });
        }
    }
    Err(Error::truncated(data.len(), "the file ends where a marker is expected (no end-of-image marker)"))
}

/// Tables that segments define and later scans use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables {
    /// Quantisation steps, row by row.
    pub(crate) quant: [Option<[u16; 64]>; 4],
    pub(crate) dc: [Option<HuffmanSpec>; 4],
    pub(crate) ac: [Option<HuffmanSpec>; 4],
    /// MCUs between restart markers, 0 for none.
    pub(crate) restart_interval: u32,
}

/// A scan's share of one component.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScanComponent {
    /// Index into the frame's components.
    pub(crate) index: usize,
    pub(crate) dc_table: u8,
    pub(crate) ac_table: u8,
}

/// A scan header (SOS).
#[derive(Clone, Debug)]
pub(crate) struct ScanHeader {
    pub(crate) components: Vec<ScanComponent>,
    /// First and last coefficient (zigzag), and the bit positions of successive approximation.
    pub(crate) first: u8,
    pub(crate) last: u8,
    pub(crate) high: u8,
    pub(crate) low: u8,
    /// Byte of the header, for messages.
    pub(crate) at: usize,
}

/// How the components encode colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Color {
    /// One component, brightness.
    Grey,
    /// Luma and two colour differences.
    YCbCr,
    /// Red, green, blue.
    Rgb,
    /// Four inks. `inverted`: an Adobe file, where 0 means full ink.
    Cmyk {
        /// True where the Adobe marker says so.
        inverted: bool,
    },
    /// Four inks, the first three as luma and colour differences.
    Ycck {
        /// True where the Adobe marker says so.
        inverted: bool,
    },
}

/// What the parser stopped at.
pub(crate) enum Event {
    Scan(ScanHeader),
    End,
}

/// Reads segments one after another and keeps what they say.
#[derive(Clone, Debug)]
pub(crate) struct Parser<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) at: usize,
    /// A marker met inside entropy-coded data and not yet interpreted.
    pub(crate) pending: Option<Marker>,
    pub(crate) tables: Tables,
    pub(crate) frame: Option<Frame>,
    pub(crate) exif: Option<&'a [u8]>,
    jfif: bool,
    /// The colour transform that an Adobe marker names.
    adobe: Option<u8>,
}

impl<'a> Parser<'a> {
    /// Starts at the first segment of a file.
    pub(crate) fn new(data: &'a [u8]) -> Result<Self> {
        match data {
            [0xFF, SOI, 0xFF, ..] => {}
            [] | [0xFF] | [0xFF, SOI] => {
                return Err(Error::truncated(data.len(), "too short for a JPEG file"));
            }
            _ => return Err(Error::corrupt(0, "not a JPEG file: it does not begin with FF D8 FF")),
        }
        Ok(Self {
            data,
            at: 2,
            pending: None,
            tables: Tables::default(),
            frame: None,
            exif: None,
            jfif: false,
            adobe: None,
        })
    }

    /// Reads segments up to and including the next scan header, or to the end of the image.
    pub(crate) fn advance(&mut self) -> Result<Event> {
        loop {
            let marker = match self.pending.take() {
                Some(marker) => marker,
                None => next_marker(self.data, self.at)?,
            };
            self.at = marker.end;
            let at = marker.end - 2;
            match marker.code {
                EOI => return Ok(Event::End),
                SOS => {
                    let payload = self.payload(at)?;
                    return Ok(Event::Scan(self.scan_header(payload, at)?));
                }
                0xC0..=0xC2 => {
                    let payload = self.payload(at)?;
                    if self.frame.is_some() {
                        return Err(Error::corrupt(at, "a second frame header"));
                    }
                    self.frame = Some(Frame::parse(payload, marker.code == 0xC2, at)?);
                }
                DHT | DQT | DAC if self.length() < 2 => {
                    return Err(Error::corrupt(at, "a table segment shorter than its length field"));
                }
                DHT => {
                    let payload = self.payload(at)?;
                    self.huffman_tables(payload, at)?;
                }
                DQT => {
                    let payload = self.payload(at)?;
                    self.quantisation_tables(payload, at)?;
                }
                DRI => match self.payload(at)? {
                    [high, low] => {
                        self.tables.restart_interval = u32::from(u16::from_be_bytes([*high, *low]));
                    }
                    other => {
                        let message = format!("restart interval of {} bytes, needs 2", other.len());
                        return Err(Error::corrupt(at, message));
                    }
                },
                0xE0..=0xEF => {
                    let payload = self.payload(at)?;
                    self.application_data(marker.code, payload);
                }
                DAC => check_conditioning(self.payload(at)?, at)?,
                COM | DNL => {
                    self.payload(at)?;
                }
                RST0..=RST7 | TEM => {}
                SOI => return Err(Error::corrupt(at, "a second start-of-image marker")),
                0xC3 | 0xC5..=0xC7 | 0xCB | 0xCD..=0xCF => {
                    let message = format!("a lossless or hierarchical JPEG (marker FF{:02X})", marker.code);
                    return Err(Error::unsupported(at, message));
                }
                0xC9 | 0xCA => {
                    return Err(Error::unsupported(
                        at,
                        "arithmetic coding; only Huffman coding is supported",
                    ));
                }
                code => return Err(Error::corrupt(at, format!("unknown marker FF{code:02X}"))),
            }
        }
    }

    /// The length field that is the next thing in the file, 0 at its end.
    fn length(&self) -> usize {
        let field = self.data.get(self.at..).and_then(|rest| rest.first_chunk());
        field.map_or(0, |bytes| usize::from(u16::from_be_bytes(*bytes)))
    }

    /// The payload of a segment whose marker lies at `at`.
    fn payload(&mut self, at: usize) -> Result<&'a [u8]> {
        let rest = &self.data[self.at..];
        let short =
            || Error::truncated(self.data.len(), format!("the file ends inside the segment at byte {at}"));
        // Lengths 0 and 1 cannot be, since the field counts itself; libjpeg reads them as an empty segment.
        let length = self.length().max(2);
        let payload = rest.get(2..length).ok_or_else(short)?;
        self.at += length;
        Ok(payload)
    }

    fn huffman_tables(&mut self, mut rest: &[u8], at: usize) -> Result<()> {
        while let Some((header, tail)) = rest.split_first_chunk::<17>() {
            let [index, counts @ ..] = *header;
            let total: usize = counts.iter().map(|&n| usize::from(n)).sum();
            if total > 256 || total > tail.len() {
                let message = format!("a Huffman table of {total} codes with {} bytes for them", tail.len());
                return Err(Error::corrupt(at, message));
            }
            let (values, next) = tail.split_at(total);
            let class = if index & 0x10 == 0 { &mut self.tables.dc } else { &mut self.tables.ac };
            let Some(slot) = class.get_mut(usize::from(index & !0x10)) else {
                return Err(Error::corrupt(at, format!("Huffman table index {index:#04x}")));
            };
            *slot = Some(HuffmanSpec::new(counts, values));
            rest = next;
        }
        if rest.is_empty() { Ok(()) } else { Err(Error::corrupt(at, "Huffman tables of a wrong length")) }
    }

    fn quantisation_tables(&mut self, mut rest: &[u8], at: usize) -> Result<()> {
        while let [index, tail @ ..] = rest {
            let bytes = if index >> 4 == 0 { 1 } else { 2 };
            let Some(slot) = self.tables.quant.get_mut(usize::from(index & 15)) else {
                return Err(Error::corrupt(at, format!("quantisation table index {}", index & 15)));
            };
            let Some((steps, next)) = tail.split_at_checked(64 * bytes) else {
                return Err(Error::corrupt(at, format!("a quantisation table of {} bytes", tail.len())));
            };
            let mut table = [0; 64];
            for (step, &position) in steps.chunks_exact(bytes).zip(&ZIGZAG) {
                table[usize::from(position)] = step.iter().fold(0, |value, &b| value << 8 | u16::from(b));
            }
            *slot = Some(table);
            rest = next;
        }
        Ok(())
    }

    fn application_data(&mut self, marker: u8, payload: &'a [u8]) {
        match (marker, payload) {
            (0xE0, [b'J', b'F', b'I', b'F', 0, ..]) if payload.len() >= 14 => self.jfif = true,
            (0xE1, [b'E', b'x', b'i', b'f', 0, 0, tiff @ ..]) if self.exif.is_none() => {
                self.exif = Some(tiff)
            }
            (0xEE, [b'A', b'd', b'o', b'b', b'e', _, _, _, _, _, _, transform, ..]) => {
                self.adobe = Some(*transform);
            }
            _ => {}
        }
    }

    fn scan_header(&self, payload: &[u8], at: usize) -> Result<ScanHeader> {
        let Some(frame) = &self.frame else {
            return Err(Error::corrupt(at, "a scan before the frame header"));
        };
        let Some((&count, rest)) = payload.split_first() else {
            return Err(Error::corrupt(at, "an empty scan header"));
        };
        let count = usize::from(count);
        if !(1..=4).contains(&count) || rest.len() != 2 * count + 3 {
            let message = format!("a scan header of {} bytes for {count} components", payload.len());
            return Err(Error::corrupt(at, message));
        }
        let (specs, progression) = rest.split_at(2 * count);
        let mut components: Vec<ScanComponent> = Vec::with_capacity(count);
        for (i, spec) in specs.chunks_exact(2).enumerate() {
            // Components must come in the frame's order, which is also how libjpeg finds them.
            let used = |index: usize| components.iter().any(|c| c.index == index);
            let found =
                (i..frame.components.len().min(4)).find(|&index| frame.components[index].id == spec[0]);
            let Some(index) = found.filter(|&index| !used(index)) else {
                let message = format!("the scan names component {}, absent or out of order", spec[0]);
                return Err(Error::corrupt(at, message));
            };
            components.push(ScanComponent { index, dc_table: spec[1] >> 4, ac_table: spec[1] & 15 });
        }
        Ok(ScanHeader {
            components,
            first: progression[0],
            last: progression[1],
            high: progression[2] >> 4,
            low: progression[2] & 15,
            at,
        })
    }

    /// How the frame's components encode colour, by the rules of libjpeg.
    pub(crate) fn color(&self, frame: &Frame) -> Result<Color> {
        let ids: Vec<u8> = frame.components.iter().map(|c| c.id).collect();
        let inverted = self.adobe.is_some();
        match (ids.as_slice(), self.adobe) {
            ([_], _) => Ok(Color::Grey),
            ([_, _, _], _) if self.jfif => Ok(Color::YCbCr),
            ([_, _, _], Some(0)) | (b"RGB", None) => Ok(Color::Rgb),
            ([_, _, _], _) => Ok(Color::YCbCr),
            ([_, _, _, _], None | Some(0)) => Ok(Color::Cmyk { inverted }),
            ([_, _, _, _], Some(_)) => Ok(Color::Ycck { inverted }),
            _ => {
                let message = format!("{} components; a picture has 1, 3 or 4", ids.len());
                Err(Error::unsupported(self.at, message))
            }
        }
    }
}

/// Checks the conditioning of an arithmetic code. A Huffman-coded file has no use for it, but a wrong one, such as
/// a damaged Huffman table, gives the damage away.
fn check_conditioning(payload: &[u8], at: usize) -> Result<()> {
    let (pairs, rest) = payload.as_chunks::<2>();
    let valid = |&[index, value]: &[u8; 2]| match index {
        0..16 => value & 15 <= value >> 4,
        16..32 => true,
        _ => false,
    };
    if rest.is_empty() && pairs.iter().all(valid) {
        Ok(())
    } else {
        Err(Error::corrupt(at, "arithmetic conditioning out of range"))
    }
}
