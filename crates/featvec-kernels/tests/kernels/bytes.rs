//! Steps on bytes: bitwise the naive loops over integers, on every instruction set of this machine, at sizes that leave
//! rests in each direction. Steps are powers of two where rounding in the test would otherwise matter.

use featvec_kernels::reference::{self, ConvShape};
use featvec_kernels::{Affine, Branch, Filter, Image, Kernels, Lrn, Map, Padding, Program, Step, Workspace};

use super::support::{Numbers, team};

/// A picture's bytes stand for multiples of 2^-8, of which these are the ones that stand for zero.
const ZERO: [u8; 3] = [123, 117, 0];
const PICTURE_STEP: f32 = 1.0 / 256.0;

fn affine() -> Affine {
    let offset = ZERO.map(|zero| -f32::from(zero) * PICTURE_STEP);
    Affine { scale: [255.0 * PICTURE_STEP; 3], offset }
}

/// A filter that becomes these bytes, since its largest weight is 127 everywhere.
struct Bytes {
    weights: Vec<i8>,
    bias: Vec<i32>,
    shape: [usize; 4],
    floats: (Vec<f32>, Vec<f32>),
    /// What a unit of weight is.
    step: f32,
}

impl Bytes {
    fn new(numbers: &mut Numbers, shape: [usize; 4], input_step: f32) -> Bytes {
        let [kh, kw, ic, oc] = shape;
        let mut weights = numbers.take_bytes(kh * kw * ic * oc, |x| (x as i8).max(-127));
        weights[..oc].fill(127);
        let bias = numbers.take_bytes(oc, |x| (i32::from(x) - 128) * 50);
        let step = 1.0 / 64.0;
        let floats = (
            weights.iter().map(|x| f32::from(*x) * step).collect(),
            bias.iter().map(|x| *x as f32 * step * input_step).collect(),
        );
        Bytes { weights, bias, shape, floats, step }
    }

    fn branch(&self, output: Map) -> Branch<'_> {
        let filter = Filter { weights: &self.floats.0, bias: &self.floats.1, shape: self.shape };
        Branch { filter, output, relu: true }
    }

    fn expect(
        &self,
        (input, zero): (&[u8], &[u8]),
        shape: &ConvShape,
        [input_step, output_step]: [f32; 2],
    ) -> Vec<u8> {
        let factors = vec![self.step * input_step / output_step; self.bias.len()];
        reference::byte_conv(shape, (input, zero), (&self.weights, &self.bias, &factors))
    }
}

/// Runs `program` for a picture and returns what it stores, `lens` elements each.
fn run<const N: usize>(program: &Program, picture: &[u8], lens: [usize; N]) -> [Vec<f32>; N] {
    let picture: Vec<f32> = picture.iter().map(|byte| f32::from(*byte) / 255.0).collect();
    let mut outputs = lens.map(|len| vec![f32::NAN; len]);
    program.run(&team(2), &mut Workspace::new(), &picture, &mut outputs.each_mut().map(Vec::as_mut_slice));
    outputs
}

fn numbers_of(bytes: &[u8], step: f32) -> Vec<f32> {
    bytes.iter().map(|byte| f32::from(*byte) * step).collect()
}

/// A program that lifts a picture to a byte map of `channels`; the map, and its bytes for `picture`.
struct Lifted {
    program: Program,
    map: Map,
    end: usize,
    picture: Vec<u8>,
    bytes: Vec<u8>,
}

/// What a step of the lifted map stands for: most of its bytes are neither 0 nor 255.
const LIFTED_STEP: f32 = 1.0 / 64.0;

