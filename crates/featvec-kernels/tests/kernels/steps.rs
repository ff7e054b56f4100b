//! Every step on every instruction set of this machine against the naive loops, at sizes that leave rests in each
//! direction: rows of tiles, vectors of channels, blocks of channels, borders.

use featvec_kernels::reference::{self, ConvShape};
use featvec_kernels::winograd::{TransformedFilter, TransformedMap};
use featvec_kernels::{Affine, Branch, Filter, Image, Kernels, Lrn, Map, Padding, Program, Step, Workspace};

use super::support::{Numbers, team, worst};

const UNCHANGED: Affine = Affine { scale: [1.0; 3], offset: [0.0; 3] };

/// Sums of `depth` products in `f32` in one chain: each addition rounds by at most 2^-24 of a partial sum, and these
/// random partial sums stay below a few times the largest result.
fn tolerance(depth: usize) -> f64 {
    depth as f64 * 2f64.powi(-24) * 2.0
}

/// A convolution that turns a 3-channel picture into a map of `channels`, so that other steps have something to read.
struct Lift {
    weights: Vec<f32>,
    bias: Vec<f32>,
    channels: usize,
}

impl Lift {
    fn new(numbers: &mut Numbers, channels: usize) -> Lift {
        Lift { weights: numbers.take(3 * channels), bias: numbers.take(channels), channels }
    }

    fn branch(&self, output: Map, relu: bool) -> Branch<'_> {
        let filter = Filter { weights: &self.weights, bias: &self.bias, shape: [1, 1, 3, self.channels] };
        Branch { filter, output, relu }
    }

    fn expect(&self, picture: &[f32], [h, w]: [usize; 2]) -> Vec<f32> {
        let filter = [1, 1, 3, self.channels];
        let shape = ConvShape { input: [h, w, 3], filter, stride: 1, padding: Padding::default() };
        reference::conv(&shape, picture, &self.weights, &self.bias).iter().map(|x| *x as f32).collect()
    }
}

/// Starts a program with a picture of `size` lifted to a map; returns both and the first free element.
fn lifted(
    kernels: &'static Kernels,
    lift: &Lift,
    ([h, w], halo): ([usize; 2], usize),
) -> (Program, Map, usize) {
    let image = Image::new(0, h, w, Padding::default());
    let start = image.len().next_multiple_of(16);
    let map = Map::new(start, kernels.lanes(), [lift.channels, h, w], halo);
    let mut program = Program::new(kernels);
    program.push(vec![Step::Convert { image, affine: UNCHANGED }]);
    program.push(vec![Step::ConvImage { image, stride: 1, branch: lift.branch(map, false) }]);
    (program, map, (start + map.len()).next_multiple_of(16))
}

fn run(program: &Program, threads: usize, pictures: &[f32], output_len: usize) -> Vec<f32> {
    let mut output = vec![f32::NAN; output_len];
    program.run(&team(threads), &mut Workspace::new(), pictures, &mut [&mut output]);
    output
}

#[test]
fn convolutions_of_maps() {
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
        ] {
            let mut numbers = Numbers(h as u64 * 1000 + oc[1] as u64);
            let lift = Lift::new(&mut numbers, ic);
            let (mut program, input, end) = lifted(kernels, &lift, ([h, w], size / 2));
            let filters: Vec<_> = oc
                .map(|oc| (numbers.take(size * size * ic * oc), numbers.take(oc), [size, size, ic, oc]))
                .into();
            let mut offset = end;
            let branches: Vec<_> = filters
                .iter()
                .enumerate()
                .map(|(index, (weights, bias, shape))| {
                    let output = Map::new(offset, kernels.lanes(), [shape[3], h, w], index);
                    offset += output.len().next_multiple_of(16);
                    Branch { filter: Filter { weights, bias, shape: *shape }, output, relu: index == 0 }
                })
                .collect();
            let outputs: Vec<_> = branches.iter().map(|branch| branch.output).collect();
            program.push(vec![Step::Conv { input, branches }]);
            program.push(
                outputs.iter().enumerate().map(|(output, map)| Step::Store { map: *map, output }).collect(),
            );
            let picture = numbers.take(h * w * 3);
            let mut results = oc.map(|oc| vec![f32::NAN; h * w * oc]);
            let [first, second] = &mut results;
            program.run(&team(2), &mut Workspace::new(), &picture, &mut [first, second]);
            let map = lift.expect(&picture, [h, w]);
            let pad = size / 2;
            let padding = Padding { top: pad, left: pad, bottom: pad, right: pad };
            for (index, (weights, bias, filter)) in filters.iter().enumerate() {
                let shape = ConvShape { input: [h, w, ic], filter: *filter, stride: 1, padding };
                let mut expected = reference::conv(&shape, &map, weights, bias);
                if index == 0 {
                    expected.iter_mut().for_each(|x| *x = x.max(0.0));
                }
                let worst = worst(&results[index], &expected);
                let depth = size * size * ic;
                assert!(worst <= tolerance(depth + 4), "{kernels:?} {shape:?}: {worst:e}");
            }
        }
    }
}

