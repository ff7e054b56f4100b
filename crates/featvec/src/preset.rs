//! How a picture becomes the network's input: five ways that people use, by name, each with the numbers of
//! the library it stands for.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use featvec_formats::{Error, ErrorKind, Result};

use crate::image::{DecodeOptions, ExifPolicy, Idct, PixelGrid, Rgb8, Sampled};

mod float_bilinear;
mod opencv_bilinear;
mod pillow_bilinear;
mod region;

use float_bilinear::Grid;
pub(crate) use region::Region;

/// One established way to decode, crop, resize and scale a picture to values in \[0, 1\].
///
/// The vectors of a network depend on it visibly: between two presets the values of one photograph differ by
/// up to half the range. Take the one that the numbers you compare with were made with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Preset {
    /// The whole picture squashed, as `retrain.py` and `label_image` do it: TensorFlow's decoder, v · (1/255),
    /// then TensorFlow 1's bilinear resize (no half-pixel centres, no antialiasing).
    #[default]
    Tf1Retrain,
    /// The evaluation of TF-Slim: as [`Preset::Tf1Retrain`], from the central 87.5 % of each side.
    SlimEval,
    /// Keras' `load_img` with `interpolation="bilinear"`: Pillow's decoder and its antialiased 8-bit resize,
    /// then v · (1/255).
    KerasPil,
    /// TensorFlow 2's `tf.image.resize`: TensorFlow's decoder, half-pixel centres, no antialiasing, then
    /// v · (1/255).
    Tf2,
    /// `cv2.imread` and `cv2.resize` with the default `INTER_LINEAR` in 8 bits, channels in RGB order, then
    /// v / 255. As `imread` does, it turns the picture upright by its EXIF tag.
    Opencv,
}

impl Preset {
    /// Every preset, the default first.
    pub const ALL: [Preset; 5] =
        [Preset::Tf1Retrain, Preset::SlimEval, Preset::KerasPil, Preset::Tf2, Preset::Opencv];

