//! TF-Slim's distortions of training pictures (`inception_preprocessing`): a random part of the picture, resized,
//! perhaps mirrored, in changed colours.
//!
//! What is done to a picture depends on numbers that a seed and the picture's place in the run give, and on nothing
//! else: not on the threads, nor on what was done to other pictures.

mod colour;
mod resize;

use crate::image::Rgb8;
use crate::preset::{Preset, Region};
use crate::random::Random;

pub use colour::Colour;
pub use resize::Resize;

/// How training pictures are made from the files'.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Augmentation {
    /// TF-Slim's distortions as it trains by default (`fast_mode`): bilinear resizing, brightness and saturation.
    #[default]
    Fast,
    /// TF-Slim's distortions in full: four ways to resize, and hue and contrast too.
    Full,
    /// None: every time the same picture, as the preset prepares it.
    Preset(Preset),
}

/// A rectangle of a picture, in its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crop {
    /// Its first column and row.
    pub origin: (usize, usize),
    /// Its width and height.
    pub size: (usize, usize),
}

/// What is done to one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Distortion {
    /// The part that is kept.
    pub crop: Crop,
    /// How it is resized.
    pub resize: Resize,
    /// Whether left and right are exchanged.
    pub flip: bool,
    /// Changes of the colours, in their order.
    pub colours: Vec<Colour>,
}

/// Width over height of a part.
const ASPECT_RATIOS: [f32; 2] = [0.75, 1.33];
/// How much of the picture a part is. TF-Slim also asks that it covers a tenth of the object, which is the picture.
const AREAS: [f32; 2] = [0.05, 1.0];
const LEAST_COVERED: f32 = 0.1;
/// After so many parts that do not fit, the whole picture is taken.
const ATTEMPTS: usize = 100;

const BRIGHTNESS: f32 = 32.0 / 255.0;
const SATURATION: [f32; 2] = [0.5, 1.5];
const HUE: f32 = 0.2;
const CONTRAST: [f32; 2] = [0.5, 1.5];

impl Augmentation {
    /// Makes `[height, width, 3]` values in [0, 1] of `image`, written row by row to `out`.
    ///
    /// # Panics
    /// If `out` does not hold `height * width * 3` values.
    pub(crate) fn prepare(
        self,
        image: &Rgb8,
        (height, width): (usize, usize),
        (random, out): (Random, &mut [f32]),
    ) {
        match self {
            Augmentation::Preset(preset) => preset.prepare(image, height, width, out),
            Augmentation::Fast | Augmentation::Full => {
                let full = self == Augmentation::Full;
                let size = (image.width(), image.height());
                Distortion::draw(&mut Draws { random, next: 0 }, size, full).apply(
                    image,
                    (height, width),
                    out,
                );
            }
        }
    }

    /// The preset whose decoder it stands on.
    pub fn preset(self) -> Preset {
        match self {
            Augmentation::Preset(preset) => preset,
            Augmentation::Fast | Augmentation::Full => Preset::SlimEval,
        }
    }
}

/// Random numbers one after another.
struct Draws {
    random: Random,
    next: usize,
}

impl Draws {
    fn index(&mut self) -> usize {
        self.next += 1;
        self.next - 1
    }

    fn uniform(&mut self, [low, high]: [f32; 2]) -> f32 {
        let index = self.index();
        low + (high - low) * self.random.uniform(index)
    }

    fn below(&mut self, end: usize) -> usize {
        let index = self.index();
        self.random.below(index, end)
    }
}

impl Distortion {
    /// A distortion of a picture of `size` `(width, height)`.
    fn draw(draws: &mut Draws, size: (usize, usize), full: bool) -> Distortion {
        Distortion {
            crop: Crop::draw(draws, size),
            resize: if full { Resize::ALL[draws.below(Resize::ALL.len())] } else { Resize::Bilinear },
            flip: draws.below(2) == 1,
            colours: draw_colours(draws, full),
        }
    }