/// Winograd's sums are of the same products, but of numbers up to 15 times as large, which cancel.
fn winograd_tolerance(depth: usize) -> f64 {
    tolerance(depth + 4) * 15.0
}

#[test]
fn convolutions_by_winograds_algorithm() {
    for kernels in Kernels::present() {
        // Maps that end inside a tile, at its end, and before the first is full; one tile and more than are held at a
        // time; rests of blocks and of panels.
        for (h, w, ic, oc) in [
            (1, 1, 16, 16),
            (7, 7, 24, 48),
            (8, 12, 33, 40),
            (3, 29, 20, 7),
            (37, 38, 16, 72),
            (14, 14, 96, 33),
        ] {
            let mut numbers = Numbers(h as u64 * 77 + oc as u64);
            let lift = Lift::new(&mut numbers, ic);
            let (mut program, input, end) = lifted(kernels, &lift, ([h, w], 1));
            let output = Map::new(end, kernels.lanes(), [oc, h, w], 2);
            let mut offset = (end + output.len()).next_multiple_of(16);
            let (weights, bias) = (numbers.take(9 * ic * oc), numbers.take(oc));
            let shape = ConvShape {
                input: [h, w, ic],
                filter: [3, 3, ic, oc],
                stride: 1,
                padding: Padding { top: 1, left: 1, bottom: 1, right: 1 },
            };
            let filter = Filter { weights: &weights, bias: &bias, shape: shape.filter };
            let filter = TransformedFilter::new(kernels, filter);
            // The first row of tiles apart from the others.
            let rows = TransformedMap::rows_of(h);
            for rows in [0..1, 1..rows] {
                if !rows.is_empty() {
                    let tiles = TransformedMap::new(offset, input, rows, 1);
                    offset += tiles.len().next_multiple_of(16);
                    program.push(vec![Step::WinogradInput { input, tiles: tiles.clone() }]);
                    let filter = filter.clone();
                    program.push(vec![Step::WinogradOutput { tiles, filter, output, relu: true }]);
                }
            }
            program.push(vec![Step::Store { map: output, output: 0 }]);
            let pictures = numbers.take(3 * h * w * 3);
            let got = run(&program, 2, &pictures, 3 * h * w * oc);
            let expected: Vec<f64> = pictures
                .chunks_exact(h * w * 3)
                .flat_map(|picture| reference::conv(&shape, &lift.expect(picture, [h, w]), &weights, &bias))
                .map(|x| x.max(0.0))
                .collect();
            let worst = worst(&got, &expected);
            assert!(worst <= winograd_tolerance(9 * ic), "{kernels:?} {shape:?}: {worst:e}");
        }
    }
}

