//! The layers of training beside convolutions on every instruction set of this machine: against the naive loops, whose
//! gradients are compared with finite differences, and the same bits for any number of members.

use featvec_kernels::train::{
    Normal, Statistics, global_mean, global_mean_backward, lrn, lrn_backward, max_pool, max_pool_backward,
    max_pool_backward_overwrite, moments, normalize, normalize_backward,
};
use featvec_kernels::{Kernels, Lrn, Maps, Pool, Team, reference};

use super::support::{Numbers, loaded, stored, team, worst, worst_of};

/// Images, shape and halo: rests of blocks, one pixel, strips of several rows and several of them, blocks of a batch that
/// fit the cache and that do not, by one image and by several at a time.
const BATCHES: [(usize, [usize; 3], usize); 6] = [
    (3, [40, 5, 3], 1),
    (9, [3, 1, 1], 0),
    (2, [17, 7, 9], 2),
    (1, [16, 3, 150], 0),
    (11, [33, 60, 50], 1),
    (40, [20, 20, 18], 1),
];

const EPSILON: f32 = 0.001;

/// What a handful of roundings to `f32` can do.
const TOLERANCE: f64 = 8.0 / (1 << 23) as f64;

fn len([c, h, w]: [usize; 3]) -> usize {
    c * h * w
}

/// Mean, `1 / sqrt(variance + epsilon)` of maps.
fn statistics(team: &Team, x: &Maps) -> [Vec<f32>; 2] {
    let moments = moments(team, x);
    let rstd = moments.variance.iter().map(|variance| 1.0 / (variance + EPSILON).sqrt()).collect();
    [moments.mean, rstd]
}

#[test]
fn moments_are_right_where_the_mean_is_far_from_zero() {
    for kernels in Kernels::present() {
        for batch @ (images, shape, _) in BATCHES {
            let mut values = Numbers(1).take(images * len(shape));
            for (index, value) in values.iter_mut().enumerate() {
                *value += 100.0 * (index % shape[0]) as f32;
            }
            let got = moments(&team(2), &loaded(kernels, batch, &values));
            let [mean, variance] = reference::moments(&values, shape[0]);
            let errors = [worst(&got.mean, &mean), worst(&got.variance, &variance)];
            // Here the mean is up to 7000 deviations, and what it loses of them in `f32` is lost.
            assert!(errors[0] <= 2f64.powi(-23) && errors[1] <= 1e-6, "{kernels:?} {batch:?}: {errors:?}");
        }
    }
}

#[test]
fn normalization_and_its_gradient() {
    for kernels in Kernels::present() {
        for batch @ (images, shape, halo) in BATCHES {
            let mut numbers = Numbers(2 + images as u64);
            let [values, dy] = [(); 2].map(|()| numbers.take(images * len(shape)));
            let beta = numbers.take(shape[0]);
            let run = |members| {
                let team = team(members);
                let mut x = loaded(kernels, batch, &values);
                let [mean, rstd] = statistics(&team, &x);
                let scale = Normal { mean: &mean, rstd: &rstd, beta: &beta };
                let mut y = Maps::new(kernels, images, shape, 1 - halo.min(1));
                normalize(&team, &x, 0..shape[0], &scale, (&mut y, 0));
                let dy = loaded(kernels, (images, shape, 0), &dy);
                let dbeta =
                    normalize_backward(&team, &mut x, 0..shape[0], &scale, (&dy, 0), Statistics::Batch);
                [stored(&y), stored(&x), dbeta]
            };
            let [y, dx, dbeta] = run(1);
            let expected = reference::batch_norm_relu(&values, &beta, EPSILON);
            let [expected_dx, expected_dbeta] =
                reference::batch_norm_relu_gradient((&values, &dy), &beta, EPSILON);
            let errors = [worst(&y, &expected), worst(&dx, &expected_dx), worst(&dbeta, &expected_dbeta)];
            assert!(errors.iter().all(|error| *error <= TOLERANCE), "{kernels:?} {batch:?}: {errors:?}");
            for members in 2..=3 {
                assert!(run(members) == [y.clone(), dx.clone(), dbeta.clone()], "{kernels:?} {batch:?}");
            }
        }
    }
}

