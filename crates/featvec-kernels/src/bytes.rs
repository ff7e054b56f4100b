//! What is done to maps of bytes: the micro-kernel of their convolutions, pooling, normalisation, and the ways from and
//! to `f32`. All instruction sets give the same bytes: sums are exact integers, and every operation on `f32` is rounded
//! by itself.

use core::mem::MaybeUninit;

use crate::conv::{Tile, accumulate};
use crate::convert::{Conversion, STRIP, affine_strips};
use crate::group::Slot;
use crate::lrn::LrnRow;
use crate::map::{Image, Map};
use crate::pool::{Pool, PoolRow};
use crate::simd::Dot;

/// [`Dot::PIXEL`] of bytes.
pub(crate) const BYTE_PIXEL: usize = Map::BYTE_LANES / 4;

/// [`Dot::IMAGE_STEP`] of bytes: a pixel of the picture is a word.
pub(crate) const BYTE_IMAGE_STEP: usize = 2;

/// Sums of products of bytes: [`Dot`] over words of four unsigned bytes of input and four signed ones of filter.
pub(crate) trait ByteDot: Dot {
    /// A vector of `f32`, as many as sums.
    type Factor: Copy;

    /// # Safety
    /// `LANES` integers can be read at `from`.
    unsafe fn load_sums(self, from: *const f32) -> Self::Sum;
    /// # Safety
    /// `LANES` numbers can be read at `from`.
    unsafe fn load_factors(self, from: *const f32) -> Self::Factor;
    /// `sum * factor`, rounded to the nearest (ties to even) and cut to 0..=255, a byte each.
    ///
    /// # Safety
    /// `LANES` bytes can be written at `to`.
    unsafe fn store_bytes(self, sum: Self::Sum, factor: Self::Factor, to: *mut f32);
}

/// `(bias + sum over the depth of input x filter) * factor` as bytes, for `ROWS` pixels and `VECTORS` vectors. To cut off
/// what is negative is the ReLU.
///
/// # Safety
/// All pointers of `tile` that `ROWS`, `VECTORS`, the segments and the depth lead to are valid.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // as in `accumulate`
pub(crate) unsafe fn byte_tile<B: ByteDot, const STEP: usize, const ROWS: usize, const VECTORS: usize>(
    bytes: B,
    tile: &Tile<'_>,
) {
    // SAFETY: `bias` and `factors` have VECTORS vectors, and the outputs are writable (contract).
    unsafe {
        let mut bias = [bytes.load_sums(tile.bias); VECTORS];
        for v in 1..VECTORS {
            bias[v] = bytes.load_sums(tile.bias.add(v * B::LANES));
        }
        let sums = accumulate::<B, STEP, ROWS, VECTORS>(bytes, tile, [bias; ROWS]);
        for v in 0..VECTORS {
            let factor = bytes.load_factors(tile.factors.add(v * B::LANES));
            for r in 0..ROWS {
                let to = tile.outputs[v][r / B::RUN].add(r % B::RUN * B::PIXEL);
                bytes.store_bytes(sums[r][v], factor, to);
            }
        }
    }
}

/// The nearest byte.
#[inline(always)]
pub(crate) fn to_byte(x: f32) -> u8 {
    // Adding 1.5 * 2^23 leaves no bits for a fraction, so the sum is rounded, ties to even, into its lowest bits.
    (x.clamp(0.0, 255.0) + 12_582_912.0).to_bits() as u8
}

/// A pixel of a block.
type Pixel = [u8; Map::BYTE_LANES];

/// Columns of a map that are pooled at a time.
const POOL_COLUMNS: usize = 128;

