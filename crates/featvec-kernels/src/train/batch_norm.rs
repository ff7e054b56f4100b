//! Batch normalisation and ReLU, and their gradient.
//!
//! These take as long as memory takes to deliver the maps, so each pass reads them once. Sums over a batch are kept in
//! `f32` for a strip of some rows that stays in the cache, and in `f64` beyond.

use core::ops::Range;

use crate::kernels::Kernels;
use crate::maps::Maps;
use crate::prefetch;
use crate::simd::{MAX_LANES, Simd};
use crate::team::Team;
use crate::train::planes::{self, Plane, Planes};

/// Mean and variance of each channel of a batch, over all images and pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// The means.
    pub mean: Vec<f32>,
    /// The biased variances: divided by the number of values.
    pub variance: Vec<f32>,
}

/// What normalises each of a range of channels: `max(0, (x - mean) * rstd + beta)`.
#[derive(Clone, Copy, Debug)]
pub struct Normal<'a> {
    /// What to subtract.
    pub mean: &'a [f32],
    /// The reciprocal of the standard deviation, `1 / sqrt(variance + epsilon)`.
    pub rstd: &'a [f32],
    /// What to add then.
    pub beta: &'a [f32],
}

/// What the mean and variance of a normalisation are to its gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistics {
    /// Those of the batch itself, which depend on each of its values.
    Batch,
    /// Constants, as of a network whose statistics are frozen. A bias is a mean of 0 with a deviation of 1.
    Fixed,
}

/// Two sums for each channel of a block.
pub(crate) type Sums = [[f64; MAX_LANES]; 2];

/// The numbers of a block's channels; zeros for those that fill up the last block, which makes zeros of zeros.
struct Scale {
    mean: [f32; MAX_LANES],
    rstd: [f32; MAX_LANES],
    beta: [f32; MAX_LANES],
}

/// A plane to normalise.
pub(crate) struct Normalization<'a> {
    x: Plane,
    y: Plane,
    scale: &'a Scale,
}

/// A plane to take the gradient of.
pub(crate) struct Gradient<'a> {
    x: Plane,
    dy: Plane,
    scale: &'a Scale,
    through: &'a Through,
}

/// The gradient that reaches a value through the statistics of its channel: `mean + slope * (x - mean of x)` is
/// subtracted from its own.
#[derive(Default)]
struct Through {
    mean: [f32; MAX_LANES],
    slope: [f32; MAX_LANES],
}

impl Through {
    /// By the sums of [`gradient_sums`] over the whole batch, of `count` values of each channel.
    fn of([g, gx]: &Sums, scale: &Scale, count: f64) -> Through {
        let slope = |lane: usize| {
            let rstd = f64::from(scale.rstd[lane]);
            (rstd * rstd * gx[lane] / count) as f32
        };
        Through { mean: g.map(|g| (g / count) as f32), slope: core::array::from_fn(slope) }
    }
}

/// Mean, and sum of the squares of what differs from it, of the values seen so far.
#[derive(Default)]
pub(crate) struct Moving {
    sums: Sums,
    count: f64,
}

impl Moving {
    /// Adds what was seen elsewhere.
    #[inline(always)]
    fn join(&mut self, [other_mean, other_squares]: &Sums, count: f64) {
        let [mean, squares] = &mut self.sums;
        let part = count / (self.count + count);
        for lane in 0..MAX_LANES {
            let difference = other_mean[lane] - mean[lane];
            mean[lane] += difference * part;
            squares[lane] += other_squares[lane] + difference * difference * self.count * part;
        }
        self.count += count;
    }
}

