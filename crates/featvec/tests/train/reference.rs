//! The training step as plain loops over `[n, h, w, c]`, in any precision: the truth that the tests compare with.
//!
//! It walks the network's table by recursion: each stage computes its result, hands it to the next, gets the gradient
//! of it back, and returns that of its input, so that what the way back needs is on the call stack.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, Sub};

use featvec::network::{Body, Conv, Extent, Pool, Stage};
use featvec::plan::Value;
use featvec::variables::{ConvVariables, Shift, Variables};
use featvec_kernels::Lrn;

/// `f32` or `f64`.
pub trait Real:
    Copy
    + Debug
    + Default
    + PartialOrd
    + Send
    + Sync
    + AddAssign
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
{
    fn of(x: f64) -> Self;
    fn to_f64(self) -> f64;
    fn powf(self, power: f64) -> Self {
        Self::of(self.to_f64().powf(power))
    }
}

impl Real for f32 {
    fn of(x: f64) -> f32 {
        x as f32
    }
    fn to_f64(self) -> f64 {
        self.into()
    }
}

impl Real for f64 {
    fn of(x: f64) -> f64 {
        x
    }
    fn to_f64(self) -> f64 {
        self
    }
}

fn reals<F: Real>(values: &[f32]) -> Vec<F> {
    values.iter().map(|x| F::of(f64::from(*x))).collect()
}

/// A batch of maps.
#[derive(Clone, Debug, PartialEq)]
pub struct Array<F> {
    /// `[n, h, w, c]`.
    pub shape: [usize; 4],
    pub data: Vec<F>,
}

impl<F: Real> Array<F> {
    pub fn new(shape: [usize; 4], data: Vec<F>) -> Array<F> {
        assert_eq!(data.len(), shape.iter().product::<usize>());
        Array { shape, data }
    }

    pub fn zeros(shape: [usize; 4]) -> Array<F> {
        Array { shape, data: vec![F::default(); shape.iter().product()] }
    }

    fn add(&mut self, other: &Array<F>) {
        assert_eq!(self.shape, other.shape);
        self.data.iter_mut().zip(&other.data).for_each(|(sum, x)| *sum += *x);
    }

    fn images(&self) -> std::slice::ChunksExact<'_, F> {
        self.data.chunks_exact(self.shape[1..].iter().product())
    }

    /// The channels `from..from + channels`.
    fn part(&self, from: usize, channels: usize) -> Array<F> {
        let [n, h, w, c] = self.shape;
        let pixels = self.data.chunks_exact(c);
        Array::new([n, h, w, channels], pixels.flat_map(|pixel| pixel[from..][..channels].to_vec()).collect())
    }
}

fn concat<F: Real>(parts: &[Array<F>]) -> Array<F> {
    let [n, h, w, _] = parts[0].shape;
    let channels = parts.iter().map(|part| part.shape[3]).sum();
    let mut data = Vec::with_capacity(n * h * w * channels);
    for pixel in 0..n * h * w {
        parts.iter().for_each(|part| data.extend(&part.data[pixel * part.shape[3]..][..part.shape[3]]));
    }
    Array::new([n, h, w, channels], data)
}

/// `work` for each of `0..n`, on two threads; results in order.
fn each<T: Send>(n: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let half = |range: std::ops::Range<usize>| range.map(&work).collect::<Vec<T>>();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| half(n / 2..n));
        let mut all = half(0..n / 2);
        all.extend(second.join().unwrap());
        all
    })
}

/// A window's geometry: its size, and where it moves along each direction.
#[derive(Clone, Copy)]
pub struct Window {
    pub size: [usize; 2],
    pub stride: usize,
    pub extents: [Extent; 2],
}

impl Window {
    fn out(&self) -> [usize; 2] {
        self.extents.map(|extent| extent.out)
    }

