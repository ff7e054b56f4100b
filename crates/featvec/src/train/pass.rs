//! The way through the network and back, along its table.

use std::collections::BTreeMap;

use featvec_kernels::train::{
    Algorithm, Convolution, ImageConvolution, Scratch, global_mean, global_mean_backward, lrn, lrn_backward,
    max_pool, max_pool_backward, max_pool_backward_overwrite,
};
use featvec_kernels::{Image, Kernels, Lrn, Maps, Padding, Pool, Team};

use super::block::{Block, Context, Filter, Input};
use super::layer::Layer;
use crate::network::{self, Body, Conv, Variant};
use crate::plan::Value;
use crate::tensor::Tensor;
use crate::variables::Variables;

/// The network for one number of pictures of one size: its filters, and the maps that the way back needs.
pub(super) struct Pass {
    images: usize,
    size: [usize; 2],
    stages: Vec<Stage>,
    features: Maps,
    spare: Spare,
}

/// Memory of maps that are not kept: gradients on their way, and what is computed again on the way back.
struct Spare {
    kernels: &'static Kernels,
    images: usize,
    maps: Vec<Maps>,
}

impl Spare {
    /// Maps of `shape` whose numbers mean nothing: in the least memory that is large enough, else in the largest, which
    /// then grows.
    fn take(&mut self, shape: [usize; 3]) -> Maps {
        let wanted_bytes = self.images * shape.iter().product::<usize>() * size_of::<f32>();
        let waste = |maps: &Maps| match maps.bytes().checked_sub(wanted_bytes) {
            Some(waste) => (false, waste),
            None => (true, usize::MAX - maps.bytes()),
        };
        match (0..self.maps.len()).min_by_key(|&index| waste(&self.maps[index])) {
            Some(best) => {
                let mut maps = self.maps.swap_remove(best);
                maps.reshape(shape);
                maps
            }
            None => Maps::new(self.kernels, self.images, shape, 0),
        }
    }

    fn give_back(&mut self, maps: Maps) {
        self.maps.push(maps);
    }
}

/// A stage of the network.
struct Stage {
    body: StageBody,
    y: Maps,
    normed: Option<(Lrn, Maps)>,
}

enum StageBody {
    Conv(Box<Block>),
    MaxPool(Pool),
    Mixed(Box<Mixed>),
}

/// An inception module.
struct Mixed {
    /// Branch 0 and what the branches 1 and 2 begin with: they read the same maps.
    entry: Block,
    reduced: [Maps; 2],
    /// The second convolutions of the branches 1 and 2.
    wide: [Block; 2],
    pool: Pool,
    branch_3: Block,
    /// Where the results of the branches begin in that of the module.
    starts: [usize; 4],
}

impl Stage {
    /// What the next stage reads.
    fn output(&self) -> &Maps {
        self.normed.as_ref().map_or(&self.y, |(_, normed)| normed)
    }

    fn blocks(&self) -> Vec<&Block> {
        match &self.body {
            StageBody::Conv(block) => vec![block],
            StageBody::MaxPool(_) => vec![],
            StageBody::Mixed(mixed) => vec![&mixed.entry, &mixed.wide[0], &mixed.wide[1], &mixed.branch_3],
        }
    }

    fn blocks_mut(&mut self) -> Vec<&mut Block> {
        match &mut self.body {
            StageBody::Conv(block) => vec![block],
            StageBody::MaxPool(_) => vec![],
            StageBody::Mixed(mixed) => {
                let [wide_1, wide_2] = &mut mixed.wide;
                vec![&mut mixed.entry, wide_1, wide_2, &mut mixed.branch_3]
            }
        }
    }
}

/// Lays out the stages of a network.
struct Builder {
    kernels: &'static Kernels,
    variant: Variant,
    images: usize,
    /// The next layer.
    layer: usize,
}

impl Builder {
    fn maps(&self, channels: usize, [h, w]: [usize; 2], halo: usize) -> Maps {
        Maps::new(self.kernels, self.images, [channels, h, w], halo)
    }

    /// Convolutions of the same maps of `size`, whose layers are given by their distance from the next.
    fn block(&self, convs: &[(usize, &Conv)], size: [usize; 2]) -> Block {
        let [kh, kw, ic, _] = convs[0].1.shape;
        let layers: Vec<_> = convs.iter().map(|(at, conv)| (self.layer + at, conv.shape[3])).collect();
        let oc = layers.iter().map(|(_, channels)| channels).sum();
        let filter = Convolution::new(self.kernels, [kh, kw, ic, oc], size, Algorithm::Winograd);
        // On the way back, the sums' gradients are convolved as the input is on the way there.
        Block::new(Filter::Maps(filter), &layers, self.maps(oc, size, kh / 2))
    }