/// Mean and biased variance of each channel of `maps`.
pub fn moments(team: &Team, maps: &Maps) -> Moments {
    let (kernels, planes) = (maps.kernels(), Planes::of(maps));
    let [channels, h, w] = maps.shape();
    let pixels = (h * w) as f64;
    // SAFETY: planes of maps that are borrowed; `kernels` proves the instruction set.
    let of_plane = |image, block| unsafe { (kernels.moments)(&planes.plane(image, block)) };
    let join = |total: &mut Moving, sums: &Sums| total.join(sums, pixels);
    let totals = planes::join(team, (&planes, planes.blocks()), &of_plane, join);
    let mut moments = Moments { mean: Vec::with_capacity(channels), variance: Vec::with_capacity(channels) };
    for Moving { sums: [mean, squares], count } in totals {
        moments.mean.extend(mean[..kernels.lanes()].iter().map(|mean| *mean as f32));
        moments.variance.extend(squares[..kernels.lanes()].iter().map(|squares| (squares / count) as f32));
    }
    moments.mean.truncate(channels);
    moments.variance.truncate(channels);
    moments
}

/// Normalises `channels` of `x` by `scale` and writes them to `y`, from the channel that is named with it on:
/// `max(0, (x - mean) * rstd + beta)`. What is not a number stays so.
///
/// # Panics
/// Where the channels do not begin at a block in both maps, or end neither at one nor with the map, or sizes differ.
pub fn normalize(
    team: &Team,
    x: &Maps,
    channels: Range<usize>,
    scale: &Normal<'_>,
    (y, to): (&mut Maps, usize),
) {
    let (first, scales) = check((x, channels), scale, (y, to));
    let kernels = x.kernels();
    let to = to / kernels.lanes();
    let (x, y) = (Planes::of(x), Planes::of_mut(y));
    planes::share_back(team, &x, scales.len(), &|image, block| {
        let (x, y) = (x.plane(image, first + block), y.plane(image, to + block));
        // SAFETY: planes of one size of maps that are borrowed, `y` this item's alone; `kernels` proves the
        // instruction set.
        unsafe { (kernels.normalize)(&Normalization { x, y, scale: &scales[block] }) };
    });
}

/// The gradient of [`normalize`]: `channels` of `x` become the gradient to `x`, given that to what was made of them, `dy`
/// from the channel that is named with it on. Returns the gradient to `beta`.
///
/// # Panics
/// As [`normalize`].
pub fn normalize_backward(
    team: &Team,
    x: &mut Maps,
    channels: Range<usize>,
    scale: &Normal<'_>,
    (dy, from): (&Maps, usize),
    statistics: Statistics,
) -> Vec<f32> {
    let len = channels.len();
    let (first, scales) = check((x, channels), scale, (dy, from));
    let ([_, h, w], images, kernels) = (x.shape(), x.images(), x.kernels());
    let blocks = [first, from / kernels.lanes()];
    let count = (images * h * w) as f64;
    let backward = Backward { kernels, x: Planes::of_mut(x), dy: Planes::of(dy), blocks, scales };
    let blocks = backward.scales.len();
    let of_plane = |image, block| {
        let sums = backward.sums(image, block);
        if statistics == Statistics::Fixed {
            // At once, while the plane is in the cache.
            // SAFETY: each plane is worked on once.
            unsafe { backward.apply(image, block, &Through::default()) };
        }
        sums
    };
    let add = |total: &mut Sums, sums: &Sums| {
        for (total, sum) in total.iter_mut().flatten().zip(sums.iter().flatten()) {
            *total += sum;
        }
    };
    let totals = planes::join(team, (&backward.x, blocks), &of_plane, add);
    if statistics == Statistics::Batch {
        let through = |(sums, scale)| Through::of(sums, scale, count);
        let throughs: Vec<Through> = totals.iter().zip(&backward.scales).map(through).collect();
        planes::share_back(team, &backward.x, blocks, &|image, block| {
            // SAFETY: as above.
            unsafe { backward.apply(image, block, &throughs[block]) };
        });
    }
    totals.iter().flat_map(|[g, _]| &g[..kernels.lanes()]).map(|g| *g as f32).take(len).collect()
}

