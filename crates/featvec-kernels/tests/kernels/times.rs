//! What a program tells about its steps and their times.

use std::time::{Duration, Instant};

use featvec_kernels::winograd::TransformedFilter;
use featvec_kernels::{Affine, Branch, Filter, Image, Kernels, Map, Padding, Program, Step, Workspace};

use super::support::team;

const SIZE: usize = 24;

/// A picture, two convolutions of it side by side as far as the steps allow, and a pool.
fn program(kernels: &'static Kernels) -> Program {
    let image = Image::new(0, SIZE, SIZE, Padding::default());
    let mut end = image.len().next_multiple_of(16);
    let mut map = |c, h, halo| {
        let map = Map::new(end, kernels.lanes(), [c, h, h], halo);
        end = (end + map.len()).next_multiple_of(16);
        map
    };
    let (lifted, wide, narrow) = (map(16, SIZE, 1), map(32, SIZE, 0), map(16, SIZE, 0));
    let pooled = map(32, SIZE / 2, 0);
    let weights = vec![0.5; 3 * 3 * 16 * 32];
    let bias = [0.0; 32];
    let branch = |shape: [usize; 4], output| {
        let weights = &weights[..shape.iter().product()];
        Branch { filter: Filter { weights, bias: &bias[..shape[3]], shape }, output, relu: true }
    };
    let mut program = Program::new(kernels);
    program.push(vec![Step::Convert { image, affine: Affine { scale: [1.0; 3], offset: [0.0; 3] } }]);
    program.push(vec![Step::ConvImage { image, stride: 1, branch: branch([1, 1, 3, 16], lifted) }]);
    let branches = vec![branch([3, 3, 16, 32], wide), branch([3, 3, 16, 16], narrow)];
    program.push(vec![Step::Conv { input: lifted, branches }]);
    let pool = Step::MaxPool { input: wide, output: pooled, size: 3, stride: 2, before: [0, 0] };
    program.push(vec![pool, Step::Store { map: narrow, output: 0 }]);
    program
}

#[test]
fn steps_are_described_by_their_shapes() {
    for kernels in Kernels::present() {
        let program = program(kernels);
        let steps = program.steps();
        let problems: Vec<_> = steps.iter().map(|step| (step.phase, step.problem.as_str())).collect();
        let expected = [
            (0, "ic3ih24iw24"),
            (1, "ic3ih24iw24_oc16kh1kw1_sh1sw1"),
            (2, "ic16ih24iw24_oc48kh3kw3_sh1sw1"),
            (3, "ic32ih24iw24_kh3kw3_sh2sw2"),
            (3, "ic16ih24iw24"),
        ];
        assert_eq!(problems, expected);
        let pixels = SIZE * SIZE;
        let multiply_adds: Vec<_> = steps.iter().map(|step| step.multiply_adds).collect();
        assert_eq!(multiply_adds, [0, pixels * 3 * 16, pixels * 9 * 16 * 48, 0, 0]);
        assert_eq!([steps[0].kernel, steps[3].kernel, steps[4].kernel], ["convert", "max_pool", "store"]);
    }
}

#[test]
fn a_transformed_convolution_of_the_picture_counts_as_a_direct_one() {
    let kernels = Kernels::best();
    let image = Image::new(0, 20, 24, Padding { top: 3, left: 3, bottom: 3, right: 3 }).squares();
    let (weights, bias) = (vec![0.0; 7 * 7 * 3 * 32], vec![0.0; 32]);
    let filter = Filter { weights: &weights, bias: &bias, shape: [7, 7, 3, 32] };
    let filter = TransformedFilter::of_image(kernels, filter);
    let output = Map::new(image.len().next_multiple_of(16), kernels.lanes(), [32, 10, 12], 0);
    let mut program = Program::new(kernels);
    program.push(vec![Step::WinogradImage { image, filter, output, relu: true }]);
    let step = &program.steps()[0];
    assert_eq!([step.problem.as_str(), step.kernel], ["ic3ih20iw24_oc32kh7kw7_sh2sw2", "winograd_4x4_4x4"]);
    assert_eq!(step.multiply_adds, 10 * 12 * 7 * 7 * 3 * 32);
}

#[test]
fn every_step_has_a_time_where_times_are_wanted() {
    let program = program(Kernels::best());
    // More images than threads, fewer, and a rest.
    for (threads, n) in [(1, 1), (1, 4), (2, 1), (2, 5)] {
        let pictures = vec![1.0; n * SIZE * SIZE * 3];
        let mut stored = vec![0.0; n * SIZE * SIZE * 16];
        let (team, mut workspace) = (team(threads), Workspace::new());
        program.run(&team, &mut workspace, &pictures, &mut [&mut stored]);
        assert_eq!(workspace.step_times().count(), 0);

        workspace.time_steps(true);
        let start = Instant::now();
        program.run(&team, &mut workspace, &pictures, &mut [&mut stored]);
        let whole = start.elapsed();
        let times: Vec<_> = workspace.step_times().collect();
        assert_eq!(times.len(), program.steps().len());
        // Of several threads the others may have done all of a step before the first looked.
        assert!(threads > 1 || times.iter().all(|time| !time.is_zero()), "{times:?} for {n} images");
        assert!(times.iter().sum::<Duration>() <= whole);

        workspace.time_steps(false);
        program.run(&team, &mut workspace, &pictures, &mut [&mut stored]);
        assert_eq!(workspace.step_times().count(), 0);
    }
}

#[test]
fn every_instruction_set_has_a_peak() {
    for kernels in Kernels::present() {
        let flops = kernels.peak_flops(&team(2), Duration::from_millis(1));
        // The slowest machine that this could run on does more than this, and none more than a petaflop a second.
        assert!(flops > 1e6 && flops < 1e15, "{kernels:?}: {flops:e}");
    }
}
