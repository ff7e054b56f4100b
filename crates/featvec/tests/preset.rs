//! The presets against what TensorFlow, Pillow and OpenCV made of the same pictures.

mod common;

use featvec::ErrorKind;
use featvec::image::{self, ExifPolicy, Rgb8};
use featvec::preset::Preset;

fn fixture(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images").join(name)
}

/// Both are the same numbers, bit for bit.
fn assert_identical(name: &str, actual: &[f32], expected: &[f32]) {
    assert_eq!(actual.len(), expected.len(), "{name}");
    let differing = actual.iter().zip(expected).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
    let largest = actual.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert_eq!(differing, 0, "{name}: {differing} of {} values differ, by up to {largest}", actual.len());
}

#[test]
fn awkward_shapes_equal_the_original_libraries() {
    let sources = common::npz(fixture("resized.npz"));
    let expected = common::npz(fixture("presets.npz"));
    assert_eq!(expected.len(), 10 * Preset::ALL.len());
    for (key, (shape, values)) in &expected {
        let mut parts = key.split("__");
        let preset: Preset = parts.next().unwrap().parse().unwrap();
        let (source_shape, bytes) = &sources[parts.next().unwrap()];
        let bytes = bytes.iter().map(|&byte| byte as u8).collect();
        let image = Rgb8::from_pixels(source_shape[1], source_shape[0], bytes).unwrap();
        let mut out = vec![f32::NAN; values.len()];
        preset.prepare(&image, shape[0], shape[1], &mut out);
        assert_identical(key, &out, values);
    }
}

#[test]
fn photographs_equal_the_original_libraries() {
    let Some(golden) = common::shared("reference/golden/presets.npz") else { return };
    let golden = common::npz(golden);
    assert_eq!(golden.len(), 3 * Preset::ALL.len());
    for (key, (shape, values)) in &golden {
        let (preset, file) = key.split_once("__").unwrap();
        let preset: Preset = preset.parse().unwrap();
        let bytes = std::fs::read(common::shared("photos/samples").unwrap().join(file)).unwrap();
        let decoded = image::decode(&bytes, &preset.decode_options()).unwrap();
        let mut out = vec![f32::NAN; values.len()];
        preset.prepare(&decoded.image, shape[0], shape[1], &mut out);
        assert_identical(key, &out, values);
    }
}

/// The inputs that all golden features were made from: BMP and JPEG files through the default preset.
#[test]
fn the_default_preset_gives_the_inputs_of_the_golden_features() {
    let Some(golden) = common::shared("reference/golden") else { return };
    let names = std::fs::read_to_string(golden.join("names.json")).unwrap();
    let files: Vec<&str> = names.split('"').filter(|name| name.contains('.')).collect();
    assert_eq!(files.len(), 6);
    let (shape, inputs) = common::array(&std::fs::read(golden.join("inputs.npy")).unwrap());
    let length = shape[1] * shape[2] * shape[3];
    let preset = Preset::default();
    for (file, expected) in files.iter().zip(inputs.chunks(length)) {
        let bytes = std::fs::read(common::shared("photos/samples").unwrap().join(file)).unwrap();
        let decoded = image::decode(&bytes, &preset.decode_options()).unwrap();
        let mut out = vec![f32::NAN; length];
        preset.prepare(&decoded.image, shape[1], shape[2], &mut out);
        assert_identical(file, &out, expected);
    }
}

/// Pictures so wide or high that their weights are not all kept at once: a ramp must stay one.
#[test]
fn ramps_of_any_length_stay_ramps() {
    const LENGTH: usize = 3_000_017;
    let pixels: Vec<u8> = (0..LENGTH).flat_map(|i| [(i * 256 / LENGTH) as u8; 3]).collect();
    for (width, height) in [(LENGTH, 1), (1, LENGTH)] {
        let image = Rgb8::from_pixels(width, height, pixels.clone()).unwrap();
        let (out_width, out_height) = if width > 1 { (50, 2) } else { (2, 50) };
        let mut out = vec![f32::NAN; 300];
        Preset::KerasPil.prepare(&image, out_height, out_width, &mut out);
        for (i, pixel) in out.as_chunks::<3>().0.iter().enumerate() {
            let place = if width > 1 { i % 50 } else { i / 2 };
            // The outermost windows are cut off, which moves their centres inwards.
            let margin = if [0, 49].contains(&place) { 2.0 } else { 1.0 };
            let expected = (place as f32 + 0.5) / 50.0 * 255.0;
            let off = pixel.map(|value| (value * 255.0 - expected).abs());
            assert!(off.iter().all(|off| *off <= margin), "{width}x{height}, {place}: {pixel:?}");
        }
    }
}

#[test]
fn names_round_trip_and_a_wrong_one_lists_them() {
    for preset in Preset::ALL {
        assert_eq!(preset.name().parse::<Preset>().unwrap(), preset);
        assert!(!preset.description().is_empty() && !preset.description().contains('\n'));
    }
    let error = "tf3".parse::<Preset>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Argument);
    for preset in Preset::ALL {
        assert!(error.to_string().contains(preset.name()), "{error}");
    }
}

#[test]
fn only_opencv_follows_exif() {
    for preset in Preset::ALL {
        let expected = if preset == Preset::Opencv { ExifPolicy::Apply } else { ExifPolicy::Ignore };
        assert_eq!(preset.decode_options().exif, expected, "{preset}");
    }
}

#[test]
fn an_output_without_pixels_is_no_work() {
    let image = Rgb8::from_pixels(1, 1, vec![1, 2, 3]).unwrap();
    for preset in Preset::ALL {
        preset.prepare(&image, 0, 224, &mut []);
    }
}
