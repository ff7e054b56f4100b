//! The input picture, scaled as the network wants it, into its place between the padding.

use crate::group::Slot;
use crate::map::Image;
use crate::program::Affine;

/// Rows of the caller's picture on their way into the arena.
pub(crate) struct Conversion<'a> {
    pub image: &'a Image,
    pub affine: &'a Affine,
    /// The whole picture, `[h, w, 3]`.
    pub from: &'a [f32],
    pub slot: Slot,
    /// Which rows: of the picture, or, of bytes, of the picture with its padding, which is written too.
    pub rows: core::ops::Range<usize>,
}

/// Writes the rows as `f32`.
///
/// # Safety
/// `image` lies inside `slot`, `from` has its size, `rows` are rows of it, and nobody
/// else touches these rows meanwhile.
#[inline(always)]
pub(crate) unsafe fn convert(conversion: &Conversion<'_>) {
    let Conversion { image, affine, from, slot, rows } = conversion;
    let (scale, offset) = affine_strips(affine);
    let width = image.w * Image::CHANNELS;
    for y in rows.clone() {
        let source = &from[y * width..(y + 1) * width];
        let start =
            image.offset + (image.padding.top + y) * image.pitch() + image.padding.left * Image::CHANNELS;
        // SAFETY: row `y` of the picture inside the slot, this thread's alone (contract).
        let target = unsafe { core::slice::from_raw_parts_mut(slot.at(start), width) };
        let (strips, rest) = target.as_chunks_mut::<STRIP>();
        let (source_strips, source_rest) = source.as_chunks::<STRIP>();
        for (to, x) in strips.iter_mut().zip(source_strips) {
            for i in 0..STRIP {
                to[i] = x[i] * scale[i] + offset[i];
            }
        }
        for (i, (to, x)) in rest.iter_mut().zip(source_rest).enumerate() {
            *to = x * scale[i] + offset[i];
        }
    }
}

/// Numbers of a picture that are converted together: sixteen pixels, so that the compiler sees vectors of one length.
pub(crate) const STRIP: usize = 16 * Image::CHANNELS;

/// Writes the rows as `f32`, in squares of 2x2 pixels.
///
/// # Safety
/// As [`convert`].
#[inline(always)]
pub(crate) unsafe fn convert_to_squares(conversion: &Conversion<'_>) {
    let Conversion { image, affine, from, slot, rows } = conversion;
    let (scale, offset) = affine_strips(affine);
    let width = image.w * Image::CHANNELS;
    for y in rows.clone() {
        let source = &from[y * width..(y + 1) * width];
        let (row, column) = (image.padding.top + y, image.padding.left);
        let start = image.offset + row / 2 * image.pitch() + column / 2 * Image::SQUARE + row % 2 * PAIR;
        let mut to = slot.at(start);
        // The first pixel may be the right one of a square.
        let (first, others) = source.split_at(column % 2 * Image::CHANNELS);
        // SAFETY: the numbers of row `y` in the slot's squares, this thread's alone (contract).
        unsafe {
            for (i, x) in first.iter().enumerate() {
                to.add(Image::CHANNELS + i).write(x * scale[i] + offset[i]);
            }
            to = to.wrapping_add(first.len() / Image::CHANNELS * Image::SQUARE);
            let (strips, rest) = others.as_chunks::<STRIP>();
            let mut strip = [0.0; STRIP];
            for x in strips {
                for i in 0..STRIP {
                    strip[i] = x[i] * scale[i] + offset[i];
                }
                for (pair, x) in strip.as_chunks::<PAIR>().0.iter().enumerate() {
                    to.add(pair * Image::SQUARE).cast::<[f32; PAIR]>().write(*x);
                }
                to = to.wrapping_add(STRIP / PAIR * Image::SQUARE);
            }
            for (i, x) in rest.iter().enumerate() {
                to.add(i / PAIR * Image::SQUARE + i % PAIR).write(x * scale[i] + offset[i]);
            }
        }
    }
}

/// Numbers of two pixels that are neighbours in a square.
const PAIR: usize = 2 * Image::CHANNELS;

/// The factor and the summand of each number of a strip.
#[inline(always)]
pub(crate) fn affine_strips(affine: &Affine) -> ([f32; STRIP], [f32; STRIP]) {
    let (mut scale, mut offset) = ([0.0; STRIP], [0.0; STRIP]);
    for i in 0..STRIP {
        scale[i] = affine.scale[i % Image::CHANNELS];
        offset[i] = affine.offset[i % Image::CHANNELS];
    }
    (scale, offset)
}
