//! The gradient to the filter of a convolution.
//!
//! Each number of the filter has multiplied one channel of one neighbour of every pixel, so its gradient is the sum, over all
//! pixels of all images, of that input times the gradient of the output: the product of two matrices whose depth is
//! the pixels. A tile holds `ROWS` rows x `VECTORS` vectors of output channels of the filter matrix `[kh * kw * ic, oc]` in
//! registers and runs through a block of pixels, whose gradients stay in the first-level cache while all rows
//! pass over them. The rows that a pixel's consecutive input elements meet follow each other: the channels of a block for one
//! tap of a map, the taps of a filter row for a picture.

use core::ops::Range;

use crate::conv::LINE;
use crate::kernels::Kernels;
use crate::map::{Image, checked_end};
use crate::maps::Maps;
use crate::prefetch;
use crate::simd::Simd;
use crate::team::Team;
use crate::train::{Scratch, Strided};

/// What the micro-kernel needs to compute one tile.
#[derive(Clone, Copy)]
pub(crate) struct GradientTile {
    /// The input element that meets the tile's first row at the first pixel; those of the other rows follow it.
    pub input: *const f32,
    /// Elements from one image, row, and pixel of the input to the next.
    pub input_steps: [usize; 3],
    /// The first vector at the first pixel.
    pub gradient: *const f32,
    /// Elements from one image and row of the gradient to the next.
    pub gradient_steps: [usize; 2],
    /// Elements from one vector to the next.
    pub vector_step: usize,
    /// Images, rows and columns.
    pub pixels: [usize; 3],
    /// `[ROWS][VECTORS][lanes]`.
    pub sums: *mut f32,
    /// Whether to add to what is there.
    pub add: bool,
    /// What comes next, and is asked for meanwhile, a cache line for each pixel: by the first and by the other tiles of some
    /// rows.
    pub next: [*const f32; 2],
}

impl GradientTile {
    /// Computes `rows` rows of the filter matrix, which meet consecutive elements of the input, and whose sums follow each
    /// other, in as many tiles as it takes.
    ///
    /// # Safety
    /// The pointers are valid for `rows` rows and `vectors` vectors, and nobody else uses the sums.
    pub(crate) unsafe fn run(self, kernels: &Kernels, vectors: usize, rows: usize) {
        let tiles = kernels.gradient_tiles[vectors - 1];
        // As few tiles as it takes, and all of nearly the same height.
        let height = rows.div_ceil(rows.div_ceil(tiles.len()));
        for row in (0..rows).step_by(height) {
            let input = self.input.wrapping_add(row);
            let sums = self.sums.wrapping_add(row * vectors * kernels.lanes());
            let next = [self.next[usize::from(row > 0)]; 2];
            // SAFETY: the processor has the instruction set (`kernels` proves it); the rest is the caller's.
            unsafe { tiles[height.min(rows - row) - 1](&GradientTile { input, sums, next, ..self }) };
        }
    }
}

/// Sums over all pixels of input x gradient.
///
/// # Safety
/// All pointers of `tile` that `ROWS`, `VECTORS` and the pixels lead to are valid.
#[inline(always)]
// Indices, not iterators, as in `conv::accumulate`.
#[allow(clippy::needless_range_loop)]
pub(crate) unsafe fn gradient_tile<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    tile: &GradientTile,
) {
    let mut sums = [[simd.splat(0.0); VECTORS]; ROWS];
    let [images, rows, columns] = tile.pixels;
    let mut next = tile.next[0];
    for image in 0..images {
        for y in 0..rows {
            let mut input = tile.input.wrapping_add(image * tile.input_steps[0] + y * tile.input_steps[1]);
            let mut gradient =
                tile.gradient.wrapping_add(image * tile.gradient_steps[0] + y * tile.gradient_steps[1]);
            for _ in 0..columns {
                // SAFETY: a pixel of the block (contract).
                unsafe {
                    let mut vectors = [simd.load(gradient); VECTORS];
                    for v in 1..VECTORS {
                        vectors[v] = simd.load(gradient.add(v * tile.vector_step));
                    }
                    for r in 0..ROWS {
                        let input = simd.splat(*input.add(r));
                        for v in 0..VECTORS {
                            sums[r][v] = simd.mul_add(input, vectors[v], sums[r][v]);
                        }
                    }
                }
                prefetch::far(next);
                next = next.wrapping_add(LINE);
                input = input.wrapping_add(tile.input_steps[2]);
                gradient = gradient.wrapping_add(S::LANES);
            }
        }
    }
    for r in 0..ROWS {
        for v in 0..VECTORS {
            // SAFETY: one of the sums (contract).
            unsafe {
                let to = tile.sums.add((r * VECTORS + v) * S::LANES);
                let before = if tile.add { simd.load(to) } else { simd.splat(0.0) };
                simd.store(to, simd.add(before, sums[r][v]));
            }
        }
    }
}

