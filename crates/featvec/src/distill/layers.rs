//! The layers of a network one by one, on maps of one picture: fitting goes through two networks stage by stage, which
//! the engine, made for whole passes, does not.

use std::ops::Range;
use std::sync::OnceLock;

use featvec_kernels::Lrn;
use featvec_kernels::train::Convolution;
use ndarray::{Array2, ArrayView2, Axis, concatenate};

use super::worker::Worker;
use crate::network::{Body, Conv, Extent, Mixed, Network, Pool, Stage};
use crate::variables::Variables;

/// A map of one picture: a row a pixel, a column a channel.
#[derive(Clone, Debug)]
pub(super) struct Map {
    pub width: usize,
    pub values: Array2<f32>,
}

impl Map {
    pub fn height(&self) -> usize {
        self.values.nrows() / self.width
    }
}

/// Where the windows of a convolution or pool lie on a map.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows {
    size: usize,
    stride: usize,
    rows: Extent,
    columns: Extent,
}

impl Windows {
    /// Of the window `index`, the rows that lie on `map`, as far as they do: the window's element that a row begins with, and
    /// the pixels of the map.
    fn rows_on(&self, map: &Map, index: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
        let (height, width, size) = (map.height(), map.width, self.size);
        // Where the window begins, counted from the padding's corner.
        let (above, before) = (self.rows.before, self.columns.before);
        let (top, left) = (index / self.columns.out * self.stride, index % self.columns.out * self.stride);
        let first = before.saturating_sub(left)..size.min((width + before).saturating_sub(left));
        (0..size).filter(move |row| (above..above + height).contains(&(top + row))).map(move |row| {
            let start = (top + row - above) * width + left + first.start - before;
            (row * size + first.start, start..start + first.len())
        })
    }

    /// What a convolution reads at the windows `chosen`: a row a window, `[kh, kw, ic]` in a row, zero outside of the map.
    pub fn patches(&self, map: &Map, chosen: impl ExactSizeIterator<Item = usize>) -> Array2<f32> {
        let channels = map.values.ncols();
        let values = map.values.as_slice().expect("maps are kept row by row");
        let len = self.size * self.size * channels;
        let shape = (chosen.len(), len);
        let mut patches = vec![0.0; shape.0 * len];
        for (patch, index) in patches.chunks_exact_mut(len).zip(chosen) {
            for (element, pixels) in self.rows_on(map, index) {
                let run = &values[pixels.start * channels..pixels.end * channels];
                patch[element * channels..][..run.len()].copy_from_slice(run);
            }
        }
        Array2::from_shape_vec(shape, patches).expect("as many numbers as the windows have")
    }

    /// The largest value of each channel in each window.
    pub fn max(&self, map: &Map) -> Map {
        let channels = map.values.ncols();
        let values = map.values.as_slice().expect("maps are kept row by row");
        let len = self.rows.out * self.columns.out;
        let mut largest = vec![f32::NEG_INFINITY; len * channels];
        for (index, largest) in largest.chunks_exact_mut(channels).enumerate() {
            for (_, pixels) in self.rows_on(map, index) {
                for pixel in values[pixels.start * channels..pixels.end * channels].chunks_exact(channels) {
                    largest.iter_mut().zip(pixel).for_each(|(max, x)| *max = max.max(*x));
                }
            }
        }
        let values =
            Array2::from_shape_vec((len, channels), largest).expect("as many as windows and channels");
        Map { width: self.columns.out, values }
    }
}

/// A convolution's folded numbers: a row for each of `[kh, kw, ic]`, a column an output, and last the row of biases.
pub(super) type Filter = Array2<f32>;

/// A network with the filters that its layers have so far. All its maps are those of pictures of one size.
pub(super) struct Layers {
    pub network: Network,
    pub stages: Vec<Stage>,
    /// In the order of [`Network::convs`].
    filters: Vec<Filter>,
    /// The same made ready to run, where they have run.
    ready: Vec<OnceLock<Convolution>>,
}

/// The maps of an inception module.
pub(super) struct MixedMaps {
    pub branches: [Map; 4],
    pub reduced: [Map; 2],
}

impl Layers {
    pub fn new(network: Network, filters: Vec<Filter>) -> Layers {
        let ready = filters.iter().map(|_| OnceLock::new()).collect();
        Layers { network, stages: network.stages(), filters, ready }
    }