    fn pool(&self, pool: network::Pool, size: [usize; 2]) -> Pool {
        let before = size.map(|len| self.variant.pool_extent(pool, len).before);
        Pool { size: pool.size, stride: pool.stride, before }
    }
}

impl Pass {
    /// For `images` pictures of `size`.
    pub fn new(
        kernels: &'static Kernels,
        variables: &Variables,
        (images, size): (usize, [usize; 2]),
    ) -> Pass {
        let network = variables.network;
        let table = network.stages();
        let mut builder = Builder { kernels, variant: network.variant, images, layer: 0 };
        let mut stages = Vec::with_capacity(table.len());
        let mut input = size;
        for (index, stage) in table.iter().enumerate() {
            let output = stage.output_size(network.variant, input);
            let body = match &stage.body {
                Body::Conv(conv) if index == 0 => {
                    let filter = image_convolution(&builder, variables, conv, input);
                    let layers = [(builder.layer, conv.shape[3])];
                    StageBody::Conv(Box::new(Block::new(
                        filter,
                        &layers,
                        builder.maps(conv.shape[3], output, 0),
                    )))
                }
                Body::Conv(conv) => StageBody::Conv(Box::new(builder.block(&[(0, conv)], input))),
                Body::MaxPool(pool) => StageBody::MaxPool(builder.pool(*pool, input)),
                Body::Mixed(mixed) => StageBody::Mixed(Box::new(Mixed::new(&builder, mixed, input))),
            };
            let halo = match table.get(index + 1).map(|next| &next.body) {
                Some(Body::Conv(next)) => next.shape[0] / 2,
                _ => 0,
            };
            // What is normalised across channels is read in its place.
            let halos = if stage.norm.is_some() { [0, halo] } else { [halo, 0] };
            stages.push(Stage {
                body,
                y: builder.maps(stage.channels, output, halos[0]),
                normed: stage.norm.map(|lrn| (lrn, builder.maps(stage.channels, output, halos[1]))),
            });
            builder.layer += match &stage.body {
                Body::Conv(_) => 1,
                Body::MaxPool(_) => 0,
                Body::Mixed(mixed) => mixed.convs().len(),
            };
            input = output;
        }
        Pass {
            images,
            size,
            features: Maps::new(kernels, images, [network.features(), 1, 1], 0),
            stages,
            spare: Spare { kernels, images, maps: Vec::new() },
        }
    }

    /// Whether it is for `images` pictures of `size`.
    pub fn is_for(&self, images: usize, size: [usize; 2]) -> bool {
        (self.images, self.size) == (images, size)
    }

    /// Makes the filters ready: all of them, or those that `layers` train.
    pub fn set_filters(
        &mut self,
        (team, scratch): (&Team, &mut Scratch),
        variables: &Variables,
        layers: Option<&[Layer]>,
    ) {
        for block in self.stages.iter_mut().flat_map(Stage::blocks_mut) {
            if layers.is_none_or(|layers| block.has_trained_filter(layers)) {
                block.set_filter((team, scratch), variables);
            }
        }
    }

    /// The feature vectors of `images`, `[n, h, w, 3]`: `[n, c]`.
    pub fn forward(&mut self, context: &mut Context<'_>, images: &[f32]) -> Vec<f32> {
        for index in 0..self.stages.len() {
            let (before, rest) = self.stages.split_at_mut(index);
            let stage = &mut rest[0];
            let input = before.last().map(Stage::output);
            match (&mut stage.body, input) {
                (StageBody::Conv(block), input) => {
                    block.forward(context, input.map_or(Input::Images(images), Input::Maps));
                    block.normalize(context, 0, (&mut stage.y, 0));
                }
                (StageBody::MaxPool(pool), Some(input)) => {
                    max_pool(context.team, input, *pool, &mut stage.y);
                }
                (StageBody::Mixed(mixed), Some(input)) => {
                    mixed.forward(context, input, (&mut self.spare, &mut stage.y));
                }
                (_, None) => unreachable!("the first stage is a convolution"),
            }
            if let Some((parameters, normed)) = &mut stage.normed {
                lrn(context.team, &stage.y, parameters, normed);
            }
        }
        let last = self.stages.last().expect("the network has stages").output();
        global_mean(context.team, last, &mut self.features);
        to_vec(&self.features)
    }

