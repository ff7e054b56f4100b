//! The decoder: headers first, so that the caller can judge the size, then the picture.

use crate::coefficients::Plane;
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::idct::Idct;
use crate::layout::{Layout, PixelGrid, Scale};
use crate::markers::{Color, Event, Parser, ScanHeader};
use crate::render::{Renderer, Target};
use crate::scan::ScanDecoder;
use crate::smoothing::{Precision, Smoother};

/// What the headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Colour components in the file: 1, 3 or 4.
    pub components: usize,
    /// How they encode colour.
    pub color: Color,
    /// True for a progressive file, whose coefficients must all be held in memory.
    pub progressive: bool,
}

/// How to decode, and how much it may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The inverse transform; of a picture that is shrunk, luma is always transformed accurately.
    pub idct: Idct,
    /// By how much the picture is shrunk. The result has [`Scale::of`] the width and the height, and TensorFlow's
    /// pixels for the `ratio` 2, 4 or 8.
    pub scale: Scale,
    /// Most memory to allocate, the result included; 1 GiB by default.
    pub max_memory_bytes: u64,
    /// Most scans of a file, 100 by default; each costs time in proportion to the picture, however few bytes it
    /// has. Encoders write about ten.
    pub max_scans: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { idct: Idct::default(), scale: Scale::default(), max_memory_bytes: 1 << 30, max_scans: 100 }
    }
}

/// Blocks that one bit of data may stand for before the headers are taken for a lie; in a whole picture it is
/// less than one.
const BLOCKS_PER_BIT: u64 = 64;

/// A JPEG file whose headers are read.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    parser: Parser<'a>,
    frame: Frame,
    scan: ScanHeader,
    color: Color,
}

impl<'a> Decoder<'a> {
    /// Reads the headers, up to the first scan.
    ///
    /// # Errors
    /// If `data` is not a JPEG file, is damaged before the first scan, or is of a kind that cannot be
    /// decoded.
    pub fn new(data: &'a [u8]) -> Result<Self> {
        let mut parser = Parser::new(data)?;
        let Event::Scan(scan) = parser.advance()? else {
            return Err(Error::corrupt(parser.at, "the image ends before its first scan"));
        };
        let Some(frame) = parser.frame.clone() else {
            return Err(Error::corrupt(scan.at, "a scan before the frame header"));
        };
        let color = parser.color(&frame)?;
        Ok(Self { parser, frame, scan, color })
    }

    /// What the headers say.
    pub fn info(&self) -> Info {
        let Frame { width, height, progressive, ref components, .. } = self.frame;
        Info { width, height, components: components.len(), color: self.color, progressive }
    }

