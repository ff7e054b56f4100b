//! Convolution of bytes on a unit of the processor that multiplies matrices: positions x depth by depth x output
//! channels, 32 positions and 32 channels at a time.
//!
//! An item of work first *gathers* the pixels that it needs from the blocks of the map, so that all channels of a pixel
//! lie side by side, and all taps of a row of the filter too. Then a register of the unit is filled from any position by
//! one instruction: its rows are neighbouring pixels. Positions run on over the ends of rows, through the border that
//! the filter needs; what is computed there is dropped.

use core::ops::Range;

use crate::arena::Aligned;
use crate::conv::{Branch, Columns, Output, Panel, panels};
use crate::group::{Group, Slot};
use crate::map::{Element, Image, Map, checked_end};
use crate::program::Program;
use crate::quantize::Channel;

/// Output channels of a panel of the filter, in two registers; positions of a block, in two registers at most.
pub(crate) const PANEL: usize = 2 * LANES;

/// Output channels of a register, and the most positions.
const LANES: usize = Map::BYTE_LANES;

/// Bytes of a row of a register.
const ROW_BYTES: usize = 64;

/// Words of a register.
const REGISTER: usize = LANES * ROW_BYTES / 4;

/// The kernels of a unit for products of matrices.
pub(crate) struct Matrix {
    pub name: &'static str,
    /// Before the first product: how many rows the registers of positions have.
    pub open: unsafe fn(usize),
    pub product: unsafe fn(&Product<'_>),
    pub store: unsafe fn(&Run<'_>),
    /// After the last product.
    pub close: unsafe fn(),
}

/// Sums over the whole depth for a block of positions and a panel of output channels.
pub(crate) struct Product<'a> {
    /// The first position.
    pub from: *const u8,
    /// Bytes from a position to the next.
    pub pixel: usize,
    /// Positions in each of two registers: what the unit was opened for.
    pub rows: usize,
    /// Bytes from a position to where each register of the depth begins.
    pub steps: &'a [usize],
    /// `[step][2][16][16]` words.
    pub panel: *const u32,
    /// `[2][16][PANEL]` integers, of which the first `rows` of either half are written.
    pub sums: *mut f32,
}

/// Sums of neighbouring pixels on their way to the maps.
pub(crate) struct Run<'a> {
    /// `[count][PANEL]` integers.
    pub sums: *const f32,
    pub count: usize,
    /// One for each vector of output channels.
    pub outputs: &'a [RunOutput],
    /// `[vectors][16]` integers.
    pub bias: *const f32,
    /// `[vectors][16]`: what the sums are multiplied by.
    pub factors: *const f32,
}

/// Where a vector of a run goes.
#[derive(Clone, Copy)]
pub(crate) struct RunOutput {
    pub to: *mut f32,
    pub pixel_step: usize,
}

/// What is convolved.
enum Input {
    Map(Map),
    Image(Image),
    /// The picture in squares of 2x2 pixels, over which a filter with stride 2 steps one by one: four of them fill a
    /// register's row, where seven pixels leave more than half of it empty.
    Squares(Image),
}

/// Bytes of a pixel of the picture, of a pair of them, and of a square.
const IMAGE_PIXEL: usize = 4;
const PAIR: usize = 2 * IMAGE_PIXEL;
const SQUARE: usize = 2 * PAIR;

/// A convolution made ready to run.
pub(crate) struct MatrixConv {
    matrix: &'static Matrix,
    input: Input,
    /// Rows and columns of the filter, and how far it steps: in pixels of the input, or in squares.
    size: [usize; 2],
    stride: usize,
    h: usize,
    w: usize,
    /// Bytes of a gathered pixel, of a row of them, and of all rows, which are there for every 64 channels where the
    /// filter has one column.
    pixel: usize,
    row: usize,
    chunk_bytes: usize,
    /// [`Product::steps`].
    steps: Vec<usize>,
    /// `[panel][step][2][16][16]` words.
    weights: Aligned,
    panels: Vec<Panel>,
    outputs: Vec<Output>,
    output_ranges: Vec<Range<usize>>,
    /// `[vectors][16]`.
    bias: Aligned,
    factors: Aligned,
    /// Rows of output that are gathered for at a time, at most.
    max_rows: usize,
    /// Bytes that they take.
    gathered: usize,
}