/// A network with an early and a late part: a transformed map of a group lies in the early part.
#[test]
fn groups_of_images_get_the_bits_of_single_ones() {
    for kernels in Kernels::present() {
        let mut numbers = Numbers(21);
        let ([h, w], c, oc) = ([9, 10], 20, 35);
        let lift = Lift::new(&mut numbers, c);
        let (mut program, first, end) = lifted(kernels, &lift, ([h, w], 1));
        let rows = 0..TransformedMap::rows_of(h);
        let tiles = TransformedMap::new(end, first, rows, Program::GROUP);
        let split = (end + tiles.len()).next_multiple_of(16);
        let late = Map::new(split, kernels.lanes(), [c, h, w], 1);
        let output = Map::new((split + late.len()).next_multiple_of(16), kernels.lanes(), [oc, h, w], 0);
        let pool = Step::MaxPool { input: first, output: late, size: 3, stride: 1, before: [1, 1] };
        program.push(vec![pool]);
        program.split(split);
        let (weights, bias) = (numbers.take(9 * c * oc), numbers.take(oc));
        let filter = Filter { weights: &weights, bias: &bias, shape: [3, 3, c, oc] };
        let filter = TransformedFilter::new(kernels, filter);
        program.push(vec![Step::WinogradInput { input: late, tiles: tiles.clone() }]);
        program.push(vec![Step::WinogradOutput { tiles, filter, output, relu: false }]);
        program.push(vec![Step::Store { map: output, output: 0 }]);
        let (picture_len, map_len) = (h * w * 3, h * w * oc);
        let pictures = numbers.take(23 * picture_len);
        let alone: Vec<f32> = pictures
            .chunks_exact(picture_len)
            .flat_map(|picture| run(&program, 1, picture, map_len))
            .collect();
        let shape = ConvShape {
            input: [h, w, c],
            filter: [3, 3, c, oc],
            stride: 1,
            padding: Padding { top: 1, left: 1, bottom: 1, right: 1 },
        };
        let map = lift.expect(&pictures[..picture_len], [h, w]);
        let map = reference::max_pool([h, w, c], &map, [3, 1], ([1, 1], [h, w]));
        let worst = worst(&alone[..map_len], &reference::conv(&shape, &map, &weights, &bias));
        assert!(worst <= winograd_tolerance(9 * c), "{kernels:?}: {worst:e}");
        for (threads, n) in
            [(1, 23), (2, 23), (2, 10), (2, 1), (3, 1), (4, 1), (4, 21), (5, 1), (3, 5), (5, 4), (4, 23)]
        {
            let mut workspace = Workspace::new();
            for _ in 0..2 {
                let mut got = vec![f32::NAN; n * map_len];
                program.run(&team(threads), &mut workspace, &pictures[..n * picture_len], &mut [&mut got]);
                assert!(got == alone[..n * map_len], "{kernels:?}: {n} images, {threads} threads");
            }
        }
    }
}

/// Convolves a picture, scaled, by the step that `step` makes of its filter and output: the worst error against the naive
/// loops, of results of which the negative ones are zero where `relu` is set.
fn error_of_picture(
    kernels: &'static Kernels,
    (image, shape): (Image, &ConvShape),
    relu: bool,
    step: impl for<'a> FnOnce(Filter<'a>, Map) -> Step<'a>,
) -> f64 {
    let ([h, w, _], [_, _, _, oc], [oh, ow, _]) = (shape.input, shape.filter, shape.output());
    let mut numbers = Numbers(h as u64 + 5 * w as u64);
    let output = Map::new(image.len().next_multiple_of(16), kernels.lanes(), [oc, oh, ow], 1);
    let (weights, bias) = (numbers.take(shape.filter.iter().product()), numbers.take(oc));
    let filter = Filter { weights: &weights, bias: &bias, shape: shape.filter };
    let affine = Affine { scale: [2.0, 0.5, 4.0], offset: [-1.0, 0.25, 0.0] };
    let mut program = Program::new(kernels);
    program.push(vec![Step::Convert { image, affine }]);
    program.push(vec![step(filter, output)]);
    program.push(vec![Step::Store { map: output, output: 0 }]);
    let picture = numbers.take(h * w * 3);
    let got = run(&program, 2, &picture, oh * ow * oc);
    let scale = |(i, x): (usize, &f32)| x * affine.scale[i % 3] + affine.offset[i % 3];
    let scaled: Vec<f32> = picture.iter().enumerate().map(scale).collect();
    let mut expected = reference::conv(shape, &scaled, &weights, &bias);
    if relu {
        expected.iter_mut().for_each(|x| *x = x.max(0.0));
    }
    worst(&got, &expected)
}

#[test]
fn convolutions_of_the_picture() {
    for kernels in Kernels::present() {
        for (h, w, size, stride, oc) in
            [(1, 1, 1, 1, 3), (33, 20, 7, 2, 64), (12, 31, 3, 2, 17), (9, 9, 7, 1, 33)]
        {
            let before = (size - 1) / 2;
            let padding = Padding { top: before, left: before, bottom: size / 2, right: size / 2 };
            let shape = ConvShape { input: [h, w, 3], filter: [size, size, 3, oc], stride, padding };
            let image = Image::new(0, h, w, padding);
            let error = error_of_picture(kernels, (image, &shape), false, |filter, output| Step::ConvImage {
                image,
                stride,
                branch: Branch { filter, output, relu: false },
            });
            assert!(error <= tolerance(size * size * 3), "{kernels:?} {shape:?}: {error:e}");
        }
    }
}

