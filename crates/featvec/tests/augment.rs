//! TF-Slim's distortions against what TensorFlow makes of a picture with the same numbers.

mod common;

use featvec::augment::{Colour, Crop, Distortion, Resize};
use featvec::image::Rgb8;

fn numbers(text: &str, separators: &[char]) -> Vec<usize> {
    text.split(separators).map(|number| number.parse().unwrap()).collect()
}

fn colour(text: &str) -> Colour {
    let (name, value) = text.split_once('=').unwrap();
    let value = value.parse().unwrap();
    match name {
        "brightness" => Colour::Brightness(value),
        "saturation" => Colour::Saturation(value),
        "hue" => Colour::Hue(value),
        "contrast" => Colour::Contrast(value),
        other => panic!("{other}"),
    }
}

/// `LEFT,TOP,WxH|RESIZE|FLIP|COLOUR=NUMBER,...|HxW`
fn parse(key: &str) -> (Distortion, (usize, usize)) {
    let [crop, resize, flip, colours, size] = key.split('|').collect::<Vec<_>>().try_into().unwrap();
    let crop = numbers(crop, &[',', 'x']);
    let size = numbers(size, &['x']);
    let distortion = Distortion {
        crop: Crop { origin: (crop[0], crop[1]), size: (crop[2], crop[3]) },
        resize: match resize {
            "bilinear" => Resize::Bilinear,
            "nearest" => Resize::Nearest,
            "bicubic" => Resize::Bicubic,
            "area" => Resize::Area,
            other => panic!("{other}"),
        },
        flip: flip == "1",
        colours: colours.split(',').filter(|colour| !colour.is_empty()).map(colour).collect(),
    };
    (distortion, (size[0], size[1]))
}

#[test]
fn distortions_are_tensorflows() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/augment.npz");
    let mut golden = common::npz(path);
    let (shape, bytes) = golden.remove("source").unwrap();
    let bytes = bytes.iter().map(|&byte| byte as u8).collect();
    let source = Rgb8::from_pixels(shape[1], shape[0], bytes).unwrap();
    assert!(golden.len() >= 30, "{}", golden.len());
    for (key, (_, expected)) in &golden {
        let (distortion, (height, width)) = parse(key);
        let mut out = vec![f32::NAN; expected.len()];
        distortion.apply(&source, (height, width), &mut out);
        let worst = out.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // A few roundings; a hue multiplies them by up to six.
        assert!(worst < 3e-6, "{key}: {worst:e}");
    }
}
