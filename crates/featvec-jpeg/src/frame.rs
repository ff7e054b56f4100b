//! The geometry that a frame header fixes: components, sampling, blocks and minimum coded units (MCUs).

use crate::error::{Error, Result};

/// Side of a block of samples.
pub(crate) const BLOCK: usize = 8;
/// Largest width or height that libjpeg accepts, a little below the format's 65535.
const MAX_SIDE: usize = 65_500;
const MAX_COMPONENTS: usize = 10;

/// One colour component of the picture.
#[derive(Clone, Debug)]
pub(crate) struct Component {
    pub(crate) id: u8,
    /// Sampling factors, 1..=4.
    pub(crate) h: usize,
    pub(crate) v: usize,
    /// Which of the four quantisation tables; hostile files may name others.
    pub(crate) quant: u8,
    /// Blocks that hold the samples of the picture.
    pub(crate) blocks_wide: usize,
    pub(crate) blocks_high: usize,
    /// Blocks in a row of whole MCUs.
    pub(crate) stride: usize,
}

/// A frame header (SOF0, SOF1 or SOF2) with all that follows from it.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) progressive: bool,
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// Largest sampling factors of any component.
    pub(crate) max_h: usize,
    pub(crate) max_v: usize,
    pub(crate) mcus_wide: usize,
    pub(crate) mcus_high: usize,
    pub(crate) components: Vec<Component>,
}

impl Frame {
    /// Parses the payload of a frame header that lies at byte `at`.
    pub(crate) fn parse(payload: &[u8], progressive: bool, at: usize) -> Result<Self> {
        let [precision, h1, h0, w1, w0, count, specs @ ..] = payload else {
            return Err(Error::corrupt(
                at,
                format!("frame header of {} bytes, needs 6 or more", payload.len()),
            ));
        };
        let height = usize::from(u16::from_be_bytes([*h1, *h0]));
        let width = usize::from(u16::from_be_bytes([*w1, *w0]));
        let count = usize::from(*count);
        if width == 0 || height == 0 || count == 0 {
            let message = format!("an empty picture: {width}x{height} with {count} components");
            return Err(Error::corrupt(at, message));
        }
        if specs.len() != 3 * count {
            let message = format!("frame header with {} bytes for {count} components", specs.len());
            return Err(Error::corrupt(at, message));
        }
        if *precision != 8 {
            return Err(Error::unsupported(at, format!("{precision} bits a sample; only 8 are supported")));
        }
        if width > MAX_SIDE || height > MAX_SIDE {
            let message = format!("{width}x{height} pixels; the largest side possible is {MAX_SIDE}");
            return Err(Error::unsupported(at, message));
        }
        if count > MAX_COMPONENTS {
            return Err(Error::unsupported(at, format!("{count} components; at most {MAX_COMPONENTS}")));
        }
        let factors: Vec<(usize, usize)> =
            specs.chunks_exact(3).map(|s| (usize::from(s[1] >> 4), usize::from(s[1] & 15))).collect();
        if let Some((h, v)) = factors.iter().find(|(h, v)| !(1..=4).contains(h) || !(1..=4).contains(v)) {
            return Err(Error::corrupt(at, format!("sampling factors {h}x{v}; each must be 1 to 4")));
        }
        let max_h = factors.iter().map(|f| f.0).max().unwrap_or(1);
        let max_v = factors.iter().map(|f| f.1).max().unwrap_or(1);
        let mcus_wide = width.div_ceil(max_h * BLOCK);
        let mcus_high = height.div_ceil(max_v * BLOCK);
        let components = specs
            .chunks_exact(3)
            .zip(factors)
            .map(|(spec, (h, v))| Component {
                id: spec[0],
                h,
                v,
                quant: spec[2],
                blocks_wide: (width * h).div_ceil(max_h * BLOCK),
                blocks_high: (height * v).div_ceil(max_v * BLOCK),
                stride: mcus_wide * h,
            })
            .collect();
        Ok(Self { progressive, width, height, max_h, max_v, mcus_wide, mcus_high, components })
    }

    /// Blocks of all components, whole MCUs counted.
    pub(crate) fn blocks(&self) -> u64 {
        self.components.iter().map(|c| (c.stride * c.v * self.mcus_high) as u64).sum()
    }
}
