//! One way through a convolution for a batch: from its inputs to its outputs, or from the gradients of the outputs to those of
//! the inputs, which is another convolution. The work is that of inference; what is new is that inputs and outputs have
//! memory of their own, and who does what.

use crate::conv::{Conv, LINE, PackedFilter};
use crate::group::Group;
use crate::kernels::Kernels;
use crate::map::{Map, checked_end};
use crate::maps::Maps;
use crate::team::Team;
use crate::train::{Algorithm, Scratch, Strided};
use crate::winograd::{InputTransform, Products, TransformedFilter, TransformedMap};

/// One way through a convolution.
pub(crate) enum Pass {
    Direct(PackedFilter),
    Winograd(TransformedFilter),
}

impl Pass {
    /// A pass with a filter of `shape`, which is zero at first, over maps of `size`.
    pub(crate) fn new(kernels: &Kernels, shape: [usize; 4], size: [usize; 2], algorithm: Algorithm) -> Pass {
        match algorithm {
            Algorithm::Winograd if pays(shape, size) => {
                Pass::Winograd(TransformedFilter::zeroed(kernels, [shape[2], shape[3]]))
            }
            _ => Pass::Direct(PackedFilter::new(kernels, shape)),
        }
    }

    pub(crate) fn set_filter(&mut self, kernels: &Kernels, team: &Team, weights: &[f32]) {
        match self {
            Pass::Direct(filter) => filter.pack(kernels, team, weights),
            Pass::Winograd(filter) => filter.transform(kernels, team, weights),
        }
    }

    pub(crate) fn run(
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

/// Whether a convolution with filters of `shape` over maps of `size` is done by Winograd's algorithm. All images of a
/// batch share a transformed filter, so that it pays on smaller maps than where one picture is computed.
fn pays([kh, kw, ic, oc]: [usize; 4], [h, w]: [usize; 2]) -> bool {
    [kh, kw] == [3, 3] && ic.min(oc) >= 32 && h.min(w) >= 6
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
            unsafe { conv.run((arena.first, false), item) };
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
    let group = wanted.div_ceil(rows * row_tiles).clamp(1, images.div_ceil(2 * team.members()));
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
    let tiles_len = tiles_len.next_multiple_of(LINE);
    let sums_len = parts.iter().map(|(_, products)| products.scratch_len(kernels)).max().unwrap_or(0);
    let step = tiles_len + sums_len.next_multiple_of(LINE);
    let room = checked_end(0, [Some(step), Some(team.members())]);
    let own = Strided { first: scratch.take(room).as_mut_ptr(), step };
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
