//! Direct convolution: a micro-kernel over a tile of pixels and output channels, the packed filter, and the loop
//! over tiles.
//!
//! A tile holds `ROWS` pixels x `VECTORS` vectors of output channels in registers and runs through the whole depth
//! (taps x input channels) once. The depth is cut into segments of consecutive input elements: one per channel block
//! for 1x1, one per channel block and filter row for 3x3 (the taps of a row are neighbours in memory), one per
//! filter row for the first convolution on the picture itself. No im2col anywhere.

use core::ops::Range;

use crate::arena::Aligned;
use crate::group::Slot;
use crate::kernels::{Kernels, Tiles};
use crate::map::{Element, Image, Map};
use crate::prefetch;
use crate::quantize::{ByteFilter, Channel};
use crate::simd::{Dot, Simd};

pub(crate) const MAX_ROWS: usize = 14;
pub(crate) const MAX_VECTORS: usize = 4;

/// Elements of a cache line.
pub(crate) const LINE: usize = 16;

/// What the micro-kernel needs to compute one tile.
pub(crate) struct Tile<'a> {
    /// The first input element of each run of pixels that are neighbours in memory: of each pixel where runs are one
    /// pixel long. All runs but the last have the full length.
    pub rows: [*const f32; MAX_ROWS],
    /// Offsets from `rows` at which the segments of the depth begin.
    pub segments: &'a [usize],
    /// Words of a segment.
    pub depth: usize,
    /// The packed filter: `[segment][depth][vectors][lanes]`.
    pub panel: *const f32,
    /// What to ask farther caches for meanwhile: a cache line for each step of the depth.
    pub next_panel: *const f32,
    /// Elements from here to the rows of the next tile, which follow each other.
    pub rows_ahead: usize,
    /// `[vectors][lanes]`, integers where the input is bytes; null if the bare sums are wanted.
    pub bias: *const f32,
    /// `[vectors][lanes]`: what sums over bytes are multiplied by; of no meaning where the input is `f32`.
    pub factors: *const f32,
    /// Lower bound of the result: 0 for ReLU, else minus infinity.
    pub floor: f32,
    /// Where each vector of each run of pixels goes.
    pub outputs: [[*mut f32; MAX_ROWS]; MAX_VECTORS],
}

/// `sums` and, over the whole depth, input x filter for `ROWS` pixels, `STEP` words apart, and `VECTORS` vectors.
///
/// # Safety
/// All pointers of `tile` that `ROWS`, `VECTORS`, the segments and the depth lead to are valid.
#[inline(always)]
// Indices, not iterators: with closures inside, the compiler no longer keeps the sums in registers.
#[allow(clippy::needless_range_loop)]
pub(crate) unsafe fn accumulate<D: Dot, const STEP: usize, const ROWS: usize, const VECTORS: usize>(
    dot: D,
    tile: &Tile<'_>,
    mut sums: [[D::Sum; VECTORS]; ROWS],
) -> [[D::Sum; VECTORS]; ROWS] {
    let mut panel = tile.panel;
    let mut next_panel = tile.next_panel;
    for &segment in tile.segments {
        let mut rows = [core::ptr::null(); ROWS];
        for r in 0..ROWS {
            // SAFETY: within the input (contract).
            rows[r] = unsafe { tile.rows[r / D::RUN].add(segment + r % D::RUN * STEP) };
        }
        for d in 0..tile.depth {
            // SAFETY: within the panel (contract).
            let mut filter = [unsafe { dot.load_filter(panel) }; VECTORS];
            for v in 1..VECTORS {
                // SAFETY: as above.
                filter[v] = unsafe { dot.load_filter(panel.add(v * D::LANES)) };
            }
            prefetch::far(next_panel);
            next_panel = next_panel.wrapping_add(LINE);
            prefetch::near(rows[0].wrapping_add(tile.rows_ahead + d * LINE));
            for r in 0..ROWS {
                // SAFETY: within the segment (contract).
                let input = unsafe { dot.splat_input(rows[r].add(d)) };
                for v in 0..VECTORS {
                    sums[r][v] = dot.dot(input, filter[v], sums[r][v]);
                }
            }
            // SAFETY: at most one past the panel's end.
            panel = unsafe { panel.add(VECTORS * D::LANES) };
        }
    }
    sums
}

