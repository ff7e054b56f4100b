//! The stride-1 convolutions of a batch, forward and back.
//!
//! The gradient to the input is a convolution itself, of the gradient of the output, with the taps of the filter turned around
//! and input and output channels exchanged. So both ways are the same pass with another filter, direct or by Winograd's
//! algorithm, and run the kernels of inference.

use crate::kernels::Kernels;
use crate::maps::Maps;
use crate::team::Team;
use crate::train::filter_gradient::{FilterGradient, Walk};
use crate::train::pass::Pass;
use crate::train::winograd_gradient::winograd_gradient;
use crate::train::{Scratch, Strided};

/// How a convolution multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Every tap with every pixel.
    Direct,
    /// As Winograd, where the shape of the convolution makes that faster; else direct.
    Winograd,
}

/// A stride-1 convolution of a batch of maps, zero-padded by half the filter's size, without bias: its filters, made ready
/// for both ways.
///
/// Several filters that read the same maps are one convolution: their output channels follow each other, and all but
/// the last have a multiple of [`CHANNELS`](Convolution::CHANNELS) of them.
///
/// All results have the same bits for any number of threads.
pub struct Convolution {
    kernels: &'static Kernels,
    shape: [usize; 4],
    size: [usize; 2],
    forward: Pass,
    backward: Pass,
}

impl Convolution {
    /// Whole blocks with any instruction set.
    pub const CHANNELS: usize = 16;

    /// A convolution with filters of `shape`, `[kh, kw, ic, oc]`, over maps of `size`, `[h, w]`; the filters are zero at first.
    ///
    /// # Panics
    /// Where the filters are empty, even in height or width, or end beyond the address space.
    pub fn new(
        kernels: &'static Kernels,
        shape: [usize; 4],
        size: [usize; 2],
        algorithm: Algorithm,
    ) -> Convolution {
        let [kh, kw, ic, oc] = shape;
        assert!(kh % 2 == 1 && kw % 2 == 1, "an even filter has no middle: {kh}x{kw}");
        assert!(ic > 0 && oc > 0, "an empty filter: {ic} to {oc} channels");
        let pass = |shape| Pass::new(kernels, shape, size, algorithm);
        Convolution { kernels, shape, size, forward: pass(shape), backward: pass([kh, kw, oc, ic]) }
    }

    /// `[kh, kw, ic, oc]`, the output channels of all parts together.
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// Takes the filters, each `[kh, kw, ic, oc]` with output channels of its own.
    ///
    /// # Panics
    /// Where the parts do not fit together to the convolution's shape.
    pub fn set_filter(&mut self, team: &Team, scratch: &mut Scratch, parts: &[&[f32]]) {
        let [kh, kw, ic, oc] = self.shape;
        let rows = kh * kw * ic;
        let widths = check_parts(self.shape, parts.iter().map(|part| part.len()));
        let (joined, turned) = scratch.take(2 * rows * oc).split_at_mut(rows * oc);
        let weights = if let [weights] = parts {
            *weights
        } else {
            join(team, (parts, &widths), joined);
            joined
        };
        self.forward.set_filter(self.kernels, team, weights);
        turn_around(self.shape, team, weights, turned);
        self.backward.set_filter(self.kernels, team, turned);
    }

    /// Fills `output`, `[oc, h, w]`, with the sums over `input`, `[ic, h, w]`, whose halo is at least half the filter's size.
    ///
    /// # Panics
    /// Where the maps do not fit the convolution or each other.
    pub fn forward(&self, team: &Team, scratch: &mut Scratch, input: &Maps, output: &mut Maps) {
        self.check(input, output);
        self.forward.run(self.kernels, (team, scratch), input, output);
    }

    /// Fills `dinput`, `[ic, h, w]`, with the gradient to the input from that to the output, `[oc, h, w]`, whose halo is at
    /// least half the filter's size.
    ///
    /// # Panics
    /// Where the maps do not fit the convolution or each other.
    pub fn backward_input(&self, team: &Team, scratch: &mut Scratch, doutput: &Maps, dinput: &mut Maps) {
        self.check(dinput, doutput);
        self.backward.run(self.kernels, (team, scratch), doutput, dinput);
    }

