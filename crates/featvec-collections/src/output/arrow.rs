//! Arrow IPC files (Feather, version 2) of all columns, not compressed, so that they can be mapped to memory.

use std::fs::File;
use std::io::BufReader;

use arrow_ipc::reader::FileReader;
use arrow_ipc::writer::FileWriter;
use featvec::Result;

use super::staged::Staged;
use super::{Batches, Table, damaged, foreign, read_all};
use crate::layout::Layout;
use crate::parts::write_error;

/// Writes all rows.
pub(super) fn write(batches: &mut Batches<'_>, layout: &Layout, file: Staged) -> Result<Staged> {
    let target = file.target().to_owned();
    let failed = |error| write_error(&target, error);
    let mut writer = FileWriter::try_new(file, &layout.schema).map_err(failed)?;
    for batch in batches {
        writer.write(&batch?).map_err(failed)?;
    }
    writer.into_inner().map_err(failed)
}

/// Reads all rows.
pub(super) fn read(file: File, place: String) -> Result<Table> {
    let reader = FileReader::try_new(BufReader::new(file), None).map_err(damaged)?;
    let layout = Layout::found(&reader.schema()).ok_or_else(foreign)?;
    Ok(Table { layout, rows: Box::new(read_all(reader, place)) })
}
