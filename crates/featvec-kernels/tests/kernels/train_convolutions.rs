//! Every convolution of training on every instruction set of this machine against the naive loops, at sizes that leave rests
//! in each direction: rows of tiles, vectors of channels, blocks of channels, blocks and parts of pixels, borders.

use featvec_kernels::reference::{self, ConvShape};
use featvec_kernels::train::{Algorithm, Convolution, ImageConvolution, Scratch};
use featvec_kernels::{Affine, Image, Kernels, Maps, Padding, Team};

use super::support::{Numbers, loaded, stored, team};

/// The norm of the difference, relative to that of what is expected.
fn distance(got: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut got.iter().zip(expected).map(|(got, expected)| f64::from(*got) - expected))
        / norm(&mut expected.iter().copied()).max(1e-30)
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
        let input = loaded(kernels, (self.images, [ic, h, w], halo), &self.input);
        let doutput = loaded(kernels, (self.images, [filter[3], h, w], halo), &self.doutput);
        let mut output = Maps::new(kernels, self.images, [filter[3], h, w], 1);
        let mut dinput = Maps::new(kernels, self.images, [ic, h, w], 0);
        convolution.forward(team, scratch, &input, &mut output);
        convolution.backward_input(team, scratch, &doutput, &mut dinput);
        let mut dparts: Vec<_> = self.parts.iter().map(|(_, part)| vec![f32::NAN; part.len()]).collect();
        let mut places: Vec<&mut [f32]> = dparts.iter_mut().map(|part| &mut part[..]).collect();
        convolution.backward_filter(team, scratch, (&input, &doutput), &mut places);
        Results { output: stored(&output), dinput: stored(&dinput), dparts }
    }

    /// What the naive loops make of it.
    fn expect(&self) -> Expected {
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
        let dparts = self.parts.iter().map(|(width, _)| {
            let columns = column..column + width;
            column = columns.end;
            dfilter.chunks(oc).flat_map(|row| &row[columns.clone()]).copied().collect()
        });
        Expected { output, dinput, dparts: dparts.collect() }
    }
}

/// As [`Results`], in `f64`.
struct Expected {
    output: Vec<f64>,
    dinput: Vec<f64>,
    dparts: Vec<Vec<f64>>,
}

impl Expected {
    fn check(&self, results: &Results, tolerance: f64, what: &str) {
        let compare = |name, got: &[f32], expected: &[f64]| {
            let distance = distance(got, expected);
            assert!(distance <= tolerance, "{what}, {name}: {distance:e}");
        };
        compare("output", &results.output, &self.output);
        compare("gradient to the input", &results.dinput, &self.dinput);
        for (got, expected) in results.dparts.iter().zip(&self.dparts) {
            compare("gradient to a filter", got, expected);
        }
    }
}