#[test]
fn convolutions_of_the_picture_by_winograds_algorithm() {
    for kernels in Kernels::present() {
        // Even and odd sizes of TensorFlow's padding and of Caffe's, so that the picture begins at either pixel of a
        // square and ends at either; outputs that end inside a tile and at its end; a single pixel; more tiles than are
        // held at a time.
        for (h, w, before, after, oc) in [
            (224, 20, [2, 2], [3, 3], 64),
            (33, 32, [3, 2], [3, 3], 33),
            (31, 47, [3, 3], [3, 3], 7),
            (1, 2, [3, 3], [3, 2], 16),
            (36, 1, [3, 3], [2, 3], 50),
            (14, 18, [3, 3], [3, 3], 16),
            (9, 601, [3, 3], [3, 3], 40),
        ] {
            let padding = Padding { top: before[0], left: before[1], bottom: after[0], right: after[1] };
            let shape = ConvShape { input: [h, w, 3], filter: [7, 7, 3, oc], stride: 2, padding };
            let image = Image::new(0, h, w, padding).squares();
            let error = error_of_picture(kernels, (image, &shape), true, |filter, output| {
                let filter = TransformedFilter::of_image(kernels, filter);
                Step::WinogradImage { image, filter, output, relu: true }
            });
            assert!(error <= winograd_tolerance(7 * 7 * 3), "{kernels:?} {shape:?}: {error:e}");
        }
    }
}

#[test]
fn pictures_in_squares_get_the_bits_of_single_ones() {
    for kernels in Kernels::present() {
        let mut numbers = Numbers(31);
        let (weights, bias) = (numbers.take(7 * 7 * 3 * 40), numbers.take(40));
        let filter = Filter { weights: &weights, bias: &bias, shape: [7, 7, 3, 40] };
        let filter = TransformedFilter::of_image(kernels, filter);
        let program = |[h, w]: [usize; 2]| {
            let padding = Padding { top: 3, left: 3, bottom: 3, right: 3 };
            let image = Image::new(0, h, w, padding).squares();
            let start = image.len().next_multiple_of(16);
            let output = Map::new(start, kernels.lanes(), [40, h.div_ceil(2), w.div_ceil(2)], 0);
            let mut program = Program::new(kernels);
            program.push(vec![Step::Convert { image, affine: UNCHANGED }]);
            program.push(vec![Step::WinogradImage { image, filter: filter.clone(), output, relu: false }]);
            program.push(vec![Step::Store { map: output, output: 0 }]);
            program
        };
        // The other program leaves numbers where this one has padding.
        let (this, other) = (program([31, 26]), program([40, 33]));
        let (picture_len, map_len) = (31 * 26 * 3, 16 * 13 * 40);
        let pictures = numbers.take(9 * picture_len);
        let alone: Vec<f32> =
            pictures.chunks_exact(picture_len).flat_map(|picture| run(&this, 1, picture, map_len)).collect();
        for (threads, n) in [(1, 9), (2, 1), (2, 9), (3, 2), (4, 9)] {
            let (mut workspace, team) = (Workspace::new(), team(threads));
            let (from, mut to) = (numbers.take(40 * 33 * 3), vec![0.0; 20 * 17 * 40]);
            other.run(&team, &mut workspace, &from, &mut [&mut to]);
            let mut got = vec![f32::NAN; n * map_len];
            this.run(&team, &mut workspace, &pictures[..n * picture_len], &mut [&mut got]);
            assert!(got == alone[..n * map_len], "{kernels:?}: {n} images, {threads} threads");
        }
    }
}

