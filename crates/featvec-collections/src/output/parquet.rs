//! Parquet files of all columns.
//!
//! The same rows give the same bytes: row groups and pages are cut by counts of rows alone. The numbers of vectors are
//! stored plain: readers take them twice as fast as compressed ones, which are a third smaller at best (docs/collections.md).
//! The other columns are compressed by zstd.

use std::fs::File;

use featvec::{Error, Result};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::staged::Staged;
use super::{Batches, Table, damaged, foreign, read_all};
use crate::layout::{CONTENT_HASH, KEY, Layout, VECTOR};

/// About how many bytes of vectors a row group has. It is held in memory while it is written.
const GROUP_BYTES: usize = 16 << 20;
const MOST_GROUP_ROWS: usize = 1 << 16;
/// Bytes of a page. Pages of the usual 1 MB leave holes in the heap: it grows by half a kilobyte a row then.
const PAGE_BYTES: usize = 1 << 16;

/// Writes all rows.
pub(super) fn write(batches: &mut Batches<'_>, layout: &Layout, file: Staged) -> Result<Staged> {
    let place = file.target().display().to_string();
    let failed = |error| write_error(&place, error);
    let mut writer =
        ArrowWriter::try_new(file, layout.schema.clone(), Some(properties(layout))).map_err(failed)?;
    for batch in batches {
        writer.write(&batch?).map_err(failed)?;
    }
    writer.into_inner().map_err(failed)
}

fn properties(layout: &Layout) -> WriterProperties {
    let rows = (GROUP_BYTES / (layout.values * layout.dtype.bytes())).clamp(1, MOST_GROUP_ROWS);
    let vectors = ColumnPath::new([VECTOR, "list", "item"].map(String::from).to_vec());
    let hashes = ColumnPath::from(CONTENT_HASH);
    WriterProperties::builder()
        .set_created_by("featvec".to_string())
        .set_max_row_group_row_count(Some(rows))
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
    let reader = builder.with_batch_size(layout.batch_rows()).build().map_err(damaged)?;
    Ok(Table { layout, rows: Box::new(read_all(reader, place)) })
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