/// `max(floor, bias + sum over the depth of input x filter)`, or the bare sum, for `ROWS` pixels, `STEP` words apart,
/// and `VECTORS` vectors.
///
/// # Safety
/// All pointers of `tile` that `ROWS`, `VECTORS`, the segments and the depth lead to are valid.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // as in `accumulate`
pub(crate) unsafe fn tile<S: Simd, const STEP: usize, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    tile: &Tile<'_>,
) {
    // SAFETY: forwarded to the caller.
    let sums =
        unsafe { accumulate::<S, STEP, ROWS, VECTORS>(simd, tile, [[simd.splat(0.0); VECTORS]; ROWS]) };
    if tile.bias.is_null() {
        for v in 0..VECTORS {
            for r in 0..ROWS {
                // SAFETY: the outputs are writable (contract).
                unsafe {
                    simd.store(
                        tile.outputs[v][r / <S as Dot>::RUN].add(r % <S as Dot>::RUN * S::PIXEL),
                        sums[r][v],
                    )
                };
            }
        }
        return;
    }
    let floor = simd.splat(tile.floor);
    for v in 0..VECTORS {
        // SAFETY: `bias` has VECTORS vectors, and the outputs are writable (contract).
        unsafe {
            let bias = simd.load(tile.bias.add(v * <S as Simd>::LANES));
            for r in 0..ROWS {
                let to = tile.outputs[v][r / <S as Dot>::RUN].add(r % <S as Dot>::RUN * S::PIXEL);
                simd.store(to, simd.max(simd.add(sums[r][v], bias), floor));
            }
        }
    }
}

/// A convolution's trained numbers, `[kh, kw, ic, oc]` (HWIO) and one bias per output channel.
#[derive(Clone, Copy, Debug)]
pub struct Filter<'a> {
    /// `kh * kw * ic * oc` weights, output channels innermost.
    pub weights: &'a [f32],
    /// `oc` biases, added before the ReLU.
    pub bias: &'a [f32],
    /// `[kh, kw, ic, oc]`.
    pub shape: [usize; 4],
}

impl Filter<'_> {
    /// # Panics
    /// Where the numbers do not fit the shape.
    pub(crate) fn check(&self) {
        let [kh, kw, ic, oc] = self.shape;
        assert_eq!(self.weights.len(), kh * kw * ic * oc, "weights do not fit their shape");
        assert_eq!(self.bias.len(), oc, "biases do not fit the filter");
    }
}

/// One of the convolutions that read the same input in one step.
#[derive(Clone, Copy, Debug)]
pub struct Branch<'a> {
    /// What to convolve with; the spatial size must be the same for all branches of a step.
    pub filter: Filter<'a>,
    /// Where the result goes: `[oc, h, w]`.
    pub output: Map,
    /// Whether negative results become zero.
    pub relu: bool,
}

/// A convolution made ready to run: checked, packed, with all offsets known.
pub(crate) struct Conv {
    /// The first input element of output pixel (0, 0), and the steps to the next row and column.
    base: usize,
    row_step: usize,
    pixel_step: usize,
    segments: Vec<usize>,
    depth: usize,
    input: Range<usize>,
    panels: Vec<Panel>,
    tiles: &'static Tiles,
    shape: TileShape,
    packed: Aligned,
    bias: Aligned,
    factors: Aligned,
    outputs: Vec<Output>,
    output_ranges: Vec<Range<usize>>,
    h: usize,
    w: usize,
    /// Pixels of an item of work.
    chunk: usize,
    /// Whether items are ordered by panel first: the larger of filter and input is what a member should not share.
    by_panel: bool,
}

/// Which of the tiles fit the way from pixel to pixel.
#[derive(Clone, Copy)]
enum TileShape {
    /// Of blocks of channels.
    Map,
    /// Of the picture, with stride 2.
    Image,
    /// With any other stride: pixel by pixel, where runs are longer than that.
    Any,
}

/// Some vectors of output channels that a tile computes together.
struct Panel {
    outputs: Range<usize>,
    packed: usize,
}

/// Where one vector of output channels goes.
struct Output {
    origin: usize,
    pitch: usize,
    pixel_step: usize,
    floor: f32,
}

/// A chunk of input that stays in the second-level cache while all panels pass over it.
const CHUNK_WORDS: usize = 48 << 10;