#[test]
fn max_pools_leave_out_what_is_not_there() {
    for kernels in Kernels::present() {
        // size, stride, rows and columns before, output size: SAME, Caffe's rounding up, and an odd one out
        for ([h, w], c, [size, stride], before, [oh, ow]) in [
            ([14, 15], 20, [3, 2], [0, 1], [7, 8]),
            ([7, 7], 33, [3, 1], [1, 1], [7, 7]),
            ([14, 4], 16, [2, 2], [0, 0], [7, 2]),
            ([13, 1], 5, [3, 2], [1, 1], [7, 1]),
            ([2, 2], 8, [3, 2], [0, 0], [1, 1]),
        ] {
            let mut numbers = Numbers(3 + h as u64);
            let lift = Lift::new(&mut numbers, c);
            let (mut program, input, end) = lifted(kernels, &lift, ([h, w], 0));
            let output = Map::new(end, kernels.lanes(), [c, oh, ow], 0);
            program.push(vec![Step::MaxPool { input, output, size, stride, before }]);
            program.push(vec![Step::Store { map: output, output: 0 }]);
            // Half of the values are negative: a zero that leaked in from outside would win somewhere.
            let picture = numbers.take(h * w * 3);
            let got = run(&program, 2, &picture, oh * ow * c);
            let map = lift.expect(&picture, [h, w]);
            let expected = reference::max_pool([h, w, c], &map, [size, stride], (before, [oh, ow]));
            let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
            let worst = worst(&got, &expected);
            assert!(worst <= tolerance(4), "{kernels:?} {h}x{w}x{c} {size}/{stride}: {worst:e}");
        }
    }
}

#[test]
fn lrn_mean_and_batch_norm() {
    for kernels in Kernels::present() {
        for ([h, w], c) in [([5, 3], 40), ([1, 1], 3), ([7, 9], 17)] {
            let mut numbers = Numbers(11 + c as u64);
            let lift = Lift::new(&mut numbers, c);
            let pictures = numbers.take(3 * h * w * 3);
            let picture = &pictures[..h * w * 3];
            let map = lift.expect(picture, [h, w]);

            let lrn = Lrn { size: 5, alpha: 0.5, k: 1.0 };
            let (mut program, input, end) = lifted(kernels, &lift, ([h, w], 1));
            let output = Map::new(end, kernels.lanes(), [c, h, w], 0);
            program.push(vec![Step::Lrn { input, output, lrn }]);
            program.push(vec![Step::Store { map: output, output: 0 }]);
            let worst_lrn = worst(&run(&program, 2, picture, h * w * c), &reference::lrn(c, &map, &lrn));
            assert!(worst_lrn <= tolerance(16), "{kernels:?} lrn {h}x{w}x{c}: {worst_lrn:e}");

            let (mut program, input, end) = lifted(kernels, &lift, ([h, w], 0));
            let output = Map::new(end, kernels.lanes(), [c, 1, 1], 0);
            program.push(vec![Step::GlobalMean { input, output }]);
            program.push(vec![Step::Store { map: output, output: 0 }]);
            let mean = |channel: usize| map[channel..].iter().step_by(c).map(|x| f64::from(*x)).sum::<f64>();
            let expected: Vec<f64> = (0..c).map(|channel| mean(channel) / (h * w) as f64).collect();
            let worst_mean = worst(&run(&program, 2, picture, c), &expected);
            assert!(worst_mean <= tolerance(h + w + 8), "{kernels:?} mean {h}x{w}x{c}: {worst_mean:e}");

            let beta = numbers.take(c);
            let (mut program, input, _) = lifted(kernels, &lift, ([h, w], 1));
            program.push(vec![Step::BatchNorm { map: input, beta: &beta, epsilon: 0.01 }]);
            program.push(vec![Step::Store { map: input, output: 0 }]);
            assert_eq!(program.workspace_bytes(3, 2), program.workspace_bytes(1, 2).map(|bytes| 3 * bytes));
            let maps: Vec<f32> =
                pictures.chunks_exact(h * w * 3).flat_map(|picture| lift.expect(picture, [h, w])).collect();
            let expected = reference::batch_norm_relu(&maps, &beta, 0.01);
            let worst_norm = worst(&run(&program, 2, &pictures, 3 * h * w * c), &expected);
            // Dividing by a small deviation magnifies the rounding of the map.
            assert!(worst_norm <= tolerance(64), "{kernels:?} batch norm {h}x{w}x{c}: {worst_norm:e}");
        }
    }
}

#[test]
fn the_same_bits_for_any_batch_and_any_team() {
    for kernels in Kernels::present() {
        let mut numbers = Numbers(5);
        let ([h, w], c) = ([13, 17], 40);
        let lift = Lift::new(&mut numbers, c);
        let (mut program, input, end) = lifted(kernels, &lift, ([h, w], 1));
        let output = Map::new(end, kernels.lanes(), [72, h, w], 0);
        let (weights, bias) = (numbers.take(9 * c * 72), numbers.take(72));
        let filter = Filter { weights: &weights, bias: &bias, shape: [3, 3, c, 72] };
        program.push(vec![Step::Conv { input, branches: vec![Branch { filter, output, relu: true }] }]);
        program.push(vec![Step::Store { map: output, output: 0 }]);
        let (picture_len, map_len) = (h * w * 3, h * w * 72);
        let pictures = numbers.take(7 * picture_len);
        let expected = run(&program, 1, &pictures, 7 * map_len);
        for threads in [2, 3, 5] {
            for n in [0, 1, 2, 6, 7] {
                let got = run(&program, threads, &pictures[..n * picture_len], n * map_len);
                assert!(got == expected[..n * map_len], "{kernels:?}: {n} images, {threads} threads");
            }
        }
    }
}