/// Maximum over windows, as [`max_pool_row`](crate::pool::max_pool_row): first over the rows, then over the columns.
///
/// # Safety
/// The rows named can be read and the output row be written.
#[inline(always)]
pub(crate) unsafe fn max_pool_row(row: &PoolRow) {
    let lines = row.lines().map(|line| line.cast::<Pixel>());
    let Pool { size, stride, before: [_, left] } = row.pool;
    let mut columns = [MaybeUninit::<Pixel>::uninit(); POOL_COLUMNS];
    let strip = (POOL_COLUMNS - size) / stride + 1;
    for first in (0..row.output_w).step_by(strip) {
        let count = strip.min(row.output_w - first);
        // The first window begins `left` columns outside the map. Those are zero, which changes no maximum.
        let start = first * stride;
        let before = left.saturating_sub(start);
        let wanted = (count - 1) * stride + size;
        let end = wanted.min(row.input_w + left - start);
        for column in (0..before).chain(end..wanted) {
            columns[column].write([0; Map::BYTE_LANES]);
        }
        let columns = columns.as_mut_ptr().cast::<Pixel>();
        let output = row.output.cast::<Pixel>().wrapping_add(first);
        // SAFETY: pixels of the rows named, for columns inside the map, and of the output row (contract).
        unsafe {
            let lines = lines.map(|line| line.add(start + before - left));
            largest(lines, 1, columns.add(before), end - before);
            let windows = [0, 1.min(size - 1), size - 1].map(|column| columns.cast_const().add(column));
            largest(windows, stride, output, count);
        }
    }
}

/// The maximum of three pixels for each of `count` pixels: `step` pixels apart where they are read.
///
/// # Safety
/// The pixels can be read, and `count` be written.
#[inline(always)]
unsafe fn largest(from: [*const Pixel; 3], step: usize, to: *mut Pixel, count: usize) {
    let mut x = 0;
    // SAFETY: forwarded to the caller.
    unsafe {
        while step == 1 && x + 2 <= count {
            largest_of_three::<{ 2 * Map::BYTE_LANES }>(from.map(|from| from.add(x)), to.add(x));
            x += 2;
        }
        while x < count {
            largest_of_three::<{ Map::BYTE_LANES }>(from.map(|from| from.add(x * step)), to.add(x));
            x += 1;
        }
    }
}

/// # Safety
/// `N` bytes can be read at each of `from`, and written at `to`.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // as in `conv::accumulate`
unsafe fn largest_of_three<const N: usize>(from: [*const Pixel; 3], to: *mut Pixel) {
    // SAFETY: forwarded to the caller.
    unsafe {
        let [mut a, b, c] = from.map(|from| from.cast::<[u8; N]>().read());
        for i in 0..N {
            a[i] = a[i].max(b[i]).max(c[i]);
        }
        to.cast::<[u8; N]>().write(a);
    }
}

/// Local response normalisation, as [`lrn_row`](crate::lrn::lrn_row), from bytes `steps[0]` apart to bytes `steps[1]`
/// apart.
///
/// # Safety
/// All blocks of the input row can be read, all blocks of the output row be written.
pub(crate) unsafe fn lrn_row(row: &LrnRow, [step, output_step]: [f32; 2]) {
    let scale = row.alpha / row.size as f32 * step * step;
    let ratio = step / output_step;
    let half = row.size / 2;
    for x in 0..row.w {
        let pixel = |block: usize| {
            // SAFETY: pixel `x` of a block of the input row (contract).
            unsafe { &*row.input.add(block * row.input_plane).cast::<Pixel>().add(x) }
        };
        let square = |channel: usize| {
            let value = u32::from(pixel(channel / Map::BYTE_LANES)[channel % Map::BYTE_LANES]);
            value * value
        };
        // The sum over the window moves on from channel to channel; it is exact.
        let mut sum: u32 = (0..half.min(row.channels)).map(square).sum();
        for block in 0..row.channels.div_ceil(Map::BYTE_LANES) {
            let mut sums = [0; Map::BYTE_LANES];
            let first = block * Map::BYTE_LANES;
            for channel in first..row.channels.min(first + Map::BYTE_LANES) {
                if channel + half < row.channels {
                    sum += square(channel + half);
                }
                sums[channel - first] = sum as i32;
                if channel >= half {
                    sum -= square(channel - half);
                }
            }
            let mut output = *pixel(block);
            for (value, sum) in output.iter_mut().zip(sums) {
                let root = (row.k + scale * sum as f32).sqrt();
                *value = to_byte(f32::from(*value) * ratio / (root * root.sqrt()));
            }
            // SAFETY: pixel `x` of a block of the output row (contract).
            unsafe { *row.output.add(block * row.output_plane).cast::<Pixel>().add(x) = output };
        }
    }
}

