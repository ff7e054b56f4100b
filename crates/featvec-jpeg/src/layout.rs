//! Which blocks and samples of a component the picture is made from, at the scale that is asked for.

use crate::error::{Error, Result};
use crate::frame::{BLOCK, Component, Frame};
use crate::upsample::{Tap, Upsampling, taps};

/// By how much a picture is shrunk while it is decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    /// Not at all.
    #[default]
    Full,
    /// To half its width and height, which are rounded up.
    Half,
    /// To a quarter.
    Quarter,
    /// To an eighth.
    Eighth,
}

impl Scale {
    /// All of them, the smallest pictures first.
    pub const ALL: [Scale; 4] = [Scale::Eighth, Scale::Quarter, Scale::Half, Scale::Full];

    /// Pixels that a block of 8x8 becomes in each direction.
    pub(crate) fn side(self) -> usize {
        match self {
            Scale::Full => BLOCK,
            Scale::Half => 4,
            Scale::Quarter => 2,
            Scale::Eighth => 1,
        }
    }

    /// The width or height of what is `side` at full scale.
    pub fn of(self, side: usize) -> usize {
        (side * self.side()).div_ceil(BLOCK)
    }
}

/// Rows and columns of a picture; the pixels where they cross.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PixelGrid {
    rows: Vec<usize>,
    columns: Vec<usize>,
}

impl PixelGrid {
    /// The crossings of `rows` and `columns`, in any order; what comes twice counts once.
    pub fn new(mut rows: Vec<usize>, mut columns: Vec<usize>) -> PixelGrid {
        for positions in [&mut rows, &mut columns] {
            positions.sort_unstable();
            positions.dedup();
        }
        PixelGrid { rows, columns }
    }

    /// The rows, from the top.
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// The columns, from the left.
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// Whether so many columns of a picture of `width` are wanted that making whole rows is faster than picking.
    pub(crate) fn is_dense(&self, width: usize) -> bool {
        4 * self.columns.len() > width
    }
}

/// What becomes of one component.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Samples that its blocks become in each direction.
    pub(crate) side: usize,
    /// Samples that belong to the picture.
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// Output rows for each row of samples.
    pub(crate) high: usize,
    pub(crate) upsampling: Upsampling,
    /// Rows of samples that the next row of MCUs needs of the previous one.
    pub(crate) kept_rows: usize,
    /// What each chosen output column is made from, unless whole rows are made.
    pub(crate) taps: Option<Vec<Tap>>,
    /// Rows and columns of blocks; those in both are transformed.
    block_rows: Vec<bool>,
    block_columns: Vec<bool>,
}

impl Layout {
    /// The layout of a component of `frame`, of which `grid` or everything is wanted; `at` is the place of the
    /// first scan.
    pub(crate) fn new(
        frame: &Frame,
        component: &Component,
        (scale, grid): (Scale, Option<&PixelGrid>),
        at: usize,
    ) -> Result<Layout> {
        let Component { h, v, .. } = *component;
        // A subsampled component is shrunk less, as libjpeg does it, so that it need not be enlarged again.
        let (across, down) = (frame.max_h * scale.side(), frame.max_v * scale.side());
        let mut side = scale.side();
        while side < BLOCK && across.is_multiple_of(2 * h * side) && down.is_multiple_of(2 * v * side) {
            side *= 2;
        }
        if !across.is_multiple_of(h * side) || !down.is_multiple_of(v * side) {
            let message =
                format!("sampling {h}x{v} of {}x{}, not an integral ratio", frame.max_h, frame.max_v);
            return Err(Error::unsupported(at, message));
        }
        let (wide, high) = (across / (h * side), down / (v * side));
        let width = (frame.width * h * side).div_ceil(frame.max_h * BLOCK);
        let height = (frame.height * v * side).div_ceil(frame.max_v * BLOCK);
        let upsampling = Upsampling::choose((wide, high), width, scale.side() > 1);
        let mut layout = Layout {
            side,
            width,
            height,
            high,
            upsampling,
            kept_rows: frame.max_v / high + 1,
            taps: None,
            block_rows: vec![true; frame.mcus_high * v],
            block_columns: vec![true; component.stride],
        };
        if let Some(grid) = grid {
            let columns = taps(grid.columns(), wide, upsampling.blends_across(), width);
            let rows = taps(grid.rows(), high, upsampling.blends_down(), height);
            layout.block_columns = used(&columns, side, component.stride);
            layout.block_rows = used(&rows, side, frame.mcus_high * v);
            layout.taps = (!grid.is_dense(scale.of(frame.width))).then_some(columns);
        }
        Ok(layout)
    }

    /// Whether blocks of this row are used.
    pub(crate) fn uses_row(&self, row: usize) -> bool {
        self.block_rows[row]
    }

    /// Whether blocks of each column are used.
    pub(crate) fn block_columns(&self) -> &[bool] {
        &self.block_columns
    }

    /// Whether some blocks' AC coefficients are of no use.
    pub(crate) fn skips_ac(&self) -> bool {
        self.side == 1 || self.block_rows.contains(&false) || self.block_columns.contains(&false)
    }
}

/// Which of `blocks` blocks of `side` samples hold samples of `taps`.
fn used(taps: &[Tap], side: usize, blocks: usize) -> Vec<bool> {
    let mut used = vec![false; blocks];
    for tap in taps {
        used[tap.near / side] = true;
        used[tap.far / side] = true;
    }
    used
}
