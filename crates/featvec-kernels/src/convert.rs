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
    let width = image.w * Image::CHANNELS;
    for y in rows {
        let source = &from[y * width..(y + 1) * width];
        let start =
            image.offset + (image.padding.top + y) * image.pitch() + image.padding.left * Image::CHANNELS;
        // SAFETY: row `y` of the picture inside the arena, this thread's alone (contract).
        let target = unsafe { core::slice::from_raw_parts_mut(slot.at(start), width) };
        for (to, x) in target.chunks_exact_mut(Image::CHANNELS).zip(source.chunks_exact(Image::CHANNELS)) {
            for c in 0..Image::CHANNELS {
                to[c] = x[c] * affine.scale[c] + affine.offset[c];
            }
        }
    }
}
