//! Direct convolution: a micro-kernel over a tile of pixels and output channels, the packed filter, and the loop
//! over tiles.
//!
//! A tile holds `ROWS` pixels x `VECTORS` vectors of output channels in registers and runs through the whole depth
//! (taps x input channels) once. The depth is cut into segments of consecutive input elements: one per channel block
//! for 1x1, one per channel block and filter row for 3x3 (the taps of a row are neighbours in memory), one per
//! filter row for the first convolution on the picture itself. No im2col anywhere.

use core::ops::Range;
use std::sync::Arc;

use crate::arena::Aligned;
use crate::group::Slot;
use crate::kernels::{Kernels, Tiles};
use crate::map::{Element, Image, Map, Pixels, checked_end};
use crate::prefetch;
use crate::quantize::{ByteFilter, Channel};
use crate::simd::{Dot, Simd};
use crate::team::Team;

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
                // In this order, what is not a number comes through, on x86 too.
                simd.store(to, simd.max(floor, simd.add(sums[r][v], bias)));
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
        let len = checked_end(0, [kh, kw, ic, oc].map(Some));
        assert_eq!(self.weights.len(), len, "weights do not fit their shape");
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
    source: Source,
    panels: Vec<Panel>,
    tiles: &'static Tiles,
    filter: Packed,
    outputs: Vec<Output>,
    output_ranges: Vec<Range<usize>>,
    h: usize,
    w: usize,
    /// Pixels of an item of work.
    chunk: usize,
    /// Whether items are ordered by panel first, where a member works alone and where members work together.
    by_panel: [bool; 2],
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

/// The numbers of a convolution as the micro-kernels read them.
struct Packed {
    /// `[panel][depth][vectors][lanes]`.
    weights: Arc<Aligned>,
    /// `[vectors][lanes]`; none if the bare sums are wanted.
    bias: Aligned,
    /// `[vectors][lanes]`, where the input is bytes.
    factors: Aligned,
}

/// Some vectors of output channels that a tile computes together.
pub(crate) struct Panel {
    pub outputs: Range<usize>,
    pub packed: usize,
}

/// Where one vector of output channels goes.
pub(crate) struct Output {
    pub origin: usize,
    pub pitch: usize,
    pub pixel_step: usize,
    pub floor: f32,
}

impl Output {
    /// The vector of a map from channel `column` on, where a word holds `per_word` channels.
    fn of(map: &Map, column: usize, per_word: usize) -> Output {
        let (block, lane) = (column / map.lanes(), column % map.lanes());
        Output {
            origin: map.origin(block) + lane / per_word,
            pitch: map.pitch(),
            pixel_step: map.words(),
            floor: f32::NEG_INFINITY,
        }
    }
}

/// Cuts outputs into panels of at most `width` vectors, each of which takes `vector_len` elements of the filter. A tile
/// has one floor, so a panel ends where the ReLU does.
pub(crate) fn panels(outputs: &[Output], width: usize, vector_len: usize) -> Vec<Panel> {
    let mut panels = Vec::new();
    let mut first = 0;
    while first < outputs.len() {
        let same = outputs[first..].iter().take_while(|o| o.floor == outputs[first].floor).count();
        let end = first + same.min(width);
        panels.push(Panel { outputs: first..end, packed: first * vector_len });
        first = end;
    }
    panels
}

/// The output channels of convolutions that read the same input, in vectors.
pub(crate) struct Columns {
    /// The branch and the first output channel of each vector.
    places: Vec<(usize, usize)>,
    pub outputs: Vec<Output>,
    /// What the branches write.
    pub ranges: Vec<Range<usize>>,
    /// `[vectors][lanes]`, integers where the input is bytes.
    pub bias: Aligned,
    /// `[vectors][lanes]`, where the input is bytes.
    pub factors: Aligned,
    byte_filters: Vec<ByteFilter>,
}