    /// The name that the command line takes and [`FromStr`] reads.
    pub fn name(self) -> &'static str {
        match self {
            Preset::Tf1Retrain => "tf1-retrain",
            Preset::SlimEval => "slim-eval",
            Preset::KerasPil => "keras-pil",
            Preset::Tf2 => "tf2",
            Preset::Opencv => "opencv",
        }
    }

    /// One line for people: what is done, and whose numbers come out.
    pub fn description(self) -> &'static str {
        match self {
            Preset::Tf1Retrain => {
                "whole picture, legacy bilinear resize without antialiasing, as TF1's retrain.py and label_image"
            }
            Preset::SlimEval => "central 87.5 % of each side, then as tf1-retrain: the evaluation of TF-Slim",
            Preset::KerasPil => {
                "whole picture, Pillow's antialiased 8-bit bilinear resize, as Keras' load_img"
            }
            Preset::Tf2 => {
                "whole picture, half-pixel bilinear resize without antialiasing, as tf.image.resize"
            }
            Preset::Opencv => {
                "whole picture, cv2.resize INTER_LINEAR in 8 bits; follows EXIF as cv2.imread does"
            }
        }
    }

    /// How a picture is decoded for this preset; the limits are the default ones.
    pub fn decode_options(self) -> DecodeOptions {
        let idct = match self {
            Preset::Tf1Retrain | Preset::SlimEval | Preset::Tf2 => Idct::Fast,
            Preset::KerasPil | Preset::Opencv => Idct::Accurate,
        };
        let exif = match self {
            Preset::Opencv => ExifPolicy::Apply,
            _ => ExifPolicy::Ignore,
        };
        DecodeOptions { idct, exif, ..DecodeOptions::default() }
    }

    /// Crops, resizes and scales `image` to `[height, width, 3]` values in \[0, 1\], written row by row to `out`.
    ///
    /// # Panics
    ///
    /// Panics if `out` does not hold `height * width * 3` values.
    pub fn prepare(self, image: &Rgb8, height: usize, width: usize, out: &mut [f32]) {
        self.prepare_region(Region::of(image), height, width, out);
    }

    /// Like [`prepare`](Preset::prepare), of a picture of which at least what the preset [`reads`](Preset::reads) is
    /// there.
    pub(crate) fn prepare_sampled(self, sampled: &Sampled, height: usize, width: usize, out: &mut [f32]) {
        self.prepare_region(Region::of_sampled(sampled), height, width, out);
    }

    /// The part of a side, `side` pixels long, that is kept.
    pub(crate) fn kept(self, side: usize) -> Range<usize> {
        let margin = match self {
            // Rounded as TensorFlow's `central_crop` does.
            Preset::SlimEval => ((side as f64 - side as f64 * 0.875) / 2.0) as usize,
            _ => 0,
        };
        margin..side - margin
    }

    /// The pixels of a picture of `(width, height)` that are read for a result of `[height, width]`; `None` for all.
    pub(crate) fn reads(self, (width, height): (usize, usize), size: [usize; 2]) -> Option<PixelGrid> {
        let positions = |side: usize, output: usize| {
            let kept = self.kept(side);
            let inputs = match self {
                Preset::Tf1Retrain | Preset::SlimEval => Grid::Legacy.reads(kept.len(), output),
                Preset::Tf2 => Grid::HalfPixel.reads(kept.len(), output),
                Preset::Opencv => opencv_bilinear::reads(kept.len(), output),
                Preset::KerasPil => return None,
            };
            Some(inputs.into_iter().map(|input| kept.start + input).collect())
        };
        Some(PixelGrid::new(positions(height, size[0])?, positions(width, size[1])?))
    }

    fn prepare_region(self, whole: Region<'_>, height: usize, width: usize, out: &mut [f32]) {
        assert_eq!(Some(out.len()), height.checked_mul(width).and_then(|area| area.checked_mul(3)));
        if out.is_empty() {
            return;
        }
        let kept = whole.within(self.kept(whole.width()), self.kept(whole.height()));
        match self {
            Preset::Tf1Retrain | Preset::SlimEval => {
                float_bilinear::resize(&kept, Grid::Legacy, &RECIPROCAL_LEVELS, (height, width), out);
            }
            Preset::Tf2 => {
                float_bilinear::resize(&kept, Grid::HalfPixel, &LEVELS, (height, width), out);
                out.iter_mut().for_each(|value| *value *= RECIPROCAL);
            }
            Preset::KerasPil => {
                pillow_bilinear::resize(&kept, &RECIPROCAL_LEVELS, (height, width), out);
            }
            Preset::Opencv => {
                opencv_bilinear::resize(&kept, &QUOTIENT_LEVELS, (height, width), out);
            }
        }
    }
}

/// TensorFlow 1's bilinear resize of `region`, scaled to [0, 1], to `(height, width)`.
pub(crate) fn resize_bilinear(region: &Region, size: (usize, usize), out: &mut [f32]) {
    float_bilinear::resize(region, Grid::Legacy, &RECIPROCAL_LEVELS, size, out);
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Preset {
    type Err = Error;

    fn from_str(name: &str) -> Result<Preset> {
        Preset::ALL.into_iter().find(|preset| preset.name() == name).ok_or_else(|| {
            let names = Preset::ALL.map(Preset::name).join(", ");
            Error::new(ErrorKind::Argument, "", format!("there is no preset {name:?}"))
                .with_hint(format!("presets are {names}"))
        })
    }
}

/// What TensorFlow and Keras multiply by: not the same as a division by 255, which rounds once.
const RECIPROCAL: f32 = 1.0 / 255.0;

/// The 256 levels of a channel as they are, times 1/255, and divided by 255.
static LEVELS: [f32; 256] = levels(1.0, 1.0);
pub(crate) static RECIPROCAL_LEVELS: [f32; 256] = levels(RECIPROCAL, 1.0);
static QUOTIENT_LEVELS: [f32; 256] = levels(1.0, 255.0);

const fn levels(factor: f32, divisor: f32) -> [f32; 256] {
    let mut table = [0.0; 256];
    let mut level = 0;
    while level < 256 {
        table[level] = level as f32 * factor / divisor;
        level += 1;
    }
    table
}
