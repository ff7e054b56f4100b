//! What decoding allocates, counted: headers that lie about the size must not cost memory. Alone in its file,
//! as the count is that of the whole process.

use std::path::Path;

use featvec::ErrorKind;
use featvec::image::{self, DecodeOptions, ExifPolicy, ImageLimits};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// The same in either byte order: no test here depends on what the sides are, only on how large.
const HUGE: [u8; 4] = [0x70; 4];

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images").join(name)).unwrap()
}

/// A fixture with other bytes at some places.
fn patched(name: &str, patches: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = fixture(name);
    for (at, patch) in patches {
        bytes[*at..at + patch.len()].copy_from_slice(patch);
    }
    bytes
}

/// A PNG whose header claims these sides.
fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = patched("rgb8.png", &[(16, &width.to_be_bytes()), (20, &height.to_be_bytes())]);
    let mut crc = flate2::Crc::new();
    crc.update(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    bytes
}

/// A TIFF whose tags for width and height (256 and 257) claim as much as fits.
fn tiff() -> Vec<u8> {
    let mut bytes = fixture("rgb8.tif");
    let directory = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
    let (entries, _) = bytes[directory + 2..].as_chunks_mut::<12>();
    for entry in entries.iter_mut().take(2) {
        assert!(matches!(entry[..2], [0 | 1, 1]), "width and height come first");
        entry[2..].copy_from_slice(&[4, 0, 1, 0, 0, 0, 0x70, 0x70, 0x70, 0x70]);
    }
    bytes
}

/// A JPEG whose frame header claims sides of 28 784.
fn jpeg() -> Vec<u8> {
    let mut bytes = fixture("orientation6.jpg");
    let frame = bytes.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    bytes[frame + 5..frame + 9].copy_from_slice(&HUGE);
    bytes
}

/// Decodes and returns the error, if any, and the most bytes that were held at once.
fn measured(bytes: &[u8], options: &DecodeOptions) -> (Option<featvec::Error>, usize) {
    ALLOCATED.reset_peak_usage();
    let before = ALLOCATED.current_usage();
    let error = image::decode(bytes, options).err();
    (error, ALLOCATED.peak_usage() - before)
}

#[test]
fn memory_stays_within_the_limits() {
    let lies = [
        ("PNG", png(60_000, 60_000)),
        ("PNG beyond the memory alone", png(16_000, 16_700)),
        ("GIF", patched("whole.gif", &[(30, &HUGE)])),
        ("BMP", patched("rgb24.bmp", &[(18, &HUGE)])),
        ("BMP, rows", patched("rgb24.bmp", &[(22, &i32::MIN.to_le_bytes())])),
        ("BMP, runs", patched("runs8.bmp", &[(18, &HUGE), (22, &HUGE)])),
        ("WebP, lossy", patched("lossy.webp", &[(26, &[0xff; 4])])),
        ("WebP, lossless", patched("lossless.webp", &[(21, &[0xff, 0xff, 0xff, 0x0f])])),
        ("TIFF", tiff()),
        ("JPEG", jpeg()),
    ];
    let options = DecodeOptions {
        limits: ImageLimits { max_memory_bytes: 1 << 30, ..ImageLimits::default() },
        exif: ExifPolicy::Apply,
        ..DecodeOptions::default()
    };
    for (name, bytes) in &lies {
        let (error, peak) = measured(bytes, &options);
        let error = error.unwrap_or_else(|| panic!("{name} was decoded"));
        assert_eq!(error.kind(), ErrorKind::Limit, "{name}: {error}");
        assert!(error.hint().unwrap().contains("--max-"), "{name}: {error}");
        assert!(peak < 1 << 20, "{name}: {peak} bytes for {} of file", bytes.len());
    }

    // Honest pictures at the edge of the limit: what is counted as needed is what is used.
    let bytes = fixture("rgb8.png");
    let exact =
        DecodeOptions { limits: ImageLimits { max_pixels: 5 * 7, ..options.limits }, ..options.clone() };
    assert!(measured(&bytes, &exact).0.is_none());
    let less = DecodeOptions { limits: ImageLimits { max_pixels: 5 * 7 - 1, ..options.limits }, ..options };
    assert_eq!(measured(&bytes, &less).0.unwrap().kind(), ErrorKind::Limit);

    // A size that the limits allow, but no data behind it: at most what the limit says.
    let limits = ImageLimits { max_memory_bytes: 16 << 20, ..ImageLimits::default() };
    let options = DecodeOptions { limits, ..DecodeOptions::default() };
    let (error, peak) = measured(&png(1500, 1500), &options);
    assert_eq!(error.unwrap().kind(), ErrorKind::Corrupt);
    assert!(peak <= 16 << 20, "{peak}");
}