impl Columns {
    /// Those of `branches` in vectors of `lanes`, where the input's channels stand for `bytes`, if it is bytes, and the
    /// outputs have `h` rows and `w` columns.
    ///
    /// # Panics
    /// Where filters and outputs do not fit together.
    pub(crate) fn new(
        branches: &[Branch<'_>],
        lanes: usize,
        bytes: Option<&[Channel]>,
        [h, w]: [usize; 2],
    ) -> Columns {
        let mut outputs = Vec::new();
        let mut places = Vec::new();
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
            match (bytes, output.element()) {
                (None, Element::F32) => {
                    assert_eq!(output.lanes(), lanes, "a map in blocks of another instruction set");
                }
                (Some(channels), Element::U8 { step }) => {
                    assert!(branch.relu, "bytes have no negative numbers");
                    byte_filters.push(ByteFilter::new(&branch.filter, channels, step));
                }
                _ => panic!("a convolution from bytes to `f32`, or from `f32` to bytes"),
            }
            let per_word = output.element().per_word();
            for column in (0..output.blocks() * output.lanes()).step_by(lanes) {
                let floor = if branch.relu { 0.0 } else { f32::NEG_INFINITY };
                outputs.push(Output { floor, ..Output::of(output, column, per_word) });
                places.push((index, column));
            }
        }
        let mut bias = Aligned::zeroed(outputs.len() * lanes);
        let mut factors = Aligned::zeroed(bytes.map_or(0, |_| bias.len()));
        for (index, &(branch, column)) in places.iter().enumerate() {
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
        let ranges = branches.iter().map(|branch| branch.output.range()).collect();
        Columns { places, outputs, ranges, bias, factors, byte_filters }
    }

    /// A word for each output channel of a vector: its weights for four rows of the filter matrix, as bytes.
    pub(crate) fn fill_bytes(&self, rows: &[Option<usize>], vector: usize, words: &mut [u32]) {
        let (branch, column) = self.places[vector];
        self.byte_filters[branch].fill(rows, column, words);
    }
}

/// Which row of the filter matrix `[kh * kw * ic, oc]` each element of the depth meets, for a map in blocks of `lanes`
/// channels; none for the channels that only fill up a block.
fn depth_rows([kh, kw, ic]: [usize; 3], lanes: usize) -> Vec<Option<usize>> {
    let mut rows = Vec::new();
    for first in (0..ic).step_by(lanes) {
        for tap in 0..kh * kw {
            rows.extend((first..first + lanes).map(|channel| (channel < ic).then_some(tap * ic + channel)));
        }
    }
    rows
}

/// Packs some of the depth of a panel of `f32`, `[depth][vectors][lanes]`: a vector of the filter from each of `columns`.
fn pack_rows<'a>(
    columns: impl Iterator<Item = (Filter<'a>, usize)> + Clone,
    depth_rows: &[Option<usize>],
    lanes: usize,
    to: &mut [f32],
) {
    let mut vectors = to.chunks_exact_mut(lanes);
    for row in depth_rows {
        for ((filter, column), to) in columns.clone().zip(&mut vectors) {
            if let Some(row) = row {
                let oc = filter.shape[3];
                copy_from(&filter.weights[row * oc..(row + 1) * oc], column, to);
            }
        }
    }
}

/// A filter packed for one instruction set, without bias, to be packed anew whenever its weights change.
pub(crate) struct PackedFilter {
    weights: Arc<Aligned>,
    /// The micro-kernel whose panels it is packed in.
    tile_name: &'static str,
    shape: [usize; 4],
}

/// Elements of the depth that are packed as one item.
const PACKED_ROWS: usize = 256;

impl PackedFilter {
    /// Room for a filter of `[kh, kw, ic, oc]`, all zero.
    ///
    /// # Panics
    /// Where it ends beyond the address space.
    pub(crate) fn new(kernels: &Kernels, shape: [usize; 4]) -> PackedFilter {
        let [kh, kw, ic, oc] = shape;
        let whole = |channels: usize| channels.checked_next_multiple_of(kernels.lanes());
        let len = checked_end(0, [Some(kh), Some(kw), whole(ic), whole(oc)]);
        PackedFilter { weights: Aligned::zeroed(len).into(), tile_name: kernels.tile_name(), shape }
    }

