//! Rows in batches that do not tell in which batches they came: so that the bytes of an output depend on its rows alone.

use arrow_array::RecordBatch;
use arrow_select::coalesce::BatchCoalescer;
use featvec::Result;

use super::Batches;
use crate::layout::{BATCH_BYTES, Layout, internal, row_bytes};

/// Cuts rows into batches of one size, or of fewer rows where their other columns would take more than the vectors may.
pub(super) struct Even<'a> {
    rows: &'a mut Batches<'a>,
    coalescer: BatchCoalescer,
    most_rows: usize,
    /// Rows of the batch that is being filled, and the bytes of their columns but for the vectors.
    filled: (usize, usize),
    done: bool,
}

impl<'a> Even<'a> {
    pub fn new(rows: &'a mut Batches<'_>, layout: &Layout) -> Even<'a> {
        let most_rows = layout.batch_rows();
        let coalescer = BatchCoalescer::new(layout.schema.clone(), most_rows);
        Even { rows, coalescer, most_rows, filled: (0, 0), done: false }
    }

    fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut first = 0;
        for row in 0..batch.num_rows() {
            let bytes = row_bytes(batch, row);
            let (rows, filled) = self.filled;
            if rows == self.most_rows || (rows > 0 && filled + bytes > BATCH_BYTES) {
                self.coalescer.push_batch(batch.slice(first, row - first)).map_err(internal)?;
                self.coalescer.finish_buffered_batch().map_err(internal)?;
                self.filled = (0, 0);
                first = row;
            }
            self.filled.0 += 1;
            self.filled.1 += bytes;
        }
        self.coalescer.push_batch(batch.slice(first, batch.num_rows() - first)).map_err(internal)
    }
}

impl Iterator for Even<'_> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        loop {
            if let Some(batch) = self.coalescer.next_completed_batch() {
                return Some(Ok(batch));
            }
            if self.done {
                return None;
            }
            let pushed = match self.rows.next() {
                Some(batch) => batch.and_then(|batch| self.push(&batch)),
                None => {
                    self.done = true;
                    self.coalescer.finish_buffered_batch().map_err(internal)
                }
            };
            if let Err(error) = pushed {
                self.done = true;
                return Some(Err(error));
            }
        }
    }
}
