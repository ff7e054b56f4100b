//! Parquet files of all columns.
//!
//! The same rows give the same bytes: row groups and pages are cut by what the rows are alone. The numbers of vectors are
//! stored plain: readers take them twice as fast as compressed ones, which are a third smaller at best (docs/collections.md).
//! The other columns are compressed by zstd.

use std::fs::File;

use featvec::{Error, Result};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::staged::Staged;
use super::{Batches, Table, damaged, foreign, read_all};
use crate::layout::{CONTENT_HASH, KEY, Layout, VECTOR, row_bytes};

/// About how many bytes a row group has. It is held in memory while it is written.
const GROUP_BYTES: usize = 16 << 20;
const MOST_GROUP_ROWS: usize = 1 << 16;
/// Bytes of a page. Pages of the usual 1 MB leave holes in the heap: it grows by half a kilobyte a row then.
const PAGE_BYTES: usize = 1 << 16;

/// Writes all rows.
pub(super) fn write(batches: &mut Batches<'_>, layout: &Layout, file: Staged) -> Result<Staged> {
    let place = file.target().display().to_string();
    let failed = |error| write_error(&place, error);
    let mut writer = ArrowWriter::try_new(file, layout.schema.clone(), Some(properties())).map_err(failed)?;
    let mut group_bytes = 0;
    for batch in batches {
        let batch = batch?;
        group_bytes += batch.num_rows() * layout.vector_bytes();
        group_bytes += (0..batch.num_rows()).map(|row| row_bytes(&batch, row)).sum::<usize>();
        writer.write(&batch).map_err(failed)?;
        if group_bytes >= GROUP_BYTES || writer.in_progress_rows() >= MOST_GROUP_ROWS {
            writer.flush().map_err(failed)?;
            group_bytes = 0;
        }
    }
    writer.into_inner().map_err(failed)
}

fn properties() -> WriterProperties {
    let vectors = ColumnPath::new([VECTOR, "list", "item"].map(String::from).to_vec());
    let hashes = ColumnPath::from(CONTENT_HASH);
    WriterProperties::builder()
        .set_created_by("featvec".to_string())
        .set_max_row_group_row_count(None)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_column_dictionary_enabled(ColumnPath::from(KEY), false)
        .set_column_dictionary_enabled(hashes.clone(), false)
        .set_column_statistics_enabled(hashes, EnabledStatistics::None)
        .set_column_dictionary_enabled(vectors.clone(), false)
        .set_column_compression(vectors.clone(), Compression::UNCOMPRESSED)
        .set_column_statistics_enabled(vectors, EnabledStatistics::None)
        .build()
}

/// Reads all rows.
pub(super) fn read(file: File, place: String) -> Result<Table> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(damaged)?;
    let schema = builder.schema().clone();
    let layout = Layout::found(&schema).ok_or_else(foreign)?;
    // Fewer where the other columns are long: a batch is of one row group's size at the most.
    let most = builder.metadata().row_groups().iter().map(rows_in_group_bytes).min();
    let rows = layout.batch_rows().min(most.unwrap_or(usize::MAX)).max(1);
    let reader = builder.with_batch_size(rows).build().map_err(damaged)?;
    Ok(Table { layout, rows: Box::new(read_all(reader, place)) })
}

/// How many rows of `group` have as many bytes as a row group of ours.
fn rows_in_group_bytes(group: &RowGroupMetaData) -> usize {
    let [rows, bytes] = [group.num_rows(), group.total_byte_size()].map(|n| usize::try_from(n).unwrap_or(0));
    rows.saturating_mul(GROUP_BYTES) / bytes.max(1)
}

fn write_error(place: &str, error: ParquetError) -> Error {
    match error {
        ParquetError::External(error) => match error.downcast::<std::io::Error>() {
            Ok(error) => Error::io(place, *error),
            Err(error) => Error::unsupported(place, error.to_string()),
        },
        error => Error::unsupported(place, error.to_string()).with_source(error),
    }
}
