//! Storage of decoded coefficients, between entropy decoding and the inverse transform.

use crate::frame::{Component, Frame};

/// The 64 coefficients of a block, row by row, not yet multiplied by their quantisation steps.
pub(crate) type Block = [i16; 64];

/// Coefficients of one component: the whole picture, or one row of MCUs at a time.
#[derive(Debug)]
pub(crate) struct Plane {
    pub(crate) blocks: Vec<Block>,
    /// Blocks in a row.
    pub(crate) stride: usize,
}

impl Plane {
    /// Room for `mcu_rows` rows of MCUs, all coefficients zero.
    pub(crate) fn new(component: &Component, mcu_rows: usize) -> Self {
        let blocks = component.stride * component.v * mcu_rows;
        Self { blocks: vec![[0; 64]; blocks], stride: component.stride }
    }

    /// Bytes that the planes of a frame take with `mcu_rows` rows of MCUs.
    pub(crate) fn bytes(frame: &Frame, mcu_rows: usize) -> u64 {
        let blocks: u64 = frame.components.iter().map(|c| (c.stride * c.v * mcu_rows) as u64).sum();
        blocks * size_of::<Block>() as u64
    }
}
