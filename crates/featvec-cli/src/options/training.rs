//! How a network is trained, for the commands that train it.

use featvec::Preset;
use featvec::augment::Augmentation;
use featvec::train::BatchNorm;

/// How training pictures are varied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Augment {
    /// TF-Slim's distortions as it trains by default
    #[default]
    Fast,
    /// TF-Slim's distortions in full: hue, contrast and four ways to resize too
    Full,
    /// None: as pictures are prepared for a network in use
    None,
}

impl Augment {
    /// The same for the library; `preset` is how pictures are prepared where they are not varied.
    pub fn augmentation(self, preset: Preset) -> Augmentation {
        match self {
            Augment::Fast => Augmentation::Fast,
            Augment::Full => Augmentation::Full,
            Augment::None => Augmentation::Preset(preset),
        }
    }
}

/// What batch normalisation normalises by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum BatchNormKind {
    /// The statistics of each batch
    #[default]
    Batch,
    /// The moving averages, which stay as they are
    Frozen,
}

impl BatchNormKind {
    /// The same for the library; moving averages keep `decay` at each step.
    pub fn with(self, decay: f32) -> BatchNorm {
        match self {
            BatchNormKind::Batch => BatchNorm::Batch { decay: Some(decay) },
            BatchNormKind::Frozen => BatchNorm::Frozen,
        }
    }
}