/// How the rows of a filter meet the input.
pub(crate) struct Walk {
    /// The first input element of output pixel (0, 0) of the first image.
    base: usize,
    /// Elements from one row and pixel to the next.
    steps: [usize; 2],
    strips: Vec<Strip>,
    /// Rows of the filter matrix.
    rows: usize,
}

/// Rows of the filter matrix that meet consecutive elements of the input.
struct Strip {
    offset: usize,
    rows: Range<usize>,
}

impl Walk {
    /// Over maps, with stride 1 and zero padding of half the size of a filter of `[kh, kw, ic, _]`.
    pub(crate) fn of_map(input: &Maps, [kh, kw, ic, _]: [usize; 4]) -> Walk {
        let map = input.map();
        assert!(kh / 2 <= map.halo() && kw / 2 <= map.halo(), "the halo is too thin for {kh}x{kw}");
        let mut strips = Vec::new();
        for block in 0..map.blocks() {
            let (first, end) = (block * map.lanes(), ic.min((block + 1) * map.lanes()));
            for (ky, kx) in (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx))) {
                let offset = block * map.plane() + ky * map.pitch() + kx * map.lanes();
                let row = (ky * kw + kx) * ic;
                strips.push(Strip { offset, rows: row + first..row + end });
            }
        }
        let base = map.origin(0) - kh / 2 * map.pitch() - kw / 2 * map.lanes();
        Walk { base, steps: [map.pitch(), map.lanes()], strips, rows: kh * kw * ic }
    }

    /// Over padded pictures, with the given stride.
    pub(crate) fn of_image(image: &Image, [kh, kw, ..]: [usize; 4], stride: usize) -> Walk {
        let taps = kw * Image::CHANNELS;
        let strip = |ky| Strip { offset: ky * image.pitch(), rows: ky * taps..(ky + 1) * taps };
        Walk {
            base: 0,
            steps: [image.pitch() * stride, Image::CHANNELS * stride],
            strips: (0..kh).map(strip).collect(),
            rows: kh * taps,
        }
    }
}

/// Pixels whose gradients, one panel wide, stay in the first-level cache.
const BLOCK_PIXELS: usize = 200;
/// Pixels that the sums of an item go over at least; fewer, and adding the sums of the items would take too long.
const PART_PIXELS: usize = 1568;
/// Parts of the batch that are enough items by themselves.
const ENOUGH_PARTS: usize = 16;
/// Items that are enough for members to finish together.
const ENOUGH_ITEMS: usize = 24;

/// The gradient to a filter made ready to be computed, and how it is shared out.
///
/// The sums go over parts of the batch first, which depend on the shapes alone, and then over the parts in their order: so the
/// result does not depend on the number of threads.
pub(crate) struct FilterGradient {
    kernels: &'static Kernels,
    walk: Walk,
    images: usize,
    /// Images of a part.
    part: usize,
    /// Images, and rows of the maps, whose pixels are a block.
    block: [usize; 2],
    size: [usize; 2],
    /// Vectors of output channels of each panel.
    panels: Vec<Range<usize>>,
}

impl FilterGradient {
    pub(crate) fn new(kernels: &'static Kernels, walk: Walk, doutput: &Maps) -> FilterGradient {
        let ([_, h, w], images) = (doutput.shape(), doutput.images());
        let part = PART_PIXELS.div_ceil(h * w).next_power_of_two().min(images);
        let block = if h * w <= BLOCK_PIXELS {
            [(BLOCK_PIXELS / (h * w)).min(part), h]
        } else {
            [1, h.div_ceil(h.div_ceil((BLOCK_PIXELS / w).max(1)))]
        };
        let (vectors, width) = (doutput.map().blocks(), kernels.gradient_tiles.len());
        let panels = (0..vectors).step_by(width).map(|first| first..vectors.min(first + width)).collect();
        FilterGradient { kernels, walk, images, part, block, size: [h, w], panels }
    }

    /// Computes the gradient into `dparts`, `[rows, oc]` each.
    pub(crate) fn run(
        &self,
        team: &Team,
        scratch: &mut Scratch,
        (input, doutput): (Strided, &Maps),
        dparts: &mut [&mut [f32]],
    ) {
        let len = self.walk.rows * doutput.map().blocks() * self.kernels.lanes();
        let parts = self.images.div_ceil(self.part);
        let sums = scratch.take(checked_end(0, [Some(parts), Some(len)]));
        // An item is a part of the batch, or some panels or strips of one.
        let panels = if parts < ENOUGH_PARTS { self.panels.len() } else { 1 };
        let strips = if parts < ENOUGH_PARTS { ENOUGH_ITEMS.div_ceil(parts * panels) } else { 1 };
        let strips = strips.min(self.walk.strips.len());
        let place = Strided { first: sums.as_mut_ptr(), step: len };
        team.share(parts * panels * strips, &|item| {
            let (part, panel, strip) = (item / (panels * strips), item / strips % panels, item % strips);
            let of = |count: usize, index: usize, pieces: usize| {
                count * index / pieces..count * (index + 1) / pieces
            };
            let images = part * self.part..self.images.min((part + 1) * self.part);
            let panels = of(self.panels.len(), panel, panels);
            let strips = of(self.walk.strips.len(), strip, strips);
            // SAFETY: each item is claimed once, and its sums are its own.
            unsafe { self.add_up((input, doutput), (images, panels, strips), place.at(part)) };
        });
        self.deliver(team, sums, dparts);
    }

