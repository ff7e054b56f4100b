//! Several views of one picture, whose predictions are averaged.

use std::fmt;
use std::str::FromStr;

use crate::augment::mirror;
use crate::image::Rgb8;
use crate::preset::{Preset, Region};
use crate::{Error, ErrorKind, Result};

/// Which parts of a picture are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Crops {
    /// What the preset makes of it: one view.
    #[default]
    One,
    /// The four corners and the centre, each 87.5 % of the sides (224 of 256), and their mirror images: ten views.
    Ten,
    /// Those of *Going Deeper with Convolutions*: with the short side as 256, 288, 320 and 352, the three squares at the
    /// start, the middle and the end of the long side, of each the four corners and the centre at 224 and the whole
    /// square, and their mirror images: 144 views.
    Paper,
}

/// A part of a picture as shares of the side that it is measured by.
struct View {
    origin: (f64, f64),
    size: (f64, f64),
}

/// What the five views at corners and centre keep of a side, at the sizes at which ImageNet is evaluated.
const CROP: f64 = 224.0;
const TEN_SIDE: f64 = 256.0;
const PAPER_SIDES: [f64; 4] = [256.0, 288.0, 320.0, 352.0];

impl Crops {
    /// How many views of a picture there are.
    pub fn count(self) -> usize {
        match self {
            Crops::One => 1,
            Crops::Ten => 10,
            Crops::Paper => 144,
        }
    }

    /// Makes the views of `image`, each `[height, width, 3]` values in [0, 1], one after another in `out`.
    ///
    /// Several views are cut from the picture itself, and each is resized as `preset` resizes whole pictures.
    ///
    /// # Panics
    /// If `out` does not hold as many values.
    pub fn prepare(self, preset: Preset, image: &Rgb8, (height, width): (usize, usize), out: &mut [f32]) {
        let len = height * width * 3;
        assert_eq!(out.len(), self.count() * len);
        let views = match self {
            Crops::One => return preset.prepare(image, height, width, out),
            Crops::Ten => five_views((0.0, 0.0), (image.width() as f64, image.height() as f64), TEN_SIDE),
            Crops::Paper => paper_views(image.width() as f64, image.height() as f64),
        };
        // What is left of the preset where the part is chosen here.
        let whole = if preset == Preset::SlimEval { Preset::Tf1Retrain } else { preset };
        for (view, out) in views.iter().zip(out.chunks_exact_mut(2 * len)) {
            let (upright, mirrored) = out.split_at_mut(len);
            whole.prepare(&view.cut(image), height, width, upright);
            mirrored.copy_from_slice(upright);
            mirror(mirrored, width);
        }
    }
}

/// The corners and the centre of a rectangle, of whose `side` pixels they keep [`CROP`].
fn five_views(origin: (f64, f64), size: (f64, f64), side: f64) -> Vec<View> {
    let kept = (size.0 * CROP / side, size.1 * CROP / side);
    let free = (size.0 - kept.0, size.1 - kept.1);
    [(0.5, 0.5), (0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)]
        .map(|(x, y)| View { origin: (origin.0 + free.0 * x, origin.1 + free.1 * y), size: kept })
        .into()
}

fn paper_views(width: f64, height: f64) -> Vec<View> {
    let short = width.min(height);
    let mut views = Vec::new();
    for side in PAPER_SIDES {
        for place in [0.0, 0.5, 1.0] {
            let origin = ((width - short) * place, (height - short) * place);
            views.extend(five_views(origin, (short, short), side));
            views.push(View { origin, size: (short, short) });
        }
    }
    views
}

impl View {
    fn cut(&self, image: &Rgb8) -> Rgb8 {
        // As TensorFlow's central crop: what is left over on both sides is the same, in whole pixels.
        let range = |origin: f64, size: f64, end: usize| {
            let start = (origin as usize).min(end - 1);
            let mirrored = ((end as f64 - origin - size).max(0.0) as usize).min(end - 1 - start);
            (start, end - start - mirrored)
        };
        let (left, width) = range(self.origin.0, self.size.0, image.width());
        let (top, height) = range(self.origin.1, self.size.1, image.height());
        let region = Region::part(image, (left, top), (width, height));
        let rows: Vec<&[u8]> = (0..height).map(|y| region.row(y)).collect();
        Rgb8::from_pixels(width, height, rows.concat()).expect("a part has pixels")
    }
}

impl fmt::Display for Crops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.count().fmt(f)
    }
}

impl FromStr for Crops {
    type Err = Error;

    fn from_str(count: &str) -> Result<Crops> {
        let known = [Crops::One, Crops::Ten, Crops::Paper];
        known.into_iter().find(|crops| crops.count().to_string() == count).ok_or_else(|| {
            Error::new(ErrorKind::Argument, "", format!("{count} crops; there are sets of 1, 10 and 144"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: usize, height: usize) -> Rgb8 {
        let data = (0..width * height * 3).map(|i| ((i * 2_654_435_761) >> 7) as u8).collect();
        Rgb8::from_pixels(width, height, data).unwrap()
    }

    fn views(crops: Crops, image: &Rgb8) -> Vec<Vec<f32>> {
        let mut out = vec![f32::NAN; crops.count() * 32 * 32 * 3];
        crops.prepare(Preset::SlimEval, image, (32, 32), &mut out);
        out.chunks_exact(32 * 32 * 3).map(<[f32]>::to_vec).collect()
    }

    #[test]
    fn the_centre_is_the_view_of_slim_eval() {
        for (width, height) in [(256, 256), (331, 247), (97, 640), (8, 8), (1, 3)] {
            let image = picture(width, height);
            let ten = views(Crops::Ten, &image);
            assert_eq!((ten.len(), &ten[0]), (10, &views(Crops::One, &image)[0]), "{width}x{height}");
            let mut mirrored = ten[1].clone();
            mirror(&mut mirrored, 32);
            assert_eq!(mirrored, ten[0]);
        }
    }

    #[test]
    fn views_lie_where_they_say() {
        let image = picture(256, 512);
        let corner = |left, top| {
            let region = Region::part(&image, (left, top), (224, 448));
            let rows: Vec<&[u8]> = (0..448).map(|y| region.row(y)).collect();
            let cut = Rgb8::from_pixels(224, 448, rows.concat()).unwrap();
            let mut out = vec![0.0; 32 * 32 * 3];
            Preset::Tf1Retrain.prepare(&cut, 32, 32, &mut out);
            out
        };
        let ten = views(Crops::Ten, &image);
        let upright: Vec<_> = ten.into_iter().step_by(2).collect();
        assert_eq!(upright, [corner(16, 32), corner(0, 0), corner(32, 0), corner(0, 64), corner(32, 64)]);
    }

    #[test]
    fn the_paper_has_144_views_within_any_picture() {
        for (width, height) in [(300, 200), (200, 300), (5, 900), (1, 1)] {
            let views = views(Crops::Paper, &picture(width, height));
            assert_eq!(views.len(), 144);
            assert!(views.iter().flatten().all(|value| (0.0..=1.0).contains(value)));
        }
    }
}
