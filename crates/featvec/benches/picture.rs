//! From bytes to the network's input: decoding and each preset, of one of the sample photographs.

use divan::Bencher;
use featvec::Preset;
use featvec::image::{DecodeOptions, Rgb8, decode};
use featvec::network::DEFAULT_SIZE;

fn main() {
    divan::main();
}

fn photograph() -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/photos/coffee.jpg");
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