#[test]
fn channels_go_where_they_are_sent_and_nowhere_else() {
    for kernels in Kernels::present() {
        let (images, [h, w], team) = (2, [5, 6], team(2));
        let mut numbers = Numbers(7);
        let values = numbers.take(images * 56 * h * w);
        let [mean, rstd, beta] = [(); 3].map(|()| numbers.take(56));
        let scale = |channels: std::ops::Range<usize>| Normal {
            mean: &mean[channels.clone()],
            rstd: &rstd[channels.clone()],
            beta: &beta[channels],
        };
        let at = |channel: usize| move |pixel: &[f32]| pixel[channel];
        let x = loaded(kernels, (images, [56, h, w], 1), &values);
        let before = numbers.take(images * 40 * h * w);
        let mut y = loaded(kernels, (images, [40, h, w], 2), &before);
        normalize(&team, &x, 16..32, &scale(16..32), (&mut y, 0));
        normalize(&team, &x, 48..56, &scale(48..56), (&mut y, 32));
        let after = stored(&y);
        for ((x, before), after) in values.chunks(56).zip(before.chunks(40)).zip(after.chunks(40)) {
            for to in 0..40 {
                let expected = match to {
                    0..16 => ((x[to + 16] - mean[to + 16]) * rstd[to + 16] + beta[to + 16]).max(0.0),
                    16..32 => before[to],
                    _ => ((x[to + 16] - mean[to + 16]) * rstd[to + 16] + beta[to + 16]).max(0.0),
                };
                assert!((after[to] - expected).abs() < 1e-6, "{kernels:?} channel {to}");
            }
        }
        // Frozen statistics: what is negative after them has no gradient, the rest that of a scale.
        let dy = numbers.take(images * 40 * h * w);
        let dy_maps = loaded(kernels, (images, [40, h, w], 0), &dy);
        let mut dx = loaded(kernels, (images, [56, h, w], 1), &values);
        let dbeta =
            normalize_backward(&team, &mut dx, 48..56, &scale(48..56), (&dy_maps, 32), Statistics::Fixed);
        let mut expected_dbeta = vec![0.0; 8];
        let pixels = values.chunks(56).zip(dy.chunks(40)).zip(after.chunks(40));
        for (dx, ((x, dy), y)) in stored(&dx).chunks(56).zip(pixels) {
            assert_eq!(dx[..48], x[..48]);
            for c in 0..8 {
                let g = if at(32 + c)(y) > 0.0 { dy[32 + c] } else { 0.0 };
                assert!((dx[48 + c] - g * rstd[48 + c]).abs() < 1e-6, "{kernels:?} channel {c}");
                expected_dbeta[c] += f64::from(g);
            }
        }
        assert!(worst(&dbeta, &expected_dbeta) < TOLERANCE, "{kernels:?}");
    }
}

#[test]
fn what_is_not_a_number_stays_so() {
    for kernels in Kernels::present() {
        let mut values = vec![0.5; 20 * 6];
        values[47] = f32::NAN;
        let x = loaded(kernels, (1, [20, 2, 3], 0), &values);
        let mut y = Maps::new(kernels, 1, [20, 2, 3], 0);
        let [zeros, ones] = [[0.0; 20], [1.0; 20]];
        normalize(&team(1), &x, 0..20, &Normal { mean: &zeros, rstd: &ones, beta: &zeros }, (&mut y, 0));
        let places = stored(&y).iter().map(|y| y.is_nan()).collect::<Vec<_>>();
        assert_eq!(places.iter().position(|nan| *nan), Some(47), "{kernels:?}");
        assert!(moments(&team(1), &x).mean[7].is_nan(), "{kernels:?}");
    }
}

/// Windows, input and output: SAME at even and odd sizes, Caffe's rounding up, each stride and size, pixels left out.
const POOLS: [(Pool, [usize; 2], [usize; 2]); 7] = [
    (Pool { size: 3, stride: 2, before: [0, 0] }, [14, 16], [7, 8]),
    (Pool { size: 3, stride: 2, before: [1, 1] }, [13, 15], [7, 8]),
    (Pool { size: 3, stride: 1, before: [1, 1] }, [7, 7], [7, 7]),
    (Pool { size: 2, stride: 2, before: [0, 0] }, [14, 7], [7, 4]),
    (Pool { size: 2, stride: 1, before: [0, 0] }, [5, 6], [5, 6]),
    (Pool { size: 3, stride: 2, before: [0, 0] }, [2, 1], [1, 1]),
    (Pool { size: 1, stride: 3, before: [0, 0] }, [8, 9], [3, 3]),
];