    /// The offset of each tap, and of the pixel of the map `[h, w]` that it reads, for the output pixel `at`.
    fn taps(&self, at: [usize; 2], [h, w]: [usize; 2]) -> impl Iterator<Item = (usize, usize)> {
        let [kh, kw] = self.size;
        let start = [0, 1].map(|d| (at[d] * self.stride).wrapping_sub(self.extents[d].before));
        (0..kh * kw).filter_map(move |tap| {
            let (y, x) = (start[0].wrapping_add(tap / kw), start[1].wrapping_add(tap % kw));
            (y < h && x < w).then(|| (tap, y * w + x))
        })
    }

    fn pixels(&self) -> impl Iterator<Item = [usize; 2]> {
        let [h, w] = self.out();
        (0..h * w).map(move |pixel| [pixel / w, pixel % w])
    }
}

/// `sums += factor * values`.
fn add_scaled<F: Real>(sums: &mut [F], factor: F, values: &[F]) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += factor * *value);
}

/// Convolution with an HWIO filter.
pub fn conv<F: Real>(x: &Array<F>, (filter, oc): (&[F], usize), window: &Window) -> Array<F> {
    let [n, h, w, ic] = x.shape;
    let [oh, ow] = window.out();
    let images: Vec<&[F]> = x.images().collect();
    let image = |n: usize| {
        let mut y = vec![F::default(); oh * ow * oc];
        for (at, sums) in window.pixels().zip(y.chunks_exact_mut(oc)) {
            for (tap, pixel) in window.taps(at, [h, w]) {
                for (i, value) in images[n][pixel * ic..][..ic].iter().enumerate() {
                    add_scaled(sums, *value, &filter[(tap * ic + i) * oc..][..oc]);
                }
            }
        }
        y
    };
    Array::new([n, oh, ow, oc], each(n, image).concat())
}

/// Gradients of [`conv`] to its input and to its filter.
pub fn conv_backward<F: Real>(
    dy: &Array<F>,
    x: &Array<F>,
    filter: &[F],
    window: &Window,
) -> (Array<F>, Vec<F>) {
    let ([n, h, w, ic], oc) = (x.shape, dy.shape[3]);
    // [kh, kw, oc, ic]
    let mut turned = vec![F::default(); filter.len()];
    for (row, values) in filter.chunks_exact(oc).enumerate() {
        let (tap, i) = (row / ic, row % ic);
        values.iter().enumerate().for_each(|(o, value)| turned[(tap * oc + o) * ic + i] = *value);
    }
    let pairs: Vec<(&[F], &[F])> = x.images().zip(dy.images()).collect();
    let image = |n: usize| {
        let (x, dy) = pairs[n];
        let (mut dx, mut dfilter) = (vec![F::default(); x.len()], vec![F::default(); filter.len()]);
        for (at, dy) in window.pixels().zip(dy.chunks_exact(oc)) {
            for (tap, pixel) in window.taps(at, [h, w]) {
                let dx = &mut dx[pixel * ic..][..ic];
                for (o, dy) in dy.iter().enumerate() {
                    add_scaled(dx, *dy, &turned[(tap * oc + o) * ic..][..ic]);
                }
                for (i, value) in x[pixel * ic..][..ic].iter().enumerate() {
                    add_scaled(&mut dfilter[(tap * ic + i) * oc..][..oc], *value, dy);
                }
            }
        }
        (dx, dfilter)
    };
    let (mut dx, mut dfilter) = (Vec::new(), vec![F::default(); filter.len()]);
    for (image, filter) in each(n, image) {
        dx.extend(image);
        add_scaled(&mut dfilter, F::of(1.0), &filter);
    }
    (Array::new([n, h, w, ic], dx), dfilter)
}

/// What normalises the channels before the ReLU.
#[derive(Clone, Debug)]
pub struct Normal<F> {
    pub mean: Vec<F>,
    pub rstd: Vec<F>,
    pub beta: Vec<F>,
    /// Whether mean and deviation are those of the batch that is normalised.
    pub of_batch: bool,
}

