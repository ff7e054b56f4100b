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
    // Sixteen pixels at a time, so that the compiler sees vectors of one length.
    let (mut scale, mut offset) = ([0.0; STRIP], [0.0; STRIP]);
    for i in 0..STRIP {
        scale[i] = affine.scale[i % Image::CHANNELS];
        offset[i] = affine.offset[i % Image::CHANNELS];
    }
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

/// Numbers of a picture that are converted together.
pub(crate) const STRIP: usize = 16 * Image::CHANNELS;