/// What [`normalize_backward`] does to each plane.
struct Backward<'a> {
    kernels: &'static Kernels,
    x: Planes<'a>,
    dy: Planes<'a>,
    /// The first block of `x`, and of `dy`.
    blocks: [usize; 2],
    scales: Vec<Scale>,
}

impl Backward<'_> {
    fn gradient<'a>(&'a self, image: usize, block: usize, through: &'a Through) -> Gradient<'a> {
        let [x, dy] = self.blocks.map(|first| first + block);
        let (x, dy) = (self.x.plane(image, x), self.dy.plane(image, dy));
        Gradient { x, dy, scale: &self.scales[block], through }
    }

    fn sums(&self, image: usize, block: usize) -> Sums {
        // SAFETY: planes of one size (`check`) of maps that are borrowed; `kernels` proves the instruction set.
        unsafe { (self.kernels.gradient_sums)(&self.gradient(image, block, &Through::default())) }
    }

    /// # Safety
    /// Nobody else touches this plane of `x` meanwhile.
    unsafe fn apply(&self, image: usize, block: usize, through: &Through) {
        // SAFETY: as in `sums`; `x` is borrowed mutably, and the caller vouches for nobody else touching the plane.
        unsafe { (self.kernels.normalize_backward)(&self.gradient(image, block, through)) };
    }
}

/// Checks that `channels` of `x` and as many channels of `other` from `start` on are blocks of maps of one size. Returns
/// the first block of `x`, and the numbers of each.
fn check(
    (x, channels): (&Maps, Range<usize>),
    scale: &Normal<'_>,
    (other, start): (&Maps, usize),
) -> (usize, Vec<Scale>) {
    planes::check_alike(x, &[other]);
    let parts = [x.map().slice(channels.start, channels.len()), other.map().slice(start, channels.len())];
    assert_eq!(parts[0].shape(), parts[1].shape(), "maps of another size");
    let Normal { mean, rstd, beta } = *scale;
    let fit = [mean, rstd, beta].iter().all(|numbers| numbers.len() == channels.len());
    assert!(fit, "not as many numbers as channels");
    let lanes = x.kernels().lanes();
    let block = |numbers: &[f32], block: usize| {
        let mut padded = [0.0; MAX_LANES];
        let numbers = numbers.chunks(lanes).nth(block).unwrap_or(&[]);
        padded[..numbers.len()].copy_from_slice(numbers);
        padded
    };
    let scales = (0..channels.len().div_ceil(lanes)).map(|index| {
        let [mean, rstd, beta] = [mean, rstd, beta].map(|numbers| block(numbers, index));
        Scale { mean, rstd, beta }
    });
    (channels.start / lanes, scales.collect())
}

/// How far ahead memory is asked for what is read next: the processor itself looks no further than a page.
const AHEAD: usize = 1024;

/// Pixels of a strip: its sums are added up in `f32`, and it stays in the first-level cache.
const STRIP: usize = 128;

/// Sums that are added up beside each other, because an addition takes longer to end than to begin.
const CHAINS: usize = 4;

/// The rows of a plane in strips.
#[inline(always)]
fn strips(plane: &Plane) -> impl Iterator<Item = Range<usize>> {
    let (h, rows) = (plane.h, (STRIP / plane.w).max(1));
    (0..h).step_by(rows).map(move |first| first..(first + rows).min(h))
}

/// The sum of the chains, lane by lane.
#[inline(always)]
fn total<S: Simd>(simd: S, [a, b, c, d]: [S::V; CHAINS]) -> [f32; MAX_LANES] {
    let mut lanes = [0.0; MAX_LANES];
    // SAFETY: the array has room for a vector of any instruction set.
    unsafe { simd.store(lanes.as_mut_ptr(), simd.add(simd.add(a, b), simd.add(c, d))) };
    lanes
}