    /// Distorts `image` to `[height, width, 3]` values in [0, 1], written row by row to `out`.
    ///
    /// # Panics
    /// If the crop does not lie in the picture, or `out` does not hold `height * width * 3` values.
    pub fn apply(&self, image: &Rgb8, (height, width): (usize, usize), out: &mut [f32]) {
        assert_eq!(Some(out.len()), height.checked_mul(width).and_then(|area| area.checked_mul(3)));
        let region = Region::part(image, self.crop.origin, self.crop.size);
        self.resize.resize(&region, (height, width), out);
        if self.flip {
            mirror(out, width);
        }
        self.colours.iter().for_each(|colour| colour.apply(out));
        out.iter_mut().for_each(|value| *value = value.clamp(0.0, 1.0));
    }
}

/// The changes in one of TF-Slim's four orders. In fast mode the first is brightness and saturation, and all others are
/// saturation and brightness.
fn draw_colours(draws: &mut Draws, full: bool) -> Vec<Colour> {
    let order = draws.below(4);
    let brightness = Colour::Brightness(draws.uniform([-BRIGHTNESS, BRIGHTNESS]));
    let saturation = Colour::Saturation(draws.uniform(SATURATION));
    if !full {
        return if order == 0 { vec![brightness, saturation] } else { vec![saturation, brightness] };
    }
    let hue = Colour::Hue(draws.uniform([-HUE, HUE]));
    let contrast = Colour::Contrast(draws.uniform(CONTRAST));
    match order {
        0 => vec![brightness, saturation, hue, contrast],
        1 => vec![saturation, brightness, contrast, hue],
        2 => vec![contrast, hue, brightness, saturation],
        _ => vec![hue, saturation, contrast, brightness],
    }
}

impl Crop {
    /// A random part of a picture of `size` `(width, height)`, by the rules of TensorFlow's
    /// `sample_distorted_bounding_box`.
    fn draw(draws: &mut Draws, size: (usize, usize)) -> Crop {
        let attempts = (0..ATTEMPTS).find_map(|_| {
            let aspect_ratio = draws.uniform(ASPECT_RATIOS);
            let part = part_size(draws, size, aspect_ratio)?;
            let mut start = |len: usize, part: usize| if part < len { draws.below(len - part) } else { 0 };
            Some(Crop { origin: (start(size.0, part.0), start(size.1, part.1)), size: part })
        });
        attempts.unwrap_or(Crop { origin: (0, 0), size })
    }
}

/// The size of a part of a picture of `size`, both `(width, height)`; none where that aspect ratio gives none that fits.
fn part_size(draws: &mut Draws, size: (usize, usize), aspect_ratio: f32) -> Option<(usize, usize)> {
    let round = |x: f32| x.round_ties_even() as usize;
    let width_of = |height: usize| round(height as f32 * aspect_ratio);
    let area_of = |height: usize| (width_of(height) * height) as f32;
    let whole = size.0 as f32 * size.1 as f32;
    let [least, most] = AREAS.map(|fraction| fraction * whole);
    let mut highest = round((most / aspect_ratio).sqrt());
    if width_of(highest) > size.0 {
        // The largest height whose width, rounded, is not too much; division may have rounded up.
        highest = ((size.0 as f32 + 0.5) / aspect_ratio) as usize;
        highest -= usize::from(width_of(highest) > size.0);
    }
    let highest = highest.min(size.1);
    let lowest = round((least / aspect_ratio).sqrt()).min(highest);
    let mut height = lowest + draws.below(highest - lowest + 1);
    // Rounding may have put the area just beyond its limits.
    if area_of(height) < least {
        height += 1;
    }
    if area_of(height) > most {
        height -= 1;
    }
    let (part, area) = ((width_of(height), height), area_of(height));
    let fits = part.0 > 0 && part.0 <= size.0 && height > 0 && height <= size.1;
    (fits && area >= least && area <= most && area >= LEAST_COVERED * whole).then_some(part)
}