#[test]
fn a_workspace_passed_from_program_to_program_keeps_halos_zero() {
    let kernels = Kernels::best();
    let mut numbers = Numbers(9);
    let c = 16;
    let lift = Lift::new(&mut numbers, c);
    let (weights, bias) = (numbers.take(9 * c * c), numbers.take(c));
    let program = |size: [usize; 2]| {
        let (mut program, input, end) = lifted(kernels, &lift, (size, 1));
        let output = Map::new(end, kernels.lanes(), [c, size[0], size[1]], 0);
        let filter = Filter { weights: &weights, bias: &bias, shape: [3, 3, c, c] };
        program.push(vec![Step::Conv { input, branches: vec![Branch { filter, output, relu: false }] }]);
        program.push(vec![Step::Store { map: output, output: 0 }]);
        program
    };
    let (small, large) = (program([5, 4]), program([9, 8]));
    let (small_picture, large_picture) = (numbers.take(5 * 4 * 3), numbers.take(9 * 8 * 3));
    let alone = run(&small, 1, &small_picture, 5 * 4 * c);
    let (mut workspace, team) = (Workspace::new(), team(1));
    let mut got = vec![0.0; 5 * 4 * c];
    large.run(&team, &mut workspace, &large_picture, &mut [&mut vec![0.0; 9 * 8 * c]]);
    small.run(&team, &mut workspace, &small_picture, &mut [&mut got]);
    assert!(got == alone);
}

#[test]
#[should_panic(expected = "two steps write one place")]
fn steps_of_a_phase_must_be_independent() {
    let kernels = Kernels::best();
    let lift = Lift::new(&mut Numbers(1), 8);
    let (mut program, input, end) = lifted(kernels, &lift, ([4, 4], 0));
    let output = Map::new(end, kernels.lanes(), [8, 4, 4], 0);
    let pool = Step::MaxPool { input, output, size: 3, stride: 1, before: [1, 1] };
    program.push(vec![pool.clone(), pool]);
}

#[test]
#[should_panic(expected = "two steps write one place")]
fn branches_of_a_step_must_be_independent() {
    let kernels = Kernels::best();
    let lift = Lift::new(&mut Numbers(1), 8);
    let (mut program, input, end) = lifted(kernels, &lift, ([4, 4], 0));
    let output = Map::new(end, kernels.lanes(), [8, 4, 4], 0);
    let (weights, bias) = (vec![0.0; 64], vec![0.0; 8]);
    let filter = Filter { weights: &weights, bias: &bias, shape: [1, 1, 8, 8] };
    let branch = Branch { filter, output, relu: true };
    program.push(vec![Step::Conv { input, branches: vec![branch, branch] }]);
}

#[test]
#[should_panic(expected = "two steps store to one output")]
fn an_output_is_stored_to_once() {
    let kernels = Kernels::best();
    let lift = Lift::new(&mut Numbers(1), 8);
    let (mut program, input, _) = lifted(kernels, &lift, ([4, 4], 0));
    program.push(vec![Step::Store { map: input, output: 0 }]);
    program.push(vec![Step::Store { map: input.slice(0, 8), output: 0 }]);
}

#[test]
#[should_panic(expected = "a transformed map without room for a group")]
fn late_maps_are_transformed_for_a_group() {
    let kernels = Kernels::best();
    let lift = Lift::new(&mut Numbers(1), 8);
    let (mut program, input, end) = lifted(kernels, &lift, ([4, 4], 1));
    let tiles = TransformedMap::new(end, input, 0..1, Program::GROUP - 1);
    program.split((end + tiles.len()).next_multiple_of(16));
    program.push(vec![Step::WinogradInput { input, tiles }]);
}