/// The sums of `x - shift` over rows of a plane, and of their squares.
///
/// # Safety
/// The rows can be read.
#[inline(always)]
unsafe fn shifted_sums<S: Simd>(
    simd: S,
    (plane, rows): (&Plane, Range<usize>),
    shift: &[f32; MAX_LANES],
) -> [[f32; MAX_LANES]; 2] {
    // SAFETY: the array has room for a vector of any instruction set.
    let shift = unsafe { simd.load(shift.as_ptr()) };
    let mut sums = [simd.splat(0.0); CHAINS];
    let mut squares = sums;
    for y in rows {
        let row = plane.row(y);
        for first in (0..plane.w).step_by(CHAINS) {
            for chain in 0..CHAINS {
                if first + chain < plane.w {
                    prefetch::near(row.wrapping_add((first + chain) * S::LANES + AHEAD));
                    // SAFETY: a pixel of the row (contract).
                    let x = simd.sub(unsafe { simd.load(row.add((first + chain) * S::LANES)) }, shift);
                    sums[chain] = simd.add(sums[chain], x);
                    squares[chain] = simd.mul_add(x, x, squares[chain]);
                }
            }
        }
    }
    [total(simd, sums), total(simd, squares)]
}

/// The mean of a plane, and the sum of the squares of what differs from it.
///
/// Each strip is read once, shifted by the mean of those before. How far that is from the strip's own mean is part of what
/// the squares add up to, so that what cancels is never much more than what is left: as accurate as two passes over all.
///
/// # Safety
/// The plane can be read.
#[inline(always)]
pub(crate) unsafe fn moments_of_plane<S: Simd>(simd: S, plane: &Plane) -> Sums {
    let mut seen = Moving::default();
    let mut shift = [0.0; MAX_LANES];
    for rows in strips(plane) {
        let count = (rows.len() * plane.w) as f64;
        if rows.start == 0 {
            // SAFETY: rows of the plane.
            let [sum, _] = unsafe { shifted_sums(simd, (plane, rows.clone()), &shift) };
            shift = sum.map(|sum| (f64::from(sum) / count) as f32);
        }
        // SAFETY: as above.
        let [sum, squares] = unsafe { shifted_sums(simd, (plane, rows), &shift) };
        let mut strip = Sums::default();
        for lane in 0..S::LANES {
            let sum = f64::from(sum[lane]);
            strip[0][lane] = f64::from(shift[lane]) + sum / count;
            strip[1][lane] = (f64::from(squares[lane]) - sum * sum / count).max(0.0);
        }
        seen.join(&strip, count);
        shift = seen.sums[0].map(|mean| mean as f32);
    }
    seen.sums
}

/// What normalises a block, as vectors.
struct Vectors<S: Simd> {
    mean: S::V,
    rstd: S::V,
    beta: S::V,
}

impl<S: Simd> Vectors<S> {
    #[inline(always)]
    fn of(simd: S, scale: &Scale) -> Vectors<S> {
        // SAFETY: the arrays have room for a vector of any instruction set.
        let [mean, rstd, beta] =
            [&scale.mean, &scale.rstd, &scale.beta].map(|lanes| unsafe { simd.load(lanes.as_ptr()) });
        Vectors { mean, rstd, beta }
    }

    /// `x - mean`, and what the ReLU gets of it: forward and backward must agree to the bit which are positive.
    #[inline(always)]
    fn normalize(&self, simd: S, x: S::V) -> [S::V; 2] {
        let centered = simd.sub(x, self.mean);
        [centered, simd.mul_add(centered, self.rstd, self.beta)]
    }
}