/// Mean and biased variance of each channel.
pub fn moments<F: Real>(x: &Array<F>) -> [Vec<F>; 2] {
    let c = x.shape[3];
    let count = F::of((x.data.len() / c) as f64);
    let (mut mean, mut variance) = (vec![F::default(); c], vec![F::default(); c]);
    for pixel in x.data.chunks_exact(c) {
        add_scaled(&mut mean, F::of(1.0) / count, pixel);
    }
    for pixel in x.data.chunks_exact(c) {
        for ((sum, x), mean) in variance.iter_mut().zip(pixel).zip(&mean) {
            *sum += (*x - *mean) * (*x - *mean) / count;
        }
    }
    [mean, variance]
}

/// `max(0, (x - mean) * rstd + beta)`.
pub fn norm_relu<F: Real>(x: &Array<F>, normal: &Normal<F>) -> Array<F> {
    let c = x.shape[3];
    let value = |(index, x): (usize, &F)| {
        let y = (*x - normal.mean[index % c]) * normal.rstd[index % c] + normal.beta[index % c];
        if y > F::default() { y } else { F::default() }
    };
    Array { shape: x.shape, data: x.data.iter().enumerate().map(value).collect() }
}

/// Gradients of [`norm_relu`] to its input and to beta.
pub fn norm_relu_backward<F: Real>(dy: &Array<F>, x: &Array<F>, normal: &Normal<F>) -> (Array<F>, Vec<F>) {
    let c = x.shape[3];
    let y = norm_relu(x, normal);
    let masked = |(dy, y): (&F, &F)| if *y > F::default() { *dy } else { F::default() };
    let dz: Vec<F> = dy.data.iter().zip(&y.data).map(masked).collect();
    let unit = |index: usize, x: F| (x - normal.mean[index % c]) * normal.rstd[index % c];
    let (mut dbeta, mut slope) = (vec![F::default(); c], vec![F::default(); c]);
    for (index, (dz, x)) in dz.iter().zip(&x.data).enumerate() {
        dbeta[index % c] += *dz;
        slope[index % c] += *dz * unit(index, *x);
    }
    let count = F::of((x.data.len() / c) as f64);
    let dx = |(index, (dz, x)): (usize, (&F, &F))| {
        let channel = index % c;
        let through_statistics = (dbeta[channel] + unit(index, *x) * slope[channel]) / count;
        let dz = if normal.of_batch { *dz - through_statistics } else { *dz };
        dz * normal.rstd[channel]
    };
    let dx = dz.iter().zip(&x.data).enumerate().map(dx).collect();
    (Array { shape: x.shape, data: dx }, dbeta)
}

/// The maximum of each window, and which element of `x` it is: of equals the first.
fn max_pool_places<F: Real>(x: &Array<F>, window: &Window) -> (Array<F>, Vec<usize>) {
    let ([n, h, w, c], [oh, ow]) = (x.shape, window.out());
    let mut y = Array::zeros([n, oh, ow, c]);
    let mut places = Vec::with_capacity(y.data.len());
    for image in 0..n {
        for at in window.pixels() {
            for channel in 0..c {
                let elements =
                    window.taps(at, [h, w]).map(|(_, pixel)| (image * h * w + pixel) * c + channel);
                let first = |best, next| if x.data[next] > x.data[best] { next } else { best };
                places.push(elements.reduce(first).expect("a window has pixels"));
            }
        }
    }
    y.data.iter_mut().zip(&places).for_each(|(y, place)| *y = x.data[*place]);
    (y, places)
}

pub fn max_pool<F: Real>(x: &Array<F>, window: &Window) -> Array<F> {
    max_pool_places(x, window).0
}

/// Gradient of [`max_pool`] to its input.
pub fn max_pool_backward<F: Real>(dy: &Array<F>, x: &Array<F>, window: &Window) -> Array<F> {
    let mut dx = Array::zeros(x.shape);
    for (dy, place) in dy.data.iter().zip(max_pool_places(x, window).1) {
        dx.data[place] += *dy;
    }
    dx
}

