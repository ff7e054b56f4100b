//! Preparing a picture from its bytes, of which only the pixels that are read are decoded, against decoding all of it.

use std::fs;
use std::path::{Path, PathBuf};

use featvec::Preset;
use featvec::image::{self, ExifPolicy, Fidelity, Orientation, Rgb8};
use featvec::pictures::Preparation;
use featvec_jpeg::{Decoder, Options, Scale};

const SIZES: [[usize; 2]; 4] = [[32, 32], [7, 61], [224, 224], [300, 1]];

fn jpegs() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../featvec-jpeg/tests/fixtures");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|e| e == "jpg")).collect()
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images").join(name)).unwrap()
}

fn prepared(preparation: &Preparation, bytes: &[u8]) -> featvec::Result<(Vec<f32>, Orientation)> {
    let [height, width] = preparation.size;
    let mut out = vec![f32::NAN; height * width * 3];
    let orientation = preparation.prepare_bytes(bytes, &mut out)?;
    Ok((out, orientation))
}

/// What all of the picture gives.
fn from_whole(preparation: &Preparation, image: &Rgb8) -> Vec<f32> {
    let [height, width] = preparation.size;
    let mut out = vec![f32::NAN; height * width * 3];
    preparation.preset.prepare(image, height, width, &mut out);
    out
}

#[test]
fn the_result_has_the_bits_of_decoding_everything() {
    for (path, preset, size) in jpegs().iter().flat_map(|path| {
        Preset::ALL.into_iter().flat_map(move |preset| SIZES.map(|size| (path, preset, size)))
    }) {
        let bytes = fs::read(path).unwrap();
        let preparation = Preparation::new(preset, size);
        let name = path.display();
        match image::decode(&bytes, &preparation.decode) {
            Ok(decoded) => {
                let (values, _) = prepared(&preparation, &bytes).unwrap();
                assert!(values == from_whole(&preparation, &decoded.image), "{name}: {preset} at {size:?}");
            }
            Err(error) => {
                let other = prepared(&preparation, &bytes).unwrap_err();
                assert_eq!(other.to_string(), error.to_string(), "{name}: {preset} at {size:?}");
            }
        }
    }
}

#[test]
fn so_it_has_however_the_camera_was_held() {
    let bytes = fixture("orientation6.jpg");
    // The entry of the orientation: its tag, the type of 16 bits, one value.
    let entry = [0x01, 0x12, 0, 3, 0, 0, 0, 1];
    let little_endian = [0x12, 0x01, 3, 0, 1, 0, 0, 0];
    let place = |entry: &[u8]| bytes.windows(8).position(|window| window == entry);
    let at = match (place(&entry), place(&little_endian)) {
        (Some(at), _) => at + 9,
        (None, at) => at.unwrap() + 8,
    };
    assert_eq!(bytes[at], 6);
    for value in 1..=8 {
        let mut turned = bytes.clone();
        turned[at] = value;
        for preset in Preset::ALL {
            let mut preparation = Preparation::new(preset, [3, 4]);
            preparation.decode.exif = ExifPolicy::Apply;
            for fidelity in Fidelity::ALL {
                preparation.decode.fidelity = fidelity;
                let decoded = image::decode(&turned, &preparation.decode).unwrap();
                let (values, orientation) = prepared(&preparation, &turned).unwrap();
                assert_eq!(orientation, decoded.orientation);
                assert_eq!(Some(orientation), Orientation::from_exif(value.into()));
                if fidelity == Fidelity::Exact {
                    assert!(values == from_whole(&preparation, &decoded.image), "{preset}, {value}");
                }
            }
        }
    }
}

#[test]
fn fast_decoding_stops_at_the_smallest_scale_that_is_large_enough() {
    let path = jpegs().into_iter().find(|path| path.ends_with("420.jpg")).unwrap();
    let bytes = fs::read(path).unwrap();
    let decoder = Decoder::new(&bytes).unwrap();
    // The picture has 331x247 pixels; of its quarter, 83x62, slim-eval keeps 73x56.
    for (preset, size, scale) in [
        (Preset::Tf1Retrain, [31, 42], Scale::Eighth),
        (Preset::Tf1Retrain, [32, 42], Scale::Quarter),
        (Preset::Tf2, [31, 43], Scale::Quarter),
        (Preset::SlimEval, [56, 73], Scale::Quarter),
        (Preset::SlimEval, [57, 73], Scale::Half),
        (Preset::KerasPil, [62, 84], Scale::Half),
        (Preset::Opencv, [125, 100], Scale::Full),
        (Preset::Tf1Retrain, [300, 300], Scale::Full),
    ] {
        let mut preparation = Preparation::new(preset, size);
        preparation.decode.fidelity = Fidelity::Fast;
        let options = Options { idct: preparation.decode.idct, scale, ..Options::default() };
        let (width, height) = (scale.of(331), scale.of(247));
        let image = Rgb8::from_pixels(width, height, decoder.decode(&options).unwrap()).unwrap();
        let (values, _) = prepared(&preparation, &bytes).unwrap();
        assert!(values == from_whole(&preparation, &image), "{preset} at {size:?}");
    }
}

#[test]
fn other_formats_are_decoded_exactly() {
    let bytes = fixture("rgb8.png");
    let mut preparation = Preparation::new(Preset::Tf1Retrain, [1, 1]);
    let exact = prepared(&preparation, &bytes).unwrap();
    preparation.decode.fidelity = Fidelity::Fast;
    assert_eq!(prepared(&preparation, &bytes).unwrap(), exact);
}
