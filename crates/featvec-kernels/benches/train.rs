//! The convolutions of a training step at the shapes of Inception V1, each way in milliseconds for the batch and in per cent of
//! the processor's peak, counted as direct convolution. What is measured takes turns with the peak, and the fastest turn
//! counts: `cargo bench -p featvec-kernels --bench train -- [threads [images [turns]]] [kernels] [part of a name]`.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use featvec_kernels::train::{Algorithm, Convolution, ImageConvolution, Scratch};
use featvec_kernels::{Affine, Image, Kernels, Maps, Padding, Team};

/// Height and width, size of the filter, input channels, output channels of the filters that read the same maps.
const SHAPES: &[(usize, usize, usize, &[usize])] = &[
    (56, 1, 64, &[64]),
    (56, 3, 64, &[192]),
    (28, 1, 192, &[64, 96, 16]),
    (28, 3, 96, &[128]),
    (28, 3, 16, &[32]),
    (28, 1, 192, &[32]),
    (28, 1, 256, &[128, 128, 32]),
    (28, 3, 128, &[192]),
    (28, 3, 32, &[96]),
    (28, 1, 256, &[64]),
    (14, 1, 480, &[192, 96, 16]),
    (14, 3, 96, &[208]),
    (14, 3, 16, &[48]),
    (14, 1, 480, &[64]),
    (14, 1, 512, &[160, 112, 24]),
    (14, 3, 112, &[224]),
    (14, 3, 24, &[64]),
    (14, 1, 512, &[64]),
    (14, 1, 512, &[128, 128, 24]),
    (14, 3, 128, &[256]),
    (14, 3, 24, &[64]),
    (14, 1, 512, &[64]),
    (14, 1, 512, &[112, 144, 32]),
    (14, 3, 144, &[288]),
    (14, 3, 32, &[64]),
    (14, 1, 512, &[64]),
    (14, 1, 528, &[256, 160, 32]),
    (14, 3, 160, &[320]),
    (14, 3, 32, &[128]),
    (14, 1, 528, &[128]),
    (7, 1, 832, &[256, 160, 32]),
    (7, 3, 160, &[320]),
    (7, 3, 32, &[128]),
    (7, 1, 832, &[128]),
    (7, 1, 832, &[384, 192, 48]),
    (7, 3, 192, &[384]),
    (7, 3, 48, &[128]),
    (7, 1, 832, &[128]),
];

/// What is measured of a convolution.
const COLUMNS: [&str; 4] = ["pack", "forward", "to input", "to filter"];

struct Bench {
    kernels: &'static Kernels,
    team: Team,
    turns: usize,
    /// Seconds of all shapes, and their multiply-adds.
    totals: [(f64, f64); COLUMNS.len()],
}

impl Bench {
    /// The fastest of some turns, in seconds, and the best peak beside them.
    fn time(&self, work: &mut dyn FnMut()) -> (f64, f64) {
        let (mut seconds, mut peak) = (f64::MAX, 0f64);
        for _ in 0..self.turns {
            let start = Instant::now();
            work();
            seconds = seconds.min(start.elapsed().as_secs_f64());
            peak = peak.max(self.kernels.peak_flops(&self.team, Duration::from_millis(2)));
        }
        (seconds, peak)
    }

