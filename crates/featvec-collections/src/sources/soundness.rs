//! What the header of a batch of Arrow says, held against itself and against the body: the reader of Arrow panics where it
//! contradicts them.

use arrow_ipc::{Message, RecordBatch};
use arrow_schema::{DataType, Fields};
use featvec::Result;

use super::arrow::damaged;

/// The bytes before a compressed buffer that say what it unpacks to.
const PREFIX_BYTES: usize = 8;

/// The rows of a message: those of a batch, or of a dictionary.
pub(super) fn batch_of<'a>(message: &Message<'a>) -> Option<RecordBatch<'a>> {
    let of_dictionary = || message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data());
    message.header_as_record_batch().or_else(of_dictionary)
}

/// Whether the batch and each of its columns have the same number of rows. Where they do not, nobody knows how many it has.
pub(super) fn has_rows_of_columns(batch: &RecordBatch<'_>, columns: &Fields) -> bool {
    let Some(nodes) = batch.nodes() else { return false };
    let mut nodes = nodes.iter();
    columns.iter().all(|column| {
        let rows = nodes.next().map(|node| node.length());
        let within = nodes_within(column.data_type());
        rows == Some(batch.length()) && (within == 0 || nodes.nth(within - 1).is_some())
    })
}

/// How many columns lie within one of type `data_type`, at any depth.
fn nodes_within(data_type: &DataType) -> usize {
    use DataType::{
        FixedSizeList, LargeList, LargeListView, List, ListView, Map, RunEndEncoded, Struct, Union,
    };
    let of_types =
        |types: &mut dyn Iterator<Item = &DataType>| types.map(|inner| 1 + nodes_within(inner)).sum();
    match data_type {
        List(inner)
        | LargeList(inner)
        | ListView(inner)
        | LargeListView(inner)
        | FixedSizeList(inner, _)
        | Map(inner, _) => of_types(&mut [inner.data_type()].into_iter()),
        Struct(fields) => of_types(&mut fields.iter().map(|field| field.data_type())),
        Union(fields, _) => of_types(&mut fields.iter().map(|(_, field)| field.data_type())),
        RunEndEncoded(ends, values) => of_types(&mut [ends.data_type(), values.data_type()].into_iter()),
        _ => 0,
    }
}

/// Checks that the buffers lie within the body and that no column has more nulls than rows; says what the buffers unpack to,
/// if they are compressed.
///
/// # Errors
/// A damaged header.
pub(super) fn unpacked_bytes(batch: &RecordBatch<'_>, body: &[u8]) -> Result<u64> {
    for node in batch.nodes().into_iter().flatten() {
        if node.null_count() < 0 || node.length() < node.null_count() {
            return Err(damaged(format!("{} nulls in {} rows", node.null_count(), node.length())));
        }
    }
    let mut unpacked = 0u64;
    for buffer in batch.buffers().into_iter().flatten() {
        let within = || {
            let start = usize::try_from(buffer.offset()).ok()?;
            let length = usize::try_from(buffer.length()).ok()?;
            body.get(start..start.checked_add(length)?)
        };
        let (offset, length) = (buffer.offset(), buffer.length());
        let bytes =
            within().ok_or_else(|| damaged(format!("{length} bytes at {offset}, of {}", body.len())))?;
        if batch.compression().is_some() && !bytes.is_empty() {
            let prefix = bytes.first_chunk::<PREFIX_BYTES>();
            let prefix = prefix.ok_or_else(|| damaged(format!("a packed buffer of {length} bytes")))?;
            // -1 says that the buffer is not compressed.
            unpacked = unpacked.saturating_add(u64::try_from(i64::from_le_bytes(*prefix)).unwrap_or(0));
        }
    }
    Ok(unpacked)
}