    /// Sums over `images` for some panels and strips.
    ///
    /// # Safety
    /// The inputs can be read, and the sums of a part be written at `sums`; nobody else uses those of these panels and
    /// strips.
    unsafe fn add_up(
        &self,
        (input, doutput): (Strided, &Maps),
        (images, panels, strips): (Range<usize>, Range<usize>, Range<usize>),
        sums: *mut f32,
    ) {
        let (walk, map, lanes) = (&self.walk, doutput.map(), self.kernels.lanes());
        let ([block_images, block_rows], [h, w]) = (self.block, self.size);
        let block_step =
            if block_rows < h { block_rows * map.pitch() } else { block_images * doutput.step() };
        let (panels_start, panels_end) = (self.panels[panels.start].start, self.panels[panels.end - 1].end);
        for image in images.clone().step_by(block_images) {
            for y in (0..h).step_by(block_rows) {
                let count = [block_images.min(images.end - image), block_rows.min(h - y), w];
                let first = walk.base + y * walk.steps[0];
                for panel in &self.panels[panels.clone()] {
                    let gradient = image * doutput.step() + map.origin(panel.start) + y * map.pitch();
                    // The first strips ask for the next panel or the next block of pixels, each for a vector.
                    let next_gradient = |strip: usize| {
                        let vector = strip.min(panel.len() - 1) * map.plane();
                        doutput.as_ptr().wrapping_add(if panel.end < panels_end {
                            gradient + panel.len() * map.plane() + vector
                        } else {
                            gradient - (panel.start - panels_start) * map.plane() + block_step + vector
                        })
                    };
                    let panel_sums = sums.wrapping_add(panel.start * lanes * walk.rows);
                    for (index, strip) in strips.clone().zip(&walk.strips[strips.clone()]) {
                        let next = walk.strips.get(index + 1).map_or(0, |next| next.offset);
                        let tile = GradientTile {
                            input: input.at(image).wrapping_add(first + strip.offset),
                            input_steps: [input.step, walk.steps[0], walk.steps[1]],
                            gradient: doutput.as_ptr().wrapping_add(gradient),
                            gradient_steps: [doutput.step(), map.pitch()],
                            vector_step: map.plane(),
                            pixels: count,
                            sums: panel_sums.wrapping_add(strip.rows.start * panel.len() * lanes),
                            add: (image, y) != (images.start, 0),
                            next: [input.at(image).wrapping_add(first + next), next_gradient(index)],
                        };
                        // SAFETY: the pixels and their neighbours lie inside the maps, and the sums are the caller's.
                        unsafe { tile.run(self.kernels, panel.len(), strip.rows.len()) };
                    }
                }
            }
        }
    }

    /// Adds the sums of all parts of the batch and writes them to `dparts`.
    fn deliver(&self, team: &Team, sums: &[f32], dparts: &mut [&mut [f32]]) {
        /// Rows of the filter that are one item.
        const ROWS: usize = 32;
        let (rows, lanes, width) = (self.walk.rows, self.kernels.lanes(), self.kernels.gradient_tiles.len());
        let len = self.panels.last().map_or(0, |panel| panel.end) * rows * lanes;
        let mut items = Vec::new();
        let mut column = 0;
        for dpart in dparts {
            let channels = dpart.len() / rows;
            let chunks = dpart.chunks_mut(ROWS * channels).enumerate();
            items.extend(chunks.map(|(chunk, to)| (chunk * ROWS, column..column + channels, to)));
            column += channels;
        }
        team.share_out(items, &|(first, columns, to)| {
            for (row, to) in to.chunks_exact_mut(columns.len()).enumerate() {
                for (to, vector) in to.chunks_mut(lanes).zip(columns.start / lanes..) {
                    let panel = &self.panels[vector / width];
                    let place = panel.start * rows + (first + row) * panel.len() + vector - panel.start;
                    let from = &sums[place * lanes..][..to.len()];
                    to.copy_from_slice(from);
                    for from in sums[place * lanes..].chunks(len).skip(1) {
                        for (to, from) in to.iter_mut().zip(from) {
                            *to += from;
                        }
                    }
                }
            }
        });
    }
}