fn lifted(kernels: &'static Kernels, [h, w]: [usize; 2], channels: usize, halo: usize) -> Lifted {
    let mut numbers = Numbers(h as u64 * 1000 + channels as u64);
    let lift = Bytes::new(&mut numbers, [1, 1, 3, channels], PICTURE_STEP);
    let image = Image::new(0, h, w, Padding::default()).bytes(&affine());
    let start = image.len().next_multiple_of(16);
    let map = Map::bytes(LIFTED_STEP, start, [channels, h, w], halo);
    let mut program = Program::new(kernels);
    program.push(vec![Step::Convert { image, affine: affine() }]);
    program.push(vec![Step::ConvImage { image, stride: 1, branch: lift.branch(map) }]);
    let picture = numbers.take_bytes(h * w * 3, |x| x);
    let shape = ConvShape { input: [h, w, 3], filter: lift.shape, stride: 1, padding: Padding::default() };
    let bytes = lift.expect((&picture, &ZERO), &shape, [PICTURE_STEP, LIFTED_STEP]);
    Lifted { program, map, end: (start + map.len()).next_multiple_of(16), picture, bytes }
}

#[test]
fn convolutions_of_byte_maps() {
    for kernels in Kernels::present() {
        // height, width, input channels, output channels of two branches, filter size
        for (h, w, ic, oc, size) in [
            (1, 1, 1, [1, 1], 1),
            (7, 7, 24, [48, 17], 1),
            (5, 29, 33, [16, 96], 1),
            (1, 3, 16, [16, 32], 3),
            (14, 14, 16, [64, 24], 3),
            (9, 11, 20, [7, 40], 3),
            (8, 6, 18, [33, 16], 5),
            // Shared out by rows; channels that are gathered apart; more than is gathered at a time.
            (21, 23, 80, [40, 16], 3),
            (20, 40, 150, [33, 16], 1),
            (3, 5000, 40, [16, 16], 3),
        ] {
            // A halo wider than needed.
            let Lifted { mut program, map: input, end, picture, bytes } =
                lifted(kernels, [h, w], ic, size / 2 + ic % 2);
            let step = 0.03 * ((size * size * ic) as f32).sqrt();
            let mut numbers = Numbers(oc[1] as u64);
            let filters = oc.map(|oc| Bytes::new(&mut numbers, [size, size, ic, oc], LIFTED_STEP));
            let first = Map::bytes(step, end, [oc[0], h, w], 1);
            let second = Map::bytes(step, end + first.len().next_multiple_of(16), [oc[1], h, w], 0);
            let branches = vec![filters[0].branch(first), filters[1].branch(second)];
            program.push(vec![Step::Conv { input, branches }]);
            program.push(vec![Step::Store { map: first, output: 0 }, Step::Store { map: second, output: 1 }]);
            let got = run(&program, &picture, oc.map(|oc| h * w * oc));
            let padding = Padding { top: size / 2, left: size / 2, bottom: size / 2, right: size / 2 };
            for (filter, got) in filters.iter().zip(got) {
                let shape = ConvShape { input: [h, w, ic], filter: filter.shape, stride: 1, padding };
                let expected = filter.expect((&bytes, &vec![0; ic]), &shape, [LIFTED_STEP, step]);
                assert!(got == numbers_of(&expected, step), "{kernels:?} {shape:?}");
                let between = expected.iter().filter(|byte| (1..255).contains(*byte)).count();
                assert!(between * 4 > expected.len() || expected.len() < 100, "{shape:?}: {between}");
            }
        }
    }
}