    /// The maps of a value of the last pass forward, and the shape that callers know; not of the logits.
    fn maps(&self, value: Value) -> (&Maps, Vec<usize>) {
        let maps = match value {
            Value::Stage(index) => &self.stages[index].y,
            Value::Normed(index) => self.stages[index].output(),
            Value::Reduced(index, branch) => match &self.stages[index].body {
                StageBody::Mixed(mixed) => &mixed.reduced[branch - 1],
                _ => unreachable!("checked to be a value of the network"),
            },
            Value::Features => return (&self.features, vec![self.images, self.features.shape()[0]]),
            Value::Logits => unreachable!("the classifying layer is not a part of this"),
        };
        let [c, h, w] = maps.shape();
        (maps, vec![self.images, h, w, c])
    }

    /// The shape of a value.
    pub fn shape(&self, value: Value) -> Vec<usize> {
        self.maps(value).1
    }

    /// A value of the last pass forward.
    pub fn value(&self, value: Value) -> Tensor {
        let (maps, shape) = self.maps(value);
        Tensor::new(shape, to_vec(maps)).expect("as many numbers as the maps have")
    }

    /// Adds the gradients to the trained variables, given those to values of the last pass forward. What was computed
    /// there is used up.
    pub fn backward(&mut self, context: &mut Context<'_>, direct: &BTreeMap<Value, Vec<f32>>) {
        let is_trained = |stage: &Stage| stage.blocks().iter().any(|block| block.is_trained(context.layers));
        let Some(first) = self.stages.iter().position(is_trained) else { return };
        let spare = &mut self.spare;
        // The gradient to the result of a stage, once one has come up to there.
        let mut gradient = None;
        if let Some(dfeatures) = direct.get(&Value::Features) {
            let mut maps = spare.take(self.features.shape());
            maps.load(dfeatures);
            let last = self.stages.last().expect("the network has stages").output();
            let d = gradient.insert(spare.take(last.shape()));
            global_mean_backward(context.team, &maps, d);
            spare.give_back(maps);
        }
        for index in (first..self.stages.len()).rev() {
            let (before, rest) = self.stages.split_at_mut(index);
            let (stage, input) = (&mut rest[0], before.last().map(Stage::output));
            let starts_here = direct.keys().any(|value| match *value {
                Value::Stage(of) | Value::Normed(of) | Value::Reduced(of, _) => of == index,
                Value::Features | Value::Logits => false,
            });
            let mut d = match gradient.take() {
                Some(d) => d,
                None if starts_here => {
                    let mut d = spare.take(stage.y.shape());
                    d.clear();
                    d
                }
                None => continue,
            };
            if let Some((parameters, _)) = &stage.normed {
                add(&mut d, direct.get(&Value::Normed(index)));
                let mut dy = spare.take(stage.y.shape());
                lrn_backward(context.team, &stage.y, parameters, &d, &mut dy);
                spare.give_back(std::mem::replace(&mut d, dy));
            }
            add(&mut d, direct.get(&Value::Stage(index)));
            // Where nothing before it is trained, nobody asks for the gradient to the input.
            gradient = input.filter(|_| index > first).map(|input| spare.take(input.shape()));
            let dinput = gradient.as_mut();
            match (&mut stage.body, input) {
                (StageBody::Conv(block), input) => {
                    block.normalize_backward(context, 0, (&d, 0));
                    // The picture is kept by the convolution that reads it.
                    block.backward_filter(context, input.map_or(Input::Images(&[]), Input::Maps));
                    if let Some(dinput) = dinput {
                        block.backward_input(context, dinput);
                    }
                }
                (StageBody::MaxPool(pool), Some(input)) => {
                    if let Some(dinput) = dinput {
                        max_pool_backward_overwrite(context.team, (input, &stage.y), &d, *pool, dinput);
                    }
                }
                (StageBody::Mixed(mixed), Some(input)) => {
                    let direct = [1, 2].map(|branch| direct.get(&Value::Reduced(index, branch)));
                    mixed.backward(context, (input, &d, direct), (spare, dinput));
                }
                (_, None) => unreachable!("the first stage is a convolution"),
            }
            spare.give_back(d);
        }
        gradient.into_iter().for_each(|d| spare.give_back(d));
    }

    /// Tells the layers what the statistics of the last batch were.
    pub fn observe(&self, layers: &mut [Layer]) {
        self.stages.iter().flat_map(Stage::blocks).for_each(|block| block.observe(layers));
    }
}

