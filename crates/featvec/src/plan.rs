//! From the network's table to a program: where each map lies in the arena, and which steps run in which phase.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use featvec_kernels::winograd::{self, TransformedFilter, TransformedMap};
use featvec_kernels::{Branch, Element, Filter, Image, Kernels, Map, Padding, Program, Step};

use crate::calibration::Calibration;
use crate::network::{Body, Conv, MIN_SIZE, Mixed, Network, Pool, Stage};
use crate::variables::{ConvVariables, Folded, Shift, Variables};
use crate::{Error, ErrorKind, Result};

/// How batch normalisation normalises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// By the moving averages, as the module's graph without tags does.
    #[default]
    Inference,
    /// By the mean and variance of the batch, as the graph tagged `train` does.
    BatchStatistics,
}

/// A value of the network that can be had as an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    /// The result of a stage, `[n, h, w, c]`.
    Stage(usize),
    /// The result of the 1x1 convolution in branch 1 or 2 of a stage that is an inception module, `[n, h, w, c]`.
    Reduced(usize, usize),
    /// The result of a stage after local response normalisation, `[n, h, w, c]`.
    Normed(usize),
    /// The mean over all pixels: `[n, 1024]`.
    Features,
    /// The classifying layer: `[n, classes]`, before softmax.
    Logits,
}

impl Value {
    /// Refuses a value that `network` does not have.
    pub(crate) fn check(self, network: &Network) -> Result<()> {
        let stages = network.stages();
        let exists = match self {
            Value::Stage(index) => index < stages.len(),
            Value::Normed(index) => stages.get(index).is_some_and(|stage| stage.norm.is_some()),
            Value::Reduced(index, branch) => {
                let stage = stages.get(index);
                matches!(branch, 1 | 2) && stage.is_some_and(|stage| matches!(stage.body, Body::Mixed(_)))
            }
            Value::Features | Value::Logits => true,
        };
        if !exists {
            let message = format!("the network has no {self:?}: it has {} stages", stages.len());
            return Err(Error::new(ErrorKind::Argument, "", message));
        }
        if self == Value::Logits && network.classes.is_none() {
            let message = "the module gives feature vectors only, no logits";
            return Err(Error::new(ErrorKind::Argument, "", message).with_hint("use a classification module"));
        }
        Ok(())
    }
}

/// What a plan is made for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// Height and width of the pictures.
    pub size: [usize; 2],
    /// How batch normalisation normalises.
    pub mode: Mode,
    /// The values wanted, in ascending order, each once.
    pub outputs: Vec<Value>,
}

/// What a network computes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// `f32`: TensorFlow's numbers.
    #[default]
    F32,
    /// Convolutions of bytes by bytes: faster, and close.
    Int8,
}

/// `f32` or `int8`.
impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Precision::F32 => "f32",
            Precision::Int8 => "int8",
        })
    }
}

/// A program for one request, and the shapes of its outputs.
pub struct Plan {
    /// What it was made for.
    pub request: Request,
    /// What to run.
    pub program: Program,
    /// Shape of each output for one picture.
    pub output_shapes: Vec<Vec<usize>>,
}

/// Pictures beyond this number of pixels are refused: the widest maps of one take some 160 bytes a pixel.
const MAX_PIXELS: usize = 1 << 24;

/// Maps of at most so many pixels are kept for a group of images at a time: filters are larger than maps there.
const LATE_PIXELS: usize = 20 * 20;

/// Elements of a transformed map that fit the second-level cache beside a filter.
const TILES_ELEMENTS: usize = 256 << 10;

