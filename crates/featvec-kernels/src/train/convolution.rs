//! The stride-1 convolutions of a batch, forward and back.
//!
//! The gradient to the input is a convolution itself, of the gradient of the output, with the taps of the filter turned around
//! and input and output channels exchanged. So both ways are the same pass with another filter, direct or by Winograd's
//! algorithm, and run the kernels of inference.

use crate::conv::{Conv, PackedFilter};
use crate::group::Group;
use crate::kernels::Kernels;
use crate::map::Map;
use crate::maps::Maps;
use crate::team::Team;
use crate::train::filter_gradient::{FilterGradient, Walk};
use crate::train::{Scratch, Strided};
use crate::winograd::{self, InputTransform, Products, TransformedFilter, TransformedMap};

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
    /// Where the filters are even in height or width.
    pub fn new(
        kernels: &'static Kernels,
        shape: [usize; 4],
        size: [usize; 2],
        algorithm: Algorithm,
    ) -> Convolution {
        let [kh, kw, ic, oc] = shape;
        assert!(kh % 2 == 1 && kw % 2 == 1, "an even filter has no middle: {kh}x{kw}");
        let pass = |shape| match algorithm {
            Algorithm::Winograd if winograd::pays(shape, size) => {
                Pass::Winograd(TransformedFilter::zeroed(kernels, [shape[2], shape[3]]))
            }
            _ => Pass::Direct(PackedFilter::new(kernels, shape)),
        };
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
            for (row, to) in joined.chunks_exact_mut(oc).enumerate() {
                let mut rest = to;
                for (part, width) in parts.iter().zip(&widths) {
                    let (to, others) = rest.split_at_mut(*width);
                    to.copy_from_slice(&part[row * width..(row + 1) * width]);
                    rest = others;
                }
            }
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
        let walk = Walk::of_map(input, self.shape);
        let gradient = FilterGradient::new(self.kernels, walk, doutput);
        gradient.run(team, scratch, (Strided::inputs(input), doutput), dparts);
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
            assert!(len.is_multiple_of(rows), "a filter that does not fit the convolution");
            len / rows
        })
        .collect();
    assert_eq!(widths.iter().sum::<usize>(), oc, "filters that do not fit the convolution");
    let (_, whole) = widths.split_last().expect("at least one filter");
    let blocks = whole.iter().all(|width| width.is_multiple_of(Convolution::CHANNELS));
    assert!(blocks, "a filter ends inside a block that others share");
    widths
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
            for (weight, to) in from[first..].iter().zip(to.chunks_exact_mut(ic)) {
                to[i] = *weight;
            }
        }
    });
}

/// One way through a convolution.
enum Pass {
    Direct(PackedFilter),
    Winograd(TransformedFilter),
}

impl Pass {
    fn set_filter(&mut self, kernels: &Kernels, team: &Team, weights: &[f32]) {
        match self {
            Pass::Direct(filter) => filter.pack(kernels, team, weights),
            Pass::Winograd(filter) => filter.transform(kernels, team, weights),
        }
    }

    fn run(
        &self,
        kernels: &'static Kernels,
        (team, scratch): (&Team, &mut Scratch),
        input: &Maps,
        output: &mut Maps,
    ) {
        match self {
            Pass::Direct(filter) => {
                let output_map = behind(input.map().len(), output);
                let conv = Conv::sums(kernels, *input.map(), filter, output_map);
                let (from, to) = (Strided::inputs(input), Strided::outputs(output));
                // SAFETY: the convolution was told that the output lies behind the input.
                unsafe { run_direct(team, &conv, (from, to), input.images()) };
            }
            Pass::Winograd(filter) => run_winograd((kernels, filter), (team, scratch), input, output),
        }
    }
}

/// The kernels of inference know one arena. An input and an output with memory of their own are to them the early and the
/// late part of it: this is the output's map behind an input of `split` elements.
pub(crate) fn behind(split: usize, output: &Maps) -> Map {
    Map::new(split, output.kernels().lanes(), output.shape(), output.halo())
}