impl Mixed {
    fn new(builder: &Builder, mixed: &network::Mixed, size: [usize; 2]) -> Mixed {
        let [b0, b10, b11, b20, b21, b3] = mixed.convs();
        let halo = |conv: &Conv| conv.shape[0] / 2;
        let mut start = 0;
        let starts = [b0, b11, b21, b3].map(|conv| {
            start += conv.shape[3];
            start - conv.shape[3]
        });
        Mixed {
            entry: builder.block(&[(0, b0), (1, b10), (3, b20)], size),
            reduced: [(b10, b11), (b20, b21)]
                .map(|(reduce, wide)| builder.maps(reduce.shape[3], size, halo(wide))),
            wide: [(2, b11), (4, b21)].map(|part| builder.block(&[part], size)),
            pool: builder.pool(mixed.pool, size),
            branch_3: builder.block(&[(5, b3)], size),
            starts,
        }
    }

    fn forward(&mut self, context: &mut Context<'_>, input: &Maps, (spare, y): (&mut Spare, &mut Maps)) {
        let [start_0, start_1, start_2, start_3] = self.starts;
        self.entry.forward(context, Input::Maps(input));
        self.entry.normalize(context, 0, (y, start_0));
        for (part, start) in [(1, start_1), (2, start_2)] {
            let (reduced, wide) = (&mut self.reduced[part - 1], &mut self.wide[part - 1]);
            self.entry.normalize(context, part, (reduced, 0));
            wide.forward(context, Input::Maps(reduced));
            wide.normalize(context, 0, (y, start));
        }
        let mut pooled = spare.take(input.shape());
        max_pool(context.team, input, self.pool, &mut pooled);
        self.branch_3.forward(context, Input::Maps(&pooled));
        self.branch_3.normalize(context, 0, (y, start_3));
        spare.give_back(pooled);
    }

    /// From the gradient `dy` to those of the filters and, where it is wanted, of the input; `direct` are those that the
    /// caller gives to the results of the first convolutions of the branches 1 and 2.
    fn backward(
        &mut self,
        context: &mut Context<'_>,
        (input, dy, direct): (&Maps, &Maps, [Option<&Vec<f32>>; 2]),
        (spare, dinput): (&mut Spare, Option<&mut Maps>),
    ) {
        let [start_0, start_1, start_2, start_3] = self.starts;
        self.entry.normalize_backward(context, 0, (dy, start_0));
        for (part, start) in [(1, start_1), (2, start_2)] {
            let (reduced, wide) = (&self.reduced[part - 1], &mut self.wide[part - 1]);
            wide.normalize_backward(context, 0, (dy, start));
            wide.backward_filter(context, Input::Maps(reduced));
            let mut dreduced = spare.take(reduced.shape());
            wide.backward_input(context, &mut dreduced);
            add(&mut dreduced, direct[part - 1]);
            self.entry.normalize_backward(context, part, (&dreduced, 0));
            spare.give_back(dreduced);
        }
        self.entry.backward_filter(context, Input::Maps(input));
        self.branch_3.normalize_backward(context, 0, (dy, start_3));
        let mut pooled = spare.take(input.shape());
        max_pool(context.team, input, self.pool, &mut pooled);
        self.branch_3.backward_filter(context, Input::Maps(&pooled));
        if let Some(dinput) = dinput {
            self.entry.backward_input(context, dinput);
            let mut dpooled = spare.take(input.shape());
            self.branch_3.backward_input(context, &mut dpooled);
            max_pool_backward(context.team, (input, &pooled), &dpooled, self.pool, dinput);
            spare.give_back(dpooled);
        }
        spare.give_back(pooled);
    }
}

/// The convolution that reads pictures of `size`.
fn image_convolution(builder: &Builder, variables: &Variables, conv: &Conv, [h, w]: [usize; 2]) -> Filter {
    let (rows, columns) = (builder.variant.conv_extent(conv, h), builder.variant.conv_extent(conv, w));
    let padding =
        Padding { top: rows.before, left: columns.before, bottom: rows.after, right: columns.after };
    let image = Image::new(0, h, w, padding);
    Filter::Image(ImageConvolution::new(builder.kernels, (image, variables.affine), conv.shape, conv.stride))
}

/// The numbers of `maps`, `[n, h, w, c]`.
fn to_vec(maps: &Maps) -> Vec<f32> {
    let mut values = vec![0.0; maps.images() * maps.shape().iter().product::<usize>()];
    maps.store(&mut values);
    values
}

/// Adds a gradient that the caller gives, `[n, h, w, c]`, to one that came from further on.
fn add(d: &mut Maps, direct: Option<&Vec<f32>>) {
    if let Some(direct) = direct {
        let mut sum = to_vec(d);
        sum.iter_mut().zip(direct).for_each(|(sum, direct)| *sum += direct);
        d.load(&sum);
    }
}