/// Exchanges left and right of the rows of `width` pixels.
pub(crate) fn mirror(pixels: &mut [f32], width: usize) {
    let (pixels, _) = pixels.as_chunks_mut::<3>();
    pixels.chunks_exact_mut(width.max(1)).for_each(<[[f32; 3]]>::reverse);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(stream: u64) -> Draws {
        Draws { random: Random::new(5, stream), next: 0 }
    }

    /// The bounds that TensorFlow's documentation of the operation gives.
    #[test]
    fn parts_have_the_areas_and_aspect_ratios_asked_for() {
        for size in [(500, 375), (331, 247), (100, 900), (40, 33)] {
            let mut aspects: Vec<f32> = Vec::new();
            let mut areas = Vec::new();
            for stream in 0..2_000 {
                let Crop { origin, size: part } = Crop::draw(&mut draws(stream), size);
                assert!(origin.0 + part.0 <= size.0 && origin.1 + part.1 <= size.1);
                if part != size {
                    aspects.push(part.0 as f32 / part.1 as f32);
                    areas.push((part.0 * part.1) as f32 / (size.0 * size.1) as f32);
                }
            }
            let spread = |values: &[f32]| {
                values.iter().fold([f32::MAX, f32::MIN], |[low, high], x| [low.min(*x), high.max(*x)])
            };
            let rounding = 1.5 / size.0.min(size.1) as f32 * 4.0;
            let [low, high] = spread(&aspects);
            assert!(low > 0.75 - rounding && high < 1.33 + rounding, "{size:?}: {low} {high}");
            let [low, high] = spread(&areas);
            assert!(low >= 0.1 && high <= 1.0, "{size:?}: {low} {high}");
            if size == (500, 375) {
                let mean = areas.iter().sum::<f32>() / areas.len() as f32;
                // Uniform in the height: the mean area is about a third of the way.
                assert!((0.3..0.55).contains(&mean), "{mean}");
                assert!(areas.len() > 1_990 && high > 0.95 && low < 0.12);
            }
        }
    }

    #[test]
    fn a_picture_without_fitting_parts_is_taken_whole() {
        for size in [(1, 1), (1, 200), (3, 1000), (1000, 2)] {
            for stream in 0..50 {
                let crop = Crop::draw(&mut draws(stream), size);
                assert!(crop.size.0 <= size.0 && crop.size.1 <= size.1 && crop.size.0 > 0 && crop.size.1 > 0);
            }
            assert_eq!(Crop::draw(&mut draws(0), (1, 200)).size, (1, 200));
        }
    }

    #[test]
    fn all_orders_resizes_and_flips_occur() {
        let drawn: Vec<_> = (0..200).map(|s| Distortion::draw(&mut draws(s), (64, 64), true)).collect();
        let firsts = |test: &dyn Fn(&Colour) -> bool| drawn.iter().filter(|d| test(&d.colours[0])).count();
        for count in [
            firsts(&|colour| matches!(colour, Colour::Brightness(_))),
            firsts(&|colour| matches!(colour, Colour::Saturation(_))),
            firsts(&|colour| matches!(colour, Colour::Contrast(_))),
            firsts(&|colour| matches!(colour, Colour::Hue(_))),
        ] {
            assert!((25..75).contains(&count), "{count} of 200");
        }
        for resize in Resize::ALL {
            assert!((25..75).contains(&drawn.iter().filter(|d| d.resize == resize).count()));
        }
        assert!((75..125).contains(&drawn.iter().filter(|d| d.flip).count()));
        let fast: Vec<_> = (0..200).map(|s| Distortion::draw(&mut draws(s), (64, 64), false)).collect();
        let brightness_first = fast.iter().filter(|d| matches!(d.colours[0], Colour::Brightness(_))).count();
        assert!((25..75).contains(&brightness_first), "{brightness_first} of 200");
        assert!(fast.iter().all(|d| d.resize == Resize::Bilinear && d.colours.len() == 2));
    }

    #[test]
    fn mirrored_twice_is_as_it_was() {
        let pixels: Vec<f32> = (0..18).map(|i| i as f32).collect();
        let mut mirrored = pixels.clone();
        mirror(&mut mirrored, 3);
        assert_eq!(mirrored[..9], [6.0, 7.0, 8.0, 3.0, 4.0, 5.0, 0.0, 1.0, 2.0]);
        mirror(&mut mirrored, 3);
        assert_eq!(mirrored, pixels);
    }
}