/// `k + alpha / size * sum of squares` around each channel of a pixel.
fn lrn_bases<F: Real>(pixel: &[F], lrn: &Lrn) -> Vec<F> {
    let half = lrn.size / 2;
    let base = |channel: usize| {
        let window = &pixel[channel.saturating_sub(half)..(channel + half + 1).min(pixel.len())];
        let squares = window.iter().fold(F::default(), |sum, x| sum + *x * *x);
        F::of(lrn.k.into()) + F::of(f64::from(lrn.alpha) / lrn.size as f64) * squares
    };
    (0..pixel.len()).map(base).collect()
}

pub fn lrn<F: Real>(x: &Array<F>, lrn: &Lrn) -> Array<F> {
    let pixels = x.data.chunks_exact(x.shape[3]);
    let normed = pixels.flat_map(|pixel| {
        let bases = lrn_bases(pixel, lrn);
        pixel.iter().zip(bases).map(|(x, base)| *x * base.powf(-0.75)).collect::<Vec<F>>()
    });
    Array { shape: x.shape, data: normed.collect() }
}

/// Gradient of [`lrn`] to its input.
pub fn lrn_backward<F: Real>(dy: &Array<F>, x: &Array<F>, lrn: &Lrn) -> Array<F> {
    let (c, half) = (x.shape[3], lrn.size / 2);
    let factor = F::of(-1.5 * f64::from(lrn.alpha) / lrn.size as f64);
    let pixels = x.data.chunks_exact(c).zip(dy.data.chunks_exact(c));
    let gradients = pixels.flat_map(|(x, dy)| {
        let bases = lrn_bases(x, lrn);
        let through: Vec<F> = (0..c).map(|i| dy[i] * x[i] * bases[i].powf(-1.75)).collect();
        let dx = |channel: usize| {
            let window = &through[channel.saturating_sub(half)..(channel + half + 1).min(c)];
            let sum = window.iter().fold(F::default(), |sum, x| sum + *x);
            dy[channel] * bases[channel].powf(-0.75) + factor * x[channel] * sum
        };
        (0..c).map(dx).collect::<Vec<F>>()
    });
    Array { shape: x.shape, data: gradients.collect() }
}

/// `[n, 1, 1, c]`.
pub fn global_mean<F: Real>(x: &Array<F>) -> Array<F> {
    let [n, h, w, c] = x.shape;
    let mut means = Array::zeros([n, 1, 1, c]);
    for (image, mean) in x.images().zip(means.data.chunks_exact_mut(c)) {
        image.chunks_exact(c).for_each(|pixel| add_scaled(mean, F::of(1.0 / (h * w) as f64), pixel));
    }
    means
}

/// Gradient of [`global_mean`] to its input, of `shape`.
pub fn global_mean_backward<F: Real>(dy: &Array<F>, shape: [usize; 4]) -> Array<F> {
    let [_, h, w, c] = shape;
    let part = F::of(1.0 / (h * w) as f64);
    let images = dy.data.chunks_exact(c).map(|dy| dy.iter().map(|dy| *dy * part).collect::<Vec<F>>());
    Array::new(shape, images.flat_map(|pixel| pixel.repeat(h * w)).collect())
}

/// The gradient of a layer's filter, and that of its beta or bias.
pub type Gradients<F> = (Vec<F>, Vec<F>);

/// Asked for the gradient of each value of the network; none where the loss does not depend on it directly.
pub type LossGradient<'a, F> = dyn FnMut(Value, &Array<F>) -> Option<Array<F>> + 'a;

/// What the way back needs of a convolution.
struct Kept<F> {
    layer: usize,
    window: Window,
    filter: Vec<F>,
    sums: Array<F>,
    normal: Normal<F>,
}

/// A step through the network.
pub struct Step<'a, F> {
    pub variables: &'a Variables,
    /// Normalise by the statistics of the batch and not by the moving averages.
    pub batch_statistics: bool,
    pub loss_gradient: &'a mut LossGradient<'a, F>,
    /// Of each layer, in the order of the network's convolutions, the classifying layer last.
    pub gradients: BTreeMap<usize, Gradients<F>>,
}

