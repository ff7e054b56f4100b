//! The layers of a network one by one, on maps of one picture: fitting goes through two networks stage by stage, which
//! the engine, made for whole passes, does not.

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
    fn len(&self) -> usize {
        self.rows.out * self.columns.out
    }

    /// For the window `index`, its elements: row of the window's pixel on `map`, or none outside of the map.
    fn pixels(&self, map: &Map, index: usize) -> impl Iterator<Item = Option<usize>> {
        let (height, width) = (map.height(), map.width);
        let top = (index / self.columns.out * self.stride) as isize - self.rows.before as isize;
        let left = (index % self.columns.out * self.stride) as isize - self.columns.before as isize;
        let size = self.size as isize;
        (0..size * size).map(move |pixel| {
            let y = usize::try_from(top + pixel / size).ok().filter(|y| *y < height)?;
            let x = usize::try_from(left + pixel % size).ok().filter(|x| *x < width)?;
            Some(y * width + x)
        })
    }

    /// What a convolution reads at the windows `chosen`: a row a window, `[kh, kw, ic]` in a row, zero outside of the map.
    pub fn patches(&self, map: &Map, chosen: impl ExactSizeIterator<Item = usize>) -> Array2<f32> {
        let channels = map.values.ncols();
        let mut patches = Array2::zeros((chosen.len(), self.size * self.size * channels));
        for (mut patch, index) in patches.outer_iter_mut().zip(chosen) {
            for (mut part, pixel) in
                patch.axis_chunks_iter_mut(Axis(0), channels).zip(self.pixels(map, index))
            {
                if let Some(pixel) = pixel {
                    part.assign(&map.values.row(pixel));
                }
            }
        }
        patches
    }

    /// The largest value of each channel in each window.
    pub fn max(&self, map: &Map) -> Map {
        let mut values = Array2::from_elem((self.len(), map.values.ncols()), f32::NEG_INFINITY);
        for (index, mut row) in values.outer_iter_mut().enumerate() {
            for pixel in self.pixels(map, index).flatten() {
                row.zip_mut_with(&map.values.row(pixel), |max, x| *max = max.max(*x));
            }
        }
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
            let patches = worker.factor(&windows.patches(map, 0..windows.len()));
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