    /// Packs `weights`, `[kh, kw, ic, oc]`, on all threads.
    pub(crate) fn pack(&mut self, kernels: &Kernels, team: &Team, weights: &[f32]) {
        let lanes = kernels.lanes();
        let [kh, kw, ic, oc] = self.shape;
        let filter = Filter { weights, bias: &[], shape: self.shape };
        let rows = depth_rows([kh, kw, ic], lanes);
        let mut rest = &mut Arc::get_mut(&mut self.weights).expect("no convolution runs meanwhile")[..];
        let mut items = Vec::new();
        for first in (0..oc).step_by(kernels.tiles.vectors() * lanes) {
            let columns = (first..oc.min(first + kernels.tiles.vectors() * lanes)).step_by(lanes);
            let vectors = columns.len() * lanes;
            let (panel, others) = rest.split_at_mut(rows.len() * vectors);
            rest = others;
            let parts = rows.chunks(PACKED_ROWS).zip(panel.chunks_mut(PACKED_ROWS * vectors));
            items.extend(parts.map(|(rows, to)| (columns.clone(), rows, to)));
        }
        team.share_out(items, &|(columns, rows, to)| {
            pack_rows(columns.map(|column| (filter, column)), rows, lanes, to);
        });
    }
}

/// A chunk of input that stays in the second-level cache while all panels pass over it.
const CHUNK_WORDS: usize = 48 << 10;

impl Conv {
    /// A stride-1 convolution of a blocked map with zero padding of half the filter's size.
    pub(crate) fn over_map(kernels: &'static Kernels, input: Map, branches: &[Branch<'_>]) -> Conv {
        let [kh, kw, ic, _] = branches[0].filter.shape;
        let [_, h, w] = input.shape();
        let lanes = input.lanes();
        assert_eq!(lanes, kernels.lanes_of(input.element()), "a map in blocks of another instruction set");
        input.check([kh, kw, ic]);
        let rows = depth_rows([kh, kw, ic], lanes);
        Conv::pack(kernels, Source::of_map(input, [kh, kw, ic]), [h, w], (branches, &rows))
    }

