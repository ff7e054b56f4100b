//! A convolution fitted by least squares to what another network's computes, aware of the ReLU behind both.

use featvec_kernels::Maps;
use ndarray::{Array2, ArrayViewMut2, Axis};

use super::cholesky::Cholesky;
use super::layers::{Filter, stacked};
use super::parallel;
use super::worker::Worker;

/// How filters are fitted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    /// How strongly filters are drawn to their priors: 1 as strongly as by the mean input's own variance.
    pub ridge: f64,
    /// Times that the targets of inactive outputs are renewed.
    pub passes: usize,
    /// What the mean over a picture counts for, against each of its pixels.
    pub pooled: f32,
}

/// Inputs and wanted outputs of a convolution at some pixels of many pictures.
pub(super) struct Samples {
    /// Of groups of pictures: inputs with a column of ones, and wanted outputs, which are zero where the ReLU cuts.
    groups: Vec<(Maps, Array2<f32>)>,
    /// Rows of a picture.
    rows: usize,
}

/// A fitted filter and what is known of its sums without biases over the samples.
#[derive(Debug)]
pub(super) struct Fitted {
    pub filter: Filter,
    pub mean: Vec<f64>,
    pub variance: Vec<f64>,
    /// The squared error behind the ReLU, as a part of the wanted outputs' squares.
    pub error: f64,
}

/// Pictures whose rows make one product.
const GROUP: usize = 16;

/// Groups whose sums are in memory at once.
const WAVE: usize = 8;

impl Samples {
    /// Of each picture, inputs and wanted outputs at the same number of pixels.
    pub fn new(workers: &mut [Worker], pictures: Vec<(Array2<f32>, Array2<f32>)>) -> Samples {
        let rows = pictures.first().map_or(0, |(inputs, _)| inputs.nrows());
        let mut pictures = pictures.into_iter();
        let groups = std::iter::from_fn(|| {
            Some(pictures.by_ref().take(GROUP).collect()).filter(|group: &Vec<_>| !group.is_empty())
        });
        let groups = parallel::map(workers, groups, |worker, group| {
            let inputs: Vec<_> = group.iter().map(|(inputs, _)| inputs.view()).collect();
            let outputs: Vec<_> = group.iter().map(|(_, outputs)| outputs.view()).collect();
            let inputs = stacked(Axis(0), &inputs);
            let ones = Array2::ones((inputs.nrows(), 1));
            let inputs = stacked(Axis(1), &[inputs.view(), ones.view()]);
            (worker.factor(&inputs), stacked(Axis(0), &outputs))
        });
        Samples { groups, rows }
    }

    /// The sum over all groups of what `part` gives for each, in `f64` and in their order whatever the threads.
    fn sum(
        &self,
        workers: &mut [Worker],
        part: impl Fn(&mut Worker, &Maps, &Array2<f32>) -> Array2<f32> + Sync,
    ) -> Array2<f64> {
        let mut sum: Option<Array2<f64>> = None;
        for wave in self.groups.chunks(WAVE) {
            let parts =
                parallel::map(workers, wave, |worker, (inputs, outputs)| part(worker, inputs, outputs));
            for part in parts {
                let sum = sum.get_or_insert_with(|| Array2::zeros(part.raw_dim()));
                sum.zip_mut_with(&part, |sum, x| *sum += f64::from(*x));
            }
        }
        sum.unwrap_or_default()
    }

    /// Adds to the rows of each picture `weight` times their mean.
    fn add_means(&self, mut rows: ArrayViewMut2<'_, f32>, weight: f32) {
        if weight > 0.0 {
            for mut picture in rows.axis_chunks_iter_mut(Axis(0), self.rows) {
                let mean = picture.mean_axis(Axis(0)).expect("a picture has rows");
                picture.scaled_add(weight, &mean);
            }
        }
    }

