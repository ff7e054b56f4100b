//! Convolution on a unit of the processor that multiplies matrices: positions x depth by depth x output channels, 32 of
//! either at a time.
//!
//! An item of work first *gathers* the pixels that it needs from the blocks of the map, in blocks of as many channels as a
//! row of a register holds (numbers of `f32` cut in pieces that the unit multiplies). Then a register is filled from any
//! position by one instruction: its rows are neighbouring pixels. Positions run on over the ends of rows, through the
//! border that the filter needs; what is computed there is dropped.

use core::ops::Range;

use crate::arena::Aligned;
use crate::conv::{Branch, Columns, Output, Panel, panels};
use crate::group::Group;
use crate::kernels::Kernels;
use crate::map::{Element, Image, Map, checked_end};
use crate::quantize::Channel;

/// Output channels of a panel of the filter, in two registers.
pub(crate) const PANEL: usize = 2 * LANES;

/// Output channels of a register, and the most positions.
const LANES: usize = 16;

/// Bytes of a row of a register.
const ROW_BYTES: usize = 64;

/// Words of a register.
const REGISTER: usize = LANES * LANES;

/// The kernels of a unit for products of matrices, for blocks of 16 channels.
pub(crate) struct Matrix {
    pub bytes: Unit,
    pub floats: Unit,
    /// Before the first product: how many rows the registers of positions have.
    pub open: unsafe fn(usize),
    /// After the last product.
    pub close: unsafe fn(),
}

/// The kernels for one type of numbers.
pub(crate) struct Unit {
    pub name: &'static str,
    /// Bytes of a number, or of a piece of it.
    pub number_bytes: usize,
    /// What a number is cut in.
    pub pieces: usize,
    pub product: unsafe fn(&Product<'_>),
    pub gather_blocks: unsafe fn(&BlockRow),
    pub gather_image: unsafe fn(&ImageRow),
    pub store: unsafe fn(&Run<'_>),
}

/// Sums over the whole depth of a block of positions and a panel of output channels.
pub(crate) struct Product<'a> {
    /// The first position.
    pub from: *const u8,
    /// Bytes from a position to the next.
    pub pixel: usize,
    /// Bytes from a piece of the input to the next.
    pub plane: usize,
    /// Positions in each of two registers: what the unit was opened for.
    pub rows: usize,
    /// Bytes from a position to where each row of registers of the depth begins.
    pub steps: &'a [usize],
    /// `[step][piece][2][16][16]` words; the piece that matters most comes last.
    pub panel: *const u8,
    /// `[2][16][PANEL]`, of which the first `rows` of either half are written.
    pub sums: *mut f32,
}

/// Pixels of a row of a map, to be gathered.
pub(crate) struct BlockRow {
    /// The first pixel of the first block.
    pub from: *const f32,
    pub block_step: usize,
    pub blocks: usize,
    pub pixels: usize,
    pub to: *mut u8,
    /// Bytes from a gathered block to the next.
    pub chunk: usize,
    /// Bytes from piece to piece.
    pub plane: usize,
}

/// A row of the picture, to be gathered.
pub(crate) struct ImageRow {
    pub from: *const f32,
    pub words: usize,
    pub to: *mut u8,
    /// Bytes from piece to piece.
    pub plane: usize,
}

/// Sums of neighbouring pixels on their way to the maps.
pub(crate) struct Run<'a> {
    /// `[count][PANEL]`.
    pub sums: *const f32,
    pub count: usize,
    /// One for each vector of output channels.
    pub outputs: &'a [RunOutput],
    /// `[vectors][16]`.
    pub bias: *const f32,
    /// `[vectors][16]`: what sums over bytes are multiplied by.
    pub factors: *const f32,
    /// Lower bound of `f32`.
    pub floor: f32,
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
}

/// A convolution made ready to run.
pub(crate) struct MatrixConv {
    matrix: &'static Matrix,
    unit: &'static Unit,
    input: Input,
    /// Rows and columns of the filter.
    size: [usize; 2],
    stride: usize,
    h: usize,
    w: usize,
    /// Bytes of a gathered pixel, and of a row of them.
    pixel: usize,
    row: usize,
    /// [`Product::steps`].
    steps: Vec<usize>,
    /// `[panel][step][piece][2][16][16]` words.
    weights: Aligned,
    panels: Vec<Panel>,
    outputs: Vec<Output>,
    output_ranges: Vec<Range<usize>>,
    bias: Aligned,
    factors: Aligned,
    /// Rows of output that are gathered for at a time, at most.
    max_rows: usize,
    /// Bytes of a gathered block, and of all.
    chunk: usize,
    plane: usize,
}

