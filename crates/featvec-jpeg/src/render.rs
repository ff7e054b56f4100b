//! Coefficients to pixels, one row of MCUs at a time: inverse transform, upsampling, colour.

use crate::coefficients::Plane;
use crate::color;
use crate::frame::{Component, Frame};
use crate::idct::{Dequantizer, Idct};
use crate::layout::{Layout, PixelGrid, Scale};
use crate::markers::Color;
use crate::upsample::{self, Upsampling};

/// What is made of a frame: which pixels, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) color: Color,
    pub(crate) idct: Idct,
    pub(crate) scale: Scale,
    /// The pixels that are wanted, if not all.
    pub(crate) grid: Option<&'a PixelGrid>,
}

impl Target<'_> {
    /// Columns of the rows that are made; some may not be wanted.
    fn made_columns(&self, frame: &Frame) -> usize {
        let width = self.scale.of(frame.width);
        match self.grid {
            Some(grid) if !grid.is_dense(width) => grid.columns().len(),
            _ => width,
        }
    }

    /// Rows and columns of the result.
    fn size(&self, frame: &Frame) -> (usize, usize) {
        match self.grid {
            Some(grid) => (grid.rows().len(), grid.columns().len()),
            None => (self.scale.of(frame.height), self.scale.of(frame.width)),
        }
    }
}

/// A component on its way from coefficients to full-size rows.
#[derive(Debug)]
struct Channel<'a> {
    component: &'a Component,
    layout: &'a Layout,
    dequantizer: Dequantizer,
    /// Rows of samples: the last ones of the previous row of MCUs, which the vertical filter still needs,
    /// then the current row.
    strip: Vec<u8>,
    /// Samples in a row of the strip.
    stride: usize,
    /// Number of the strip's first row within the component; negative at the top of the picture.
    first: isize,
    /// The wanted columns of a row at full size, and scratch space for making it.
    full: Vec<u8>,
    sums: Vec<u16>,
}

/// Turns rows of MCUs into rows of RGB.
#[derive(Debug)]
pub(crate) struct Renderer<'a> {
    frame: &'a Frame,
    target: Target<'a>,
    channels: Vec<Channel<'a>>,
    out: Vec<u8>,
    /// Columns of the result.
    width: usize,
    /// A whole row of the picture, where that is made and only some columns are wanted.
    row: Vec<u8>,
    /// Rows of the result that are finished.
    finished: usize,
}

impl<'a> Renderer<'a> {
    /// Bytes that rendering a frame takes, its result included.
    pub(crate) fn bytes(frame: &Frame, layouts: &[Layout], target: &Target) -> u64 {
        let (height, width) = target.size(frame);
        let made = target.made_columns(frame);
        let channels = frame.components.iter().zip(layouts);
        let strips: usize = channels.map(|(component, layout)| Channel::bytes(component, layout, made)).sum();
        3 * width as u64 * height as u64 + (strips + 3 * made) as u64
    }

    /// Prepares for a frame whose components have these `layouts` and quantisation `steps`.
    pub(crate) fn new(
        frame: &'a Frame,
        layouts: &'a [Layout],
        steps: &[Option<[u16; 64]>],
        target: Target<'a>,
    ) -> Self {
        let (height, width) = target.size(frame);
        let made = target.made_columns(frame);
        let channels = frame.components.iter().zip(layouts).zip(steps).map(|((component, layout), steps)| {
            // Without a scan a component has no steps, and as all its coefficients are zero, needs none.
            let dequantizer = Dequantizer::new(target.idct, &steps.unwrap_or([0; 64]), layout.side);
            Channel::new(component, layout, dequantizer, made)
        });
        let channels = channels.collect();
        let row = vec![0; if made == width { 0 } else { 3 * made }];
        Self { channels, out: vec![0; 3 * width * height], frame, target, width, row, finished: 0 }
    }

    /// Renders row `row` of MCUs from `planes`, which begin with row `first`, and leaves zeros in the blocks.
    /// Rows must come in order.
    pub(crate) fn push(&mut self, planes: &mut [Plane], row: usize, first: usize) {
        for (channel, plane) in self.channels.iter_mut().zip(planes) {
            channel.transform(plane, row, first);
        }
        // The last row of samples has to wait for the one below it.
        let ready = if row + 1 == self.frame.mcus_high {
            self.target.scale.of(self.frame.height)
        } else {
            ((row + 1) * self.target.scale.side() - 1) * self.frame.max_v
        };
        let rows = self.out.chunks_exact_mut(3 * self.width.max(1)).enumerate().skip(self.finished);
        for (i, out) in rows {
            let y = self.target.grid.map_or(i, |grid| grid.rows()[i]);
            if y >= ready {
                break;
            }
            for channel in &mut self.channels {
                channel.upsample(y);
            }
            let mut samples: [&[u8]; 4] = [&[]; 4];
            for (samples, channel) in samples.iter_mut().zip(&self.channels) {
                *samples = channel.row(y);
            }
            let samples = &samples[..self.channels.len()];
            match self.target.grid {
                Some(grid) if !self.row.is_empty() => {
                    color::convert(self.target.color, samples, &mut self.row);
                    let pixels = self.row.as_chunks::<3>().0;
                    for (pixel, &x) in out.as_chunks_mut::<3>().0.iter_mut().zip(grid.columns()) {
                        *pixel = pixels[x];
                    }
                }
                _ => color::convert(self.target.color, samples, out),
            }
            self.finished = i + 1;
        }
    }