/// A network with an early and a late part, of which the late one runs for groups of images.
#[test]
fn groups_of_images_get_the_bytes_of_single_ones() {
    for kernels in Kernels::present() {
        let ([h, w], c, oc) = ([9, 10], 70, [40, 35]);
        let Lifted { mut program, map: first, end, .. } = lifted(kernels, [h, w], c, 0);
        let late = Map::bytes(LIFTED_STEP, end, [c, h, w], 1);
        let mut numbers = Numbers(4);
        let filters = [3, 1].map(|size| Bytes::new(&mut numbers, [size, size, c, oc[size / 2]], LIFTED_STEP));
        let mut offset = end + late.len().next_multiple_of(16);
        let outputs = oc.map(|oc| {
            let map = Map::bytes(0.2, offset, [oc, h, w], 0);
            offset += map.len().next_multiple_of(16);
            map
        });
        program.push(vec![Step::MaxPool { input: first, output: late, size: 3, stride: 1, before: [1, 1] }]);
        program.split(end);
        let convs = filters.iter().zip([outputs[1], outputs[0]]);
        program.push(
            convs
                .map(|(filter, map)| Step::Conv { input: late, branches: vec![filter.branch(map)] })
                .collect(),
        );
        program.push(
            outputs.iter().enumerate().map(|(output, map)| Step::Store { map: *map, output }).collect(),
        );
        let (picture_len, lens) = (h * w * 3, oc.map(|oc| h * w * oc));
        let pictures = numbers.take_bytes(21 * picture_len, |x| f32::from(x) / 255.0);
        let run = |threads, pictures: &[f32]| {
            let mut got = lens.map(|len| vec![f32::NAN; pictures.len() / picture_len * len]);
            let outputs = &mut got.each_mut().map(Vec::as_mut_slice);
            program.run(&team(threads), &mut Workspace::new(), pictures, outputs);
            got
        };
        let alone: Vec<_> = pictures.chunks_exact(picture_len).map(|picture| run(1, picture)).collect();
        assert!(alone[0].iter().all(|map| map.iter().any(|x| *x > 0.0 && *x < 255.0 * 0.2)));
        for (threads, n) in [(1, 21), (2, 21), (2, 9), (2, 1), (3, 2), (5, 4), (4, 21)] {
            for (index, got) in run(threads, &pictures[..n * picture_len]).iter().enumerate() {
                let expected = alone[..n].iter().flat_map(|maps| &maps[index]);
                assert!(got.iter().eq(expected), "{kernels:?}: {n} images, {threads} threads");
            }
        }
    }
}

#[test]
fn convolutions_of_the_picture_as_bytes() {
    for kernels in Kernels::present() {
        for (h, w, size, stride, oc) in [
            (1, 1, 1, 1, 3),
            (33, 20, 7, 2, 64),
            (12, 31, 3, 2, 17),
            (9, 9, 7, 1, 33),
            (81, 85, 7, 2, 64),
            (2, 1, 7, 2, 16),
            // Of squares: one with a single tap, one with all four, and rows of more than a register.
            (13, 40, 1, 2, 20),
            (12, 15, 2, 2, 9),
            (20, 30, 9, 2, 40),
            (15, 22, 4, 3, 18),
        ] {
            let mut numbers = Numbers(h as u64 + 7);
            let before = (size - 1) / 2;
            let padding = Padding { top: before, left: before, bottom: size / 2, right: size / 2 };
            let shape = ConvShape { input: [h, w, 3], filter: [size, size, 3, oc], stride, padding };
            let [oh, ow, _] = shape.output();
            let image = Image::new(0, h, w, padding).bytes(&affine());
            let step = 0.01 * (size * size) as f32;
            let map = Map::bytes(step, image.len().next_multiple_of(16), [oc, oh, ow], 1);
            let filter = Bytes::new(&mut numbers, shape.filter, PICTURE_STEP);
            let mut program = Program::new(kernels);
            program.push(vec![Step::Convert { image, affine: affine() }]);
            program.push(vec![Step::ConvImage { image, stride, branch: filter.branch(map) }]);
            program.push(vec![Step::Store { map, output: 0 }]);
            let picture = numbers.take_bytes(h * w * 3, |x| x);
            let expected = filter.expect((&picture, &ZERO), &shape, [PICTURE_STEP, step]);
            let [got] = run(&program, &picture, [oh * ow * oc]);
            assert!(got == numbers_of(&expected, step), "{kernels:?} {shape:?}");
        }
    }
}

#[test]
fn max_pools_of_bytes() {
    for kernels in Kernels::present() {
        for ([h, w], c, [size, stride], before, [oh, ow]) in [
            ([14, 15], 20, [3, 2], [0, 1], [7, 8]),
            ([7, 7], 33, [3, 1], [1, 1], [7, 7]),
            ([14, 4], 16, [2, 2], [0, 0], [7, 2]),
            ([13, 1], 5, [3, 2], [1, 1], [7, 1]),
            ([2, 2], 8, [3, 2], [0, 0], [1, 1]),
            // Rows longer than are pooled at a time.
            ([3, 131], 20, [3, 2], [0, 1], [1, 66]),
            ([2, 300], 5, [3, 1], [1, 1], [2, 300]),
            ([5, 200], 16, [1, 150], [0, 0], [1, 2]),
        ] {
            let Lifted { mut program, map: input, end, picture, bytes } = lifted(kernels, [h, w], c, 0);
            let output = Map::bytes(LIFTED_STEP, end, [c, oh, ow], 0);
            program.push(vec![Step::MaxPool { input, output, size, stride, before }]);
            program.push(vec![Step::Store { map: output, output: 0 }]);
            let [got] = run(&program, &picture, [oh * ow * c]);
            let map = numbers_of(&bytes, LIFTED_STEP);
            let expected = reference::max_pool([h, w, c], &map, [size, stride], (before, [oh, ow]));
            assert!(got == expected, "{kernels:?} {h}x{w}x{c} {size}/{stride}");
        }
    }
}