/// Bytes of gathered pixels: they, and a filter, stay in the second-level cache.
const GATHERED_BYTES: usize = 512 << 10;

/// Maps with fewer pixels are shared out between members by output channels, others by rows.
const SMALL_PIXELS: usize = 400;

/// Words of the sums of a block. There are two: one being computed, one on its way to the maps.
const SUMS: usize = PANEL * PANEL;

impl MatrixConv {
    /// A stride-1 convolution of a map with zero padding of half the filter's size.
    pub(crate) fn over_map(matrix: &'static Matrix, input: Map, branches: &[Branch<'_>]) -> MatrixConv {
        let [kh, kw, ic, _] = branches[0].filter.shape;
        let [_, h, w] = input.shape();
        input.check([kh, kw, ic]);
        let Element::U8 { step } = input.element() else { panic!("`f32` where bytes are expected") };
        let bytes = vec![Channel { step, zero: 0 }; ic];
        MatrixConv::new(matrix, (Input::Map(input), 1, &bytes), branches, [h, w])
    }

    /// A convolution of the padded picture with the given stride.
    pub(crate) fn over_image(
        matrix: &'static Matrix,
        image: Image,
        stride: usize,
        branch: Branch<'_>,
    ) -> MatrixConv {
        let ([kh, kw, ic, _], [_, h, w]) = (branch.filter.shape, branch.output.shape());
        image.check([kh, kw, ic], [h, w], stride);
        let bytes = image.channels().expect("a picture in bytes");
        let input = if stride == 2 { Input::Squares(image) } else { Input::Image(image) };
        MatrixConv::new(matrix, (input, stride, &bytes), &[branch], [h, w])
    }

    fn new(
        matrix: &'static Matrix,
        (input, stride, bytes): (Input, usize, &[Channel]),
        branches: &[Branch<'_>],
        [h, w]: [usize; 2],
    ) -> MatrixConv {
        let columns = Columns::new(branches, LANES, Some(bytes), [h, w]);
        let [filter_h, filter_w, ic, _] = branches[0].filter.shape;
        let squares = matches!(input, Input::Squares(_));
        let [kh, kw] = [filter_h, filter_w].map(|len| if squares { len.div_ceil(2) } else { len });
        // One output has no next one.
        let stride = if squares || [h, w] == [1, 1] { 1 } else { stride };
        // Bytes of a pixel and of a row, and how many times 64 channels are gathered apart. Pixels of many channels would
        // be so far from each other that they push each other out of the cache.
        let (pixel, row, chunks) = match &input {
            Input::Map(map) => {
                let channels = map.blocks() * map.lanes();
                let (pixel, chunks) =
                    if kw == 1 { (ROW_BYTES, channels.div_ceil(ROW_BYTES)) } else { (channels, 1) };
                (pixel, (w + kw - 1) * pixel, chunks)
            }
            Input::Image(image) => (IMAGE_PIXEL, image.padded_w() * IMAGE_PIXEL, 1),
            Input::Squares(_) => (SQUARE, (w + kw - 1) * SQUARE, 1),
        };
        let max_rows = (GATHERED_BYTES / chunks / (row * stride)).saturating_sub(kh).max(1);
        let most = max_rows.min(h * Program::GROUP);
        let strips = most.min(most.div_ceil(h) + 1);
        let most = most * stride + strips * kh;
        // Not a multiple of 4096 bytes, at which chunks would push each other out of the first-level cache.
        let chunk_bytes = checked_end(0, [most, row].map(Some)).next_multiple_of(2 * ROW_BYTES) + ROW_BYTES;

        // Where each register of the depth begins, and which row of the filter matrix each byte of it meets.
        let mut steps = Vec::new();
        let mut depth = Vec::new();
        for chunk in 0..chunks {
            for ky in 0..kh {
                for start in (0..kw * pixel).step_by(ROW_BYTES) {
                    steps.push(chunk * chunk_bytes + ky * row + start);
                    depth.extend((start..start + ROW_BYTES).map(|byte| {
                        let (y, x, channel) = if squares {
                            let (row, column) = (byte % SQUARE / PAIR, byte % PAIR / IMAGE_PIXEL);
                            (2 * ky + row, 2 * (byte / SQUARE) + column, byte % IMAGE_PIXEL)
                        } else {
                            (ky, byte / pixel, chunk * pixel + byte % pixel)
                        };
                        let inside = y < filter_h && x < filter_w && channel < ic;
                        inside.then_some((y * filter_w + x) * ic + channel)
                    }));
                }
            }
        }
        // All bytes go through a ReLU, so that all panels but the last have two vectors.
        let vector_len = steps.len() * REGISTER;
        let panels = panels(&columns.outputs, 2, vector_len);
        let mut weights = Aligned::zeroed(checked_end(0, [panels.len(), 2, vector_len].map(Some)));
        for panel in &panels {
            for (step, rows) in depth.chunks_exact(ROW_BYTES).enumerate() {
                for (half, vector) in panel.outputs.clone().enumerate() {
                    let register = panel.packed + (2 * step + half) * REGISTER;
                    let lines = weights.words_mut()[register..][..REGISTER].chunks_exact_mut(LANES);
                    for (rows, words) in rows.chunks_exact(4).zip(lines) {
                        columns.fill_bytes(rows, vector, words);
                    }
                }
            }
        }
        let Columns { outputs, ranges: output_ranges, bias, factors, .. } = columns;
        MatrixConv {
            matrix,
            input,
            size: [kh, kw],
            stride,
            h,
            w,
            pixel,
            row,
            chunk_bytes,
            steps,
            weights,
            panels,
            outputs,
            output_ranges,
            bias,
            factors,
            max_rows,
            gathered: checked_end(0, [chunks, chunk_bytes].map(Some)),
        }
    }

    /// The name of its micro-kernel.
    pub(crate) fn name(&self) -> &'static str {
        self.matrix.name
    }

    pub(crate) fn reads(&self) -> Range<usize> {
        match &self.input {
            Input::Map(map) => map.range(),
            Input::Image(image) | Input::Squares(image) => image.range(),
        }
    }

    pub(crate) fn writes(&self) -> &[Range<usize>] {
        &self.output_ranges
    }

    /// Elements that a member needs for itself.
    pub(crate) fn scratch_len(&self) -> usize {
        // The positions of a block that are not wanted are read all the same, and registers to their end.
        let beyond = PANEL * self.step() + ROW_BYTES;
        2 * SUMS + (self.gathered + beyond).div_ceil(size_of::<f32>())
    }

    /// Bytes from a position to the next.
    fn step(&self) -> usize {
        self.pixel * self.stride
    }

    /// Parts of the rows, and of the panels, that the work on `group` is cut in.
    fn parts(&self, group: &Group) -> [usize; 2] {
        let by_memory = (self.h * group.images).div_ceil(self.max_rows);
        if group.members == 1 {
            [by_memory, 1]
        } else if self.h * self.w < SMALL_PIXELS {
            [by_memory, group.members.min(self.panels.len())]
        } else {
            [by_memory.max(self.h.min(4 * group.members)), 1]
        }
    }

    /// Items of work.
    pub(crate) fn items(&self, group: &Group) -> usize {
        self.parts(group).iter().product()
    }

    /// Computes one item for all images of `group`.
    ///
    /// # Safety
    /// The convolution's input and outputs lie inside the group's slots; nobody writes the input or touches the pixels
    /// of this item's outputs meanwhile; `scratch` holds [`MatrixConv::scratch_len`] elements that nobody else touches.
    pub(crate) unsafe fn run(&self, (group, scratch): (Group, *mut f32), item: usize) {
        let [bands, shares] = self.parts(&group);
        let (band, share) = (item / shares, item % shares);
        let part = |len: usize, index: usize, of: usize| len * index / of..len * (index + 1) / of;
        let all_rows = self.h * group.images;
        let rows = part(all_rows, band, bands);
        let panels = &self.panels[part(self.panels.len(), share, shares)];
        let gathered = scratch.wrapping_add(2 * SUMS).cast::<u8>();
        // SAFETY: forwarded to the caller.
        unsafe { self.gather(group, rows.clone(), gathered) };

        let longest = self.spans(rows.clone()).map(|span| span.positions).max().unwrap_or(1);
        // As few blocks as cover the longest span, all of nearly the same height.
        let height = longest.div_ceil(longest.div_ceil(PANEL)).div_ceil(2);
        let mut held = None;
        let mut index = 0;
        // SAFETY: holding `matrix` proves that the processor has the unit; the pointers are within the gathered
        // pixels, the panel and `scratch`; `store` gets what the caller vouches for.
        unsafe {
            (self.matrix.open)(height);
            for panel in panels {
                for span in self.spans(rows.clone()) {
                    for first in (0..span.positions).step_by(2 * height) {
                        let sums = scratch.wrapping_add(index % 2 * SUMS);
                        (self.matrix.product)(&Product {
                            from: gathered.wrapping_add(span.start + first * self.step()),
                            pixel: self.step(),
                            rows: height,
                            steps: &self.steps,
                            panel: self.weights[panel.packed..].as_ptr().cast(),
                            sums,
                        });
                        // The sums before these, while the unit is still at work.
                        let computed = Computed { panel, span: span.clone(), first, height, sums };
                        if let Some(before) = held.replace(computed) {
                            self.store(group, before);
                        }
                        index += 1;
                    }
                }
            }
            if let Some(last) = held {
                self.store(group, last);
            }
            (self.matrix.close)();
        }
    }

    /// The rows of output `rows`, counted on from image to image, cut where an image ends.
    fn strips(&self, rows: Range<usize>) -> impl Iterator<Item = Strip> {
        let (h, [kh, _]) = (self.h, self.size);
        let (mut next, mut start) = (rows.start, 0);
        core::iter::from_fn(move || {
            let first = next;
            next = rows.end.min((first / h + 1) * h);
            let count = next.checked_sub(first).filter(|count| *count > 0)?;
            let strip = Strip { first, count, start };
            start += ((count - 1) * self.stride + kh) * self.row;
            Some(strip)
        })
    }

    /// The same rows in spans of positions that follow each other in memory.
    fn spans(&self, rows: Range<usize>) -> impl Iterator<Item = Span> {
        // Without rows above and below, one image's follow the other's.
        let whole = self.size[0] == 1 && self.stride == 1;
        let all = whole.then(|| Strip { first: rows.start, count: rows.len(), start: 0 });
        let strips = all.into_iter().chain(self.strips(rows).filter(move |_| !whole));
        strips.flat_map(move |Strip { first, count, start }| {
            let (spans, rows) = if self.stride > 1 { (count, 1) } else { (1, count) };
            (0..spans).map(move |row| Span {
                first: first + row,
                start: start + row * self.stride * self.row,
                positions: (rows - 1) * (self.row / self.pixel) + self.w,
            })
        })
    }

    /// Gathers what `rows` are computed from.
    ///
    /// # Safety
    /// As [`MatrixConv::run`].
    unsafe fn gather(&self, group: Group, rows: Range<usize>, to: *mut u8) {
        let [kh, _] = self.size;
        for Strip { first, count, start } in self.strips(rows) {
            let slot = group.slot(first / self.h);
            let y = first % self.h * self.stride;
            for row in 0..(count - 1) * self.stride + kh {
                let to = to.wrapping_add(start + row * self.row);
                // SAFETY: a row that the filter reads, and its place; and forwarded to the caller.
                unsafe {
                    match &self.input {
                        Input::Map(map) => self.gather_pixels(map, slot, y + row, to),
                        Input::Image(image) => {
                            let from = slot.at(image.offset + (y + row) * image.pitch()).cast::<u8>();
                            from.copy_to_nonoverlapping(to, self.row);
                        }
                        Input::Squares(image) => self.gather_squares(image, slot, y + row, to),
                    }
                }
            }
        }
    }

    /// Gathers the row `y` of the map, counted from the first that the filter reads.
    ///
    /// # Safety
    /// The row lies in `slot`, and there is place for it at `to`, [`chunk_bytes`](MatrixConv::chunk_bytes) apart.
    unsafe fn gather_pixels(&self, map: &Map, slot: Slot, y: usize, to: *mut u8) {
        let [kh, kw] = self.size;
        let corner = map.origin(0) - kh / 2 * map.pitch() - kw / 2 * map.words() + y * map.pitch();
        for block in 0..map.blocks() {
            let channel = block * map.lanes();
            let (chunk, channel) = (channel / self.pixel, channel % self.pixel);
            let from: *const Block = slot.at(corner + block * map.plane()).cast();
            let to = to.wrapping_add(chunk * self.chunk_bytes + channel);
            for x in 0..self.w + kw - 1 {
                // SAFETY: a pixel of the block or of the border, and its place.
                unsafe { to.add(x * self.pixel).cast::<Block>().write(from.add(x).read()) };
            }
        }
    }

    /// Gathers the row `y` of squares. No weight meets what the filter does not reach, so the last square may lack its
    /// right pixels, and the last row its lower ones.
    ///
    /// # Safety
    /// The row lies in `slot`, and there is place for it at `to`.
    unsafe fn gather_squares(&self, image: &Image, slot: Slot, y: usize, to: *mut u8) {
        let columns = image.padded_w().min(self.row / PAIR);
        for row in 0..2.min(image.padded_h() - 2 * y) {
            let from = slot.at(image.offset + (2 * y + row) * image.pitch()).cast::<u8>();
            let to = to.wrapping_add(row * PAIR);
            // SAFETY: pixels of the padded picture, and their places.
            unsafe {
                for x in 0..columns / 2 {
                    let pair = from.add(x * PAIR).cast::<[u8; PAIR]>().read();
                    to.add(x * SQUARE).cast::<[u8; PAIR]>().write(pair);
                }
                if columns % 2 == 1 {
                    let last = from.add((columns - 1) * IMAGE_PIXEL).cast::<[u8; IMAGE_PIXEL]>().read();
                    to.add(columns / 2 * SQUARE).cast::<[u8; IMAGE_PIXEL]>().write(last);
                }
            }
        }
    }

    /// Stores the sums of those positions that are pixels.
    ///
    /// # Safety
    /// As [`MatrixConv::run`].
    unsafe fn store(&self, group: Group, computed: Computed<'_>) {
        let Computed { panel, span, first, height, sums } = computed;
        let pitch = self.row / self.pixel;
        let outputs = &self.outputs[panel.outputs.clone()];
        let vector = panel.outputs.start * LANES;
        let end = span.positions.min(first + 2 * height);
        let mut position = first;
        while position < end {
            let (row, x) = if self.stride > 1 { (0, position) } else { (position / pitch, position % pitch) };
            // A run ends with the row, and with the register.
            let line = position - first;
            let in_register = if line < height { height - line } else { end - position };
            let count = (pitch - x).min(end - position).min(in_register);
            if let Some(pixels) = self.w.checked_sub(x).filter(|left| *left > 0) {
                let row = span.first + row;
                let (slot, y) = (group.slot(row / self.h), row % self.h);
                let mut to = [RunOutput { to: core::ptr::null_mut(), pixel_step: 0 }; 2];
                for (to, output) in to.iter_mut().zip(outputs) {
                    let first = output.origin + y * output.pitch + x * output.pixel_step;
                    *to = RunOutput { to: slot.at(first), pixel_step: output.pixel_step };
                }
                let line = if line < height { line } else { LANES + line - height };
                // SAFETY: pixels of the outputs, which lie in the slot.
                unsafe {
                    (self.matrix.store)(&Run {
                        sums: sums.wrapping_add(line * PANEL),
                        count: count.min(pixels),
                        outputs: &to[..outputs.len()],
                        bias: self.bias[vector..].as_ptr(),
                        factors: self.factors[vector..].as_ptr(),
                    });
                }
            }
            position += count;
        }
    }
}

/// A pixel of a block of a map.
type Block = [u8; Map::BYTE_LANES];

/// Rows of output of one image.
struct Strip {
    /// Counted on from image to image.
    first: usize,
    count: usize,
    /// Bytes to where what they are computed from is gathered.
    start: usize,
}

/// Positions that follow each other.
#[derive(Clone)]
struct Span {
    /// The row of output that they begin with.
    first: usize,
    /// Bytes to the first.
    start: usize,
    positions: usize,
}

/// Positions of a span whose sums are computed.
struct Computed<'a> {
    panel: &'a Panel,
    span: Span,
    first: usize,
    height: usize,
    sums: *const f32,
}