    /// The picture: rows of RGB from the top.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.out
    }
}

impl<'a> Channel<'a> {
    /// A component of which rows of `width` columns are made.
    fn new(component: &'a Component, layout: &'a Layout, dequantizer: Dequantizer, width: usize) -> Self {
        let stride = component.blocks_wide * layout.side;
        Self {
            strip: vec![0; stride * strip_rows(component, layout)],
            stride,
            first: 0,
            full: vec![0; full_len(layout, width)],
            sums: vec![0; layout.width],
            component,
            layout,
            dequantizer,
        }
    }

    /// Bytes of the largest buffers.
    fn bytes(component: &Component, layout: &Layout, width: usize) -> usize {
        component.blocks_wide * layout.side * strip_rows(component, layout)
            + full_len(layout, width)
            + layout.width * size_of::<u16>()
    }

    /// Fills the strip from row `row` of MCUs.
    fn transform(&mut self, plane: &mut Plane, row: usize, first: usize) {
        let Component { v, blocks_wide, blocks_high, .. } = *self.component;
        let Layout { side, kept_rows, .. } = *self.layout;
        self.strip.copy_within(side * v * self.stride.., 0);
        self.first = (row * side * v) as isize - kept_rows as isize;
        let block_rows = row * v..blocks_high.min((row + 1) * v);
        let blocks = plane.blocks.chunks_exact_mut(plane.stride).skip((row - first) * v);
        let strips = self.strip[kept_rows * self.stride..].chunks_exact_mut(side * self.stride);
        for ((block_row, blocks), strip) in block_rows.zip(blocks).zip(strips) {
            if !self.layout.uses_row(block_row) {
                continue;
            }
            let columns = self.layout.block_columns()[..blocks_wide].iter().zip(blocks).enumerate();
            for (x, (_, block)) in columns.filter(|(_, (used, _))| **used) {
                self.dequantizer.transform(block, &mut strip[x * side..], self.stride);
            }
        }
    }

    /// Row `y` of the component's samples; beyond its edges the outermost row.
    fn samples(&self, y: isize) -> &[u8] {
        let y = y.clamp(0, self.layout.height as isize - 1) - self.first;
        &self.strip[y as usize * self.stride..][..self.layout.width]
    }

    /// Prepares output row `y`.
    fn upsample(&mut self, y: usize) {
        let near = (y / self.layout.high) as isize;
        let below = !y.is_multiple_of(self.layout.high);
        let far = if !self.layout.upsampling.blends_down() {
            near
        } else if below {
            near + 1
        } else {
            near - 1
        };
        // Taken out so that the strip can be borrowed meanwhile.
        let (mut full, mut sums) = (std::mem::take(&mut self.full), std::mem::take(&mut self.sums));
        let (near, far) = (self.samples(near), self.samples(far));
        match (&self.layout.taps, self.layout.upsampling) {
            (Some(taps), upsampling) => upsample::pick(upsampling, (near, far, below), taps, &mut full),
            (None, Upsampling::Full) => {}
            (None, Upsampling::FancyWide) => upsample::fancy_wide(near, &mut sums, &mut full),
            (None, Upsampling::FancyHigh) => upsample::fancy_high(near, far, below, &mut full),
            (None, Upsampling::Fancy) => upsample::fancy(near, far, &mut sums, &mut full),
            (None, Upsampling::Replicate { wide }) => upsample::replicate(near, wide, &mut full),
        }
        (self.full, self.sums) = (full, sums);
    }

    /// Output row `y`, once it is upsampled.
    fn row(&self, y: usize) -> &[u8] {
        match (&self.layout.taps, self.layout.upsampling) {
            (None, Upsampling::Full) => self.samples(y as isize),
            _ => &self.full,
        }
    }
}

fn strip_rows(component: &Component, layout: &Layout) -> usize {
    layout.kept_rows + layout.side * component.v
}

/// Samples of a row at full size: somewhat more than `width` where all are wanted.
fn full_len(layout: &Layout, width: usize) -> usize {
    match (&layout.taps, layout.upsampling) {
        (Some(_), _) => width,
        (None, Upsampling::Full) => 0,
        (None, Upsampling::Replicate { wide }) => layout.width * wide,
        (None, _) => 2 * layout.width,
    }
}
