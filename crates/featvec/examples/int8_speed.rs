use std::num::NonZeroUsize;
use std::time::Instant;
use featvec::Tensor;
use featvec::extractor::{FeatureExtractor, RunOptions};
use featvec::network::{BATCH_NORM_EPSILON, DEFAULT_SIZE, Network, Variant};
use featvec::plan::{Mode, Value};
use featvec::variables::{ConvVariables, Shift, Variables};
use featvec_kernels::Affine;
use std::arch::x86_64::*;
fn numbers(len: usize) -> Vec<f32> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}
fn variables() -> Variables {
    let network = Network { variant: Variant::Slim, classes: None };
    let convs = network.convs().into_iter().map(|conv| {
        let [kh, kw, ic, oc] = conv.shape;
        let scale = (6.0 / (kh * kw * ic) as f32).sqrt();
        ConvVariables { weights: numbers(kh * kw * ic * oc).into_iter().map(|x| x * scale).collect(), shift: Shift::Bias(numbers(oc)) }
    });
    let affine = Affine { scale: [2.0; 3], offset: [-1.0; 3] };
    Variables { network, affine, epsilon: BATCH_NORM_EPSILON, convs: convs.collect(), logits: None }
}
#[target_feature(enable = "avx512f")]
unsafe fn peak(n: usize) -> f64 {
    let t = Instant::now();
    let mut a = [_mm512_set1_ps(1.0); 16];
    let b = std::hint::black_box(_mm512_set1_ps(1.0)); let c = std::hint::black_box(_mm512_set1_ps(1e-9));
    for _ in 0..n { for x in a.iter_mut() { *x = _mm512_fmadd_ps(*x, b, c); } }
    std::hint::black_box(a);
    (n * 16 * 32) as f64 / t.elapsed().as_secs_f64() / 1e9
}
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let (threads, batch, reps): (usize, usize, usize) = (args[1].parse().unwrap(), args[2].parse().unwrap(), args[3].parse().unwrap());
    let options = RunOptions { threads: NonZeroUsize::new(threads), precision: if args.len() > 4 { featvec::plan::Precision::Int8 } else { Default::default() }, ..RunOptions::default() };
    let extractor = FeatureExtractor::new(variables(), &options).unwrap();
    let [h, w] = DEFAULT_SIZE;
    let images = Tensor::new([batch, h, w, 3], numbers(batch * h * w * 3)).unwrap();
    let mut times = vec![]; let mut peaks = vec![];
    for _ in 0..reps {
        peaks.push(unsafe { peak(1_000_00) });
        let t = Instant::now();
        extractor.run(&images, Mode::Inference, &[Value::Features]).unwrap();
        times.push(t.elapsed().as_secs_f64() * 1e3 / batch as f64);
    }
    times.sort_by(f64::total_cmp); peaks.sort_by(f64::total_cmp);
    println!("{threads}T b{batch}: median {:.3} min {:.3} ms/image; peak median {:.1} max {:.1} GF", times[times.len()/2], times[0], peaks[peaks.len()/2], peaks[peaks.len()-1]);
}