    /// Fills `dparts`, shaped as the filters, with the gradients to the filters from the input, whose halo is at least half
    /// the filter's size, and the gradient to the output.
    ///
    /// # Panics
    /// Where the maps do not fit the convolution or each other, or `dparts` do not fit together to the convolution's shape.
    pub fn backward_filter(
        &self,
        team: &Team,
        scratch: &mut Scratch,
        (input, doutput): (&Maps, &Maps),
        dparts: &mut [&mut [f32]],
    ) {
        self.check(input, doutput);
        check_parts(self.shape, dparts.iter().map(|part| part.len()));
        match &self.forward {
            Pass::Direct(_) => {
                let gradient = FilterGradient::new(self.kernels, Walk::of_map(input, self.shape), doutput);
                gradient.run(team, scratch, (Strided::inputs(input), doutput), dparts);
            }
            Pass::Winograd(_) => {
                winograd_gradient(self.kernels, (team, scratch), (input, doutput), dparts);
            }
        }
    }

    fn check(&self, input: &Maps, output: &Maps) {
        let ([_, _, ic, oc], [h, w]) = (self.shape, self.size);
        assert_eq!(input.shape(), [ic, h, w], "maps that do not fit the convolution");
        assert_eq!(output.shape(), [oc, h, w], "maps that do not fit the convolution");
        assert_eq!(input.images(), output.images(), "as many inputs as outputs");
        for maps in [input, output] {
            assert_eq!(
                maps.kernels().lanes(),
                self.kernels.lanes(),
                "maps in blocks of another instruction set"
            );
        }
    }
}

impl core::fmt::Debug for Convolution {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Convolution").field("shape", &self.shape).finish_non_exhaustive()
    }
}

/// The output channels of each part, given how many numbers each has.
///
/// # Panics
/// Where the parts do not make up the shape.
fn check_parts([kh, kw, ic, oc]: [usize; 4], lens: impl Iterator<Item = usize>) -> Vec<usize> {
    let rows = kh * kw * ic;
    let widths: Vec<usize> = lens
        .map(|len| {
            let fits = len > 0 && len.is_multiple_of(rows);
            assert!(fits, "a filter that does not fit the convolution");
            len / rows
        })
        .collect();
    assert_eq!(widths.iter().sum::<usize>(), oc, "filters that do not fit the convolution");
    let (_, whole) = widths.split_last().expect("at least one filter");
    let blocks = whole.iter().all(|width| width.is_multiple_of(Convolution::CHANNELS));
    assert!(blocks, "a filter ends inside a block that others share");
    widths
}

/// Rows of filters that are an item when they are copied.
const ROWS: usize = 64;

/// Fills `joined` with filters beside each other, each with `widths` output channels.
fn join(team: &Team, (parts, widths): (&[&[f32]], &[usize]), joined: &mut [f32]) {
    let oc = widths.iter().sum();
    team.share_out(joined.chunks_mut(ROWS * oc).enumerate().collect(), &|(item, to)| {
        for (row, mut to) in (item * ROWS..).zip(to.chunks_exact_mut(oc)) {
            for (part, width) in parts.iter().zip(widths) {
                let (place, others) = to.split_at_mut(*width);
                place.copy_from_slice(&part[row * width..(row + 1) * width]);
                to = others;
            }
        }
    });
}

/// Fills `turned`, `[kh, kw, oc, ic]`, with the filter of the gradient to the input: `weights`, `[kh, kw, ic, oc]`, with taps
/// turned around and channels exchanged.
fn turn_around([kh, kw, ic, oc]: [usize; 4], team: &Team, weights: &[f32], turned: &mut [f32]) {
    /// Output channels of an item: what a cache line holds.
    const CHANNELS: usize = 16;
    let items = turned.chunks_exact_mut(oc * ic).enumerate().flat_map(|(tap, to)| {
        let parts = to.chunks_mut(CHANNELS * ic).enumerate();
        parts.map(move |(part, to)| (kh * kw - 1 - tap, part * CHANNELS, to))
    });
    team.share_out(items.collect(), &|(tap, first, to)| {
        for (i, from) in weights[tap * ic * oc..][..ic * oc].chunks_exact(oc).enumerate() {
            for (o, weight) in from[first..][..to.len() / ic].iter().enumerate() {
                to[o * ic + i] = *weight;
            }
        }
    });
}
