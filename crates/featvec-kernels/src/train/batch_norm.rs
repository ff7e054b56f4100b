//! Batch normalisation and ReLU, and their gradient.
//!
//! These take as long as memory takes to deliver the maps, so each pass reads them once. Sums over a batch are kept in
//! `f32` for a strip of some rows that stays in the cache, and in `f64` beyond.

use core::ops::Range;
use std::sync::OnceLock;

use crate::maps::Maps;
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

/// Mean and biased variance of each channel of `maps`.
pub fn moments(team: &Team, maps: &Maps) -> Moments {
    let (kernels, planes) = (maps.kernels(), Planes::of(maps));
    // SAFETY: planes of maps that are borrowed; `kernels` proves the instruction set.
    let of_plane = |image, block| unsafe { (kernels.moments)(&planes.plane(image, block)) };
    let parts = sums(team, &planes, planes.blocks(), &of_plane);
    let [channels, h, w] = maps.shape();
    let (images, pixels) = (maps.images() as f64, (h * w) as f64);
    let mut moments = Moments { mean: Vec::with_capacity(channels), variance: Vec::with_capacity(channels) };
    for channel in 0..channels {
        let (block, lane) = (channel / kernels.lanes(), channel % kernels.lanes());
        let of_images = || {
            parts
                .iter()
                .skip(block)
                .step_by(planes.blocks())
                .map(|[mean, squares]| (mean[lane], squares[lane]))
        };
        let mean = of_images().map(|(mean, _)| mean).sum::<f64>() / images;
        let squares: f64 =
            of_images().map(|(own, squares)| squares + pixels * (own - mean) * (own - mean)).sum();
        moments.mean.push(mean as f32);
        moments.variance.push((squares / (images * pixels)) as f32);
    }
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
    planes::share(team, &x, scales.len(), &|image, block| {
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
    let (kernels, images) = (x.kernels(), x.images());
    let from = from / kernels.lanes();
    let [_, h, w] = x.shape();
    let (x, dy) = (Planes::of_mut(x), Planes::of(dy));
    let gradient = |(image, block), through| {
        let (x, dy) = (x.plane(image, first + block), dy.plane(image, from + block));
        Gradient { x, dy, scale: &scales[block], through }
    };
    let none = Through::default();
    // SAFETY: planes of one size of maps that are borrowed; `kernels` proves the instruction set.
    let of_plane = |image, block| unsafe { (kernels.gradient_sums)(&gradient((image, block), &none)) };
    let parts = sums(team, &x, scales.len(), &of_plane);
    let totals: Vec<Sums> = (0..scales.len())
        .map(|block| {
            let mut total = [[0.0; MAX_LANES]; 2];
            for part in parts.iter().skip(block).step_by(scales.len()) {
                for (total, part) in total.iter_mut().flatten().zip(part.iter().flatten()) {
                    *total += part;
                }
            }
            total
        })
        .collect();
    let count = (images * h * w) as f64;
    let throughs: Vec<Through> = totals
        .iter()
        .zip(&scales)
        .map(|([g, gx], scale)| match statistics {
            Statistics::Fixed => Through::default(),
            Statistics::Batch => Through {
                mean: core::array::from_fn(|lane| (g[lane] / count) as f32),
                slope: core::array::from_fn(|lane| {
                    let rstd = f64::from(scale.rstd[lane]);
                    (rstd * rstd * gx[lane] / count) as f32
                }),
            },
        })
        .collect();
    planes::share(team, &x, scales.len(), &|image, block| {
        // SAFETY: as above, and `x` is this item's alone.
        unsafe { (kernels.normalize_backward)(&gradient((image, block), &throughs[block])) };
    });
    totals.iter().flat_map(|[g, _]| &g[..kernels.lanes()]).map(|g| *g as f32).take(len).collect()
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

/// What `of_plane(image, block)` returns for `blocks` blocks of each image, image by image.
fn sums(
    team: &Team,
    planes: &Planes<'_>,
    blocks: usize,
    of_plane: &(dyn Fn(usize, usize) -> Sums + Sync),
) -> Vec<Sums> {
    let parts: Vec<OnceLock<Sums>> = (0..planes.images() * blocks).map(|_| OnceLock::new()).collect();
    planes::share(team, planes, blocks, &|image, block| {
        parts[image * blocks + block].get_or_init(|| of_plane(image, block));
    });
    parts.into_iter().filter_map(OnceLock::into_inner).collect()
}

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
    let [mut mean, mut squares] = [[0.0; MAX_LANES]; 2];
    let mut seen = 0.0;
    for rows in strips(plane) {
        let count = (rows.len() * plane.w) as f64;
        if rows.start == 0 {
            // SAFETY: rows of the plane.
            let [sum, _] = unsafe { shifted_sums(simd, (plane, rows.clone()), &[0.0; MAX_LANES]) };
            mean = sum.map(|sum| f64::from(sum) / count);
        }
        let shift = mean.map(|mean| mean as f32);
        // SAFETY: as above.
        let [sum, sum_of_squares] = unsafe { shifted_sums(simd, (plane, rows), &shift) };
        let part = count / (seen + count);
        for lane in 0..S::LANES {
            let sum = f64::from(sum[lane]);
            let difference = f64::from(shift[lane]) + sum / count - mean[lane];
            let own_squares = f64::from(sum_of_squares[lane]) - sum * sum / count;
            mean[lane] += difference * part;
            squares[lane] += own_squares.max(0.0) + difference * difference * seen * part;
        }
        seen += count;
    }
    [mean, squares]
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
            // SAFETY: a pixel of both planes (contract).
            unsafe {
                let [_, normal] = vectors.normalize(simd, simd.load(from.add(pixel * S::LANES)));
                // In this order, the instruction returns what is not a number, which should not go unnoticed.
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