    /// The filters whose outputs behind the ReLU are closest to those wanted, near `priors`, whose outputs lie side by
    /// side; none where the equations cannot be solved.
    ///
    /// Where an output is wanted to be zero, anything below is as good: its target is what the last pass gave, cut at zero.
    /// Each such pass brings the error down, and all have the same equations but for their right side.
    pub fn fit(&self, workers: &mut [Worker], priors: &[&Filter], options: &Options) -> Option<Vec<Fitted>> {
        let pooled = options.pooled;
        let mut gram = self.sum(workers, |worker, inputs, _| {
            if pooled == 0.0 {
                return worker.inner_product(inputs, inputs);
            }
            let mut weighted = worker.matrix(inputs);
            self.add_means(weighted.view_mut(), pooled);
            worker.inner_product(inputs, &worker.factor(&weighted))
        });
        let inputs = gram.nrows() - 1;
        let count = gram[[inputs, inputs]];
        let mean = |part: &dyn Fn(usize) -> f64| (0..inputs).map(part).sum::<f64>() / inputs as f64;
        let squares = mean(&|i| gram[[i, i]]);
        let variance = squares - mean(&|i| gram[[i, inputs]].powi(2) / count);
        // Inputs that hardly vary leave little more than the rounding of the sums.
        let ridge = (options.ridge * variance).max(ROUNDING * squares * inputs as f64).max(f64::MIN_POSITIVE);
        (0..inputs).for_each(|i| gram[[i, i]] += ridge);
        let factor = Cholesky::new(gram)?;

        let views: Vec<_> = priors.iter().map(|prior| prior.view()).collect();
        let prior = stacked(Axis(1), &views).mapv(f64::from);
        let mut filter = prior.clone();
        for pass in 0..options.passes {
            let current = filter.mapv(|x| x as f32);
            let mut step = self.sum(workers, |worker, inputs, outputs| {
                let mut residual = worker.product(inputs, &current);
                residual.zip_mut_with(outputs, |x, wanted| {
                    *x = if *wanted > 0.0 { wanted - *x } else { -x.max(0.0) };
                });
                self.add_means(residual.view_mut(), pooled);
                let residual = worker.factor(&residual);
                worker.inner_product(inputs, &residual)
            });
            let mut pull = (&prior - &filter) * ridge;
            pull.row_mut(inputs).fill(0.0);
            step += &pull;
            factor.solve(&mut step);
            // Passes approach their end from one side.
            let stride = if pass == 0 { 1.0 } else { OVERSTEP };
            filter.scaled_add(stride, &step);
        }
        let mut rest = filter.mapv(|x| x as f32);
        let filters = priors.iter().map(|prior| {
            let (filter, others) = rest.view().split_at(Axis(1), prior.ncols());
            let filter = filter.as_standard_layout().into_owned();
            rest = others.to_owned();
            filter
        });
        let filters = filters.collect();
        Some(self.describe(workers, filters))
    }

    /// Filters whose outputs lie side by side, with their statistics over the samples.
    pub fn describe(&self, workers: &mut [Worker], filters: Vec<Filter>) -> Vec<Fitted> {
        let views: Vec<_> = filters.iter().map(|filter| filter.view()).collect();
        let all = stacked(Axis(1), &views);
        let bias = all.row(all.nrows() - 1);
        let sums = self.sum(workers, |worker, inputs, wanted| {
            let mut sums = Array2::zeros((4, all.ncols()));
            let results = worker.product(inputs, &all);
            for (result, wanted) in results.outer_iter().zip(wanted.outer_iter()) {
                for (i, (x, wanted)) in result.iter().zip(wanted).enumerate() {
                    let plain = x - bias[i];
                    sums[[0, i]] += plain;
                    sums[[1, i]] += plain * plain;
                    sums[[2, i]] += (x.max(0.0) - wanted).powi(2);
                    sums[[3, i]] += wanted * wanted;
                }
            }
            sums
        });
        let rows = self.groups.iter().map(|(_, wanted)| wanted.nrows()).sum::<usize>() as f64;
        let mut columns = sums.columns().into_iter();
        let fitted = filters.into_iter().map(|filter| {
            let mut fitted = Fitted { mean: Vec::new(), variance: Vec::new(), error: 0.0, filter };
            let mut wanted = 0.0;
            for sums in columns.by_ref().take(fitted.filter.ncols()) {
                let mean = sums[0] / rows;
                fitted.mean.push(mean);
                fitted.variance.push(sums[1] / rows - mean * mean);
                fitted.error += sums[2];
                wanted += sums[3];
            }
            fitted.error /= f64::max(wanted, f64::MIN_POSITIVE);
            fitted
        });
        fitted.collect()
    }
}

/// The least ridge, as a part of the sum of all inputs' squares: what sums in `f32` are wrong by.
const ROUNDING: f64 = 4e-7;

