//! How pictures are prepared for the network.

use std::num::NonZeroUsize;

use clap::Args;
use featvec::image::{DecodeOptions, ExifPolicy, Fidelity, ImageLimits};
use featvec::module::Notes;
use featvec::pictures::Preparation;
use featvec::{Module, Preset, Result};

use super::{Size, parse_bytes};

/// Options of every command that decodes pictures.
#[derive(Args)]
#[command(next_help_heading = "Pictures")]
pub struct PreparationArgs {
    /// How pictures are resized and scaled: see `featvec presets` [default: as the module was retrained, or tf1-retrain]
    #[arg(long, value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(Preset::ALL.map(Preset::name)))]
    preset: Option<String>,

    /// Height and width to run the network at instead of the module's, at least 32x32
    #[arg(long, value_name = "HxW")]
    pub size: Option<Size>,

    /// What to do about the EXIF orientation [default: ignore, as TensorFlow; apply with the preset opencv]
    #[arg(long, value_enum)]
    exif: Option<Exif>,

    /// Decode all that the preset reads, or, faster, JPEGs of twice the network's size or more at 1/2, 1/4 or 1/8; vectors
    /// then differ (cosine 0.98 for 12 megapixels) [default: as the module was retrained, or exact]
    #[arg(long, value_name = "HOW", value_parser = clap::builder::PossibleValuesParser::new(Fidelity::ALL.map(Fidelity::name)))]
    decode: Option<String>,

    /// Pictures decoded and run at once; more takes more memory [default: 32, fewer of large ones]
    #[arg(long, value_name = "N")]
    batch: Option<NonZeroUsize>,

    /// Refuse pictures of more pixels [default: 256M]
    #[arg(long, value_name = "N", value_parser = parse_bytes)]
    max_pixels: Option<u64>,

    /// Refuse pictures whose decoding takes more bytes [default: 2G]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    max_memory: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Exif {
    /// Leave the pixels as they are stored
    Ignore,
    /// Turn pictures upright
    Apply,
}

/// Without `--batch`, so many pixels go into one: a quarter of a gigabyte of input.
const BATCH_PIXELS: usize = 1 << 24;

impl PreparationArgs {
    /// How many pictures of `size` go through the network at once. But for memory it is of no consequence, except to
    /// graphs that take the statistics of the batch.
    pub fn batch(&self, [height, width]: [usize; 2]) -> NonZeroUsize {
        self.batch.unwrap_or_else(|| {
            let fitting = BATCH_PIXELS / height.saturating_mul(width).max(1);
            NonZeroUsize::new(fitting.min(32)).unwrap_or(NonZeroUsize::MIN)
        })
    }

    /// Whether something is asked for that arrays do not have.
    pub fn is_for_pictures(&self) -> bool {
        self.preset.is_some() || self.exif.is_some() || self.decode.is_some()
    }

    /// How pictures become the input of `module`: as these options say, or else as it was retrained.
    ///
    /// # Errors
    /// A module that does not say which size it expects, and no `--size`; notes in its folder that are damaged.
    pub fn preparation(&self, module: &Module) -> Result<Preparation> {
        let notes = Notes::beside(module)?;
        let preset = match &self.preset {
            Some(name) => name.parse()?,
            None => notes.map_or(Preset::default(), |notes| notes.preset),
        };
        let size = match self.size {
            Some(Size(size)) => size,
            None => module.expected_image_size()?,
        };
        let defaults = preset.decode_options();
        let exif = match self.exif {
            // An orientation noted is one for the preset noted.
            None if self.preset.is_some() => defaults.exif,
            None => notes.map_or(defaults.exif, |notes| notes.exif),
            Some(Exif::Ignore) => ExifPolicy::Ignore,
            Some(Exif::Apply) => ExifPolicy::Apply,
        };
        let fidelity = match &self.decode {
            Some(name) => name.parse()?,
            None => notes.map_or(defaults.fidelity, |notes| notes.fidelity),
        };
        let limits = ImageLimits {
            max_pixels: self.max_pixels.unwrap_or(defaults.limits.max_pixels),
            max_memory_bytes: self.max_memory.unwrap_or(defaults.limits.max_memory_bytes),
        };
        Ok(Preparation { preset, decode: DecodeOptions { exif, fidelity, limits, ..defaults }, size })
    }
}
