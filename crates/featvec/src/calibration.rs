//! What the bytes of the int8 mode stand for: the range of each map, measured on pictures.

use std::collections::{BTreeMap, BTreeSet};

use featvec_kernels::{Filter, Lrn, reference, rounding_bias};
use sha2::{Digest, Sha256};

use crate::extractor::FeatureExtractor;
use crate::network::{Body, DEFAULT_SIZE, Stage};
use crate::plan::{Mode, Precision, Value};
use crate::tensor::Tensor;
use crate::{Error, ErrorKind, Result};

/// What the bytes of each map stand for, and what rounding the filters does to the sums.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// Byte `q` of a map stands for `q * step`.
    steps: BTreeMap<Value, f32>,
    /// For each convolution in order, what rounding its weights adds to each output on the average.
    rounding: Vec<Vec<f32>>,
}

impl Calibration {
    /// Runs the network in `f32` over `images`, `[n, h, w, 3]` in [0, 1], and chooses for each map the range whose bytes
    /// come closest to it. A few dozen pictures of the kind that will be run are enough.
    ///
    /// # Errors
    /// No images; those of [`FeatureExtractor::run`].
    pub fn measure(extractor: &FeatureExtractor, images: &Tensor) -> Result<Calibration> {
        let &[n, h, w, 3] = images.shape() else {
            let message = format!("images are [n, height, width, 3], not {:?}", images.shape());
            return Err(Error::new(ErrorKind::Mismatch, "", message));
        };
        if n == 0 {
            return Err(Error::new(ErrorKind::Argument, "", "no pictures to calibrate with"));
        }
        let variables = extractor.variables();
        let stages = variables.network.stages();
        let maps = maps(&stages);
        let inputs = conv_inputs(&stages);
        let read = inputs.iter().flatten().map(|(_, value)| *value);
        let values: BTreeSet<Value> = maps.iter().map(|map| map.measured).chain(read).collect();
        let values: Vec<Value> = values.into_iter().collect();
        let mut ranges: Vec<Range> = maps.iter().map(|map| Range::new(map.lrn)).collect();
        let mut means: BTreeMap<Value, Means> =
            values.iter().map(|value| (*value, Means::default())).collect();
        // One by one, since all maps of a picture are kept meanwhile: some 13 MB at 224x224.
        for picture in images.iter_rows() {
            let picture = Tensor::new([1, h, w, 3], picture.to_vec())?;
            let results = extractor.run_in(Precision::F32, &picture, Mode::Inference, &values)?;
            let result = |value| &results[values.binary_search(&value).expect("every value was asked for")];
            for (range, map) in ranges.iter_mut().zip(&maps) {
                range.add(result(map.measured));
            }
            for (means, result) in means.values_mut().zip(&results) {
                means.add(result);
            }
        }
        let steps: BTreeMap<Value, f32> =
            maps.iter().map(|map| map.value).zip(ranges.iter().map(Range::step)).collect();
        let convs = variables.network.convs();
        let rounding = variables.convs.iter().zip(&convs).zip(inputs).map(|((numbers, conv), input)| {
            let Some((map, values)) = input else { return vec![0.0; conv.shape[3]] };
            let folded = numbers.fold(variables.epsilon);
            let filter = Filter { weights: &folded.weights, bias: &folded.bias, shape: conv.shape };
            rounding_bias(&filter, steps[&map], &means[&values].per_channel())
        });
        Ok(Calibration { rounding: rounding.collect(), steps })
    }

    /// The SHA-256 of all that is in it: where it is the same, so are the results.
    pub fn sha256(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let numbers = self.steps.values().chain(self.rounding.iter().flatten());
        numbers.for_each(|number| hash.update(number.to_le_bytes()));
        hash.finalize().into()
    }

    /// Whether it has a step for every map of the network with these stages.
    pub(crate) fn covers(&self, stages: &[Stage]) -> bool {
        maps(stages).iter().all(|map| self.steps.contains_key(&map.value))
    }

    /// The step of the bytes of `value`, one of the network's that it [covers](Calibration::covers).
    pub(crate) fn step(&self, value: Value) -> f32 {
        self.steps[&value]
    }

    /// What rounding the weights of the convolution `index`, one of the network's that it
    /// [covers](Calibration::covers), adds to each output on the average.
    pub(crate) fn rounding_bias(&self, index: usize) -> &[f32] {
        &self.rounding[index]
    }
}

/// The mean of each channel of a map.
#[derive(Default)]
struct Means {
    sums: Vec<f64>,
    pixels: usize,
}