    /// Those of `variables`, batch normalisation folded.
    pub fn of(variables: &Variables) -> Layers {
        let convs = variables.network.convs();
        let filters = convs.iter().zip(&variables.convs).map(|(conv, numbers)| {
            let mut folded = numbers.fold(variables.epsilon);
            folded.weights.append(&mut folded.bias);
            let [kh, kw, ic, oc] = conv.shape;
            Filter::from_shape_vec((kh * kw * ic + 1, oc), folded.weights).expect("checked lengths")
        });
        Layers::new(variables.network, filters.collect())
    }

    /// The filter of the convolution `index`.
    pub fn filter(&self, index: usize) -> &Filter {
        &self.filters[index]
    }

    /// Gives the convolution `index` another filter.
    pub fn set_filter(&mut self, index: usize, filter: Filter) {
        self.filters[index] = filter;
        self.ready[index].take();
    }

    /// The number of convolutions before the stage.
    pub fn first_conv(&self, stage: usize) -> usize {
        let convs = |stage: &Stage| match stage.body {
            Body::Conv(_) => 1,
            Body::MaxPool(_) => 0,
            Body::Mixed(_) => 6,
        };
        self.stages[..stage].iter().map(convs).sum()
    }

    pub fn conv_windows(&self, conv: &Conv, map: &Map) -> Windows {
        let extent = |len| self.network.variant.conv_extent(conv, len);
        let (rows, columns) = (extent(map.height()), extent(map.width));
        Windows { size: conv.shape[0], stride: conv.stride, rows, columns }
    }

    pub fn pool_windows(&self, pool: Pool, map: &Map) -> Windows {
        let extent = |len| self.network.variant.pool_extent(pool, len);
        let (rows, columns) = (extent(map.height()), extent(map.width));
        Windows { size: pool.size, stride: pool.stride, rows, columns }
    }

    /// The convolution `conv`, which is the `index`th, with its ReLU.
    pub fn conv(&self, worker: &mut Worker, (conv, index): (&Conv, usize), map: &Map) -> Map {
        let windows = self.conv_windows(conv, map);
        let filter = &self.filters[index];
        let (weights, bias) = filter.view().split_at(Axis(0), filter.nrows() - 1);
        let mut values = if conv.stride == 1 {
            let size = [map.height(), map.width];
            let weights = weights.to_slice().expect("filters are kept row by row");
            let ready = self.ready[index].get_or_init(|| worker.convolution(weights, conv.shape, size));
            worker.convolve(ready, &map.values, size)
        } else {
            let patches = worker.factor(&windows.patches(map, 0..windows.rows.out * windows.columns.out));
            worker.product(&patches, &weights.to_owned())
        };
        let bias = bias.row(0);
        for mut pixel in values.outer_iter_mut() {
            pixel.zip_mut_with(&bias, |x, bias| *x = (*x + bias).max(0.0));
        }
        Map { width: windows.columns.out, values }
    }

    pub fn mixed(&self, worker: &mut Worker, (mixed, first): (&Mixed, usize), input: &Map) -> MixedMaps {
        let [b0, r1, c1, r2, c2, b3] = mixed.convs();
        let pooled = self.pool_windows(mixed.pool, input).max(input);
        let mut conv = |conv, offset: usize, map: &Map| self.conv(worker, (conv, first + offset), map);
        let reduced = [conv(r1, 1, input), conv(r2, 3, input)];
        let branches =
            [conv(b0, 0, input), conv(c1, 2, &reduced[0]), conv(c2, 4, &reduced[1]), conv(b3, 5, &pooled)];
        MixedMaps { branches, reduced }
    }

    /// The result of the stage `index`, after local response normalisation where the network has it.
    pub fn stage(&self, worker: &mut Worker, index: usize, input: &Map) -> Map {
        let stage = &self.stages[index];
        let first = self.first_conv(index);
        let mut map = match &stage.body {
            Body::Conv(conv) => self.conv(worker, (conv, first), input),
            Body::MaxPool(pool) => self.pool_windows(*pool, input).max(input),
            Body::Mixed(mixed) => self.mixed(worker, (mixed, first), input).concatenated(),
        };
        if let Some(lrn) = stage.norm {
            normalize(&mut map, lrn);
        }
        map
    }