    /// The Exif data, if there is any: a TIFF structure, without the identifier in front of it. Decoding
    /// ignores it.
    pub fn exif(&self) -> Option<&'a [u8]> {
        self.parser.exif
    }

    /// Decodes the picture to rows of RGB from the top: `height * width * 3` bytes.
    ///
    /// # Errors
    /// If the file is one that TensorFlow refuses too (truncated, contradictory or of an unsupported kind),
    /// or would exceed a limit of `options`. Damage in the entropy-coded data alone is no error: like
    /// TensorFlow, the decoder shows what it can.
    pub fn decode(&self, options: &Options) -> Result<Vec<u8>> {
        self.decode_target(options, None)
    }

    /// Decodes only the pixels of `grid`, faster and in less memory: rows of RGB from the top, with the bytes that
    /// [`decode`](Self::decode) has at these places. The whole file is read all the same, so that what is wrong with
    /// it is found.
    ///
    /// # Errors
    /// Those of [`decode`](Self::decode).
    ///
    /// # Panics
    /// If a row or column of the grid lies beyond the picture.
    pub fn decode_grid(&self, options: &Options, grid: &PixelGrid) -> Result<Vec<u8>> {
        let [height, width] = [self.frame.height, self.frame.width].map(|side| options.scale.of(side));
        let lies_within = |positions: &[usize], side| positions.last().is_none_or(|&last| last < side);
        assert!(
            lies_within(grid.rows(), height) && lies_within(grid.columns(), width),
            "the grid is too large"
        );
        self.decode_target(options, Some(grid))
    }

    fn decode_target(&self, options: &Options, grid: Option<&PixelGrid>) -> Result<Vec<u8>> {
        let frame = &self.frame;
        let Options { idct, scale, .. } = *options;
        let target = Target { color: self.color, idct, scale, grid };
        let layouts = frame.components.iter().map(|c| Layout::new(frame, c, (scale, grid), self.scan.at));
        let layouts: Vec<Layout> = layouts.collect::<Result<_>>()?;
        let whole = frame.progressive || self.scan.components.len() < frame.components.len();
        let plane_rows = if whole { frame.mcus_high } else { 1 };
        let render_bytes = Renderer::bytes(frame, &layouts, &target);
        self.check_cost(options, render_bytes + Plane::bytes(frame, plane_rows))?;
        let planes: Vec<Plane> = frame.components.iter().map(|c| Plane::new(c, plane_rows)).collect();
        if whole {
            self.decode_scans(planes, (&layouts, target), options.max_scans)
        } else {
            self.decode_single(planes, (&layouts, target))
        }
    }

    fn check_cost(&self, options: &Options, bytes: u64) -> Result<()> {
        let frame = &self.frame;
        let at = self.scan.at;
        if bytes > options.max_memory_bytes {
            let message = format!(
                "{}x{} pixels need {bytes} bytes of memory, the limit is {}",
                frame.width, frame.height, options.max_memory_bytes
            );
            return Err(Error::limit(at, message));
        }
        let left = (self.parser.data.len() - self.parser.at) as u64;
        if frame.blocks() > left * 8 * BLOCKS_PER_BIT {
            let message =
                format!("{}x{} pixels promised, {left} bytes of data left", frame.width, frame.height);
            return Err(Error::truncated(at, message));
        }
        Ok(())
    }

    /// The usual case: one scan holds everything, and each row of MCUs is rendered as soon as it is decoded.
    fn decode_single(
        &self,
        mut planes: Vec<Plane>,
        (layouts, target): (&[Layout], Target<'_>),
    ) -> Result<Vec<u8>> {
        let mut parser = self.parser.clone();
        let mut steps = vec![None; self.frame.components.len()];
        latch_steps(&parser, &self.frame, &self.scan, &mut steps)?;
        let mut renderer = Renderer::new(&self.frame, layouts, &steps, target);
        let mut scan = ScanDecoder::new(&parser, &self.frame, layouts, &self.scan)?;
        for row in 0..self.frame.mcus_high {
            scan.decode_mcu_row(&mut planes, row, row)?;
            renderer.push(&mut planes, row, row);
        }
        scan.finish(&mut parser);
        match parser.advance()? {
            Event::End => Ok(renderer.finish()),
            Event::Scan(scan) => Err(Error::corrupt(scan.at, "a second scan of all components")),
        }
    }

    /// Several scans: coefficients are collected over the whole file and rendered at its end.
    fn decode_scans(
        &self,
        mut planes: Vec<Plane>,
        (layouts, target): (&[Layout], Target<'_>),
        max_scans: u32,
    ) -> Result<Vec<u8>> {
        let mut parser = self.parser.clone();
        let mut steps = vec![None; self.frame.components.len()];
        let mut header = self.scan.clone();
        let mut scans = 1;
        let mut precision = Precision::new(&self.frame);
        let last_good_row = loop {
            latch_steps(&parser, &self.frame, &header, &mut steps)?;
            let mut scan = ScanDecoder::new(&parser, &self.frame, layouts, &header)?;
            let uses_dc_only = header.components.iter().all(|c| layouts[c.index].side == 1);
            // The parser passes over a scan of what is not used.
            let last_good_row = if self.frame.progressive && header.first > 0 && uses_dc_only {
                self.frame.mcus_high - 1
            } else {
                for row in 0..self.frame.mcus_high {
                    scan.decode_mcu_row(&mut planes, row, 0)?;
                }
                scan.last_good_row()
            };
            precision.add(&header);
            scan.finish(&mut parser);
            match parser.advance()? {
                Event::End => break last_good_row,
                Event::Scan(next) => header = next,
            }
            scans += 1;
            if scans > max_scans {
                return Err(Error::limit(header.at, format!("more than {max_scans} scans")));
            }
        };
        let mut renderer = Renderer::new(&self.frame, layouts, &steps, target);
        let mut smoother = match self.frame.progressive {
            true => Smoother::new(&self.frame, &steps, precision, last_good_row),
            false => None,
        };
        for row in 0..self.frame.mcus_high {
            match &mut smoother {
                Some(smoother) => renderer.push(smoother.smooth(&planes, row), row, row),
                None => renderer.push(&mut planes, row, 0),
            }
        }
        Ok(renderer.finish())
    }
}

/// Notes the quantisation tables of the components that a scan is the first to bring; later definitions do
/// not affect them.
fn latch_steps(
    parser: &Parser<'_>,
    frame: &Frame,
    scan: &ScanHeader,
    steps: &mut [Option<[u16; 64]>],
) -> Result<()> {
    for component in &scan.components {
        let slot = frame.components[component.index].quant;
        let steps = &mut steps[component.index];
        if steps.is_none() {
            *steps = parser.tables.quant.get(usize::from(slot)).copied().flatten();
            if steps.is_none() {
                return Err(Error::corrupt(scan.at, format!("quantisation table {slot} is missing")));
            }
        }
    }
    Ok(())
}