impl Means {
    fn add(&mut self, map: &Tensor) {
        let channels = map.shape().last().copied().unwrap_or(1);
        self.sums.resize(channels, 0.0);
        for pixel in map.data().chunks_exact(channels) {
            self.pixels += 1;
            self.sums.iter_mut().zip(pixel).for_each(|(sum, x)| *sum += f64::from(*x));
        }
    }

    fn per_channel(&self) -> Vec<f32> {
        self.sums.iter().map(|sum| (sum / self.pixels as f64) as f32).collect()
    }
}

/// For each convolution, in the order of [`Network::convs`](crate::network::Network::convs), the map whose step its input
/// has, and the value whose means its input has, or nearly so; none for the one that reads the picture.
fn conv_inputs(stages: &[Stage]) -> Vec<Option<(Value, Value)>> {
    let mut inputs = Vec::new();
    // Pools keep the steps of what they read.
    let mut input: Option<(Value, Value)> = None;
    for (index, stage) in stages.iter().enumerate() {
        let result = Value::Stage(index);
        match &stage.body {
            Body::Conv(_) => inputs.push(input),
            Body::MaxPool(_) => {}
            Body::Mixed(_) => {
                let reduced =
                    [1, 2].map(|branch| Value::Reduced(index, branch)).map(|value| Some((value, value)));
                // The pool of the last branch raises its means a little.
                inputs.extend([input, input, reduced[0], input, reduced[1], input]);
            }
        }
        let step = match (&stage.body, input) {
            (Body::MaxPool(_), Some((map, _))) => map,
            _ => result,
        };
        input = Some(match stage.norm {
            Some(_) => (Value::Normed(index), Value::Normed(index)),
            None => (step, result),
        });
    }
    inputs
}

/// A map that has a step of its own.
struct Measured {
    value: Value,
    /// What is measured for it: after a pool, which passes on the larger numbers only, the pool's result.
    measured: Value,
    /// The normalisation that reads it, if one does.
    lrn: Option<Lrn>,
}

fn maps(stages: &[Stage]) -> Vec<Measured> {
    let mut maps = Vec::new();
    for (index, stage) in stages.iter().enumerate() {
        let pool = index + 1;
        let pooled =
            stages.get(pool).filter(|next| matches!(next.body, Body::MaxPool(_)) && stage.norm.is_none());
        let (measured, lrn) = match pooled {
            Some(pooled) => (Value::Stage(pool), pooled.norm),
            None => (Value::Stage(index), stage.norm),
        };
        let plain = |value| Measured { value, measured: value, lrn: None };
        if !matches!(stage.body, Body::MaxPool(_)) {
            maps.push(Measured { value: Value::Stage(index), measured, lrn });
        }
        if matches!(stage.body, Body::Mixed(_)) {
            maps.extend([1, 2].map(|branch| plain(Value::Reduced(index, branch))));
        }
        maps.extend(stage.norm.map(|_| plain(Value::Normed(index))));
    }
    maps
}

/// What is known of the numbers of a map.
struct Range {
    /// How often positive numbers are how large, up to `end`, a power of two.
    counts: Vec<u64>,
    end: f32,
    /// For a map that is normalised: how, and some of its pixels of all channels.
    lrn: Option<(Lrn, usize, Vec<f32>)>,
}

const BINS: usize = 4096;
/// How much wider the ranges are than is best for the pictures measured. Others may have larger numbers, and one that is
/// cut off does more harm than all that are rounded a little less finely.
const MARGIN: f32 = 1.35;
/// Of the pixels of a map that is normalised, one in so many is kept.
const SAMPLE: usize = 61;

impl Range {
    fn new(lrn: Option<Lrn>) -> Range {
        let lrn = lrn.map(|lrn| (lrn, 0, Vec::new()));
        Range { end: f32::MIN_POSITIVE, counts: vec![0; BINS], lrn }
    }

    fn add(&mut self, map: &Tensor) {
        let max = map.data().iter().fold(0f32, |max, x| max.max(*x)).min(f32::MAX / 4.0);
        while self.end <= max {
            self.end *= 2.0;
            for bin in 0..BINS / 2 {
                self.counts[bin] = self.counts[2 * bin] + self.counts[2 * bin + 1];
            }
            self.counts[BINS / 2..].fill(0);
        }
        let scale = BINS as f32 / self.end;
        for value in map.data().iter().filter(|value| **value > 0.0) {
            self.counts[((value * scale) as usize).min(BINS - 1)] += 1;
        }
        if let (Some((_, channels, pixels)), [.., c]) = (&mut self.lrn, map.shape()) {
            *channels = *c;
            pixels.extend(map.data().chunks_exact(*c).step_by(SAMPLE).flatten());
        }
    }

