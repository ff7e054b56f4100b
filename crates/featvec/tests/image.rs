//! Picture decoding against TensorFlow and Pillow, and against files that are damaged or lie.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use featvec::ErrorKind;
use featvec::image::{self, DecodeOptions, ExifPolicy, Format, ImageLimits, Orientation, Rgb8};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images")
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

/// Every picture of the fixtures, by name.
fn fixtures() -> BTreeMap<String, Vec<u8>> {
    let names = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap()).filter(|name| !name.ends_with(".npz"));
    names.map(|name| (name.clone(), fixture(&name))).collect()
}

fn assert_pixels(name: &str, image: &Rgb8, (shape, expected): &common::Array, tolerance: f32) {
    assert_eq!((image.height(), image.width()), (shape[0], shape[1]), "{name}");
    for (i, (&actual, &expected)) in image.data().iter().zip(expected).enumerate() {
        let difference = (f32::from(actual) - expected).abs();
        assert!(difference <= tolerance, "{name}: byte {i} is {actual}, expected {expected}");
    }
}

#[test]
fn every_way_of_storing_pixels_equals_tensorflow_or_pillow() {
    let expected = common::npz(folder().join("decoded.npz"));
    let fixtures = fixtures();
    assert_eq!(fixtures.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, bytes) in &fixtures {
        let decoded =
            image::decode(bytes, &DecodeOptions::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_pixels(name, &decoded.image, &expected[name], 0.0);
        let extension = Path::new(name).extension().unwrap().to_str().unwrap();
        let format = match extension {
            "jpg" => Format::Jpeg,
            "png" => Format::Png,
            "gif" => Format::Gif,
            "bmp" => Format::Bmp,
            "webp" => Format::WebP,
            "tif" => Format::Tiff,
            other => panic!("{other}"),
        };
        assert_eq!(decoded.format, format, "{name}");
    }
}

#[test]
fn orientations_are_found_and_followed_where_asked() {
    let upright = common::npz(folder().join("upright.npz"));
    let stored = common::npz(folder().join("decoded.npz"));
    assert_eq!(upright.len(), 3 * 8 + 1);
    let apply = DecodeOptions { exif: ExifPolicy::Apply, ..DecodeOptions::default() };
    for (name, expected) in &upright {
        let bytes = fixture(name);
        let value = name.trim_start_matches("orientation").chars().next().unwrap().to_digit(10).unwrap();
        let ignored = image::decode(&bytes, &DecodeOptions::default()).unwrap();
        assert_eq!(Some(ignored.orientation), Orientation::from_exif(value as u16), "{name}");
        assert_pixels(name, &ignored.image, &stored[name], 0.0);
        let applied = image::decode(&bytes, &apply).unwrap();
        assert_eq!(applied.orientation, ignored.orientation, "{name}");
        assert_pixels(name, &applied.image, expected, 0.0);
    }
}

#[test]
fn a_file_without_its_end_is_refused() {
    for (name, bytes) in fixtures() {
        let format = Format::of(&bytes).unwrap();
        let mut decoded = 0;
        for length in 0..bytes.len() {
            match image::decode(&bytes[..length], &DecodeOptions::default()) {
                Ok(_) => decoded += 1,
                Err(error) => assert!(
                    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported),
                    "{name}, first {length} bytes: {error}"
                ),
            }
        }
        // What may be missing unnoticed: a GIF's trailer and later frames (TensorFlow's decoder is as
        // lenient), padding behind a BMP's last row, a TIFF's values that do not matter here.
        match format {
            Format::Png | Format::WebP => assert_eq!(decoded, 0, "{name}"),
            _ => {
                assert!(decoded < bytes.len() / 2, "{name}: {decoded} of {} truncations decoded", bytes.len())
            }
        }
    }
}

/// A generator of bits for mutations, the same on every run (xorshift).
struct Bits(u64);

impl Bits {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// Whatever is done to the bytes, decoding returns, and a picture it returns is one.
#[test]
fn damaged_files_never_panic() {
    let limits = ImageLimits { max_pixels: 1 << 16, max_memory_bytes: 1 << 22 };
    let options = DecodeOptions { limits, exif: ExifPolicy::Apply, ..DecodeOptions::default() };
    let mut bits = Bits(0x9e37_79b9_7f4a_7c15);
    for (name, bytes) in fixtures() {
        for _ in 0..400 {
            let mut damaged = bytes.clone();
            for _ in 0..=bits.below(4) {
                let at = bits.below(damaged.len());
                match bits.below(3) {
                    0 => damaged[at] ^= 1 << bits.below(8),
                    1 => damaged[at] = [0, 1, 0x7f, 0x80, 0xff][bits.below(5)],
                    _ => damaged[at] = bits.below(256) as u8,
                }
            }
            if name.ends_with(".png") {
                repair_checksums(&mut damaged);
            }
            if let Ok(decoded) = image::decode(&damaged, &options) {
                assert!(decoded.image.width() * decoded.image.height() <= 1 << 16, "{name}");
            }
        }
    }
}

/// Makes the CRC of every chunk right again, so that damage gets past it.
fn repair_checksums(png: &mut [u8]) {
    let mut at = 8;
    while let Some(length) = png.get(at..at + 4) {
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        let Some(content) = png.get(at + 4..).and_then(|rest| rest.get(..length + 4)) else { return };
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let Some(stored) = png.get_mut(at + 8 + length..at + 12 + length) else { return };
        stored.copy_from_slice(&crc.sum().to_be_bytes());
        at += 12 + length;
    }
}

#[test]
fn a_png_palette_of_less_than_whole_colours_is_refused() {
    let bytes = fixture("indexed8.png");
    let palette = bytes.windows(4).position(|name| name == b"PLTE").unwrap() - 4;
    let whole = u32::from_be_bytes(bytes[palette..palette + 4].try_into().unwrap()) as usize;
    for length in [4, 5, whole - 1] {
        let mut damaged = bytes.clone();
        damaged[palette..palette + 4].copy_from_slice(&(length as u32).to_be_bytes());
        damaged.drain(palette + 8 + length..palette + 8 + whole);
        repair_checksums(&mut damaged);
        let error = image::decode(&damaged, &DecodeOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.message().contains(&format!("a palette of {length} bytes")), "{error}");
    }
}

#[test]
fn strangers_are_named() {
    let refused = |bytes: &[u8]| {
        let error = image::decode(bytes, &DecodeOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.hint().unwrap().contains("JPEG, PNG, GIF, BMP, WebP and TIFF"));
        error.message().to_string()
    };
    for (bytes, what) in [
        (&b""[..], "empty"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF"),
        (b"<?xml version=\"1.0\"?>\n<svg xmlns=\"x\">", "SVG"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "PDF"),
        (b"<!DOCTYPE html><html><head>", "web page"),
        ("Überschrift\n".as_bytes(), "text"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\x93NUMPY\x01\0", "NumPy"),
        (b"\x01\x02\x03", "01 02 03"),
    ] {
        let message = refused(bytes);
        assert!(message.contains(what), "{message}");
    }
}