/// How far a pass goes beyond what its equations say; below 2 it comes nearer every time.
const OVERSTEP: f64 = 1.6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const OPTIONS: Options = Options { ridge: 1e-9, passes: 200, pooled: 0.0 };

    fn numbers(rows: usize, columns: usize, seed: u64) -> Array2<f32> {
        let random = Random::new(seed, 0);
        Array2::from_shape_fn((rows, columns), |(row, column)| {
            2.0 * random.uniform(row * columns + column) - 1.0
        })
    }

    /// Pictures whose wanted outputs are what `filter` gives behind a ReLU.
    fn pictures(filter: &Filter) -> Vec<(Array2<f32>, Array2<f32>)> {
        let picture = |seed| {
            let inputs = numbers(30, filter.nrows() - 1, seed);
            let (weights, bias) = filter.view().split_at(Axis(0), filter.nrows() - 1);
            let wanted = (inputs.dot(&weights) + bias.row(0)).mapv(|x| x.max(0.0));
            (inputs, wanted)
        };
        (1..40).map(picture).collect()
    }

    fn fit(filter: &Filter, prior: &Filter, options: &Options, threads: usize) -> Fitted {
        let mut workers: Vec<Worker> = (0..threads).map(|_| Worker::new().unwrap()).collect();
        let samples = Samples::new(&mut workers, pictures(filter));
        samples.fit(&mut workers, &[prior], options).unwrap().remove(0)
    }

    /// The wanted outputs tell nothing of what the ReLU cuts, and yet only one filter gives them.
    #[test]
    fn a_filter_is_found_again_from_what_the_relu_leaves_of_its_outputs() {
        let filter = numbers(8, 5, 99);
        let prior = &filter + &(numbers(8, 5, 98) * 0.5);
        for pooled in [0.0, 2.0] {
            let fitted = fit(&filter, &prior, &Options { pooled, ..OPTIONS }, 1);
            assert!((&fitted.filter - &filter).iter().all(|error| error.abs() < 1e-2), "{fitted:?}");
            assert!(fitted.error < 1e-4, "{fitted:?}");
        }
    }

    #[test]
    fn more_passes_come_nearer() {
        let (filter, prior) = (numbers(8, 5, 99), Array2::zeros((8, 5)));
        let error = |passes| fit(&filter, &prior, &Options { passes, ..OPTIONS }, 1).error;
        let errors = [1, 2, 4, 8].map(error);
        assert!(errors.windows(2).all(|pair| pair[1] < 0.8 * pair[0]), "{errors:?}");
    }

    #[test]
    fn a_strong_ridge_holds_to_the_prior() {
        let (filter, prior) = (numbers(8, 5, 99), numbers(8, 5, 98));
        let fitted = fit(&filter, &prior, &Options { ridge: 1e9, ..OPTIONS }, 1);
        let (weights, _) = fitted.filter.view().split_at(Axis(0), 7);
        let (expected, _) = prior.view().split_at(Axis(0), 7);
        assert!((&weights - &expected).iter().all(|error| error.abs() < 1e-3));
    }

    #[test]
    fn the_statistics_are_those_of_the_sums_without_biases() {
        let filter = numbers(8, 5, 99);
        let fitted = fit(&filter, &filter, &OPTIONS, 1);
        let (weights, _) = fitted.filter.view().split_at(Axis(0), 7);
        let inputs: Vec<_> = pictures(&filter).into_iter().map(|(inputs, _)| inputs).collect();
        let views: Vec<_> = inputs.iter().map(|inputs| inputs.view()).collect();
        let sums = stacked(Axis(0), &views).dot(&weights);
        for (output, column) in sums.columns().into_iter().enumerate() {
            let column = column.mapv(f64::from);
            assert!((fitted.mean[output] - column.mean().unwrap()).abs() < 1e-5);
            assert!((fitted.variance[output] - column.var(0.0)).abs() < 1e-5);
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_the_threads() {
        let (filter, prior) = (numbers(20, 5, 99), numbers(20, 5, 98));
        let [one, three] = [1, 3].map(|threads| fit(&filter, &prior, &OPTIONS, threads));
        assert_eq!((one.filter, one.mean, one.variance), (three.filter, three.mean, three.variance));
    }

    #[test]
    fn inputs_that_are_not_finite_are_refused() {
        let mut workers = vec![Worker::new().unwrap()];
        let picture = (Array2::from_elem((3, 2), f32::NAN), Array2::ones((3, 1)));
        let samples = Samples::new(&mut workers, vec![picture]);
        assert!(samples.fit(&mut workers, &[&Array2::zeros((3, 1))], &OPTIONS).is_none());
    }
}
