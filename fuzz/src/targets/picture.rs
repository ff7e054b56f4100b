use std::path::Path;

use featvec::image::{DecodeOptions, ExifPolicy, Format, Idct, ImageLimits, decode};

use super::{LIMIT_BYTES, Reached, Target};
use crate::corpus;
use crate::mutate::picture;
use crate::rng::Rng;

/// Pictures of all formats.
pub struct Picture {
    pictures: Vec<Vec<u8>>,
}

impl Picture {
    pub fn new() -> Picture {
        Picture { pictures: corpus::pictures() }
    }
}

impl Target for Picture {
    fn name(&self) -> &'static str {
        "picture"
    }

    fn most_bytes(&self, bytes: &[u8]) -> u64 {
        // The limit covers all that depends on the picture's size; tables of fixed size come on top. WebP's decoder
        // believes a lossy file's 24 bits about the length of a partition, and holds it twice for a moment.
        let believed = if Format::of(bytes) == Some(Format::WebP) { 2 << 24 } else { 0 };
        LIMIT_BYTES + (512 << 10) + believed
    }

    fn mutate(&self, rng: &mut Rng) -> Vec<u8> {
        picture::mutate(&self.pictures[rng.below(self.pictures.len())], rng)
    }

    /// The first check is the magic number: errors of after it name the format.
    fn read(&self, _: &Path, bytes: &[u8], _: &Path) -> Reached {
        let options = DecodeOptions {
            idct: if bytes.len().is_multiple_of(2) { Idct::Fast } else { Idct::Accurate },
            exif: ExifPolicy::Apply,
            limits: ImageLimits { max_pixels: 1 << 17, max_memory_bytes: LIMIT_BYTES },
        };
        Reached::new(&decode(bytes, &options), |error| !error.place().is_empty())
    }
}