/// Normalises a plane.
///
/// # Safety
/// `x` can be read, and `y`, of its size, be written.
#[inline(always)]
pub(crate) unsafe fn normalize_plane<S: Simd>(simd: S, Normalization { x, y, scale }: &Normalization<'_>) {
    let (vectors, zero) = (Vectors::of(simd, scale), simd.splat(0.0));
    for row in 0..x.h {
        let (from, to) = (x.row(row), y.row(row));
        for pixel in 0..x.w {
            prefetch::near(from.wrapping_add(pixel * S::LANES + AHEAD));
            prefetch::near(to.wrapping_add(pixel * S::LANES + AHEAD));
            // SAFETY: a pixel of both planes (contract).
            unsafe {
                let [_, normal] = vectors.normalize(simd, simd.load(from.add(pixel * S::LANES)));
                // In this order, what is not a number comes through, on x86 too: it must not go unnoticed.
                simd.store(to.add(pixel * S::LANES), simd.max(zero, normal));
            }
        }
    }
}

/// The sums of the gradient before the ReLU, `g`, and of `g * (x - mean)`.
///
/// # Safety
/// `x` and `dy`, of its size, can be read.
#[inline(always)]
pub(crate) unsafe fn gradient_sums<S: Simd>(simd: S, plane: &Gradient<'_>) -> Sums {
    let Gradient { x, dy, scale, .. } = plane;
    let (vectors, zero) = (Vectors::of(simd, scale), simd.splat(0.0));
    let mut totals = [[0.0; MAX_LANES]; 2];
    for rows in strips(x) {
        let mut g_sums = [zero; CHAINS];
        let mut gx_sums = [zero; CHAINS];
        for row in rows {
            let (x_row, dy_row) = (x.row(row), dy.row(row));
            for first in (0..x.w).step_by(CHAINS) {
                for chain in 0..CHAINS {
                    if first + chain < x.w {
                        let at = (first + chain) * S::LANES;
                        prefetch::near(x_row.wrapping_add(at + AHEAD));
                        prefetch::near(dy_row.wrapping_add(at + AHEAD));
                        // SAFETY: a pixel of both planes (contract).
                        let (x, dy) = unsafe { (simd.load(x_row.add(at)), simd.load(dy_row.add(at))) };
                        let [centered, normal] = vectors.normalize(simd, x);
                        let g = simd.where_greater(normal, zero, dy);
                        g_sums[chain] = simd.add(g_sums[chain], g);
                        gx_sums[chain] = simd.mul_add(g, centered, gx_sums[chain]);
                    }
                }
            }
        }
        for (totals, sums) in totals.iter_mut().zip([g_sums, gx_sums]) {
            let sums = total(simd, sums);
            for lane in 0..S::LANES {
                totals[lane] += f64::from(sums[lane]);
            }
        }
    }
    totals
}

/// Turns `x` into its gradient: `rstd * (g - through.mean - through.slope * (x - mean))`.
///
/// # Safety
/// `x` can be written and `dy`, of its size, be read.
#[inline(always)]
pub(crate) unsafe fn gradient_of_plane<S: Simd>(simd: S, plane: &Gradient<'_>) {
    let Gradient { x, dy, scale, through } = plane;
    let (vectors, zero) = (Vectors::of(simd, scale), simd.splat(0.0));
    // SAFETY: the arrays have room for a vector of any instruction set.
    let [mean, slope] = [&through.mean, &through.slope].map(|lanes| unsafe { simd.load(lanes.as_ptr()) });
    for row in 0..x.h {
        let (x_row, dy_row) = (x.row(row), dy.row(row));
        for pixel in 0..x.w {
            let at = pixel * S::LANES;
            prefetch::near(x_row.wrapping_add(at + AHEAD));
            prefetch::near(dy_row.wrapping_add(at + AHEAD));
            // SAFETY: a pixel of both planes (contract).
            unsafe {
                let [centered, normal] = vectors.normalize(simd, simd.load(x_row.add(at)));
                let g = simd.where_greater(normal, zero, simd.load(dy_row.add(at)));
                let own = simd.sub(simd.sub(g, mean), simd.mul(slope, centered));
                simd.store(x_row.add(at), simd.mul(own, vectors.rstd));
            }
        }
    }
}