/// Height and width, size of the filter, input channels, output channels of the parts.
type Shape = ([usize; 2], [usize; 2], usize, &'static [usize]);

const SHAPES: [Shape; 12] = [
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
    for (size, taps, ic, parts) in SHAPES {
        for images in [1, 5] {
            let batch = Batch::new(images, size, (taps, ic, parts));
            let expected = batch.expect();
            for kernels in Kernels::present() {
                for (algorithm, tolerance) in [(Algorithm::Direct, 1e-6), (Algorithm::Winograd, 1e-5)] {
                    let results = batch.run(kernels, algorithm, (&team, &mut scratch));
                    let what = format!("{kernels:?}, {algorithm:?}, {:?}", batch.shape);
                    expected.check(&results, tolerance, &what);
                }
            }
        }
    }
}

#[test]
fn the_convolution_of_the_pictures() {
    let (team, mut scratch) = (team(2), Scratch::new());
    for kernels in Kernels::present() {
        for (images, [h, w], size, stride, oc) in
            [(1, [1, 1], 1, 1, 3), (3, [33, 20], 7, 2, 64), (2, [12, 31], 3, 2, 17), (2, [20, 9], 5, 3, 40)]
        {
            let mut numbers = Numbers(h as u64 + 7);
            let before = (size - 1) / 2;
            let padding = Padding { top: before, left: before, bottom: size / 2, right: size / 2 };
            let shape = ConvShape { input: [h, w, 3], filter: [size, size, 3, oc], stride, padding };
            let affine = Affine { scale: [2.0, 0.5, 4.0], offset: [-1.0, 0.25, 0.0] };
            let image = Image::new(0, h, w, padding);
            let mut convolution = ImageConvolution::new(kernels, (image, affine), shape.filter, stride);
            let [oh, ow, _] = shape.output();
            assert_eq!(convolution.output(), [oc, oh, ow]);
            let weights = numbers.take(size * size * 3 * oc);
            convolution.set_filter(&weights);
            let mut output = Maps::new(kernels, images, [oc, oh, ow], 1);
            // More pictures before leave nothing behind.
            let pictures = numbers.take((images + 1) * h * w * 3);
            let mut before = Maps::new(kernels, images + 1, [oc, oh, ow], 0);
            convolution.forward(&team, &pictures, &mut before);
            let pictures = numbers.take(images * h * w * 3);
            convolution.forward(&team, &pictures, &mut output);
            let gradients = numbers.take(images * oh * ow * oc);
            let doutput = loaded(kernels, (images, [oc, oh, ow], 0), &gradients);
            let mut dfilter = vec![f32::NAN; weights.len()];
            convolution.backward_filter(&team, &mut scratch, &doutput, &mut dfilter);
            let scaled: Vec<f32> = pictures
                .iter()
                .enumerate()
                .map(|(i, x)| x * affine.scale[i % 3] + affine.offset[i % 3])
                .collect();
            let mut expected = Vec::new();
            let mut expected_gradient = vec![0.0; weights.len()];
            let of_images = scaled.chunks(h * w * 3).zip(gradients.chunks(oh * ow * oc));
            for (picture, gradient) in of_images {
                expected.extend(reference::conv(&shape, picture, &weights, &vec![0.0; oc]));
                let gradient = reference::conv_backward_filter(&shape, picture, gradient);
                expected_gradient.iter_mut().zip(gradient).for_each(|(sum, x)| *sum += x);
            }
            let worst = distance(&stored(&output), &expected).max(distance(&dfilter, &expected_gradient));
            assert!(worst <= 1e-6, "{kernels:?} {shape:?}: {worst:e}");
        }
    }
}

#[test]
fn the_same_bits_for_any_team() {
    for kernels in Kernels::present() {
        // Shapes that are shared out by images, by parts of the batch, by panels, and by points.
        for (size, taps, ic, parts) in [
            ([40, 40], [1, 1], 20, &[32, 9][..]),
            ([7, 7], [1, 1], 200, &[112]),
            ([14, 14], [3, 3], 48, &[40]),
            ([9, 9], [5, 5], 16, &[24]),
        ] {
            let batch = Batch::new(7, size, (taps, ic, parts));
            let of_team =
                |threads| batch.run(kernels, Algorithm::Winograd, (&team(threads), &mut Scratch::new()));
            let alone = of_team(1);
            for threads in [2, 3] {
                let results = of_team(threads);
                assert!(results.output == alone.output, "{kernels:?} {:?} output", batch.shape);
                assert!(
                    results.dinput == alone.dinput,
                    "{kernels:?} {:?} gradient to the input",
                    batch.shape
                );
                assert!(
                    results.dparts == alone.dparts,
                    "{kernels:?} {:?} gradient to the filters",
                    batch.shape
                );
            }
        }
    }
}

/// Sums over all tiles of a batch cancel where the numbers do; what is lost must stay far below what is left.
#[test]
fn gradients_by_winograds_algorithm_over_a_large_batch() {
    let (team, mut scratch) = (team(2), Scratch::new());
    let batch = Batch::new(8, [28, 28], ([3, 3], 32, &[32]));
    let results = batch.run(Kernels::best(), Algorithm::Winograd, (&team, &mut scratch));
    batch.expect().check(&results, 2e-6, "a large batch");
}

#[test]
#[should_panic(expected = "a filter ends inside a block that others share")]
fn filters_of_a_convolution_are_whole_blocks() {
    let mut convolution = Convolution::new(Kernels::best(), [1, 1, 8, 40], [4, 4], Algorithm::Direct);
    convolution.set_filter(&team(1), &mut Scratch::new(), &[&[0.0; 64], &[0.0; 256]]);
}

#[test]
#[should_panic(expected = "the halo is too thin")]
fn gradients_need_a_halo() {
    let kernels = Kernels::best();
    let convolution = Convolution::new(kernels, [3, 3, 16, 16], [4, 4], Algorithm::Direct);
    let maps = || Maps::new(kernels, 1, [16, 4, 4], 0);
    convolution.backward_input(&team(1), &mut Scratch::new(), &maps(), &mut maps());
}

#[test]
#[should_panic(expected = "a place beyond the address space")]
fn filters_fit_the_address_space() {
    let many = 1 << (usize::BITS / 2);
    Convolution::new(Kernels::best(), [1, 1, many, many], [1, 1], Algorithm::Direct);
}

#[test]
#[should_panic(expected = "a place beyond the address space")]
fn pictures_fit_the_address_space() {
    // One picture with its padding does, and 32 are so many numbers that they would count as none.
    let [h, w] = [1 << (usize::BITS / 2 - 2), 1 << (usize::BITS / 2 - 3)];
    let padding = Padding { top: h - 1, left: w - 1, ..Padding::default() };
    let affine = Affine { scale: [1.0; 3], offset: [0.0; 3] };
    let kernels = Kernels::best();
    let image = Image::new(0, 1, 1, padding);
    let mut convolution = ImageConvolution::new(kernels, (image, affine), [1, 1, 3, 1], h);
    convolution.forward(&team(1), &[0.0; 3 * 32], &mut Maps::new(kernels, 32, [1, 1, 1], 0));
}

#[test]
#[should_panic(expected = "as many gradients as pictures")]
fn gradients_are_those_of_the_last_pictures() {
    let affine = Affine { scale: [1.0; 3], offset: [0.0; 3] };
    let (kernels, team) = (Kernels::best(), team(1));
    let image = Image::new(0, 2, 2, Padding::default());
    let mut convolution = ImageConvolution::new(kernels, (image, affine), [1, 1, 3, 4], 1);
    let maps = |images| Maps::new(kernels, images, [4, 2, 2], 0);
    for images in [3, 2] {
        convolution.forward(&team, &vec![0.0; images * 12], &mut maps(images));
    }
    convolution.backward_filter(&team, &mut Scratch::new(), &maps(3), &mut [0.0; 12]);
}

#[test]
fn what_is_not_a_number_stays_so() {
    let (team, mut scratch) = (team(1), Scratch::new());
    for kernels in Kernels::present() {
        for algorithm in [Algorithm::Direct, Algorithm::Winograd] {
            let mut convolution = Convolution::new(kernels, [3, 3, 32, 32], [8, 8], algorithm);
            let mut weights = vec![0.5; 9 * 32 * 32];
            weights[7] = f32::NAN;
            convolution.set_filter(&team, &mut scratch, &[&weights]);
            let input = loaded(kernels, (1, [32, 8, 8], 1), &[1.0; 32 * 64]);
            let mut output = Maps::new(kernels, 1, [32, 8, 8], 0);
            convolution.forward(&team, &mut scratch, &input, &mut output);
            assert!(stored(&output)[63 * 32 + 7].is_nan(), "{kernels:?} {algorithm:?}");
        }
        let image = Image::new(0, 2, 2, Padding::default());
        let affine = Affine { scale: [1.0; 3], offset: [0.0; 3] };
        let mut convolution = ImageConvolution::new(kernels, (image, affine), [1, 1, 3, 4], 1);
        convolution.set_filter(&[f32::NAN; 12]);
        let mut output = Maps::new(kernels, 1, [4, 2, 2], 0);
        convolution.forward(&team, &[1.0; 12], &mut output);
        assert!(stored(&output).iter().all(|x| x.is_nan()), "{kernels:?}");
    }
}