#[test]
fn max_pools_and_their_gradient() {
    for kernels in Kernels::present() {
        for (pool, [h, w], [oh, ow]) in POOLS {
            for (images, c, levels) in [(2, 20, 4096.0), (3, 5, 2.0), (1, 16, 0.0)] {
                let mut numbers = Numbers(h as u64);
                let (input, output) = ([c, h, w], [c, oh, ow]);
                // Few levels make many equal maxima.
                let values: Vec<f32> =
                    numbers.take(images * len(input)).iter().map(|x| (x * levels).round()).collect();
                let dy = numbers.take(images * len(output));
                let before = numbers.take(images * len(input));
                let run = |members| {
                    let team = team(members);
                    let x = loaded(kernels, (images, input, 1), &values);
                    let mut y = Maps::new(kernels, images, output, 2);
                    max_pool(&team, &x, pool, &mut y);
                    let dy = loaded(kernels, (images, output, 1), &dy);
                    let mut dx = loaded(kernels, (images, input, 0), &before);
                    max_pool_backward(&team, (&x, &y), &dy, pool, &mut dx);
                    let mut alone = loaded(kernels, (images, input, 2), &before);
                    max_pool_backward_overwrite(&team, (&x, &y), &dy, pool, &mut alone);
                    [stored(&y), stored(&dx), stored(&alone)]
                };
                let [y, dx, alone] = run(1);
                let windows = ([pool.size, pool.stride], (pool.before, [oh, ow]));
                let images =
                    values.chunks(len(input)).zip(dy.chunks(len(output))).zip(before.chunks(len(input)));
                let (mut expected, mut expected_dx, mut expected_alone) =
                    (Vec::new(), Vec::new(), Vec::new());
                for ((x, dy), before) in images {
                    expected.extend(reference::max_pool([h, w, c], x, windows.0, windows.1));
                    let gradient = reference::max_pool_gradient([h, w, c], (x, dy), windows.0, windows.1);
                    expected_alone.extend(&gradient);
                    expected_dx
                        .extend(gradient.iter().zip(before).map(|(dx, before)| dx + f64::from(*before)));
                }
                assert!(y == expected, "{kernels:?} {pool:?}");
                // Sums of up to ten multiples of 2^-12 are exact.
                assert_eq!(worst(&dx, &expected_dx), 0.0, "{kernels:?} {pool:?} {levels}");
                assert_eq!(worst(&alone, &expected_alone), 0.0, "{kernels:?} {pool:?} {levels}");
                for members in 2..=3 {
                    assert!(run(members) == [y.clone(), dx.clone(), alone.clone()], "{kernels:?} {pool:?}");
                }
            }
        }
    }
}

const LRN: Lrn = Lrn { size: 5, alpha: 0.5, k: 1.0 };

#[test]
fn lrn_and_its_gradient() {
    for kernels in Kernels::present() {
        for (batch @ (images, shape, halo), size) in BATCHES.into_iter().zip([5, 5, 3, 1, 7, 5]) {
            let mut numbers = Numbers(5);
            let [values, dy] = [(); 2].map(|()| numbers.take(images * len(shape)));
            let options = Lrn { size, ..LRN };
            let run = |members| {
                let team = team(members);
                let x = loaded(kernels, batch, &values);
                let [mut y, mut dx] = [(); 2].map(|()| loaded(kernels, (images, shape, 1), &dy));
                let dy = loaded(kernels, (images, shape, halo), &dy);
                lrn(&team, &x, &options, &mut y);
                lrn_backward(&team, &x, &options, &dy, &mut dx);
                [stored(&y), stored(&dx)]
            };
            let [y, dx] = run(1);
            let expected = reference::lrn(shape[0], &values, &options);
            let expected_dx = reference::lrn_gradient(shape[0], (&values, &dy), &options);
            let errors = [worst(&y, &expected), worst(&dx, &expected_dx)];
            assert!(errors.iter().all(|error| *error <= TOLERANCE), "{kernels:?} {batch:?}: {errors:?}");
            for members in 2..=3 {
                assert!(run(members) == [y.clone(), dx.clone()], "{kernels:?} {batch:?}");
            }
        }
    }
}

#[test]
fn windows_of_lrn_may_be_wider_than_the_maps() {
    for kernels in Kernels::present() {
        let dy = Numbers(5).take(20 * 6);
        let [x, dy_maps] = [(); 2].map(|()| loaded(kernels, (1, [20, 2, 3], 0), &dy));
        let mut dx = Maps::new(kernels, 1, [20, 2, 3], 0);
        // The sums are divided by the size: nothing is left of them.
        lrn_backward(&team(1), &x, &Lrn { size: usize::MAX, ..LRN }, &dy_maps, &mut dx);
        assert_eq!(stored(&dx), dy, "{kernels:?}");
        let options = Lrn { size: 101, ..LRN };
        lrn_backward(&team(1), &x, &options, &dy_maps, &mut dx);
        let expected = reference::lrn_gradient(20, (&dy, &dy), &options);
        assert!(worst(&stored(&dx), &expected) <= TOLERANCE, "{kernels:?}");
    }
}