#[test]
#[should_panic(expected = "a place on the wrong side of the split")]
fn late_phases_leave_early_maps_alone() {
    let kernels = Kernels::best();
    let lift = Lift::new(&mut Numbers(1), 8);
    let (mut program, input, end) = lifted(kernels, &lift, ([4, 4], 0));
    program.split(end);
    program.push(vec![Step::Store { map: input, output: 0 }]);
}

#[test]
#[should_panic(expected = "a place on the wrong side of the split")]
fn early_maps_are_transformed_into_the_early_part() {
    let kernels = Kernels::best();
    let lift = Lift::new(&mut Numbers(1), 8);
    let (mut program, input, end) = lifted(kernels, &lift, ([4, 4], 1));
    let tiles = TransformedMap::new(end, input, 0..1, 1);
    program.push(vec![Step::WinogradInput { input, tiles }]);
    program.split(end);
}

#[test]
fn only_few_members_have_an_early_part_each() {
    let kernels = Kernels::best();
    let lift = Lift::new(&mut Numbers(1), 8);
    let (mut program, input, end) = lifted(kernels, &lift, ([40, 40], 1));
    let tiles = TransformedMap::new(end, input, 0..10, 1);
    program.push(vec![Step::WinogradInput { input, tiles: tiles.clone() }]);
    let parts = |members| {
        let scratch = program.workspace_bytes(members, members).unwrap() / members;
        program.workspace_bytes(1, members).unwrap() / scratch
    };
    assert_eq!([parts(1), parts(4), parts(5)], [1, 4, 1]);
}

#[test]
#[should_panic(expected = "a map that no late phase transformed")]
fn late_products_are_of_maps_transformed_for_the_group() {
    let kernels = Kernels::best();
    let lift = Lift::new(&mut Numbers(1), 8);
    let (mut program, input, end) = lifted(kernels, &lift, ([4, 4], 1));
    let tiles = TransformedMap::new(end, input, 0..1, Program::GROUP);
    program.push(vec![Step::WinogradInput { input, tiles: tiles.clone() }]);
    let split = (end + tiles.len()).next_multiple_of(16);
    program.split(split);
    let (weights, bias) = (vec![0.0; 9 * 64], vec![0.0; 8]);
    let filter = Filter { weights: &weights, bias: &bias, shape: [3, 3, 8, 8] };
    let filter = TransformedFilter::new(kernels, filter);
    let output = Map::new(split, kernels.lanes(), [8, 4, 4], 0);
    program.push(vec![Step::WinogradOutput { tiles, filter, output, relu: true }]);
}

/// A program with the first convolution of a picture of 9x9 pixels, whose output has `output` rows.
fn image_products(image: Image, output: usize) {
    let kernels = Kernels::best();
    let map = Map::new(image.len().next_multiple_of(16), kernels.lanes(), [32, output, 5], 0);
    let (weights, bias) = (vec![0.0; 7 * 7 * 3 * 32], vec![0.0; 32]);
    let filter = Filter { weights: &weights, bias: &bias, shape: [7, 7, 3, 32] };
    let filter = TransformedFilter::of_image(kernels, filter);
    Program::new(kernels).push(vec![Step::WinogradImage { image, filter, output: map, relu: true }]);
}

#[test]
fn pictures_have_as_much_padding_as_the_output_reads() {
    let padding = Padding { top: 3, left: 3, bottom: 3, right: 3 };
    image_products(Image::new(0, 9, 9, padding).squares(), 5);
}

#[test]
#[should_panic(expected = "the picture's padding is too thin")]
fn outputs_that_read_beyond_the_padding_are_refused() {
    let padding = Padding { top: 3, left: 3, bottom: 3, right: 3 };
    image_products(Image::new(0, 9, 9, padding).squares(), 6);
}

#[test]
#[should_panic(expected = "a picture in squares, where single pixels are expected")]
fn pictures_in_squares_are_not_convolved_directly() {
    let kernels = Kernels::best();
    let image = Image::new(0, 4, 4, Padding::default()).squares();
    let output = Map::new(256, kernels.lanes(), [8, 4, 4], 0);
    let filter = Filter { weights: &[0.0; 24], bias: &[0.0; 8], shape: [1, 1, 3, 8] };
    let branch = Branch { filter, output, relu: true };
    Program::new(kernels).push(vec![Step::ConvImage { image, stride: 1, branch }]);
}

#[test]
#[should_panic(expected = "a picture that does not lie in squares")]
fn pictures_to_be_transformed_lie_in_squares() {
    let padding = Padding { top: 3, left: 3, bottom: 3, right: 3 };
    image_products(Image::new(0, 9, 9, padding), 5);
}