impl<F: Real> Step<'_, F> {
    /// Forward and backward for `images` `[n, h, w, 3]` in [0, 1].
    pub fn run(&mut self, images: &Array<F>) {
        let affine = self.variables.affine;
        let scaled = images.data.iter().enumerate().map(|(index, x)| {
            *x * F::of(affine.scale[index % 3].into()) + F::of(affine.offset[index % 3].into())
        });
        let input = Array { shape: images.shape, data: scaled.collect() };
        let stages = self.variables.network.stages();
        self.stages(&stages, 0, (input, 0));
    }

    /// Through the stages from `index` on; returns the gradient of their input.
    fn stages(&mut self, stages: &[Stage], index: usize, (x, layer): (Array<F>, usize)) -> Array<F> {
        let Some(stage) = stages.get(index) else { return self.head(&x) };
        match &stage.body {
            Body::Conv(conv) => {
                let (kept, y) = self.conv(conv, &x, layer);
                let dy = self.result(stages, index, (y, layer + 1));
                self.conv_backward(&kept, &dy, &x)
            }
            Body::MaxPool(pool) => {
                let window = self.pool_window(*pool, &x);
                let dy = self.result(stages, index, (max_pool(&x, &window), layer));
                max_pool_backward(&dy, &x, &window)
            }
            Body::Mixed(mixed) => {
                let [b0, b10, b11, b20, b21, b3] = mixed.convs();
                let (kept0, y0) = self.conv(b0, &x, layer);
                let (kept10, r1) = self.conv(b10, &x, layer + 1);
                let (kept11, y1) = self.conv(b11, &r1, layer + 2);
                let (kept20, r2) = self.conv(b20, &x, layer + 3);
                let (kept21, y2) = self.conv(b21, &r2, layer + 4);
                let window = self.pool_window(mixed.pool, &x);
                let pooled = max_pool(&x, &window);
                let (kept3, y3) = self.conv(b3, &pooled, layer + 5);
                let direct = [(1, &r1), (2, &r2)]
                    .map(|(branch, r)| (self.loss_gradient)(Value::Reduced(index, branch), r));
                let parts = [y0, y1, y2, y3];
                let dy = self.result(stages, index, (concat(&parts), layer + 6));

                let mut from = 0;
                let [d0, d1, d2, d3] = parts.map(|part| {
                    from += part.shape[3];
                    dy.part(from - part.shape[3], part.shape[3])
                });
                let mut dr1 = self.conv_backward(&kept11, &d1, &r1);
                let mut dr2 = self.conv_backward(&kept21, &d2, &r2);
                for (dr, direct) in [&mut dr1, &mut dr2].into_iter().zip(&direct) {
                    direct.iter().for_each(|direct| dr.add(direct));
                }
                let dpooled = self.conv_backward(&kept3, &d3, &pooled);
                let mut dx = self.conv_backward(&kept0, &d0, &x);
                dx.add(&self.conv_backward(&kept10, &dr1, &x));
                dx.add(&self.conv_backward(&kept20, &dr2, &x));
                dx.add(&max_pool_backward(&dpooled, &x, &window));
                dx
            }
        }
    }

    /// The result of a stage, and the gradient of it from all that follows.
    fn result(&mut self, stages: &[Stage], index: usize, (y, layer): (Array<F>, usize)) -> Array<F> {
        let direct = (self.loss_gradient)(Value::Stage(index), &y);
        let mut dy = match &stages[index].norm {
            None => self.stages(stages, index + 1, (y, layer)),
            Some(parameters) => {
                let normed = lrn(&y, parameters);
                let direct = (self.loss_gradient)(Value::Normed(index), &normed);
                let mut d = self.stages(stages, index + 1, (normed, layer));
                if let Some(direct) = direct {
                    d.add(&direct);
                }
                lrn_backward(&d, &y, parameters)
            }
        };
        if let Some(direct) = direct {
            dy.add(&direct);
        }
        dy
    }

    /// The global mean and the classifying layer; returns the gradient of the last map.
    fn head(&mut self, x: &Array<F>) -> Array<F> {
        let features = global_mean(x);
        let mut d = (self.loss_gradient)(Value::Features, &features).unwrap_or(Array::zeros(features.shape));
        if let (Some(numbers), Some(conv_)) = (&self.variables.logits, self.variables.network.logits()) {
            let window = self.conv_window(&conv_, &features);
            let (filter, bias) = (reals::<F>(&numbers.weights), reals::<F>(shift(numbers)));
            let mut logits = conv(&features, (&filter, bias.len()), &window);
            logits.data.chunks_exact_mut(bias.len()).for_each(|row| add_scaled(row, F::of(1.0), &bias));
            if let Some(dlogits) = (self.loss_gradient)(Value::Logits, &logits) {
                let (dfeatures, dfilter) = conv_backward(&dlogits, &features, &filter, &window);
                let mut dbias = vec![F::default(); bias.len()];
                dlogits.data.chunks_exact(bias.len()).for_each(|row| add_scaled(&mut dbias, F::of(1.0), row));
                self.gradients.insert(self.variables.convs.len(), (dfilter, dbias));
                d.add(&dfeatures);
            }
        }
        global_mean_backward(&d, x.shape)
    }

    /// A convolution with what follows it.
    fn conv(&self, conv_: &Conv, x: &Array<F>, layer: usize) -> (Kept<F>, Array<F>) {
        let numbers = &self.variables.convs[layer];
        let window = self.conv_window(conv_, x);
        let filter = reals::<F>(&numbers.weights);
        let sums = conv(x, (&filter, conv_.shape[3]), &window);
        let normal = self.normal(numbers, &sums);
        let y = norm_relu(&sums, &normal);
        (Kept { layer, window, filter, sums, normal }, y)
    }

    fn conv_backward(&mut self, kept: &Kept<F>, dy: &Array<F>, x: &Array<F>) -> Array<F> {
        let (dsums, dshift) = norm_relu_backward(dy, &kept.sums, &kept.normal);
        let (dx, dfilter) = conv_backward(&dsums, x, &kept.filter, &kept.window);
        self.gradients.insert(kept.layer, (dfilter, dshift));
        dx
    }

    fn normal(&self, numbers: &ConvVariables, sums: &Array<F>) -> Normal<F> {
        let epsilon = F::of(self.variables.epsilon.into());
        let rstd = |variance: Vec<F>| variance.iter().map(|v| (*v + epsilon).powf(-0.5)).collect();
        let beta = reals::<F>(shift(numbers));
        match &numbers.shift {
            Shift::Bias(bias) => Normal {
                mean: vec![F::default(); bias.len()],
                rstd: vec![F::of(1.0); bias.len()],
                beta,
                of_batch: false,
            },
            Shift::BatchNorm { moving_mean, moving_variance, .. } => {
                let of_batch = self.batch_statistics;
                let [mean, variance] =
                    if of_batch { moments(sums) } else { [reals(moving_mean), reals(moving_variance)] };
                Normal { mean, rstd: rstd(variance), beta, of_batch }
            }
        }
    }

    fn conv_window(&self, conv: &Conv, x: &Array<F>) -> Window {
        let extent = |len| self.variables.network.variant.conv_extent(conv, len);
        let size = [conv.shape[0], conv.shape[1]];
        Window { size, stride: conv.stride, extents: [x.shape[1], x.shape[2]].map(extent) }
    }

    fn pool_window(&self, pool: Pool, x: &Array<F>) -> Window {
        let extent = |len| self.variables.network.variant.pool_extent(pool, len);
        Window { size: [pool.size; 2], stride: pool.stride, extents: [x.shape[1], x.shape[2]].map(extent) }
    }
}

/// What is added to each channel before the ReLU.
fn shift(numbers: &ConvVariables) -> &[f32] {
    match &numbers.shift {
        Shift::Bias(bias) => bias,
        Shift::BatchNorm { beta, .. } => beta,
    }
}
