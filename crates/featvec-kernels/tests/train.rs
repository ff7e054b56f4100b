//! Every convolution of training on every instruction set of this machine against the naive loops, at sizes that leave rests
//! in each direction: rows of tiles, vectors of channels, blocks of channels, blocks and parts of pixels, borders.

use std::num::NonZeroUsize;

use featvec_kernels::reference::{self, ConvShape};
use featvec_kernels::train::{Algorithm, Convolution, ImageConvolution, Scratch};
use featvec_kernels::{Affine, Image, Kernels, Maps, Padding, Team};

/// Reproducible numbers in [-1, 1), multiples of 2^-12.
struct Numbers(u64);

impl Numbers {
    fn take(&mut self, len: usize) -> Vec<f32> {
        (0..len)
            .map(|_| {
                self.0 =
                    self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((self.0 >> 51) as f32 - 4096.0) / 4096.0
            })
            .collect()
    }
}

fn team(threads: usize) -> Team {
    Team::new(NonZeroUsize::new(threads).unwrap()).unwrap()
}

/// The norm of the difference, relative to that of what is expected.
fn distance(got: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut got.iter().zip(expected).map(|(got, expected)| f64::from(*got) - expected))
        / norm(&mut expected.iter().copied()).max(1e-30)
}

fn maps(kernels: &'static Kernels, shape: [usize; 3], halo: usize, values: &[f32]) -> Maps {
    let mut maps = Maps::new(kernels, values.len() / shape.iter().product::<usize>(), shape, halo);
    maps.load(values);
    maps
}

/// The numbers of all images; the halo must still be zero.
fn stored(maps: &Maps) -> Vec<f32> {
    let mut values = vec![f32::NAN; maps.images() * maps.shape().iter().product::<usize>()];
    maps.store(&mut values);
    values
}

/// What a convolution makes of a batch: output, gradient to the input, gradients to the filters.
struct Results {
    output: Vec<f32>,
    dinput: Vec<f32>,
    dparts: Vec<Vec<f32>>,
}

/// A batch of inputs and gradients, and filters.
struct Batch {
    shape: ConvShape,
    images: usize,
    input: Vec<f32>,
    doutput: Vec<f32>,
    /// Output channels of the filters, and their numbers.
    parts: Vec<(usize, Vec<f32>)>,
}

impl Batch {
    fn new(images: usize, [h, w]: [usize; 2], ([kh, kw], ic, parts): ([usize; 2], usize, &[usize])) -> Batch {
        let mut numbers = Numbers((h * 1000 + w * 100 + ic) as u64);
        let oc = parts.iter().sum();
        let padding = Padding { top: kh / 2, left: kw / 2, bottom: kh / 2, right: kw / 2 };
        Batch {
            shape: ConvShape { input: [h, w, ic], filter: [kh, kw, ic, oc], stride: 1, padding },
            images,
            input: numbers.take(images * h * w * ic),
            doutput: numbers.take(images * h * w * oc),
            parts: parts.iter().map(|oc| (*oc, numbers.take(kh * kw * ic * oc))).collect(),
        }
    }

    fn run(
        &self,
        kernels: &'static Kernels,
        algorithm: Algorithm,
        (team, scratch): (&Team, &mut Scratch),
    ) -> Results {
        let ([h, w, ic], filter) = (self.shape.input, self.shape.filter);
        let halo = filter[0].max(filter[1]) / 2;
        let mut convolution = Convolution::new(kernels, filter, [h, w], algorithm);
        let parts: Vec<&[f32]> = self.parts.iter().map(|(_, weights)| &weights[..]).collect();
        convolution.set_filter(team, scratch, &parts);
        let input = maps(kernels, [ic, h, w], halo, &self.input);
        let doutput = maps(kernels, [filter[3], h, w], halo, &self.doutput);
        let mut output = Maps::new(kernels, self.images, [filter[3], h, w], 1);
        let mut dinput = Maps::new(kernels, self.images, [ic, h, w], 0);
        convolution.forward(team, scratch, &input, &mut output);
        convolution.backward_input(team, scratch, &doutput, &mut dinput);
        let mut dparts: Vec<_> = self.parts.iter().map(|(_, part)| vec![f32::NAN; part.len()]).collect();
        let mut places: Vec<&mut [f32]> = dparts.iter_mut().map(|part| &mut part[..]).collect();
        convolution.backward_filter(team, scratch, (&input, &doutput), &mut places);
        Results { output: stored(&output), dinput: stored(&dinput), dparts }
    }