#[test]
#[should_panic(expected = "bytes where `f32` are expected")]
fn maps_of_bytes_are_not_transformed() {
    TransformedMap::new(0, Map::bytes(0.5, 0, [16, 4, 4], 1), 0..1, 1);
}

#[test]
#[should_panic(expected = "a filter packed for another instruction set")]
fn filters_are_transformed_for_one_instruction_set() {
    let mut present = Kernels::present();
    let (kernels, other) = (present.next().unwrap(), present.last());
    // A machine that has portable kernels only has no other filter to give.
    let other = other.expect("a filter packed for another instruction set");
    let (mut program, input, end) = lifted(other, &Lift::new(&mut Numbers(1), 16), ([4, 4], 1));
    let tiles = TransformedMap::new(end, input, 0..1, 1);
    let output = Map::new((end + tiles.len()).next_multiple_of(16), other.lanes(), [16, 4, 4], 0);
    let filter = Filter { weights: &[0.0; 9 * 256], bias: &[0.0; 16], shape: [3, 3, 16, 16] };
    let filter = TransformedFilter::new(kernels, filter);
    program.push(vec![Step::WinogradInput { input, tiles: tiles.clone() }]);
    program.push(vec![Step::WinogradOutput { tiles, filter, output, relu: true }]);
}

#[test]
fn places_that_cannot_be_are_refused() {
    fn refused<T>(make: impl FnOnce() -> T + std::panic::UnwindSafe) -> bool {
        std::panic::catch_unwind(make).is_err()
    }
    assert!(refused(|| Map::new(0, 16, [8, usize::MAX / 16 + 1, 1], 0)));
    assert!(refused(|| Map::new(usize::MAX - 8, 16, [8, 4, 4], 0)));
    assert!(refused(|| Map::new(0, 16, [8, 4, 4], usize::MAX / 2)));
    assert!(refused(|| Map::new(0, 16, [32, 4, 4], 0).slice(16, usize::MAX - 8)));
    assert!(refused(|| Map::new(0, 16, [32, 4, 4], 0).slice(16, 0)));
    let wide = Padding { left: usize::MAX, ..Padding::default() };
    assert!(refused(|| Image::new(0, 4, 4, wide)));
    let long = Image::new(0, 1, 1 << 59, Padding::default());
    assert!(refused(|| long.squares()));
    for kernels in Kernels::present() {
        for (shape, image) in [
            ([0, 1, 3, 16], Image::new(0, 8, 8, Padding::default())),
            ([1, 0, 3, 16], Image::new(0, 8, 8, Padding::default()).bytes(&UNCHANGED)),
            ([0, 0, 3, 16], Image::new(0, 8, 8, Padding::default()).bytes(&UNCHANGED)),
        ] {
            let (floats, bytes) =
                (Map::new(256, kernels.lanes(), [16, 2, 2], 0), Map::bytes(0.5, 256, [16, 2, 2], 0));
            for (output, stride) in [(floats, 1), (bytes, 1), (floats, 2), (bytes, 2)] {
                let filter = Filter { weights: &[], bias: &[0.0; 16], shape };
                let branch = Branch { filter, output, relu: true };
                assert!(refused(|| Program::new(kernels).push(vec![Step::ConvImage {
                    image,
                    stride,
                    branch
                }])));
            }
        }
    }
    assert!(refused(|| {
        let kernels = Kernels::best();
        let (mut program, input, end) = lifted(kernels, &Lift::new(&mut Numbers(1), 8), ([4, 4], 0));
        let output = Map::new(end, kernels.lanes(), [8, 4, 4], 0);
        // Three strides wrap to 2.
        let stride = usize::MAX / 3 + 1;
        program.push(vec![Step::MaxPool { input, output, size: 3, stride, before: [1, 1] }]);
    }));
    let stride = Image::new(0, 9, 9, Padding::default());
    assert!(refused(|| {
        let kernels = Kernels::best();
        let output = Map::new(256, kernels.lanes(), [8, 9, 9], 0);
        let filter = Filter { weights: &[0.0; 24], bias: &[0.0; 8], shape: [1, 1, 3, 8] };
        let branch = Branch { filter, output, relu: true };
        Program::new(kernels).push(vec![Step::ConvImage { image: stride, stride: 1 << 61, branch }]);
    }));
}