#[test]
fn lrn_and_mean_of_bytes() {
    for kernels in Kernels::present() {
        for ([h, w], c) in [([5, 3], 40), ([1, 1], 3), ([7, 9], 17)] {
            let Lifted { mut program, map: input, end, picture, bytes } = lifted(kernels, [h, w], c, 0);
            let map = numbers_of(&bytes, LIFTED_STEP);
            let lrn = Lrn { size: 5, alpha: 0.5, k: 1.0 };
            let step = 0.013;
            let normed = Map::bytes(step, end, [c, h, w], 1);
            let mean = Map::new(end + normed.len().next_multiple_of(16), kernels.lanes(), [c, 1, 1], 0);
            program.push(vec![
                Step::Lrn { input, output: normed, lrn },
                Step::GlobalMean { input, output: mean },
            ]);
            program.push(vec![Step::Store { map: normed, output: 0 }, Step::Store { map: mean, output: 1 }]);
            let [got, got_mean] = run(&program, &picture, [h * w * c, c]);
            for (got, expected) in got.iter().zip(reference::lrn(c, &map, &lrn)) {
                // Half a step is the rounding to bytes, the rest that of `f32`.
                let error = (f64::from(*got) - expected.min(255.0 * f64::from(step))).abs();
                assert!(error <= 0.501 * f64::from(step), "{kernels:?} {h}x{w}x{c}: {got} for {expected}");
            }
            for (channel, got) in got_mean.iter().enumerate() {
                let values = map[channel..].iter().step_by(c).map(|x| f64::from(*x));
                let expected = values.sum::<f64>() / (h * w) as f64;
                assert!((f64::from(*got) - expected).abs() <= 1e-6 * expected, "{kernels:?} {h}x{w}x{c}");
            }
        }
    }
}

#[test]
fn the_ends_of_the_range_are_cut_off() {
    // A step so small that most sums are far beyond a byte, and some beyond 32 bits.
    for kernels in Kernels::present() {
        let Lifted { mut program, map: input, end, picture, bytes } = lifted(kernels, [4, 4], 16, 0);
        let filter = Bytes::new(&mut Numbers(2), [1, 1, 16, 16], LIFTED_STEP);
        let step = 1e-9;
        let output = Map::bytes(step, end, [16, 4, 4], 0);
        program.push(vec![Step::Conv { input, branches: vec![filter.branch(output)] }]);
        program.push(vec![Step::Store { map: output, output: 0 }]);
        let [got] = run(&program, &picture, [256]);
        let shape =
            ConvShape { input: [4, 4, 16], filter: filter.shape, stride: 1, padding: Padding::default() };
        let expected = filter.expect((&bytes, &[0; 16]), &shape, [LIFTED_STEP, step]);
        assert!(got == numbers_of(&expected, step), "{kernels:?}");
        assert!(expected.contains(&0) && expected.contains(&255));
    }
}

#[test]
#[should_panic(expected = "a convolution from bytes to `f32`")]
fn types_of_numbers_must_fit() {
    let kernels = Kernels::best();
    let Lifted { mut program, map: input, end, .. } = lifted(kernels, [4, 4], 16, 0);
    let filter = Bytes::new(&mut Numbers(2), [1, 1, 16, 16], LIFTED_STEP);
    let output = Map::new(end, kernels.lanes(), [16, 4, 4], 0);
    program.push(vec![Step::Conv { input, branches: vec![filter.branch(output)] }]);
}
