//! Where a transformed map lies.

use core::ops::Range;

use super::{IMAGE_WINDOW, OUT, WINDOW};
use crate::map::{Element, Image, Map, checked_end};

/// A map transformed for a 3x3 convolution, in the arena, or some rows of tiles of it:
/// `[36][c / lanes][images][tiles][lanes]`, with a vector between one point and the next. Or some tiles of the picture,
/// with 49 points, in memory of a member's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransformedMap {
    pub(super) offset: usize,
    pub(super) lanes: usize,
    pub(super) blocks: usize,
    pub(super) h: usize,
    pub(super) w: usize,
    pub(super) rows: Range<usize>,
    images: usize,
    /// Rows and columns of pixels, or of squares, that a tile reads.
    pub(super) window: usize,
    /// Numbers of a point of a tile, one for each channel, in segments of as many as follow each other.
    pub(super) depth: usize,
    pub(super) segment: usize,
}

impl TransformedMap {
    /// Rows of tiles that cover a map of `h` rows.
    pub fn rows_of(h: usize) -> usize {
        h.div_ceil(OUT)
    }

    /// The rows of tiles `rows` of `map`, `offset` elements into the arena, with room for `images` images.
    ///
    /// # Panics
    /// Where `rows` are not rows of the map, or the tiles end beyond the address space.
    pub fn new(offset: usize, map: Map, rows: Range<usize>, images: usize) -> TransformedMap {
        let [_, h, w] = map.shape();
        let inside = !rows.is_empty() && rows.end <= TransformedMap::rows_of(h);
        assert!(inside && images > 0, "no rows of tiles, or rows outside the map");
        assert_eq!(map.element(), Element::F32, "bytes where `f32` are expected");
        let (lanes, blocks, depth) = (map.lanes(), map.blocks(), map.blocks() * map.lanes());
        let tiles = TransformedMap {
            offset,
            lanes,
            blocks,
            h,
            w,
            rows,
            images,
            window: WINDOW,
            depth,
            segment: lanes,
        };
        let vectors = tiles.count().checked_mul(images).and_then(|count| count.checked_add(1));
        checked_end(offset, [Some(tiles.points()), Some(tiles.blocks), vectors, Some(tiles.lanes)]);
        tiles
    }

    /// So many neighbouring tiles of the picture in squares, at the beginning of memory of their own.
    pub(super) fn of_image(lanes: usize, count: usize) -> TransformedMap {
        let depth = 4 * Image::CHANNELS;
        TransformedMap {
            offset: 0,
            lanes,
            blocks: depth.div_ceil(lanes),
            h: OUT,
            w: count * OUT,
            rows: 0..1,
            images: 1,
            window: IMAGE_WINDOW,
            depth,
            // Four divides the lanes of every instruction set.
            segment: if depth <= lanes { depth } else { 4 },
        }
    }

    /// Elements that the tiles take in the arena.
    #[allow(clippy::len_without_is_empty)] // there are always tiles
    pub fn len(&self) -> usize {
        self.points() * self.point_step()
    }

    /// Points of a tile.
    pub(super) fn points(&self) -> usize {
        self.window.pow(2)
    }

    pub(crate) fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.len()
    }

    /// Rows and columns of pixels that the tiles cover.
    pub(crate) fn covered(&self) -> [usize; 2] {
        [self.h.min(self.rows.end * OUT) - self.rows.start * OUT, self.w]
    }

    /// Images that there is room for.
    pub(crate) fn images(&self) -> usize {
        self.images
    }

    pub(super) fn columns(&self) -> usize {
        self.w.div_ceil(OUT)
    }

    /// Tiles of an image.
    pub(crate) fn count(&self) -> usize {
        self.rows.len() * self.columns()
    }

    /// Elements from one block of channels to the next.
    pub(crate) fn block_step(&self) -> usize {
        self.images * self.count() * self.lanes
    }

    /// Elements from one point to the next. A vector more than the tiles take, because points a multiple of 4096 bytes
    /// apart would push each other out of the first-level cache.
    pub(crate) fn point_step(&self) -> usize {
        self.blocks * self.block_step() + self.lanes
    }
}
