//! From bytes to the network's input: decoding and each preset, of one of the sample photographs, or of the one that the
//! environment variable `FEATVEC_BENCH_PHOTOGRAPH` names (12 megapixels show what there is to gain).

use divan::Bencher;
use featvec::Preset;
use featvec::image::{DecodeOptions, Fidelity, Rgb8, decode};
use featvec::network::DEFAULT_SIZE;
use featvec::pictures::Preparation;

fn main() {
    divan::main();
}

fn photograph() -> Vec<u8> {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/photos/coffee.jpg");
    let path = std::env::var_os("FEATVEC_BENCH_PHOTOGRAPH").unwrap_or_else(|| sample.into());
    std::fs::read(path).unwrap()
}

fn decoded() -> Rgb8 {
    decode(&photograph(), &DecodeOptions::default()).unwrap().image
}

#[divan::bench]
fn decode_jpeg(bencher: Bencher<'_, '_>) {
    let bytes = photograph();
    bencher.bench(|| decode(&bytes, &DecodeOptions::default()).unwrap());
}

#[divan::bench(args = Preset::ALL)]
fn prepare(bencher: Bencher<'_, '_>, preset: Preset) {
    let image = decoded();
    let [h, w] = DEFAULT_SIZE;
    let mut out = vec![0.0; h * w * 3];
    bencher.bench_local(|| preset.prepare(&image, h, w, &mut out));
}

/// Both at once, as `embed` does it: only the pixels that the preset reads are decoded.
#[divan::bench(args = Fidelity::ALL)]
fn bytes_to_row(bencher: Bencher<'_, '_>, fidelity: Fidelity) {
    let bytes = photograph();
    let [h, w] = DEFAULT_SIZE;
    let mut preparation = Preparation::new(Preset::default(), [h, w]);
    preparation.decode.fidelity = fidelity;
    let mut out = vec![0.0; h * w * 3];
    bencher.bench_local(|| preparation.prepare_bytes(&bytes, &mut out).unwrap());
}
