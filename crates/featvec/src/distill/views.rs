//! Views of photographs: the whole picture, and parts of it, mirrored or not.

use std::path::Path;

use featvec_kernels::Affine;
use ndarray::Array2;

use super::layers::Map;
use crate::image::Rgb8;
use crate::network::DEFAULT_SIZE;
use crate::pictures::Preparation;
use crate::random::Random;
use crate::{Preset, Result};

/// Height and width of a view: teacher and student see it one pixel apart (see [`super::Twins`]).
pub(super) const SIZE: [usize; 2] = [DEFAULT_SIZE[0] + 1, DEFAULT_SIZE[1] + 1];

/// The smallest part of a picture's area that a view shows.
const MIN_AREA: f64 = 0.35;

/// The narrowest view, width by height, before it is squashed to a square.
const MIN_ASPECT: f64 = 0.75;

/// `count` views of the picture in the file `path`, `[h, w, 3]` in [0, 1] of [`SIZE`]: the first shows all of it; what the
/// others show depends on `seed` and `picture`. Presets take turns, so that the student knows smooth pictures and sharp ones.
///
/// # Errors
/// Those of [`Preparation::prepare`].
pub(super) fn views(path: &Path, count: usize, (seed, picture): (u64, usize)) -> Result<Vec<Vec<f32>>> {
    let image = Preparation::new(Preset::KerasPil, SIZE).decode(path)?.image;
    let view = |index: usize| {
        let random = Random::new(seed, picture as u64).stream(index as u64);
        let [h, w] = SIZE;
        let mut out = vec![0.0; h * w * 3];
        let part = if index == 0 { image.clone() } else { part(&image, random) };
        let preset = if index.is_multiple_of(2) { Preset::KerasPil } else { Preset::Tf1Retrain };
        preset.prepare(&part, h, w, &mut out);
        out
    };
    Ok((0..count).map(view).collect())
}

/// A part of `image`, mirrored half of the time.
fn part(image: &Rgb8, random: Random) -> Rgb8 {
    let area = MIN_AREA + (1.0 - MIN_AREA) * f64::from(random.uniform(0));
    let aspect = MIN_ASPECT.powf(2.0 * f64::from(random.uniform(1)) - 1.0);
    let side = |len: usize, part: f64| ((len as f64 * part).round() as usize).clamp(1, len);
    let width = side(image.width(), (area * aspect).sqrt());
    let height = side(image.height(), (area / aspect).sqrt());
    let left = random.below(2, image.width() - width + 1);
    let top = random.below(3, image.height() - height + 1);
    let mirrored = random.uniform(4) < 0.5;
    let mut data = Vec::with_capacity(width * height * 3);
    for y in top..top + height {
        let start = (y * image.width() + left) * 3;
        let row = &image.data()[start..start + width * 3];
        if mirrored {
            row.rchunks_exact(3).for_each(|pixel| data.extend_from_slice(pixel));
        } else {
            data.extend_from_slice(row);
        }
    }
    Rgb8::from_pixels(width, height, data).expect("as many bytes as pixels")
}

/// A part of the picture in the file `path`, mirrored half of the time, in colours that are a little different.
///
/// # Errors
/// Those of [`Preparation::prepare`].
pub(super) fn varied(path: &Path, random: Random) -> Result<Vec<f32>> {
    let image = Preparation::new(Preset::KerasPil, SIZE).decode(path)?.image;
    let [h, w] = SIZE;
    let mut out = vec![0.0; h * w * 3];
    let preset = if random.uniform(10) < 0.5 { Preset::KerasPil } else { Preset::Tf1Retrain };
    preset.prepare(&part(&image, random), h, w, &mut out);
    let spread = |index: usize, most: f32| most * (2.0 * random.uniform(index) - 1.0);
    let contrast = 1.0 + spread(11, 0.2);
    let factors = [12, 13, 14].map(|index| contrast * (1.0 + spread(index, 0.08)));
    let offset = 0.5 * (1.0 - contrast) + spread(15, 0.08);
    for pixel in out.chunks_exact_mut(3) {
        pixel.iter_mut().zip(factors).for_each(|(x, factor)| *x = (*x * factor + offset).clamp(0.0, 1.0));
    }
    Ok(out)
}

/// Sets a rectangle of `other` into `view`, at its place.
pub(super) fn set_in(view: &mut [f32], other: &[f32], random: Random) {
    let [h, w] = SIZE;
    let side = |len: usize, index| ((0.35 + 0.45 * random.uniform(index)) * len as f32) as usize;
    let (height, width) = (side(h, 0), side(w, 1));
    let (top, left) = (random.below(2, h - height + 1), random.below(3, w - width + 1));
    for y in top..top + height {
        let row = (y * w + left) * 3..(y * w + left + width) * 3;
        view[row.clone()].copy_from_slice(&other[row]);
    }
}

/// All of a view but the first `skipped` rows and columns, and as much less at the end as makes it one pixel smaller.
pub(super) fn cut(view: &[f32], skipped: usize) -> impl Iterator<Item = f32> {
    let [h, w] = DEFAULT_SIZE;
    (skipped..skipped + h).flat_map(move |y| {
        let start = (y * SIZE[1] + skipped) * 3;
        view[start..start + w * 3].iter().copied()
    })
}

/// What a network that reads pictures scaled by `affine` is given of a view: what [`cut`] leaves of it.
pub(super) fn crop(view: &[f32], skipped: usize, affine: &Affine) -> Map {
    let [h, w] = DEFAULT_SIZE;
    let mut values: Vec<f32> = cut(view, skipped).collect();
    for (index, x) in values.iter_mut().enumerate() {
        *x = *x * affine.scale[index % 3] + affine.offset[index % 3];
    }
    Map { width: w, values: Array2::from_shape_vec((h * w, 3), values).expect("three numbers a pixel") }
}