/// Refuses pictures of a size `[h, w]` that the network cannot run at.
///
/// # Errors
/// [`ErrorKind::Argument`] below 32 pixels either way, [`ErrorKind::Limit`] beyond 16 megapixels.
pub fn check_size([h, w]: [usize; 2]) -> Result<()> {
    if h < MIN_SIZE || w < MIN_SIZE {
        let message = format!("{h}x{w} pixels are too few for the network: at least {MIN_SIZE}x{MIN_SIZE}");
        return Err(Error::new(ErrorKind::Argument, "", message));
    }
    if h.checked_mul(w).is_none_or(|pixels| pixels > MAX_PIXELS) {
        let message = format!("{h}x{w} pixels are more than the {MAX_PIXELS} that one picture may have");
        return Err(Error::new(ErrorKind::Limit, "", message));
    }
    Ok(())
}

impl Plan {
    /// Plans the forward pass that `request` asks for, on `threads` threads.
    ///
    /// With a `calibration`, the convolutions compute in bytes; the classifying layer in `f32` all the same.
    ///
    /// # Errors
    /// A size that [`check_size`] refuses; a value that the network does not have, such as logits without a classifying
    /// layer; batch statistics of a network without batch normalisation, or in bytes.
    pub fn new(
        variables: &Variables,
        request: &Request,
        (kernels, threads): (&'static Kernels, NonZeroUsize),
        calibration: Option<&Calibration>,
    ) -> Result<Plan> {
        check_size(request.size)?;
        if request.mode == Mode::BatchStatistics && calibration.is_some() {
            let message = "statistics of the batch cannot be had in int8, whose ranges are known beforehand";
            return Err(Error::new(ErrorKind::Argument, "", message).with_hint("use f32"));
        }
        let has_batch_norm = variables.convs.iter().all(|conv| matches!(conv.shift, Shift::BatchNorm { .. }));
        if request.mode == Mode::BatchStatistics && !has_batch_norm {
            let message = "the network has no batch normalisation, so no statistics of a batch either";
            return Err(Error::new(ErrorKind::Argument, "", message));
        }
        let stages = variables.network.stages();
        if calibration.is_some_and(|calibration| !calibration.covers(&stages)) {
            let message = "the calibration was measured with a network of another variant";
            return Err(Error::new(ErrorKind::Mismatch, "", message));
        }
        request.outputs.iter().try_for_each(|value| value.check(&variables.network))?;
        Ok(Planner::new(variables, request, (kernels, threads), calibration).plan())
    }
}

struct Planner<'a> {
    variables: &'a Variables,
    request: &'a Request,
    calibration: Option<&'a Calibration>,
    program: Program,
    arena: Arena,
    /// Where transformed maps of a group of images go, once the stages that run for a group have begun: between the
    /// early maps, which nobody needs any more.
    late_tiles: Option<Arena>,
    /// Places of maps with a halo, which maps of the same geometry take in turn.
    haloed: BTreeMap<Haloed, usize>,
    /// The convolutions still to come.
    next: std::vec::IntoIter<Layer<'a>>,
    output_shapes: Vec<Vec<usize>>,
}

/// The geometry of a map with a halo; `role` tells two maps apart that live at the same time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Haloed {
    size: [usize; 2],
    halo: usize,
    role: usize,
}

/// A convolution's numbers in the form of the request's mode.
struct Layer<'a> {
    shape: [usize; 4],
    folded: Folded,
    /// `beta`, where the batch's own statistics normalise.
    beta: Option<&'a [f32]>,
    /// The filter for Winograd's algorithm, where that pays.
    transformed: Option<TransformedFilter>,
}

