//! What training needs beside inference: the operations of a network over a batch of [`Maps`](crate::Maps), forward and
//! backward, and the updates of weights.
//!
//! All are safe functions that check shapes and lengths once, by panicking, since what does not fit is a bug of the
//! caller. A team shares out the work, and the results have the same bits for any number of its members: sums over a
//! batch are added up in one order, whoever computed their parts.

pub(crate) mod batch_norm;
mod convolution;
pub(crate) mod filter_gradient;
mod image_convolution;
pub(crate) mod lrn;
mod mean;
mod optimizer;
mod pass;
pub(crate) mod planes;
pub(crate) mod pool;
mod scratch;
mod strided;
mod winograd_gradient;

pub use batch_norm::{Moments, Normal, Statistics, moments, normalize, normalize_backward};
pub use convolution::{Algorithm, Convolution};
pub use image_convolution::ImageConvolution;
pub use lrn::{lrn, lrn_backward};
pub use mean::{global_mean, global_mean_backward};
pub use optimizer::{Optimizer, Update, average};
pub use pool::{max_pool, max_pool_backward, max_pool_backward_overwrite};
pub use scratch::Scratch;

pub(crate) use strided::Strided;

#[cfg(test)]
mod tests {
    use core::num::NonZeroUsize;

    use super::*;
    use crate::{Kernels, Lrn, Maps, Pool, Team};

    /// Elements that are not zero.
    fn written(maps: &Maps) -> usize {
        let len = maps.bytes() / size_of::<f32>();
        // SAFETY: all elements of maps that are borrowed.
        let all = unsafe { core::slice::from_raw_parts(maps.as_ptr(), len) };
        all.iter().filter(|x| **x != 0.0).count()
    }

    #[test]
    fn halos_and_channels_that_fill_up_a_block_stay_zero() {
        let team = Team::new(NonZeroUsize::MIN).unwrap();
        let (shape, numbers) = ([19, 4, 5], [[2.0; 19]; 3]);
        let [mean, rstd, beta] = numbers.each_ref().map(|numbers| &numbers[..]);
        let scale = Normal { mean, rstd, beta };
        let options = Lrn { size: 5, alpha: 1.0, k: 1.0 };
        let pool = Pool { size: 3, stride: 1, before: [1, 1] };
        for kernels in Kernels::present() {
            let maps = || {
                let mut maps = Maps::new(kernels, 2, shape, 2);
                let values: Vec<f32> = (0..2 * 19 * 20).map(|i| 1.0 + (i % 7) as f32).collect();
                maps.load(&values);
                maps
            };
            let (x, dy) = (maps(), maps());
            let full = written(&x);
            assert_eq!(full, 2 * 19 * 20);
            let check = |what: &str, operation: &dyn Fn(&mut Maps)| {
                let mut output = maps();
                operation(&mut output);
                let count = written(&output);
                assert!((full / 2..=full).contains(&count), "{kernels:?} {what}: {count} of {full}");
            };
            check("normalize", &|y| normalize(&team, &x, 0..19, &scale, (y, 0)));
            for statistics in [Statistics::Batch, Statistics::Fixed] {
                check("normalize_backward", &|x| {
                    normalize_backward(&team, x, 0..19, &scale, (&dy, 0), statistics);
                });
            }
            check("max_pool", &|y| max_pool(&team, &x, pool, y));
            check("max_pool_backward", &|dx| max_pool_backward(&team, (&x, &x), &dy, pool, dx));
            check("max_pool_backward_overwrite", &|dx| {
                max_pool_backward_overwrite(&team, (&x, &x), &dy, pool, dx)
            });
            check("lrn", &|y| lrn(&team, &x, &options, y));
            check("lrn_backward", &|dx| lrn_backward(&team, &x, &options, &dy, dx));
            let mut mean = Maps::new(kernels, 2, [19, 1, 1], 1);
            global_mean(&team, &x, &mut mean);
            assert_eq!(written(&mean), 2 * 19);
            check("global_mean_backward", &|dx| global_mean_backward(&team, &mean, dx));
        }
    }

    #[test]
    fn convolutions_write_nothing_else_either() {
        let team = Team::new(NonZeroUsize::MIN).unwrap();
        let ([c, h, w], scratch) = ([35, 6, 7], &mut Scratch::new());
        for kernels in Kernels::present() {
            for algorithm in [Algorithm::Direct, Algorithm::Winograd] {
                let mut convolution = Convolution::new(kernels, [3, 3, c, c], [h, w], algorithm);
                convolution.set_filter(&team, scratch, &[&vec![1.0; 9 * c * c]]);
                let maps = || Maps::new(kernels, 2, [c, h, w], 2);
                let (mut input, mut output, mut dinput) = (maps(), maps(), maps());
                input.load(&vec![1.0; 2 * c * h * w]);
                convolution.forward(&team, scratch, &input, &mut output);
                convolution.backward_input(&team, scratch, &input, &mut dinput);
                assert_eq!(
                    [written(&output), written(&dinput)],
                    [2 * c * h * w; 2],
                    "{kernels:?} {algorithm:?}"
                );
            }
        }
    }
}