impl Conv {
    /// A stride-1 convolution of a blocked map with zero padding of half the filter's size.
    pub(crate) fn over_map(kernels: &'static Kernels, input: Map, branches: &[Branch<'_>]) -> Conv {
        let [kh, kw, ic, _] = branches[0].filter.shape;
        let [channels, h, w] = input.shape();
        let lanes = input.lanes();
        assert_eq!(lanes, kernels.lanes_of(input.element()), "a map in blocks of another instruction set");
        assert_eq!(ic, channels, "the filter reads other channels than the map has");
        assert!(kh % 2 == 1 && kw % 2 == 1, "an even filter has no middle: {kh}x{kw}");
        assert!(kh / 2 <= input.halo() && kw / 2 <= input.halo(), "the halo is too thin for {kh}x{kw}");
        let mut segments = Vec::new();
        let mut depth_rows = Vec::new();
        for block in 0..input.blocks() {
            for ky in 0..kh {
                segments.push(block * input.plane() + ky * input.pitch());
                for kx in 0..kw {
                    for channel in block * lanes..(block + 1) * lanes {
                        depth_rows.push((channel < ic).then_some((ky * kw + kx) * ic + channel));
                    }
                }
            }
        }
        let source = Source {
            base: input.origin(0) - kh / 2 * input.pitch() - kw / 2 * input.words(),
            row_step: input.pitch(),
            pixel_step: input.words(),
            segments,
            depth: kw * input.words(),
            range: input.range(),
            tiles: TileShape::Map,
            bytes: match input.element() {
                Element::F32 => None,
                Element::U8 { step } => Some(vec![Channel { step, zero: 0 }; ic]),
            },
        };
        Conv::pack(kernels, source, [h, w], (branches, &depth_rows))
    }

    /// A convolution of the padded picture with the given stride.
    pub(crate) fn over_image(
        kernels: &'static Kernels,
        image: Image,
        stride: usize,
        branch: Branch<'_>,
    ) -> Conv {
        let [kh, kw, ic, _] = branch.filter.shape;
        let [_, h, w] = branch.output.shape();
        assert_eq!(ic, Image::CHANNELS, "the filter reads other channels than a picture has");
        for (out, size, len) in [(h, kh, image.padded_h()), (w, kw, image.padded_w())] {
            let reach = (out - 1).checked_mul(stride).and_then(|last| last.checked_add(size));
            assert!(reach.is_some_and(|reach| reach <= len), "the picture's padding is too thin");
        }
        let mut depth_rows = Vec::new();
        for tap in 0..kh * kw {
            depth_rows.extend((tap * ic..(tap + 1) * ic).map(Some));
            // The fourth byte of a pixel's word has no channel.
            depth_rows.extend(image.levels.map(|_| None));
        }
        let source = Source {
            base: image.offset,
            row_step: image.pitch() * stride,
            pixel_step: image.words() * stride,
            segments: (0..kh).map(|ky| ky * image.pitch()).collect(),
            depth: kw * image.words(),
            range: image.range(),
            tiles: if stride == 2 { TileShape::Image } else { TileShape::Any },
            bytes: image.levels.map(|levels| {
                levels.step.into_iter().zip(levels.zero).map(|(step, zero)| Channel { step, zero }).collect()
            }),
        };
        Conv::pack(kernels, source, [h, w], (&[branch], &depth_rows))
    }

    /// `depth_rows` says which row of the filter matrix `[kh * kw * ic, oc]` each element of the depth meets;
    /// none for the channels that only fill up a block.
    fn pack(
        kernels: &'static Kernels,
        source: Source,
        [h, w]: [usize; 2],
        (branches, depth_rows): (&[Branch<'_>], &[Option<usize>]),
    ) -> Conv {
        let (tiles, per_word) = match source.bytes {
            None => (&kernels.tiles, 1),
            Some(_) => (&kernels.byte_tiles, 4),
        };
        let lanes = tiles.lanes;
        let mut outputs = Vec::new();
        let mut columns = Vec::new();
        let mut byte_filters = Vec::new();
        for (index, branch) in branches.iter().enumerate() {
            let oc = branch.filter.shape[3];
            branch.filter.check();
            assert_eq!(
                branch.filter.shape[..3],
                branches[0].filter.shape[..3],
                "branches of different sizes"
            );
            assert_eq!(branch.output.shape(), [oc, h, w], "the output map does not fit");
            let output = &branch.output;
            match (&source.bytes, output.element()) {
                (None, Element::F32) => {
                    assert_eq!(output.lanes(), lanes, "a map in blocks of another instruction set");
                }
                (Some(channels), Element::U8 { step }) => {
                    assert!(branch.relu, "bytes have no negative numbers");
                    byte_filters.push(ByteFilter::new(&branch.filter, channels, step));
                }
                _ => panic!("a convolution from bytes to `f32`, or from `f32` to bytes"),
            }
            for column in (0..output.blocks() * output.lanes()).step_by(lanes) {
                let (block, lane) = (column / output.lanes(), column % output.lanes());
                outputs.push(Output {
                    origin: output.origin(block) + lane / per_word,
                    pitch: output.pitch(),
                    pixel_step: output.words(),
                    floor: if branch.relu { 0.0 } else { f32::NEG_INFINITY },
                });
                columns.push((index, column));
            }
        }

        let mut packed = Aligned::zeroed(depth_rows.len() / per_word * outputs.len() * lanes);
        let mut bias = Aligned::zeroed(outputs.len() * lanes);
        let mut factors = Aligned::zeroed(byte_filters.first().map_or(0, |_| bias.len()));
        let mut panels = Vec::new();
        let mut next = 0;
        let mut first = 0;
        while first < outputs.len() {
            // A tile has one floor, so a panel ends where the ReLU does.
            let same = outputs[first..].iter().take_while(|o| o.floor == outputs[first].floor).count();
            let width = same.min(tiles.vectors());
            let panel = first..first + width;
            panels.push(Panel { outputs: panel.clone(), packed: next });
            for rows in depth_rows.chunks_exact(per_word) {
                for &(branch, column) in &columns[panel.clone()] {
                    if let Some(filter) = byte_filters.get(branch) {
                        filter.fill(rows, column, &mut packed.words_mut()[next..next + lanes]);
                    } else if let Some(row) = rows[0] {
                        let filter = &branches[branch].filter;
                        let from = &filter.weights[row * filter.shape[3]..][..filter.shape[3]];
                        copy_from(from, column, &mut packed[next..next + lanes]);
                    }
                    next += lanes;
                }
            }
            first = panel.end;
        }
        for (index, &(branch, column)) in columns.iter().enumerate() {
            let place = index * lanes..(index + 1) * lanes;
            match byte_filters.get(branch) {
                None => copy_from(branches[branch].filter.bias, column, &mut bias[place]),
                Some(filter) => {
                    for (word, bias) in bias.words_mut()[place.clone()]
                        .iter_mut()
                        .zip(&filter.bias[column.min(filter.bias.len())..])
                    {
                        *word = bias.cast_unsigned();
                    }
                    copy_from(&filter.factors, column, &mut factors[place]);
                }
            }
        }

        let last = source.base
            + (h - 1) * source.row_step
            + (w - 1) * source.pixel_step
            + source.segments.iter().max().expect("a filter has at least one tap")
            + source.depth;
        assert!(last <= source.range.end, "the convolution reads past its input");

        let tile_rows = tiles.rows();
        let [kh, kw, _, _] = branches[0].filter.shape;
        let pixel_words = (depth_rows.len() / per_word).div_ceil(kh * kw);
        let in_chunk = (CHUNK_WORDS / pixel_words / tile_rows).clamp(1, (h * w).div_ceil(tile_rows));
        // At least four chunks where there are enough tiles, so that threads finish together.
        let chunk = in_chunk.min((h * w).div_ceil(tile_rows).div_ceil(4)).max(1) * tile_rows;
        let by_panel = packed.len() > source.range.len();
        Conv {
            base: source.base,
            row_step: source.row_step,
            pixel_step: source.pixel_step,
            segments: source.segments,
            depth: source.depth,
            input: source.range,
            panels,
            tiles,
            shape: source.tiles,
            packed,
            bias,
            factors,
            outputs,
            output_ranges: branches.iter().map(|branch| branch.output.range()).collect(),
            h,
            w,
            chunk,
            by_panel,
        }
    }

    /// The name of its micro-kernel.
    pub(crate) fn tile_name(&self) -> &'static str {
        self.tiles.name
    }

    pub(crate) fn reads(&self) -> Range<usize> {
        self.input.clone()
    }

    pub(crate) fn writes(&self) -> &[Range<usize>] {
        &self.output_ranges
    }

    /// Items of work: every panel over every chunk of pixels.
    pub(crate) fn items(&self) -> usize {
        self.panels.len() * self.chunks()
    }

    /// Items that have their filters in common and follow each other, if the filters are larger than the map.
    pub(crate) fn items_of_panel(&self) -> Option<usize> {
        self.by_panel.then(|| self.chunks())
    }

    fn chunks(&self) -> usize {
        (self.h * self.w).div_ceil(self.chunk)
    }

    /// Computes one item.
    ///
    /// # Safety
    /// The convolution's input and outputs lie inside the slot; nobody writes the input or touches the pixels of this
    /// item's outputs meanwhile.
    pub(crate) unsafe fn run(&self, slot: Slot, item: usize) {
        let lanes = self.tiles.lanes;
        let (panel, chunk) = if self.by_panel {
            (item / self.chunks(), item % self.chunks())
        } else {
            (item % self.panels.len(), item / self.panels.len())
        };
        let panel = &self.panels[panel];
        let outputs = &self.outputs[panel.outputs.clone()];
        let sizes = match self.shape {
            TileShape::Map => self.tiles.of_map,
            TileShape::Image | TileShape::Any => self.tiles.of_image,
        };
        let (tiles, run) = match (sizes[outputs.len() - 1], self.tiles.run) {
            (tiles, 2..) if matches!(self.shape, TileShape::Any) => (&tiles[..1], 1),
            (tiles, run) => (tiles, run),
        };
        let mut tile = Tile {
            rows: [core::ptr::null(); MAX_ROWS],
            segments: &self.segments,
            depth: self.depth,
            panel: self.packed[panel.packed..].as_ptr(),
            next_panel: core::ptr::null(),
            rows_ahead: tiles.len() * self.pixel_step,
            bias: self.bias[panel.outputs.start * lanes..].as_ptr(),
            factors: self.factors.as_ptr().wrapping_add(panel.outputs.start * lanes),
            floor: outputs[0].floor,
            outputs: [[core::ptr::null_mut(); MAX_ROWS]; MAX_VECTORS],
        };
        let base = slot.at(self.base);
        let mut origins = [core::ptr::null_mut(); MAX_VECTORS];
        for (origin, output) in origins.iter_mut().zip(outputs) {
            *origin = slot.at(output.origin);
        }
        let end = self.chunk.min(self.h * self.w - chunk * self.chunk);
        let (mut y, mut x) = (chunk * self.chunk / self.w, chunk * self.chunk % self.w);
        // The first tiles of a map ask for the panel that follows, each for a part of it.
        let lines = self.segments.len() * self.depth * LINE;
        let next_panel = tile.panel.wrapping_add(self.segments.len() * self.depth * outputs.len() * lanes);
        let mut pixel = 0;
        while pixel < end {
            let part = (chunk * self.chunk + pixel) / tiles.len();
            tile.next_panel = next_panel.wrapping_add(part.min(outputs.len()) * lines);
            let mut count = 0;
            for r in 0..MAX_ROWS {
                // SAFETY: `pack` checked the last pixel's input; outputs are pixels of maps in the slot.
                tile.rows[r] = unsafe { base.add(y * self.row_step + x * self.pixel_step) };
                for (v, output) in outputs.iter().enumerate() {
                    // SAFETY: as above.
                    tile.outputs[v][r] = unsafe { origins[v].add(y * output.pitch + x * output.pixel_step) };
                }
                let left = self.w - x;
                // Where a tile is one run, a row is cut into tiles of nearly the same height.
                let len = if run == tiles.len() { left.div_ceil(left.div_ceil(run)) } else { run.min(left) };
                let len = len.min(tiles.len() - count).min(end - pixel - count);
                count += len;
                x += len;
                if x == self.w {
                    (y, x) = (y + 1, 0);
                }
                // Only the last run of a tile may be shorter than the others.
                if len < run || count == tiles.len() || pixel + count == end {
                    break;
                }
            }
            // SAFETY: the processor has the instruction set (`Kernels` proved it), all pointers are set for
            // `count` rows, and the panel was packed for as many vectors as `outputs` has.
            unsafe { tiles[count - 1](&tile) };
            pixel += count;
        }
    }
}

/// How a convolution walks its input.
struct Source {
    base: usize,
    row_step: usize,
    pixel_step: usize,
    segments: Vec<usize>,
    depth: usize,
    range: Range<usize>,
    tiles: TileShape,
    /// What the bytes of each channel stand for, where the input is bytes.
    bytes: Option<Vec<Channel>>,
}

/// Fills the front of `to` with what `from` has from `start` on.
fn copy_from(from: &[f32], start: usize, to: &mut [f32]) {
    let from = from.get(start..).unwrap_or_default();
    let count = from.len().min(to.len());
    to[..count].copy_from_slice(&from[..count]);
}
