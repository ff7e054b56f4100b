//! The gradient to a 3x3 filter by Winograd's algorithm: the algorithm of the convolution itself, each step taken back.
//!
//! The input is transformed as on the way forward, the gradient of the output by the transpose of the last step, and for each
//! of the 36 points the gradient to the transformed filter is a product over all tiles: a quarter of the multiplications of
//! the direct way. The transpose of the filter's transform ends it, once for the batch.

use crate::group::Group;
use crate::kernels::Kernels;
use crate::maps::Maps;
use crate::team::Team;
use crate::train::filter_gradient::GradientTile;
use crate::train::{Scratch, Strided};
use crate::winograd::{InputTransform, POINTS, TapRows, TransformedMap};

/// Tiles that are transformed before the products over them: with more, the transformed maps would leave the second-level
/// caches; with fewer, the sums would be loaded and stored too often.
const GROUP_TILES: usize = 196;

/// Computes the gradient to a 3x3 filter into `dparts`, `[3, 3, ic, oc]` each.
pub(crate) fn winograd_gradient(
    kernels: &'static Kernels,
    (team, scratch): (&Team, &mut Scratch),
    (input, doutput): (&Maps, &Maps),
    dparts: &mut [&mut [f32]],
) {
    let (map, gradient, images, lanes) = (*input.map(), *doutput.map(), input.images(), kernels.lanes());
    let rows = 0..TransformedMap::rows_of(map.shape()[1]);
    let count = TransformedMap::new(0, map, rows.clone(), 1).count();
    let group = (GROUP_TILES / count).clamp(1, images);
    // The transformed maps lie behind the maps, in memory of their own.
    let transform = InputTransform::new(map, TransformedMap::new(map.len(), map, rows.clone(), group));
    let gradient_tiles = TransformedMap::new(gradient.len(), gradient, rows, group);
    let transform_gradient = InputTransform::of_gradient(gradient, gradient_tiles);

    let (depth, vectors) = (map.blocks() * lanes, gradient.blocks());
    let lens = [transform.tiles().len(), transform_gradient.tiles().len(), POINTS * depth * vectors * lanes];
    let (points, rest) = scratch.take(lens.iter().sum()).split_at_mut(lens[0]);
    let (gradient_points, sums) = rest.split_at_mut(lens[1]);
    let own = |place: &mut [f32]| Strided { first: place.as_mut_ptr(), step: 0 };
    let (points, gradient_points, sums_place) = (own(points), own(gradient_points), own(sums));
    let sides = [
        (transform, Strided::inputs(input), points),
        (transform_gradient, Strided::inputs(doutput), gradient_points),
    ];
    let (tiles, gradient_tiles) = (sides[0].0.tiles(), sides[1].0.tiles());
    let width = kernels.gradient_tiles.len();
    let panels = vectors.div_ceil(width);
    for first in (0..images).step_by(group) {
        let images = group.min(images - first);
        let of_input = sides[0].0.items();
        team.share_ranges(of_input + sides[1].0.items(), &|range| {
            for item in range {
                let (side, item) = item.checked_sub(of_input).map_or((0, item), |item| (1, item));
                let (transform, from, to) = &sides[side];
                let arena = Group::new((from.at(first), to.at(0)), transform.reads().end);
                let group = Group { early_step: from.step, images, ..arena };
                // SAFETY: that is where the maps and the tiles were said to lie, and each item is claimed once.
                unsafe { transform.run(kernels, group, item) };
            }
        });
        team.share(POINTS * panels, &|item| {
            let (point, panel) = (item / panels, item % panels * width);
            let panel_vectors = width.min(vectors - panel);
            let place = point * gradient_tiles.point_step() + panel * gradient_tiles.block_step();
            let gradient = gradient_points.at(0).wrapping_add(place);
            for block in 0..map.blocks() {
                let row = point * depth + block * lanes;
                let from = points.at(0).wrapping_add(point * tiles.point_step() + block * tiles.block_step());
                let tile = GradientTile {
                    input: from,
                    input_steps: [0, 0, lanes],
                    gradient,
                    gradient_steps: [0, 0],
                    vector_step: gradient_tiles.block_step(),
                    pixels: [1, 1, images * count],
                    sums: sums_place
                        .at(0)
                        .wrapping_add((panel * POINTS * depth + row * panel_vectors) * lanes),
                    add: first > 0,
                    // Of the input, the next block; the first blocks ask for the next panel of gradients, each for a vector.
                    next: [
                        from.wrapping_add(tiles.block_step()),
                        gradient.wrapping_add((width + block.min(1)) * gradient_tiles.block_step()),
                    ],
                };
                // SAFETY: the tiles have been transformed, and each item, with its sums, is claimed once.
                unsafe { tile.run(kernels, panel_vectors, lanes.min(map.shape()[0] - block * lanes)) };
            }
        });
    }

    let ic = map.shape()[0];
    let mut items = Vec::new();
    let mut column = 0;
    for dpart in dparts {
        let oc = dpart.len() / (9 * ic);
        let mut taps: Vec<_> = dpart.chunks_mut(ic * oc).map(|tap| tap.chunks_mut(lanes * oc)).collect();
        for first in (0..ic).step_by(lanes) {
            let taps = core::array::from_fn(|tap| taps[tap].next().unwrap_or_default());
            items.push(([first..ic.min(first + lanes), column..column + oc], taps));
        }
        column += oc;
    }
    team.share_out(items, &|(wanted, taps)| {
        let widths = [width * lanes, vectors * lanes];
        let mut rows = TapRows { sums, depth, widths, wanted, taps };
        // SAFETY: the processor has the instruction set (`kernels` proves it).
        unsafe { (kernels.winograd_taps)(&mut rows) };
    });
}
