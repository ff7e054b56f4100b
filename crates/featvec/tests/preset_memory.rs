//! What resizing allocates, counted: a picture that is all width or all height must not cost memory beyond its
//! pixels. Alone in its file, as the count is that of the whole process.

use featvec::Preset;
use featvec::image::Rgb8;
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const LENGTH: usize = 1 << 21;

#[test]
fn resizing_takes_less_than_the_picture() {
    let mut out = vec![0.0; 224 * 224 * 3];
    for preset in Preset::ALL {
        for (width, height) in [(LENGTH, 1), (1, LENGTH)] {
            let image = Rgb8::from_pixels(width, height, vec![200; LENGTH * 3]).unwrap();
            ALLOCATED.reset_peak_usage();
            let before = ALLOCATED.current_usage();
            preset.prepare(&image, 224, 224, &mut out);
            let taken = ALLOCATED.peak_usage() - before;
            assert!(taken < LENGTH, "{preset} took {taken} bytes for {width}x{height}");
            assert!(out.iter().all(|value| (value - 200.0 / 255.0).abs() < 1e-6), "{preset}");
        }
    }
}