    /// The step of bytes with the least squared error: a finer one rounds the many small numbers less, a coarser one
    /// cuts off fewer of the few large ones.
    fn step(&self) -> f32 {
        let Some(last) = self.counts.iter().rposition(|count| *count > 0) else {
            return 1.0; // nothing but zeros
        };
        let width = self.end / BINS as f32;
        let step = |bins: usize| bins as f32 * width / 255.0;
        // Ranges 5 % apart, from the whole down to a fiftieth of it.
        let candidates = (0..76).map(|i| ((last + 1) as f32 * 0.95f32.powi(i)).ceil() as usize);
        let normed = self.lrn.as_ref().map(|(lrn, channels, pixels)| reference::lrn(*channels, pixels, lrn));
        let errors = candidates.map(|bins| (bins, self.error(bins, f64::from(width), normed.as_deref())));
        let best = errors.min_by(|(_, a), (_, b)| a.total_cmp(b));
        best.map_or(1.0, |(bins, _)| MARGIN * step(bins))
    }

    /// The squared error of bytes whose range is `bins` of `width`; after the normalisation, which gives `normed`, where
    /// there is one.
    fn error(&self, bins: usize, width: f64, normed: Option<&[f64]>) -> f64 {
        let limit = bins as f64 * width;
        let step = limit / 255.0;
        if let (Some((lrn, channels, pixels)), Some(normed)) = (&self.lrn, normed) {
            let bytes = pixels.iter().map(|x| ((f64::from(*x) / step).round().min(255.0) * step) as f32);
            let bytes = reference::lrn(*channels, &bytes.collect::<Vec<_>>(), lrn);
            return bytes.iter().zip(normed).map(|(a, b)| (a - b) * (a - b)).sum();
        }
        let inside: u64 = self.counts[..bins].iter().sum();
        let beyond = self.counts.iter().enumerate().skip(bins).map(|(bin, count)| {
            let beyond = (bin as f64 + 0.5) * width - limit;
            *count as f64 * beyond * beyond
        });
        inside as f64 * step * step / 12.0 + beyond.sum::<f64>()
    }
}

/// Pictures of overlapping discs of all sizes, colours and textures: their edges, areas and contrasts are distributed much
/// as in photographs.
pub(crate) fn builtin_pictures() -> Tensor {
    let [h, w] = DEFAULT_SIZE;
    let mut random = Random(1);
    let mut data = Vec::with_capacity(BUILTIN_PICTURES * h * w * 3);
    for _ in 0..BUILTIN_PICTURES {
        let discs: Vec<Disc> = (0..DISCS).map(|_| Disc::new(&mut random)).collect();
        for (y, x) in (0..h).flat_map(|y| (0..w).map(move |x| (y, x))) {
            let at = [y as f32 / h as f32, x as f32 / w as f32];
            let top = discs.iter().find(|disc| disc.covers(at)).or(discs.last());
            data.extend(top.map_or([0.0; 3], |disc| disc.color(at)));
        }
    }
    Tensor::new([BUILTIN_PICTURES, h, w, 3], data).expect("as many numbers as pixels")
}

const BUILTIN_PICTURES: usize = 12;
const DISCS: usize = 200;

/// A disc of one colour with waves on it; lengths are those of the picture's sides.
struct Disc {
    center: [f32; 2],
    radius: f32,
    color: [f32; 3],
    /// The waves' phase, which grows so fast downwards and to the right.
    wave: [f32; 2],
    contrast: f32,
}

impl Disc {
    fn new(random: &mut Random) -> Disc {
        let center = [random.next() * 1.2 - 0.1, random.next() * 1.2 - 0.1];
        // As many discs an area of each size: radii of density 1 / r^3.
        let radius = 0.02 / (1.0 - 0.998 * random.next()).sqrt();
        let light = random.next();
        let color = [0; 3].map(|_| (light + 0.5 * (random.next() - 0.5)).clamp(0.0, 1.0));
        let frequency = 8.0 * 16f32.powf(random.next());
        let angle = random.next() * core::f32::consts::TAU;
        let wave = [frequency * angle.sin(), frequency * angle.cos()];
        Disc { center, radius, color, wave, contrast: 0.3 * random.next() * random.next() }
    }

    fn covers(&self, at: [f32; 2]) -> bool {
        let [dy, dx] = [at[0] - self.center[0], at[1] - self.center[1]];
        dy * dy + dx * dx < self.radius * self.radius
    }

    fn color(&self, at: [f32; 2]) -> [f32; 3] {
        let texture = self.contrast * (at[0] * self.wave[0] + at[1] * self.wave[1]).sin();
        let shade = 0.3 * (at[0] - self.center[0]);
        self.color.map(|light| (light + texture + shade).clamp(0.0, 1.0))
    }
}

/// Reproducible numbers in [0, 1).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 24) as f32
    }
}