    /// The bare sums of a stride-1 convolution of a blocked map of `f32`, with zero padding of half the filter's size.
    pub(crate) fn sums(kernels: &'static Kernels, input: Map, filter: &PackedFilter, output: Map) -> Conv {
        let [kh, kw, ic, oc] = filter.shape;
        let [_, h, w] = input.shape();
        assert_eq!(
            [input.lanes(), output.lanes()],
            [kernels.lanes(); 2],
            "maps in blocks of another instruction set"
        );
        assert_eq!(filter.tile_name, kernels.tile_name(), "a filter packed for another instruction set");
        input.check([kh, kw, ic]);
        assert_eq!(output.shape(), [oc, h, w], "the output map does not fit");
        let outputs =
            (0..output.blocks()).map(|block| Output::of(&output, block * output.lanes(), 1)).collect();
        let none = || Aligned::zeroed(0);
        let packed = Packed { weights: filter.weights.clone(), bias: none(), factors: none() };
        Conv::assemble(
            &kernels.tiles,
            Source::of_map(input, [kh, kw, ic]),
            (outputs, vec![output.range()], [h, w]),
            packed,
        )
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
        image.check([kh, kw, ic], [h, w], stride);
        assert!(image.pixels != Pixels::Squares, "a picture in squares, where single pixels are expected");
        let mut depth_rows = Vec::new();
        for tap in 0..kh * kw {
            depth_rows.extend((tap * ic..(tap + 1) * ic).map(Some));
            // The fourth byte of a pixel's word has no channel.
            depth_rows.extend(image.levels().map(|_| None));
        }
        let source = Source {
            base: image.offset,
            row_step: image.pitch() * stride,
            pixel_step: image.words() * stride,
            segments: (0..kh).map(|ky| ky * image.pitch()).collect(),
            depth: kw * image.words(),
            taps: kh * kw,
            range: image.range(),
            tiles: if stride == 2 { TileShape::Image } else { TileShape::Any },
            bytes: image.channels(),
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
        let columns = Columns::new(branches, lanes, source.bytes.as_deref(), [h, w]);
        let len = checked_end(0, [depth_rows.len() / per_word, columns.outputs.len(), lanes].map(Some));
        let mut packed = Aligned::zeroed(len);
        for panel in panels(&columns.outputs, tiles.vectors(), depth_rows.len() / per_word * lanes) {
            if source.bytes.is_none() {
                let places = columns.places[panel.outputs].iter();
                let places = places.map(|&(branch, column)| (branches[branch].filter, column));
                pack_rows(places, depth_rows, lanes, &mut packed[panel.packed..]);
                continue;
            }
            let vectors = packed.words_mut()[panel.packed..].chunks_exact_mut(lanes);
            let places = depth_rows
                .chunks_exact(per_word)
                .flat_map(|rows| panel.outputs.clone().map(move |vector| (rows, vector)));
            for ((rows, vector), words) in places.zip(vectors) {
                columns.fill_bytes(rows, vector, words);
            }
        }
        let Columns { outputs, ranges, bias, factors, .. } = columns;
        let packed = Packed { weights: packed.into(), bias, factors };
        Conv::assemble(tiles, source, (outputs, ranges, [h, w]), packed)
    }

    fn assemble(
        tiles: &'static Tiles,
        source: Source,
        (outputs, output_ranges, [h, w]): (Vec<Output>, Vec<Range<usize>>, [usize; 2]),
        filter: Packed,
    ) -> Conv {
        let last = source.base
            + (h - 1) * source.row_step
            + (w - 1) * source.pixel_step
            + source.segments.iter().max().expect("a filter has at least one tap")
            + source.depth;
        assert!(last <= source.range.end, "the convolution reads past its input");

        let tile_rows = tiles.rows();
        let depth = source.segments.len() * source.depth;
        // How much of the input belongs to a pixel: the taps are its neighbours.
        let pixel_words = depth.div_ceil(source.taps);
        let in_chunk = (CHUNK_WORDS / pixel_words / tile_rows).clamp(1, (h * w).div_ceil(tile_rows));
        // At least four chunks where there are enough tiles, so that threads finish together.
        let chunk = in_chunk.min((h * w).div_ceil(tile_rows).div_ceil(4)).max(1) * tile_rows;
        // The larger of filter and input is what a member should not read twice. But an input that another member has
        // just written is slower to read than a filter, which can be asked for ahead.
        let by_panel = [1, 4].map(|factor| filter.weights.len() > factor * source.range.len());
        let panels = panels(&outputs, tiles.vectors(), depth * tiles.lanes);
        Conv { source, panels, tiles, filter, outputs, output_ranges, h, w, chunk, by_panel }
    }

    /// The name of its micro-kernel.
    pub(crate) fn tile_name(&self) -> &'static str {
        self.tiles.name
    }

    pub(crate) fn reads(&self) -> Range<usize> {
        self.source.range.clone()
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
        self.by_panel[0].then(|| self.chunks())
    }

    fn chunks(&self) -> usize {
        (self.h * self.w).div_ceil(self.chunk)
    }

