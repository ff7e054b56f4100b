use std::path::Path;

use featvec::Preset;
use featvec::image::{DecodeOptions, ExifPolicy, Fidelity, Format, Idct, ImageLimits, decode};
use featvec::pictures::Preparation;
use featvec_formats::ErrorKind;

use super::{LIMIT_BYTES, Reached, Target};
use crate::corpus;
use crate::mutate::picture;
use crate::rng::Rng;

/// What pictures are prepared for: height and width, and so many values.
const SIZE: [usize; 2] = [5, 7];
const VALUES: [f32; SIZE[0] * SIZE[1] * 3] = [0.0; SIZE[0] * SIZE[1] * 3];

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

    /// The first check is the magic number: errors of after it name the format. Preparing a picture, for which only some
    /// pixels of a JPEG are decoded, must give what decoding all of it gives.
    fn read(&self, _: &Path, bytes: &[u8], _: &Path) -> Reached {
        let options = DecodeOptions {
            idct: if bytes.len().is_multiple_of(2) { Idct::Fast } else { Idct::Accurate },
            fidelity: Fidelity::Exact,
            exif: ExifPolicy::Apply,
            limits: ImageLimits { max_pixels: 1 << 17, max_memory_bytes: LIMIT_BYTES },
        };
        let decoded = decode(bytes, &options);
        for preset in [Preset::Tf1Retrain, Preset::SlimEval, Preset::Opencv] {
            let mut preparation = Preparation { preset, decode: options.clone(), size: SIZE };
            let mut values = VALUES;
            let prepared = preparation.prepare_bytes(bytes, &mut values);
            match &decoded {
                Ok(decoded) => {
                    let mut expected = VALUES;
                    preset.prepare(&decoded.image, SIZE[0], SIZE[1], &mut expected);
                    assert!(prepared.is_ok() && values == expected, "{preset}: other pixels");
                }
                // To prepare a picture may take less memory.
                Err(error) if error.kind() == ErrorKind::Limit => {}
                Err(error) => {
                    let other = prepared.expect_err("what cannot be decoded cannot be prepared");
                    assert_eq!(other.to_string(), error.to_string());
                }
            }
            preparation.decode.fidelity = Fidelity::Fast;
            let _ = preparation.prepare_bytes(bytes, &mut values);
        }
        Reached::new(&decoded, |error| !error.place().is_empty())
    }
}