    /// The results of the stages from `index` on for as long as they are pools.
    pub fn pools(&self, worker: &mut Worker, mut index: usize, mut map: Map) -> Map {
        while self.stages.get(index).is_some_and(|stage| matches!(stage.body, Body::MaxPool(_))) {
            map = self.stage(worker, index, &map);
            index += 1;
        }
        map
    }
}

impl MixedMaps {
    pub fn concatenated(&self) -> Map {
        let views: Vec<_> = self.branches.iter().map(|map| map.values.view()).collect();
        let values = stacked(Axis(1), &views);
        Map { width: self.branches[0].width, values }
    }
}

/// `parts`, which fit together, as one matrix that is kept row by row.
pub(super) fn stacked(axis: Axis, parts: &[ArrayView2<'_, f32>]) -> Array2<f32> {
    concatenate(axis, parts).expect("matrices that fit together").as_standard_layout().into_owned()
}

fn normalize(map: &mut Map, lrn: Lrn) {
    let half = lrn.size / 2;
    let scale = lrn.alpha / lrn.size as f32;
    for mut pixel in map.values.outer_iter_mut() {
        let squares: Vec<f32> = pixel.iter().map(|x| x * x).collect();
        for (channel, x) in pixel.iter_mut().enumerate() {
            let window = channel.saturating_sub(half)..(channel + half + 1).min(squares.len());
            let root = (lrn.k + scale * squares[window].iter().sum::<f32>()).sqrt();
            *x /= root * root.sqrt(); // the power 3/4
        }
    }
}

#[cfg(test)]
mod tests {
    use featvec_kernels::Affine;

    use super::*;
    use crate::extractor::{FeatureExtractor, RunOptions};
    use crate::network::{DEFAULT_SIZE, Variant};
    use crate::plan::{Mode, Value};
    use crate::random::Random;
    use crate::tensor::Tensor;
    use crate::variables::{ConvVariables, Shift};

    fn variables(variant: Variant) -> Variables {
        let network = Network { variant, classes: None };
        let mut convs = Vec::new();
        for (index, conv) in network.convs().iter().enumerate() {
            let [kh, kw, ic, oc] = conv.shape;
            let number = |at| 2.0 * Random::new(0, index as u64).uniform(at) - 1.0;
            let scale = (6.0 / (kh * kw * ic) as f32).sqrt();
            let weights = (0..kh * kw * ic * oc).map(|at| scale * number(at)).collect();
            let shift = Shift::Bias((0..oc).map(number).collect());
            convs.push(ConvVariables { weights, shift });
        }
        let affine = Affine { scale: [2.0; 3], offset: [-1.0; 3] };
        Variables { network, affine, epsilon: 0.0, convs, logits: None }
    }

    /// Both variants, whose windows and paddings differ, against the engine.
    #[test]
    fn stage_by_stage_the_maps_are_those_of_whole_passes() {
        let [h, w] = DEFAULT_SIZE;
        let image: Vec<f32> = (0..h * w * 3).map(|at| Random::new(3, 0).uniform(at)).collect();
        let worker = &mut Worker::new().unwrap();
        for variant in [Variant::Slim, Variant::Paper] {
            let variables = variables(variant);
            let layers = Layers::of(&variables);
            let input: Vec<f32> = image.iter().map(|x| 2.0 * x - 1.0).collect();
            let mut map = Map { width: w, values: Array2::from_shape_vec((h * w, 3), input).unwrap() };
            let extractor = FeatureExtractor::new(variables, &RunOptions::default()).unwrap();
            let images = Tensor::new([1, h, w, 3], image.clone()).unwrap();
            for index in 0..layers.stages.len() {
                map = layers.stage(worker, index, &map);
                let normed = layers.stages[index].norm.is_some();
                let value = if normed { Value::Normed(index) } else { Value::Stage(index) };
                let expected = extractor.run(&images, Mode::Inference, &[value]).unwrap().remove(0);
                let largest = expected.data().iter().fold(0.0f32, |max, x| max.max(x.abs()));
                let values = map.values.as_slice().unwrap();
                assert_eq!(values.len(), expected.data().len());
                let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-4 * largest;
                assert!(values.iter().zip(expected.data()).all(near), "{variant:?}, stage {index}");
            }
        }
    }
}