impl<'a> Layer<'a> {
    /// The convolution over a map of `size`.
    fn new(
        (numbers, epsilon): (&'a ConvVariables, f32),
        (&Conv { shape, stride, .. }, size): (&Conv, [usize; 2]),
        (mode, has_lrn): (Mode, bool),
        (kernels, rounding): (&Kernels, Option<&[f32]>),
    ) -> Layer<'a> {
        if let (Shift::BatchNorm { beta, .. }, Mode::BatchStatistics) = (&numbers.shift, mode) {
            let folded = Folded { weights: numbers.weights.clone(), bias: vec![0.0; shape[3]] };
            // Statistics of a batch are taken from sums as plain as TensorFlow's.
            return Layer { shape, folded, beta: Some(beta), transformed: None };
        }
        let mut layer = Layer { shape, folded: numbers.fold(epsilon), beta: None, transformed: None };
        if let Some(rounding) = rounding {
            layer.folded.bias.iter_mut().zip(rounding).for_each(|(bias, rounding)| *bias -= rounding);
            return layer;
        }
        layer.transformed = if winograd::pays(shape, size) {
            Some(TransformedFilter::new(kernels, layer.filter()))
        } else if winograd::pays_for_image(shape, stride) && !has_lrn {
            // Its errors are small beside the largest pixel of a tile; local response normalisation would magnify those
            // of the smallest.
            Some(TransformedFilter::of_image(kernels, layer.filter()))
        } else {
            return layer;
        };
        layer.folded.weights = Vec::new();
        layer
    }

    fn filter(&self) -> Filter<'_> {
        Filter { weights: &self.folded.weights, bias: &self.folded.bias, shape: self.shape }
    }

    fn branch(&self, output: Map) -> Branch<'_> {
        Branch { filter: self.filter(), output, relu: self.beta.is_none() }
    }
}

/// All convolutions of the network in order, made ready on `threads` threads: the first run waits for it.
fn layers<'a>(
    variables: &'a Variables,
    request: &Request,
    (kernels, threads): (&'static Kernels, NonZeroUsize),
    calibration: Option<&Calibration>,
) -> Vec<Layer<'a>> {
    let convs = variables.network.sized_convs(request.size);
    let has_lrn = variables.network.stages().iter().any(|stage| stage.norm.is_some());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some((index, (conv, size))) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            convs.get(index).map(|conv| (index, conv))
        } {
            let numbers = (&variables.convs[index], variables.epsilon);
            let rounding = calibration.map(|calibration| calibration.rounding_bias(index));
            done.push((
                index,
                Layer::new(numbers, (conv, *size), (request.mode, has_lrn), (kernels, rounding)),
            ));
        }
        done
    };
    let mut layers = std::thread::scope(|scope| {
        // Where the system has no more threads, fewer do it.
        let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, work).ok();
        let others: Vec<_> = (1..threads.get().min(convs.len())).map_while(spawn).collect();
        let mut layers = work();
        for other in others {
            layers.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        layers
    });
    layers.sort_unstable_by_key(|(index, _)| *index);
    layers.into_iter().map(|(_, layer)| layer).collect()
}

impl<'a> Planner<'a> {
    fn new(
        variables: &'a Variables,
        request: &'a Request,
        (kernels, threads): (&'static Kernels, NonZeroUsize),
        calibration: Option<&'a Calibration>,
    ) -> Planner<'a> {
        let layers = layers(variables, request, (kernels, threads), calibration);
        Planner {
            variables,
            request,
            calibration,
            program: Program::new(kernels),
            arena: Arena::default(),
            late_tiles: None,
            haloed: BTreeMap::new(),
            next: layers.into_iter(),
            output_shapes: vec![Vec::new(); request.outputs.len()],
        }
    }

