//! Coefficients to pixels, one row of MCUs at a time: inverse transform, upsampling, colour.

use crate::coefficients::Plane;
use crate::color;
use crate::error::Result;
use crate::frame::{BLOCK, Component, Frame};
use crate::idct::{Dequantizer, Idct};
use crate::markers::Color;
use crate::upsample::{self, Upsampling};

/// A component on its way from coefficients to full-size rows.
#[derive(Debug)]
struct Channel {
    component: Component,
    dequantizer: Dequantizer,
    upsampling: Upsampling,
    /// Output rows for each row of samples.
    high: usize,
    /// Rows of samples: the last ones of the previous row of MCUs, which the vertical filter still needs,
    /// then the current row.
    strip: Vec<u8>,
    /// Samples in a row of the strip.
    stride: usize,
    /// Number of the strip's first row within the component; negative at the top of the picture.
    first: isize,
    /// A row at full size, and scratch space for making it.
    full: Vec<u8>,
    sums: Vec<u16>,
}

/// Turns rows of MCUs into rows of RGB.
#[derive(Debug)]
pub(crate) struct Renderer<'f> {
    frame: &'f Frame,
    color: Color,
    channels: Vec<Channel>,
    out: Vec<u8>,
    /// Output rows finished.
    finished: usize,
}

impl<'f> Renderer<'f> {
    /// Bytes that rendering a frame takes, its result included.
    pub(crate) fn bytes(frame: &Frame) -> u64 {
        let strips: usize = frame.components.iter().map(Channel::bytes).sum();
        3 * frame.width as u64 * frame.height as u64 + strips as u64
    }

    /// Prepares for a frame whose components have these quantisation `steps`; `at` is the place of its first
    /// scan.
    pub(crate) fn new(
        frame: &'f Frame,
        (color, idct): (Color, Idct),
        steps: &[Option<[u16; 64]>],
        at: usize,
    ) -> Result<Self> {
        let channels = frame.components.iter().zip(steps).map(|(component, steps)| {
            // Without a scan a component has no steps, and as all its coefficients are zero, needs none.
            let dequantizer = Dequantizer::new(idct, &steps.unwrap_or([0; 64]));
            Ok(Channel::new(component, dequantizer, Upsampling::choose(frame, component, at)?, frame))
        });
        Ok(Self {
            channels: channels.collect::<Result<_>>()?,
            out: vec![0; 3 * frame.width * frame.height],
            frame,
            color,
            finished: 0,
        })
    }

    /// Renders row `row` of MCUs from `planes`, which begin with row `first`. Rows must come in order.
    pub(crate) fn push(&mut self, planes: &[Plane], row: usize, first: usize) {
        for (channel, plane) in self.channels.iter_mut().zip(planes) {
            channel.transform(plane, row, first);
        }
        // The last row of samples has to wait for the one below it.
        let ready = if row + 1 == self.frame.mcus_high {
            self.frame.height
        } else {
            ((row + 1) * BLOCK - 1) * self.frame.max_v
        };
        for y in self.finished..ready {
            for channel in &mut self.channels {
                channel.upsample(y);
            }
            let mut rows: [&[u8]; 4] = [&[]; 4];
            for (row, channel) in rows.iter_mut().zip(&self.channels) {
                *row = channel.row(y);
            }
            let width = 3 * self.frame.width;
            color::convert(self.color, &rows[..self.channels.len()], &mut self.out[y * width..][..width]);
        }
        self.finished = ready;
    }

    /// The picture: rows of RGB from the top.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.out
    }
}

impl Channel {
    fn new(component: &Component, dequantizer: Dequantizer, upsampling: Upsampling, frame: &Frame) -> Self {
        let stride = component.blocks_wide * BLOCK;
        Self {
            dequantizer,
            upsampling,
            high: frame.max_v / component.v,
            strip: vec![0; stride * strip_rows(component)],
            stride,
            first: 0,
            full: vec![0; component.width * (frame.max_h / component.h)],
            sums: vec![0; component.width],
            component: component.clone(),
        }
    }

    /// Bytes of the largest buffers, the full row counted at its widest.
    fn bytes(component: &Component) -> usize {
        component.blocks_wide * BLOCK * strip_rows(component) + component.width * (4 + size_of::<u16>())
    }

    /// Fills the strip from row `row` of MCUs.
    fn transform(&mut self, plane: &Plane, row: usize, first: usize) {
        let Component { v, blocks_wide, blocks_high, .. } = self.component;
        self.strip.copy_within(BLOCK * v * self.stride.., 0);
        self.first = (row * BLOCK * v) as isize - kept_rows(&self.component) as isize;
        let rows = v.min(blocks_high - row * v);
        let blocks = plane.blocks.chunks_exact(plane.stride).skip((row - first) * v).take(rows);
        let strips =
            self.strip[kept_rows(&self.component) * self.stride..].chunks_exact_mut(BLOCK * self.stride);
        for (blocks, strip) in blocks.zip(strips) {
            for (x, block) in blocks[..blocks_wide].iter().enumerate() {
                self.dequantizer.transform(block, &mut strip[x * BLOCK..], self.stride);
            }
        }
    }

    /// Row `y` of the component's samples; beyond its edges the outermost row.
    fn samples(&self, y: isize) -> &[u8] {
        let y = y.clamp(0, self.component.height as isize - 1) - self.first;
        &self.strip[y as usize * self.stride..][..self.component.width]
    }

    /// Prepares output row `y`.
    fn upsample(&mut self, y: usize) {
        let near = (y / self.high) as isize;
        let below = !y.is_multiple_of(self.high);
        let far = if below { near + 1 } else { near - 1 };
        // Taken out so that the strip can be borrowed meanwhile.
        let (mut full, mut sums) = (std::mem::take(&mut self.full), std::mem::take(&mut self.sums));
        match self.upsampling {
            Upsampling::Full => {}
            Upsampling::FancyWide => upsample::fancy_wide(self.samples(near), &mut full),
            Upsampling::FancyHigh => {
                upsample::fancy_high(self.samples(near), self.samples(far), below, &mut full);
            }
            Upsampling::Fancy => upsample::fancy(self.samples(near), self.samples(far), &mut sums, &mut full),
            Upsampling::Replicate { wide } => upsample::replicate(self.samples(near), wide, &mut full),
        }
        (self.full, self.sums) = (full, sums);
    }

    /// Output row `y`, once it is upsampled.
    fn row(&self, y: usize) -> &[u8] {
        match self.upsampling {
            Upsampling::Full => self.samples(y as isize),
            _ => &self.full,
        }
    }
}

/// Rows of samples that the next row of MCUs needs of the previous one.
fn kept_rows(component: &Component) -> usize {
    component.v + 1
}

fn strip_rows(component: &Component) -> usize {
    kept_rows(component) + BLOCK * component.v
}
