//! The input picture, scaled as the network wants it, into its place between the padding.

use crate::group::Slot;
use crate::map::Image;
use crate::program::Affine;

/// Writes `rows` of the picture `from` (`[h, w, 3]`, the whole picture) into `slot`.
///
/// # Safety
/// `image` lies inside `slot`, `from` has its size, `rows` are rows of it, and nobody
/// else touches these rows meanwhile.
pub(crate) unsafe fn convert(
    image: &Image,
    affine: &Affine,
    from: &[f32],
    (slot, rows): (Slot, core::ops::Range<usize>),
) {
    // Sixteen pixels at a time, so that the compiler sees vectors of one length.
    let (mut scale, mut offset) = ([0.0; STRIP], [0.0; STRIP]);
    for i in 0..STRIP {
        scale[i] = affine.scale[i % Image::CHANNELS];
        offset[i] = affine.offset[i % Image::CHANNELS];
    }
    let width = image.w * Image::CHANNELS;
    for y in rows {
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