    fn plan(mut self) -> Plan {
        let variant = self.variables.network.variant;
        let stages = self.variables.network.stages();
        let sizes: Vec<[usize; 2]> = stages
            .iter()
            .scan(self.request.size, |size, stage| {
                *size = stage.output_size(variant, *size);
                Some(*size)
            })
            .collect();
        let is_late = |[h, w]: &[usize; 2]| h * w <= LATE_PIXELS;
        // The first stage reads the picture, and pictures come one at a time.
        let late = 1 + sizes.iter().skip(1).take_while(|size| !is_late(size)).count();
        self.reserve_haloed(&stages, &sizes, 0..late);
        let mut current = None;
        for (index, (stage, &size)) in stages.iter().zip(&sizes).enumerate() {
            if index == late {
                self.begin_late(&stages, &sizes, late);
            }
            let halo = match stages.get(index + 1).map(|next| &next.body) {
                Some(Body::Conv(next)) => next.shape[0] / 2,
                _ => 0,
            };
            let element = match (&stage.body, &current) {
                (Body::MaxPool(_), Some(input)) => Map::element(input),
                _ => self.element(Value::Stage(index)),
            };
            let output = if halo > 0 && stage.norm.is_none() {
                self.haloed_map(element, [stage.channels, size[0], size[1]], (halo, 0))
            } else {
                self.map(element, [stage.channels, size[0], size[1]])
            };
            match (&stage.body, current) {
                (Body::Conv(conv), None) => self.first_conv(conv, output),
                (Body::Conv(_), Some(input)) => {
                    let layer = self.layer();
                    self.convs(vec![(input, vec![(layer, output)])], None);
                }
                (Body::MaxPool(pool), Some(input)) => {
                    let step = self.max_pool(*pool, input, output);
                    self.program.push(vec![step]);
                }
                (Body::Mixed(mixed), Some(input)) => self.mixed(mixed, index, input, output),
                (_, None) => unreachable!("the first stage is a convolution"),
            }
            self.store(Value::Stage(index), output, hwc(output));
            self.release(current);
            current = Some(output);
            if let Some(lrn) = stage.norm {
                let normed = self.map(self.element(Value::Normed(index)), output.shape());
                self.program.push(vec![Step::Lrn { input: output, output: normed, lrn }]);
                self.store(Value::Normed(index), normed, hwc(normed));
                self.release(current);
                current = Some(normed);
            }
            if index == late {
                // This stage has read the last early map.
                self.program.split(self.arena.floor);
            }
        }
        let last = current.expect("the network has stages");
        let channels = last.shape()[0];
        let mean = self.map(Element::F32, [channels, 1, 1]);
        self.program.push(vec![Step::GlobalMean { input: last, output: mean }]);
        self.store(Value::Features, mean, vec![channels]);
        if self.request.outputs.contains(&Value::Logits) {
            self.logits(mean);
        }
        Plan { request: self.request.clone(), program: self.program, output_shapes: self.output_shapes }
    }

    /// The picture into the arena, and the convolution that reads it.
    fn first_conv(&mut self, conv: &Conv, output: Map) {
        let variant = self.variables.network.variant;
        let [h, w] = self.request.size;
        let (rows, columns) = (variant.conv_extent(conv, h), variant.conv_extent(conv, w));
        let padding =
            Padding { top: rows.before, left: columns.before, bottom: rows.after, right: columns.after };
        let (affine, layer) = (self.variables.affine, self.layer());
        let place = |offset| {
            let image = Image::new(offset, h, w, padding);
            match (self.calibration, &layer.transformed) {
                (Some(_), _) => image.bytes(&affine),
                (None, Some(_)) => image.squares(),
                (None, None) => image,
            }
        };
        let len = place(0).len();
        let image = place(self.arena.take(len));
        self.program.push(vec![Step::Convert { image, affine }]);
        self.program.push(vec![match &layer.transformed {
            Some(filter) => Step::WinogradImage { image, filter: filter.clone(), output, relu: true },
            None => Step::ConvImage { image, stride: conv.stride, branch: layer.branch(output) },
        }]);
        self.batch_norm(&[(&layer, output)]);
    }