/// Bytes of gathered pixels, all pieces together: half of the second-level cache, so that filters find room beside them.
const GATHERED_BYTES: usize = 1 << 20;

/// Zeros behind the gathered rows of an image, as far as the last register of the depth may reach. What is beyond the
/// filter meets zeros there, but zero times what is not a number is none either.
const GAP_BYTES: usize = ROW_BYTES;

/// Maps with fewer pixels are shared out between members by output channels, others by rows.
const SMALL_PIXELS: usize = 400;

/// Bytes of the sums of a block: two of them, one being computed and one on its way to the maps.
const SUMS: usize = PANEL * PANEL;

impl MatrixConv {
    /// A stride-1 convolution of a map with zero padding of half the filter's size.
    pub(crate) fn over_map(
        (kernels, matrix): (&Kernels, &'static Matrix),
        input: Map,
        branches: &[Branch<'_>],
    ) -> MatrixConv {
        let [kh, kw, ic, _] = branches[0].filter.shape;
        let [channels, h, w] = input.shape();
        assert_eq!(
            input.lanes(),
            kernels.lanes_of(input.element()),
            "a map in blocks of another instruction set"
        );
        assert_eq!(ic, channels, "the filter reads other channels than the map has");
        assert!(kh % 2 == 1 && kw % 2 == 1, "an even filter has no middle: {kh}x{kw}");
        assert!(kh / 2 <= input.halo() && kw / 2 <= input.halo(), "the halo is too thin for {kh}x{kw}");
        let bytes = match input.element() {
            Element::F32 => None,
            Element::U8 { step } => Some(vec![Channel { step, zero: 0 }; ic]),
        };
        MatrixConv::new(matrix, (Input::Map(input), 1, bytes.as_deref()), branches, [h, w])
    }

    /// A convolution of the padded picture with the given stride.
    pub(crate) fn over_image(
        matrix: &'static Matrix,
        image: Image,
        stride: usize,
        branch: Branch<'_>,
    ) -> MatrixConv {
        let [_, h, w] = branch.output.shape();
        image.check(&branch, stride);
        let bytes = image.channels();
        MatrixConv::new(matrix, (Input::Image(image), stride, bytes.as_deref()), &[branch], [h, w])
    }

    fn new(
        matrix: &'static Matrix,
        (input, stride, bytes): (Input, usize, Option<&[Channel]>),
        branches: &[Branch<'_>],
        [h, w]: [usize; 2],
    ) -> MatrixConv {
        let unit = if bytes.is_some() { &matrix.bytes } else { &matrix.floats };
        let columns = Columns::new(branches, LANES, bytes, [h, w]);
        let [kh, kw, ic, _] = branches[0].filter.shape;
        let number = unit.number_bytes;
        // Bytes of a pixel and of a row, blocks of channels, and numbers of a pixel of a block.
        let (pixel, row, chunks, numbers) = match &input {
            Input::Map(map) => {
                let chunks = (map.blocks() * map.lanes() * number).div_ceil(ROW_BYTES);
                (ROW_BYTES, (w + kw - 1) * ROW_BYTES, chunks, ROW_BYTES / number)
            }
            Input::Image(image) => {
                let numbers = if bytes.is_some() { 4 } else { Image::CHANNELS };
                (numbers * number, image.padded_w() * numbers * number, 1, numbers)
            }
        };
        let bytes_of = |rows: usize| {
            let strips = rows.div_ceil(h) + 1;
            checked_end(strips * GAP_BYTES, [Some(rows * stride + strips * kh), Some(row)])
        };
        let wanted = GATHERED_BYTES / unit.pieces / chunks / (row * stride);
        let max_rows = wanted.saturating_sub(kh).max(1);
        // Not a multiple of 4096 bytes, at which blocks would push each other out of the first-level cache.
        let chunk = bytes_of(max_rows.min(h * crate::Program::GROUP)).next_multiple_of(128) + ROW_BYTES;

        // For each register of the depth, where it begins, and which row of the filter matrix each of its numbers meets. The
        // picture's taps follow each other, a block's are registers of their own.
        let in_row = ROW_BYTES / number;
        let taps = if numbers == in_row { kw } else { (kw * numbers).div_ceil(in_row) };
        let mut steps = Vec::new();
        let mut depth = Vec::new();
        for (block, ky, tap) in (0..chunks).flat_map(|block| (0..kh).flat_map(move |ky| (0..taps).map(move |tap| (block, ky, tap)))) {
            steps.push(block * chunk + ky * row + tap * ROW_BYTES);
            depth.extend((tap * in_row..(tap + 1) * in_row).map(|index| {
                let (kx, channel) = (index / numbers, block * numbers + index % numbers);
                (kx < kw && channel < ic).then_some((ky * kw + kx) * ic + channel)
            }));
        }

        let panel_len = steps.len() * unit.pieces * 2 * REGISTER;
        let mut panels = panels(&columns.outputs, 2, 0);
        panels.iter_mut().zip(0..).for_each(|(panel, index)| panel.packed = index * panel_len);
        let mut weights = Aligned::zeroed(checked_end(0, [panels.len(), panel_len].map(Some)));
        for (panel, to) in panels.iter().zip(weights.words_mut().chunks_exact_mut(panel_len)) {
            let steps = depth.chunks_exact(ROW_BYTES / number).zip(to.chunks_exact_mut(unit.pieces * 2 * REGISTER));
            for (depth, to) in steps {
                for (vector, half) in panel.outputs.clone().zip(0..) {
                    for (rows, line) in depth.chunks_exact(4 / number).zip(0..) {
                        let place = |piece: usize| (2 * piece + half) * REGISTER + line * LANES;
                        if unit.pieces == 1 {
                            columns.fill_bytes(rows, vector, &mut to[place(0)..][..LANES]);
                        } else {
                            for (piece, words) in float_words(&columns, rows, vector).iter().enumerate() {
                                to[place(piece)..][..LANES].copy_from_slice(words);
                            }
                        }
                    }
                }
            }
        }

        let Columns { outputs, ranges: output_ranges, bias, factors, .. } = columns;
        MatrixConv {
            matrix,
            unit,
            input,
            size: [kh, kw],
            stride,
            h,
            w,
            pixel,
            row,
            steps,
            weights,
            panels,
            outputs,
            output_ranges,
            bias,
            factors,
            max_rows,
            chunk,
            plane: chunks * chunk,
        }
    }

    /// The name of its micro-kernel.
    pub(crate) fn name(&self) -> &'static str {
        self.unit.name
    }

    pub(crate) fn reads(&self) -> Range<usize> {
        match &self.input {
            Input::Map(map) => map.range(),
            Input::Image(image) => image.range(),
        }
    }

    pub(crate) fn writes(&self) -> &[Range<usize>] {
        &self.output_ranges
    }

    /// Elements that a member needs for itself.
    pub(crate) fn scratch_len(&self) -> usize {
        // The positions of a block that are not wanted are read all the same.
        let beyond = PANEL * self.pixel * self.stride + GAP_BYTES;
        2 * SUMS + (self.unit.pieces * self.plane + beyond).div_ceil(size_of::<f32>())
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
        let [chunks, shares] = self.parts(&group);
        let (chunk, share) = (item / shares, item % shares);
        let part = |len: usize, index: usize, of: usize| len * index / of..len * (index + 1) / of;
        let all_rows = self.h * group.images;
        let rows = part(all_rows, chunk, chunks);
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
                        (self.unit.product)(&Product {
                            from: gathered.wrapping_add(span.start + first * self.pixel * self.stride),
                            pixel: self.pixel * self.stride,
                            plane: self.plane,
                            rows: height,
                            steps: &self.steps,
                            panel: self.weights[panel.packed..].as_ptr().cast(),
                            sums,
                        });
                        // The sums before these, while the unit is still at work.
                        let block = Block { panel, span: span.clone(), first, height, sums };
                        if let Some(before) = held.replace(block) {
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

    /// Bytes behind the gathered rows of an image; none where registers end with a pixel.
    fn gap(&self) -> usize {
        if self.pixel == ROW_BYTES { 0 } else { GAP_BYTES }
    }

    /// The rows of output `rows`, counted on from image to image, cut where an image ends.
    fn strips(&self, rows: Range<usize>) -> impl Iterator<Item = Strip> {
        let (h, [kh, _], gap) = (self.h, self.size, self.gap());
        let (mut next, mut start) = (rows.start, 0);
        core::iter::from_fn(move || {
            let first = next;
            next = rows.end.min((first / h + 1) * h);
            let count = next.checked_sub(first).filter(|count| *count > 0)?;
            let strip = Strip { first, count, start };
            start += ((count - 1) * self.stride + kh) * self.row + gap;
            Some(strip)
        })
    }

    /// The same rows in spans of positions that follow each other in memory.
    fn spans(&self, rows: Range<usize>) -> impl Iterator<Item = Span> {
        let whole = self.gap() == 0 && self.size == [1, 1];
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
        let ([kh, kw], plane) = (self.size, self.plane);
        for Strip { first, count, start } in self.strips(rows) {
            let slot = group.slot(first / self.h);
            let y = first % self.h * self.stride;
            let count = (count - 1) * self.stride + kh;
            for row in 0..count {
                let to = to.wrapping_add(start + row * self.row);
                // SAFETY: rows of the input and its border; `plane` has room for all rows of the strip.
                unsafe {
                    match &self.input {
                        Input::Map(map) => {
                            let first = map.origin(0) + (y + row) * map.pitch();
                            (self.unit.gather_blocks)(&BlockRow {
                                from: slot.at(first - kh / 2 * map.pitch() - kw / 2 * map.words()),
                                block_step: map.plane(),
                                blocks: map.blocks(),
                                pixels: self.w + kw - 1,
                                to,
                                chunk: self.chunk,
                                plane,
                            });
                        }
                        Input::Image(image) => (self.unit.gather_image)(&ImageRow {
                            from: slot.at(image.offset + (y + row) * image.pitch()),
                            words: image.pitch(),
                            to,
                            plane,
                        }),
                    }
                }
            }
            for piece in 0..self.unit.pieces {
                let gap = to.wrapping_add(piece * plane + start + count * self.row);
                // SAFETY: behind the rows of the strip, as above.
                unsafe { gap.write_bytes(0, self.gap()) };
            }
        }
    }

    /// Stores the sums of a block's positions that are pixels.
    ///
    /// # Safety
    /// As [`MatrixConv::run`].
    unsafe fn store(&self, group: Group, block: Block<'_>) {
        let Block { panel, span, first, height, sums } = block;
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
                    (self.unit.store)(&Run {
                        sums: sums.wrapping_add(line * PANEL),
                        count: count.min(pixels),
                        outputs: &to[..outputs.len()],
                        bias: self.bias[vector..].as_ptr(),
                        factors: self.factors.as_ptr().wrapping_add(vector),
                        floor: outputs[0].floor,
                    });
                }
            }
            position += count;
        }
    }
}

/// `x` as the sum of three numbers of bfloat16, `[low, middle, high]`: what is left of it each time, rounded.
fn pieces(x: f32) -> [f32; 3] {
    let round = |x: f32| f32::from_bits(x.to_bits().wrapping_add(1 << 15) & (u32::MAX << 16));
    let high = round(x);
    let middle = round(x - high);
    [x - high - middle, middle, high]
}

/// For each piece, a word for each output channel of a vector: its weights for two rows of the filter matrix.
fn float_words(columns: &Columns<'_>, rows: &[Option<usize>], vector: usize) -> [[u32; LANES]; 3] {
    let mut words = [[0; LANES]; 3];
    for (half, row) in rows.iter().enumerate() {
        let Some(row) = row else { continue };
        for (lane, weight) in columns.weights(*row, vector).iter().take(LANES).enumerate() {
            for (words, piece) in words.iter_mut().zip(pieces(*weight)) {
                words[lane] |= piece.to_bits() >> 16 << (16 * half);
            }
        }
    }
    words
}

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

/// A block of positions of a span whose sums are computed.
struct Block<'a> {
    panel: &'a Panel,
    span: Span,
    first: usize,
    height: usize,
    sums: *const f32,
}