    /// Computes one item.
    ///
    /// # Safety
    /// The convolution's input and outputs lie inside the slot; nobody writes the input or touches the pixels of this
    /// item's outputs meanwhile.
    pub(crate) unsafe fn run(&self, (slot, together): (Slot, bool), item: usize) {
        let lanes = self.tiles.lanes;
        let (panel, chunk) = if self.by_panel[usize::from(together)] {
            (item / self.chunks(), item % self.chunks())
        } else {
            (item % self.panels.len(), item / self.panels.len())
        };
        let panel = &self.panels[panel];
        let outputs = &self.outputs[panel.outputs.clone()];
        let sizes = match self.source.tiles {
            TileShape::Map => self.tiles.of_map,
            TileShape::Image | TileShape::Any => self.tiles.of_image,
        };
        let (tiles, run) = match (sizes[outputs.len() - 1], self.tiles.run) {
            (tiles, 2..) if matches!(self.source.tiles, TileShape::Any) => (&tiles[..1], 1),
            (tiles, run) => (tiles, run),
        };
        let source = &self.source;
        let bias = self.filter.bias.get(panel.outputs.start * lanes..).filter(|bias| !bias.is_empty());
        let mut tile = Tile {
            rows: [core::ptr::null(); MAX_ROWS],
            segments: &source.segments,
            depth: source.depth,
            panel: self.filter.weights[panel.packed..].as_ptr(),
            next_panel: core::ptr::null(),
            rows_ahead: tiles.len() * source.pixel_step,
            bias: bias.map_or(core::ptr::null(), |bias| bias.as_ptr()),
            factors: self.filter.factors.as_ptr().wrapping_add(panel.outputs.start * lanes),
            floor: outputs[0].floor,
            outputs: [[core::ptr::null_mut(); MAX_ROWS]; MAX_VECTORS],
        };
        let base = slot.at(source.base);
        let mut origins = [core::ptr::null_mut(); MAX_VECTORS];
        for (origin, output) in origins.iter_mut().zip(outputs) {
            *origin = slot.at(output.origin);
        }
        let end = self.chunk.min(self.h * self.w - chunk * self.chunk);
        let (mut y, mut x) = (chunk * self.chunk / self.w, chunk * self.chunk % self.w);
        // The first tiles of a map ask for the panel that follows, each for a part of it.
        let depth = source.segments.len() * source.depth;
        let lines = depth * LINE;
        let next_panel = tile.panel.wrapping_add(depth * outputs.len() * lanes);
        let mut pixel = 0;
        while pixel < end {
            let part = (chunk * self.chunk + pixel) / tiles.len();
            tile.next_panel = next_panel.wrapping_add(part.min(outputs.len()) * lines);
            let mut count = 0;
            for r in 0..MAX_ROWS {
                // SAFETY: `assemble` checked the last pixel's input; outputs are pixels of maps in the slot.
                tile.rows[r] = unsafe { base.add(y * source.row_step + x * source.pixel_step) };
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
    /// The first input element of output pixel (0, 0), and the steps to the next row and column.
    base: usize,
    row_step: usize,
    pixel_step: usize,
    segments: Vec<usize>,
    depth: usize,
    /// Rows times columns of the filter.
    taps: usize,
    range: Range<usize>,
    tiles: TileShape,
    /// What the bytes of each channel stand for, where the input is bytes.
    bytes: Option<Vec<Channel>>,
}

impl Source {
    /// A map for a filter of `[kh, kw, ic]`, with stride 1 and zero padding of half the filter's size.
    fn of_map(input: Map, [kh, kw, ic]: [usize; 3]) -> Source {
        let blocks = (0..input.blocks()).map(|block| block * input.plane());
        Source {
            base: input.origin(0) - kh / 2 * input.pitch() - kw / 2 * input.words(),
            row_step: input.pitch(),
            pixel_step: input.words(),
            segments: blocks.flat_map(|block| (0..kh).map(move |ky| block + ky * input.pitch())).collect(),
            depth: kw * input.words(),
            taps: kh * kw,
            range: input.range(),
            tiles: TileShape::Map,
            bytes: match input.element() {
                Element::F32 => None,
                Element::U8 { step } => Some(vec![Channel { step, zero: 0 }; ic]),
            },
        }
    }
}

/// Fills the front of `to` with what `from` has from `start` on.
fn copy_from(from: &[f32], start: usize, to: &mut [f32]) {
    let from = from.get(start..).unwrap_or_default();
    let count = from.len().min(to.len());
    to[..count].copy_from_slice(&from[..count]);
}