/// Convolves all `images`, from inputs to outputs.
///
/// # Safety
/// In the arena of `conv`, the input lies at the beginning and the output begins where the input ends; nobody else uses the
/// outputs or writes the inputs.
pub(crate) unsafe fn run_direct(
    team: &Team,
    conv: &Conv,
    (input, output): (Strided, Strided),
    images: usize,
) {
    let (items, split) = (conv.items(), conv.reads().end);
    // Where a filter is larger than a map, it should serve some images before the next one comes.
    let turn = conv.items_of_panel().unwrap_or(items);
    let group = (GROUP_ELEMENTS / split).clamp(1, images);
    team.share_ranges(images * items, &|range| {
        for index in range {
            let first = index / (group * items) * group;
            let (index, images) = (index - first * items, group.min(images - first));
            let (image, item) =
                (first + index / turn % images, index / (turn * images) * turn + index % turn);
            let arena = Group::new((input.at(image), output.at(image)), split);
            // SAFETY: the maps lie inside (contract), and each item of each image is claimed once.
            unsafe { conv.run(arena.first, item) };
        }
    });
}

/// Inputs of so many numbers, and a panel of the filter, stay in the second-level cache.
const GROUP_ELEMENTS: usize = 128 << 10;

/// Tiles whose points stay in the second-level cache, in numbers; and how few of them would make the filter pass through
/// the cache too often, how many need not be more.
const TILES_ELEMENTS: usize = 256 << 10;
const MIN_TILES: usize = 28;
const MAX_TILES: usize = 112;

/// A convolution by Winograd's algorithm: an item is some rows of tiles of an image, or all tiles of some images.
fn run_winograd(
    (kernels, filter): (&'static Kernels, &TransformedFilter),
    (team, scratch): (&Team, &mut Scratch),
    input: &Maps,
    output: &mut Maps,
) {
    let (map, images) = (*input.map(), input.images());
    let [_, h, _] = map.shape();
    let rows = TransformedMap::rows_of(h);
    let tile = |rows, images| TransformedMap::new(0, map, rows, images).len();
    let row_tiles = map.shape()[2].div_ceil(4);
    let wanted = (TILES_ELEMENTS / (tile(0..1, 1) / row_tiles)).clamp(MIN_TILES, MAX_TILES);
    // Images of an item, and parts of an image.
    let group = (wanted / (rows * row_tiles)).clamp(1, images.div_ceil(2 * team.members()));
    let part_rows = rows.div_ceil((rows * row_tiles).div_ceil(wanted.max(row_tiles)).clamp(1, rows));
    let parts: Vec<_> = (0..rows)
        .step_by(part_rows)
        .map(|first| {
            let rows = first..rows.min(first + part_rows);
            let transform =
                InputTransform::new(map, TransformedMap::new(map.len(), map, rows.clone(), group));
            let tiles = TransformedMap::new(0, map, rows, group);
            let target = Map::new(tiles.len(), kernels.lanes(), output.shape(), output.halo());
            (transform, Products::new(kernels, tiles, (filter.clone(), target, false)))
        })
        .collect();

    let tiles_len = parts.iter().map(|(transform, _)| transform.tiles().len()).max().unwrap_or(0);
    let tiles_len = tiles_len.next_multiple_of(crate::conv::LINE);
    let step = tiles_len + Products::scratch_len(kernels).next_multiple_of(crate::conv::LINE);
    let own = Strided { first: scratch.take(step * team.members()).as_mut_ptr(), step };
    let (from, to) = (Strided::inputs(input), Strided::outputs(output));
    team.share_between(parts.len() * images.div_ceil(group), &|member, item| {
        let (transform, products) = &parts[item % parts.len()];
        let (first, own) = (item / parts.len() * group, own.at(member));
        let images = group.min(images - first);
        let arena = Group::new((from.at(first), own), map.len());
        let read = Group { early_step: from.step, images, ..arena };
        let arena = Group::new((own, to.at(first)), products.tiles().len());
        let write = Group { late_step: to.step, images, ..arena };
        // SAFETY: that is where the maps and the tiles were said to lie, the tiles in the member's own memory, which is
        // long enough; each item is claimed once, and writes pixels of its own.
        unsafe {
            for index in 0..transform.items() {
                transform.run(kernels, read, index);
            }
            for index in 0..products.items() {
                products.run(kernels, (write, own.wrapping_add(tiles_len)), index);
            }
        }
    });
}