    fn row(&mut self, name: &str, multiply_adds: f64, times: [Option<(f64, f64)>; COLUMNS.len()]) {
        print!("{name:32}");
        for ((index, time), total) in times.into_iter().enumerate().zip(&mut self.totals) {
            let Some((seconds, peak)) = time else {
                print!("{:22}", "");
                continue;
            };
            print!(" {:9.2} ms", 1e3 * seconds);
            if index > 0 {
                print!(" {:5.1} %  ", 200.0 * multiply_adds / seconds / peak);
            }
            total.0 += seconds;
            total.1 += multiply_adds / peak * 2.0;
        }
        println!();
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let numbers: Vec<usize> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    let named =
        Kernels::present().find(|kernels| arguments.iter().any(|argument| argument == kernels.name()));
    let kernels = named.unwrap_or_else(Kernels::best);
    let wanted =
        arguments.iter().find(|argument| argument.parse::<usize>().is_err() && *argument != kernels.name());
    let wanted = |name: &str| wanted.is_none_or(|part| name.contains(part));
    let get = |index: usize, default| numbers.get(index).copied().unwrap_or(default);
    let (threads, images, turns) = (get(0, 2), get(1, 32), get(2, 5));
    let team = Team::new(NonZeroUsize::new(threads).expect("threads")).expect("threads");
    let mut bench = Bench { kernels, team, turns, totals: [(0.0, 0.0); COLUMNS.len()] };
    println!("{kernels:?}, {threads} threads, {images} images");
    println!("{:32} {:>12} {:>21} {:>21} {:>21}", "", COLUMNS[0], COLUMNS[1], COLUMNS[2], COLUMNS[3]);
    let mut scratch = Scratch::new();
    let noise =
        |len: usize| -> Vec<f32> { (0..len).map(|i| ((i * 7919) % 1013) as f32 / 506.5 - 1.0).collect() };

    let name = "ic3ih224_oc64kh7_sh2";
    if wanted(name) {
        let padding = Padding { top: 2, left: 2, bottom: 3, right: 3 };
        let affine = Affine { scale: [2.0; 3], offset: [-1.0; 3] };
        let image = Image::new(0, 224, 224, padding);
        let mut stem = ImageConvolution::new(kernels, (image, affine), [7, 7, 3, 64], 2);
        let (pictures, weights) = (noise(images * 224 * 224 * 3), noise(7 * 7 * 3 * 64));
        stem.set_filter(&weights);
        let mut output = Maps::new(kernels, images, stem.output(), 0);
        let mut dfilter = weights;
        let forward = bench.time(&mut || stem.forward(&bench.team, &pictures, &mut output));
        let to_filter =
            bench.time(&mut || stem.backward_filter(&bench.team, &mut scratch, &output, &mut dfilter));
        let multiply_adds = (images * 7 * 7 * 3 * 64 * 112 * 112) as f64;
        bench.row(name, multiply_adds, [None, Some(forward), None, Some(to_filter)]);
    }

    for (size, k, ic, parts) in SHAPES {
        let (size, k, ic, oc) = (*size, *k, *ic, parts.iter().sum());
        let name = format!("ic{ic}ih{size}_oc{oc}kh{k}");
        if !wanted(&name) {
            continue;
        }
        let mut convolution = Convolution::new(kernels, [k, k, ic, oc], [size, size], Algorithm::Winograd);
        let mut filters: Vec<_> = parts.iter().map(|oc| noise(k * k * ic * oc)).collect();
        let mut input = Maps::new(kernels, images, [ic, size, size], k / 2);
        let mut output = Maps::new(kernels, images, [oc, size, size], k / 2);
        input.load(&noise(images * size * size * ic));
        output.load(&noise(images * size * size * oc));
        let (team, scratch) = (&bench.team, &mut scratch);
        let filter_parts: Vec<_> = filters.iter().map(|filter| &filter[..]).collect();
        let pack = bench.time(&mut || convolution.set_filter(team, scratch, &filter_parts));
        let to_input = {
            let mut dinput = Maps::new(kernels, images, [ic, size, size], 0);
            bench.time(&mut || convolution.backward_input(team, scratch, &output, &mut dinput))
        };
        let mut dparts: Vec<_> = filters.iter_mut().map(|filter| &mut filter[..]).collect();
        let to_filter =
            bench.time(&mut || convolution.backward_filter(team, scratch, (&input, &output), &mut dparts));
        let forward = bench.time(&mut || convolution.forward(team, scratch, &input, &mut output));
        let multiply_adds = (images * k * k * ic * oc * size * size) as f64;
        bench.row(&name, multiply_adds, [pack, forward, to_input, to_filter].map(Some));
    }
    println!();
    for (name, (seconds, at_peak)) in COLUMNS.iter().zip(bench.totals) {
        println!("{name:12} {:8.1} ms, {:6.1} % of the peak", 1e3 * seconds, 100.0 * at_peak / seconds);
    }
    let seconds: f64 = bench.totals.iter().map(|(seconds, _)| seconds).sum();
    println!("{:12} {:8.1} ms", "together", 1e3 * seconds);
}
