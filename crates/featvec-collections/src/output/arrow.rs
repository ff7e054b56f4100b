//! Arrow IPC files (Feather, version 2) of all columns, not compressed, so that they can be mapped to memory.

use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek, SeekFrom};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::reader::{read_footer_length, read_record_batch};
use arrow_ipc::writer::FileWriter;
use arrow_ipc::{Block, root_as_footer, root_as_message};
use arrow_schema::{ArrowError, SchemaRef};
use featvec::{Error, Result};

use super::staged::Staged;
use super::{Batches, DAMAGED, Table, damaged, foreign, read_all};
use crate::layout::Layout;
use crate::parts::write_error;

/// Bytes at the end of a file: the length of the footer before them, and the mark.
const END_BYTES: u64 = 10;
/// What a message begins with, before its length.
const CONTINUATION: [u8; 4] = [0xff; 4];

type Read<T> = std::result::Result<T, ArrowError>;

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

/// Reads all rows. What the file promises is compared with its length, and compressed batches are refused, before memory is
/// taken: Arrow's own reader takes what they promise.
pub(super) fn read(mut file: File, place: String) -> Result<Table> {
    let length = file.metadata().map_err(|error| Error::io("", error))?.len();
    let mut end = [0; END_BYTES as usize];
    let short = || Error::corrupt("", "it breaks off").with_hint(DAMAGED);
    let before_end = length.checked_sub(END_BYTES).ok_or_else(short)?;
    end.copy_from_slice(&part(&mut file, (before_end, END_BYTES), length).map_err(damaged)?);
    let footer_bytes = read_footer_length(end).map_err(damaged)? as u64;
    let at = before_end.checked_sub(footer_bytes).ok_or_else(short)?;
    let footer = part(&mut file, (at, footer_bytes), length).map_err(damaged)?;
    let footer =
        root_as_footer(&footer).map_err(|error| Error::corrupt("", error.to_string()).with_hint(DAMAGED))?;
    let columns = footer.schema().filter(|schema| schema.endianness().equals_to_target_endianness());
    let schema = Arc::new(try_fb_to_schema(columns.ok_or_else(foreign)?).map_err(damaged)?);
    let layout = Layout::found(&schema).ok_or_else(foreign)?;
    let blocks: Vec<Block> = footer.recordBatches().into_iter().flatten().copied().collect();
    let batches = blocks.into_iter().map(move |block| batch(&mut file, (&block, length), schema.clone()));
    Ok(Table { layout, rows: Box::new(read_all(batches, place)) })
}

/// Reads the batch `block` of a file of `length` bytes.
fn batch(file: &mut File, (block, length): (&Block, u64), schema: SchemaRef) -> Read<RecordBatch> {
    let sizes = (
        u64::try_from(block.offset()),
        u64::try_from(block.metaDataLength()),
        u64::try_from(block.bodyLength()),
    );
    let (Ok(at), Ok(head_bytes), Ok(body_bytes)) = sizes else {
        return Err(ArrowError::IpcError("a batch of a negative length".into()));
    };
    let head = part(file, (at, head_bytes), length)?;
    let message = head.strip_prefix(&CONTINUATION).and_then(|head| head.get(size_of::<u32>()..));
    let message = message.and_then(|message| root_as_message(message).ok());
    let described = message.and_then(|message| Some((message.header_as_record_batch()?, message.version())));
    let (described, version) =
        described.ok_or_else(|| ArrowError::IpcError("no batch where one must be".into()))?;
    if described.compression().is_some() {
        return Err(ArrowError::IpcError("a compressed batch, and featvec writes none".into()));
    }
    let body = Buffer::from_vec(part(file, (at.saturating_add(head_bytes), body_bytes), length)?);
    read_record_batch(&body, described, schema, &HashMap::new(), None, &version)
}

/// Bytes of a file of `length` bytes, from a place on, as many as are asked for.
fn part(file: &mut File, (at, bytes): (u64, u64), length: u64) -> Read<Vec<u8>> {
    if at.checked_add(bytes).is_none_or(|end| end > length) {
        return Err(ArrowError::IpcError("it promises more bytes than it has".into()));
    }
    let mut part = Vec::new();
    file.seek(SeekFrom::Start(at))?;
    file.take(bytes).read_to_end(&mut part)?;
    if part.len() as u64 == bytes {
        Ok(part)
    } else {
        Err(std::io::Error::from(ErrorKind::UnexpectedEof).into())
    }
}