    /// Two phases: everything that reads the module's input, then everything that reads a result of that.
    fn mixed(&mut self, mixed: &Mixed, index: usize, input: Map, output: Map) {
        let [channels, h, w] = input.shape();
        // In the order of `Mixed::convs`, which is that of the variables.
        let [branch_0, reduce_1, conv_1, reduce_2, conv_2, branch_3] = [0; 6].map(|_| self.layer());
        let slice = |first: &mut usize, layer: &Layer<'_>| {
            let slice = output.slice(*first, layer.shape[3]);
            *first += layer.shape[3];
            slice
        };
        let first = &mut 0;
        let slices = [&branch_0, &conv_1, &conv_2, &branch_3].map(|layer| slice(first, layer));
        let values = [1, 2].map(|branch| Value::Reduced(index, branch));
        let elements = values.map(|value| self.element(value));
        let reduced_1 = self.haloed_map(elements[0], [reduce_1.shape[3], h, w], (conv_1.shape[0] / 2, 0));
        let reduced_2 = self.haloed_map(elements[1], [reduce_2.shape[3], h, w], (conv_2.shape[0] / 2, 1));
        let pooled = self.map(input.element(), [channels, h, w]);
        let pool = self.max_pool(mixed.pool, input, pooled);
        let readers = vec![(branch_0, slices[0]), (reduce_1, reduced_1), (reduce_2, reduced_2)];
        self.convs(vec![(input, readers)], Some(pool));
        for (value, map) in values.into_iter().zip([reduced_1, reduced_2]) {
            self.store(value, map, hwc(map));
        }
        let second =
            [(reduced_1, conv_1, slices[1]), (reduced_2, conv_2, slices[2]), (pooled, branch_3, slices[3])];
        self.convs(second.into_iter().map(|(from, layer, to)| (from, vec![(layer, to)])).collect(), None);
        self.release(Some(pooled));
    }

    /// Convolutions that are independent of each other, each group reading one map, with another step beside them;
    /// then the normalisation that they need.
    fn convs(&mut self, groups: Vec<(Map, Vec<(Layer<'a>, Map)>)>, beside: Option<Step<'_>>) {
        let mut steps: Vec<Step<'_>> = Vec::from_iter(beside);
        let mut transformed = Vec::new();
        for (input, branches) in &groups {
            match &branches[..] {
                [(Layer { transformed: Some(filter), .. }, output)] => {
                    transformed.push((*input, filter.clone(), *output));
                }
                _ => steps.push(Step::Conv {
                    input: *input,
                    branches: branches.iter().map(|(layer, output)| layer.branch(*output)).collect(),
                }),
            }
        }
        self.transformed_convs(&transformed, &mut steps);
        if !steps.is_empty() {
            self.program.push(steps);
        }
        let layers = groups.iter().flat_map(|(_, branches)| branches);
        self.batch_norm(&layers.map(|(layer, output)| (layer, *output)).collect::<Vec<_>>());
    }

    /// The convolutions by Winograd's algorithm, in as many parts as it takes for transformed maps to stay in the
    /// cache; the other steps of the phase run beside the first part's products.
    fn transformed_convs<'b>(&mut self, convs: &[(Map, TransformedFilter, Map)], beside: &mut Vec<Step<'b>>) {
        let images = if self.late_tiles.is_some() { Program::GROUP } else { 1 };
        let part_rows = |map: Map| {
            let rows = TransformedMap::rows_of(map.shape()[1]);
            let image_len = TransformedMap::new(0, map, 0..rows, 1).len();
            rows.div_ceil(image_len.div_ceil(TILES_ELEMENTS))
        };
        let parts = |map: Map| TransformedMap::rows_of(map.shape()[1]).div_ceil(part_rows(map));
        for part in 0..convs.iter().map(|(input, ..)| parts(*input)).max().unwrap_or(0) {
            let mut inputs = Vec::new();
            let mut outputs = Vec::new();
            let mut places = Vec::new();
            for (input, filter, output) in convs.iter().filter(|(input, ..)| part < parts(*input)) {
                let rows = part * part_rows(*input);
                let rows = rows..TransformedMap::rows_of(input.shape()[1]).min(rows + part_rows(*input));
                let len = TransformedMap::new(0, *input, rows.clone(), images).len();
                let offset = self.late_tiles.as_mut().unwrap_or(&mut self.arena).take(len);
                places.push(offset..offset + len);
                let tiles = TransformedMap::new(offset, *input, rows, images);
                inputs.push(Step::WinogradInput { input: *input, tiles: tiles.clone() });
                let (filter, output) = (filter.clone(), *output);
                outputs.push(Step::WinogradOutput { tiles, filter, output, relu: true });
            }
            self.program.push(inputs);
            outputs.append(beside);
            self.program.push(outputs);
            let arena = self.late_tiles.as_mut().unwrap_or(&mut self.arena);
            places.into_iter().for_each(|place| arena.give_back(place));
        }
    }

    fn batch_norm(&mut self, layers: &[(&Layer<'_>, Map)]) {
        let epsilon = self.variables.epsilon;
        let steps: Vec<_> = layers
            .iter()
            .filter_map(|(layer, map)| Some(Step::BatchNorm { map: *map, beta: layer.beta?, epsilon }))
            .collect();
        if !steps.is_empty() {
            self.program.push(steps);
        }
    }

    fn max_pool(&self, pool: Pool, input: Map, output: Map) -> Step<'static> {
        let [_, h, w] = input.shape();
        let before = [h, w].map(|len| self.variables.network.variant.pool_extent(pool, len).before);
        Step::MaxPool { input, output, size: pool.size, stride: pool.stride, before }
    }

    /// The feature vector is a map of one pixel, and the classifying layer a 1x1 convolution of it.
    fn logits(&mut self, features: Map) {
        let conv = self.variables.network.logits().expect("checked by `Plan::new`");
        let numbers = self.variables.logits.as_ref().expect("checked by `Plan::new`");
        let folded = numbers.fold(self.variables.epsilon);
        let classes = conv.shape[3];
        let output = self.map(Element::F32, [classes, 1, 1]);
        let filter = Filter { weights: &folded.weights, bias: &folded.bias, shape: conv.shape };
        let branch = Branch { filter, output, relu: false };
        self.program.push(vec![Step::Conv { input: features, branches: vec![branch] }]);
        self.store(Value::Logits, output, vec![classes]);
    }

    fn store(&mut self, value: Value, map: Map, shape: Vec<usize>) {
        if let Some(output) = self.request.outputs.iter().position(|wanted| *wanted == value) {
            self.program.push(vec![Step::Store { map, output }]);
            self.output_shapes[output] = shape;
        }
    }

    fn layer(&mut self) -> Layer<'a> {
        self.next.next().expect("numbers for every convolution")
    }

    /// What the numbers of `value` are stored as.
    fn element(&self, value: Value) -> Element {
        self.calibration.map_or(Element::F32, |calibration| Element::U8 { step: calibration.step(value) })
    }

    fn map(&mut self, element: Element, shape: [usize; 3]) -> Map {
        let offset = self.arena.take(self.place(element, 0, (shape, 0)).len());
        self.place(element, offset, (shape, 0))
    }

    fn haloed_map(&self, element: Element, shape: [usize; 3], (halo, role): (usize, usize)) -> Map {
        let [_, h, w] = shape;
        let offset = self.haloed[&Haloed { size: [h, w], halo, role }];
        self.place(element, offset, (shape, halo))
    }

    fn place(&self, element: Element, offset: usize, (shape, halo): ([usize; 3], usize)) -> Map {
        match element {
            Element::F32 => Map::new(offset, self.program.kernels().lanes(), shape, halo),
            Element::U8 { step } => Map::bytes(step, offset, shape, halo),
        }
    }

    /// From now on maps are kept for a group of images: they lie behind all early ones.
    fn begin_late(&mut self, stages: &[Stage], sizes: &[[usize; 2]], late: usize) {
        let lanes = self.program.kernels().lanes();
        let tiles = |conv: &Conv, [h, w]: [usize; 2]| {
            let map = Map::new(0, lanes, [conv.shape[2], h, w], conv.shape[0] / 2);
            let rows = 0..TransformedMap::rows_of(h);
            let pays = self.calibration.is_none() && winograd::pays(conv.shape, [h, w]);
            if pays { TransformedMap::new(0, map, rows, Program::GROUP).len() + Arena::ALIGN } else { 0 }
        };
        let longest = stages[late..].iter().zip(&sizes[late..]).map(|(stage, size)| match &stage.body {
            Body::Mixed(mixed) => tiles(&mixed.branch_1[1], *size) + tiles(&mixed.branch_2[1], *size),
            Body::Conv(conv) => tiles(conv, *size),
            Body::MaxPool(_) => 0,
        });
        let len = longest.max().unwrap_or(0);
        let start = self.arena.take(len);
        self.late_tiles = Some(Arena {
            floor: start,
            end: start + len,
            free: std::iter::once(start..start + len).collect(),
        });
        self.arena = Arena { floor: self.arena.end, end: self.arena.end, free: Vec::new() };
        self.reserve_haloed(stages, sizes, late..stages.len());
    }

    /// Gives maps with a halo their places, one for all of the same geometry: their halos are written by nobody and
    /// so stay zero from run to run.
    fn reserve_haloed(&mut self, stages: &[Stage], sizes: &[[usize; 2]], part: Range<usize>) {
        let mut channels: BTreeMap<Haloed, usize> = BTreeMap::new();
        let mut reserve = |size, (halo, role), wanted: usize| {
            let held = channels.entry(Haloed { size, halo, role }).or_default();
            *held = wanted.max(*held);
        };
        for index in part {
            let (stage, size) = (&stages[index], sizes[index]);
            if let Body::Mixed(mixed) = &stage.body {
                for (role, [reduce, conv]) in [&mixed.branch_1, &mixed.branch_2].into_iter().enumerate() {
                    reserve(size, (conv.shape[0] / 2, role), reduce.shape[3]);
                }
            }
            if let Some(Body::Conv(conv)) = stages.get(index + 1).map(|next| &next.body)
                && conv.shape[0] > 1
            {
                reserve(size, (conv.shape[0] / 2, 0), stage.channels);
            }
        }
        let element = self.calibration.map_or(Element::F32, |_| Element::U8 { step: 1.0 });
        for (geometry, channels) in channels {
            let [h, w] = geometry.size;
            let offset = self.arena.take(self.place(element, 0, ([channels, h, w], geometry.halo)).len());
            self.haloed.insert(geometry, offset);
        }
    }

    fn release(&mut self, map: Option<Map>) {
        if let Some(map) = map.filter(|map| map.halo() == 0) {
            self.arena.give_back(map.offset()..map.offset() + map.len());
        }
    }
}