/// The mean over all pixels of block `block` of a byte map, as `f32` into `output`.
///
/// # Safety
/// Both maps lie inside the slot, and nobody else touches the block's channels of `output`.
pub(crate) unsafe fn mean_block(slot: Slot, (input, step): (&Map, f32), output: &Map, block: usize) {
    let [channels, h, w] = input.shape();
    let mut sums = [0u32; Map::BYTE_LANES];
    for y in 0..h {
        // SAFETY: the first pixel of a row of the block (contract).
        let row: *const Pixel = slot.at(input.origin(block) + y * input.pitch()).cast();
        for x in 0..w {
            // SAFETY: a pixel of the row.
            for (sum, value) in sums.iter_mut().zip(unsafe { *row.add(x) }) {
                *sum += u32::from(value);
            }
        }
    }
    let scale = step / (h * w) as f32;
    let first = block * Map::BYTE_LANES;
    for (channel, sum) in (first..channels).zip(sums) {
        let place = output.origin(channel / output.lanes()) + channel % output.lanes();
        // SAFETY: a channel of the block (contract).
        unsafe { *slot.at(place) = sum as f32 * scale };
    }
}

/// Row `y` of a byte map as `f32` into `row`, `[w, c]`.
///
/// # Safety
/// The map lies inside the slot, and nobody writes it meanwhile.
pub(crate) unsafe fn store_row(slot: Slot, (map, step): (&Map, f32), y: usize, row: &mut [f32]) {
    let [channels, _, _] = map.shape();
    for (x, values) in row.chunks_exact_mut(channels).enumerate() {
        for (block, values) in values.chunks_mut(Map::BYTE_LANES).enumerate() {
            let word = map.origin(block) + y * map.pitch() + x * map.words();
            // SAFETY: a pixel of the map (contract).
            let pixel = unsafe { *slot.at(word).cast::<Pixel>() };
            for (value, byte) in values.iter_mut().zip(pixel) {
                *value = f32::from(byte) * step;
            }
        }
    }
}

/// Writes the rows as bytes.
///
/// # Safety
/// `image` lies inside the slot, `from` has its size, `rows` are rows of it with its padding, and nobody else touches
/// these rows meanwhile.
#[inline(always)]
pub(crate) unsafe fn convert(conversion: &Conversion<'_>) {
    let Conversion { image, affine, from, slot, rows } = conversion;
    let levels = image.levels().expect("a picture in bytes");
    let width = image.w * Image::CHANNELS;
    let [red, green, blue] = levels.zero;
    let padding = u32::from_le_bytes([red, green, blue, 0]);
    let mut to_levels = **affine;
    for c in 0..Image::CHANNELS {
        to_levels.scale[c] /= levels.step[c];
        to_levels.offset[c] = to_levels.offset[c] / levels.step[c] + f32::from(levels.zero[c]);
    }
    let (scale, offset) = affine_strips(&to_levels);
    for y in rows.clone() {
        // SAFETY: a row of the padded picture, this thread's alone (contract).
        let row = unsafe {
            let start = slot.at(image.offset + y * image.pitch()).cast::<u32>();
            core::slice::from_raw_parts_mut(start, image.pitch())
        };
        row.fill(padding);
        let Some(y) = y.checked_sub(image.padding.top).filter(|y| *y < image.h) else { continue };
        let (strips, rest) = from[y * width..(y + 1) * width].as_chunks::<STRIP>();
        let words = &mut row[image.padding.left..][..image.w];
        let (word_strips, word_rest) = words.as_chunks_mut::<{ STRIP / Image::CHANNELS }>();
        for (words, x) in word_strips.iter_mut().zip(strips) {
            *words = words_of(x, &scale, &offset);
        }
        if !rest.is_empty() {
            let mut last = [0.0; STRIP];
            last[..rest.len()].copy_from_slice(rest);
            word_rest.copy_from_slice(&words_of(&last, &scale, &offset)[..word_rest.len()]);
        }
    }
}

/// The colours of a strip as bytes, a word a pixel.
#[inline(always)]
fn words_of(
    strip: &[f32; STRIP],
    scale: &[f32; STRIP],
    offset: &[f32; STRIP],
) -> [u32; STRIP / Image::CHANNELS] {
    let mut bytes = [0; STRIP];
    for i in 0..STRIP {
        bytes[i] = u32::from(to_byte(strip[i] * scale[i] + offset[i]));
    }
    let mut words = [0; STRIP / Image::CHANNELS];
    for (word, [red, green, blue]) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u32::to_le(red | green << 8 | blue << 16);
    }
    words
}