    /// Compares `results` with the naive loops.
    fn check(&self, results: &Results, tolerance: f64, what: &str) {
        let ([h, w, ic], [kh, kw, _, oc]) = (self.shape.input, self.shape.filter);
        let mut joined = Vec::new();
        for row in 0..kh * kw * ic {
            for (width, part) in &self.parts {
                joined.extend_from_slice(&part[row * width..(row + 1) * width]);
            }
        }
        let (mut output, mut dinput) = (Vec::new(), Vec::new());
        let mut dfilter = vec![0.0; joined.len()];
        for (input, doutput) in self.input.chunks(h * w * ic).zip(self.doutput.chunks(h * w * oc)) {
            output.extend(reference::conv(&self.shape, input, &joined, &vec![0.0; oc]));
            dinput.extend(reference::conv_backward_input(&self.shape, doutput, &joined));
            for (sum, x) in
                dfilter.iter_mut().zip(reference::conv_backward_filter(&self.shape, input, doutput))
            {
                *sum += x;
            }
        }
        let mut column = 0;
        let mut compare = |name, got: &[f32], expected: &[f64]| {
            let distance = distance(got, expected);
            assert!(distance <= tolerance, "{what} {name}: {distance:e}");
        };
        compare("output", &results.output, &output);
        compare("gradient to the input", &results.dinput, &dinput);
        for (width, part) in results.dparts.iter().zip(&self.parts).map(|(dpart, (width, _))| (width, dpart))
        {
            let columns = dfilter.chunks(oc).flat_map(|row| &row[column..column + width]);
            compare("gradient to a filter", part, &columns.copied().collect::<Vec<_>>());
            column += width;
        }
    }
}

/// Height and width, size of the filter, input channels, output channels of the parts.
const SHAPES: [([usize; 2], [usize; 2], usize, &[usize]); 12] = [
    ([1, 1], [1, 1], 1, &[1]),
    ([7, 7], [1, 1], 40, &[48, 16, 24]),
    ([5, 29], [1, 1], 33, &[16, 7]),
    ([1, 3], [3, 3], 16, &[16]),
    ([14, 14], [3, 3], 16, &[64, 24]),
    ([9, 11], [3, 3], 20, &[47]),
    ([8, 6], [5, 5], 18, &[33]),
    ([3, 230], [3, 1], 5, &[20]),
    ([31, 17], [1, 3], 17, &[9]),
    ([8, 9], [3, 3], 32, &[35]),
    ([9, 37], [3, 3], 40, &[32, 34]),
    ([14, 15], [3, 3], 33, &[80]),
];

#[test]
fn convolutions_forward_and_back() {
    let (team, mut scratch) = (team(2), Scratch::new());
    for kernels in Kernels::present() {
        for (size, taps, ic, parts) in SHAPES {
            for images in [1, 5] {
                let batch = Batch::new(images, size, (taps, ic, parts));
                for (algorithm, tolerance) in [(Algorithm::Direct, 1e-6), (Algorithm::Winograd, 1e-5)] {
                    let results = batch.run(kernels, algorithm, (&team, &mut scratch));
                    batch.check(&results, tolerance, &format!("{kernels:?} {algorithm:?} {:?}", batch.shape));
                }
            }
        }
    }
}