/// Height, width and channels, as outputs are shaped.
fn hwc(map: Map) -> Vec<usize> {
    let [c, h, w] = map.shape();
    vec![h, w, c]
}

/// Shares out the arena: first fit, so that maps that live one after the other take the same place and stay in the
/// cache.
#[derive(Default)]
struct Arena {
    /// Nothing below is given out, even if it is given back.
    floor: usize,
    end: usize,
    free: Vec<Range<usize>>,
}

impl Arena {
    /// A cache line, so that no two maps share one.
    const ALIGN: usize = 16;

    fn take(&mut self, len: usize) -> usize {
        let len = len.next_multiple_of(Arena::ALIGN);
        if let Some(index) = self.free.iter().position(|free| free.len() >= len) {
            let free = &mut self.free[index];
            let offset = free.start;
            free.start += len;
            if free.start == free.end {
                self.free.remove(index);
            }
            return offset;
        }
        let offset = self.end;
        self.end += len;
        offset
    }

    fn give_back(&mut self, range: Range<usize>) {
        if range.start < self.floor {
            return;
        }
        let range = range.start..range.end.next_multiple_of(Arena::ALIGN);
        let index = self.free.partition_point(|free| free.start < range.start);
        self.free.insert(index, range);
        self.free.dedup_by(|next, held| {
            let joined = held.end == next.start;
            if joined {
                held.end = next.end;
            }
            joined
        });
    }
}