#[test]
fn means_and_their_gradient() {
    for kernels in Kernels::present() {
        for batch @ (images, shape @ [c, h, w], _) in BATCHES {
            let mut numbers = Numbers(6);
            let values = numbers.take(images * len(shape));
            let dy = numbers.take(images * c);
            let run = |members| {
                let team = team(members);
                let x = loaded(kernels, batch, &values);
                let mut y = Maps::new(kernels, images, [c, 1, 1], 1);
                global_mean(&team, &x, &mut y);
                let mut dx = loaded(kernels, batch, &values);
                global_mean_backward(&team, &loaded(kernels, (images, [c, 1, 1], 0), &dy), &mut dx);
                [stored(&y), stored(&dx)]
            };
            let [y, dx] = run(1);
            let expected: Vec<f64> =
                values.chunks(len(shape)).flat_map(|image| reference::moments(image, c)[0].clone()).collect();
            assert!(worst(&y, &expected) <= TOLERANCE, "{kernels:?} {batch:?}");
            for (dx, dy) in dx.chunks(len(shape)).zip(dy.chunks(c)) {
                assert!(
                    dx.chunks(c).all(|pixel| pixel.iter().zip(dy).all(|(dx, dy)| *dx == dy / (h * w) as f32))
                );
            }
            for members in 2..=3 {
                assert!(run(members) == [y.clone(), dx.clone()], "{kernels:?} {batch:?}");
            }
        }
    }
}

/// The gradient of `sum of doutput * forward(input)` by central differences.
fn differences(input: &[f32], doutput: &[f32], forward: impl Fn(&[f32]) -> Vec<f64>) -> Vec<f64> {
    let step = 2f32.powi(-9);
    let sum = |input: &[f32]| {
        forward(input)
            .iter()
            .zip(doutput)
            .map(|(output, gradient)| output * f64::from(*gradient))
            .sum::<f64>()
    };
    let mut input = input.to_vec();
    (0..input.len())
        .map(|i| {
            let value = input[i];
            input[i] = value + step;
            let above = sum(&input);
            input[i] = value - step;
            let below = sum(&input);
            input[i] = value;
            (above - below) / (2.0 * f64::from(step))
        })
        .collect()
}

/// The gradients of the naive loops, which those of the kernels are compared with, are those of the naive loops.
#[test]
fn gradients_are_what_finite_differences_say() {
    let mut numbers = Numbers(8);
    let (c, [h, w]) = (5, [6, 7]);
    let input = numbers.take(c * h * w);
    let mut doutput = numbers.take(c * h * w);
    let beta = numbers.take(c);
    let forward = |input: &[f32]| reference::lrn(c, input, &LRN);
    let gradient = reference::lrn_gradient(c, (&input, &doutput), &LRN);
    let error = worst_of(&gradient, &differences(&input, &doutput, forward));
    assert!(error < 1e-5, "LRN: {error:e}");

    let (windows, out) = ([3, 2], ([0, 0], [3, 3]));
    let forward = |input: &[f32]| {
        reference::max_pool([h, w, c], input, windows, out).iter().map(|x| f64::from(*x)).collect()
    };
    let dpool = numbers.take(c * 9);
    // All different by more than two steps.
    let ranks: Vec<f32> = (0..input.len()).map(|i| (i * 97 % input.len()) as f32 / 64.0).collect();
    let gradient = reference::max_pool_gradient([h, w, c], (&ranks, &dpool), windows, out);
    let error = worst_of(&gradient, &differences(&ranks, &dpool, forward));
    assert!(error < 1e-9, "max pool: {error:e}");

    // Where the ReLU bends, differences are wrong.
    for (gradient, output) in doutput.iter_mut().zip(reference::batch_norm_relu(&input, &beta, EPSILON)) {
        if output < 0.02 {
            *gradient = 0.0;
        }
    }
    let [gradient, dbeta] = reference::batch_norm_relu_gradient((&input, &doutput), &beta, EPSILON);
    let forward = |input: &[f32]| reference::batch_norm_relu(input, &beta, EPSILON);
    let error = worst_of(&gradient, &differences(&input, &doutput, forward));
    assert!(error < 1e-4, "batch norm: {error:e}");
    let forward = |beta: &[f32]| reference::batch_norm_relu(&input, beta, EPSILON);
    let error = worst_of(&dbeta, &differences(&beta, &doutput, forward));
    assert!(error < 1e-9, "beta: {error:e}");
}
