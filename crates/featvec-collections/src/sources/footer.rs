//! The end of an Arrow file, which says again what the columns are, and where the batches are.

use std::io::{Read, SeekFrom};

use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::root_as_footer;
use arrow_schema::Schema;
use featvec::Result;

use super::arrow::{MAGIC, MOST_MESSAGE_BYTES, arrow_error, cut_off, damaged};
use super::stream::Seekable;
use super::unpack::broken;
use crate::guard::guarded;

/// The length of the footer, and the mark.
const END_BYTES: u64 = 4 + MAGIC.len() as u64;

/// What the end of a file says.
pub(super) struct Footer {
    pub(super) schema: Schema,
    /// Where the first message after that of the columns begins, or the end of the file if there is none.
    pub(super) first: u64,
}

impl Footer {
    pub(super) fn read(mut file: Box<dyn Seekable>) -> Result<Footer> {
        let length = file.seek(SeekFrom::End(0)).map_err(|error| broken(&error))?;
        let end = last(&mut file, length, END_BYTES)?;
        let Some((footer_bytes, mark)) = end.split_first_chunk::<4>() else { return Err(cut_off()) };
        if mark != MAGIC {
            return Err(cut_off());
        }
        let before = length.saturating_sub(END_BYTES);
        let bytes = u64::from(u32::from_le_bytes(*footer_bytes));
        if bytes > before.min(MOST_MESSAGE_BYTES) {
            return Err(damaged(format!("a footer of {bytes} bytes")));
        }
        let footer = last(&mut file, before, bytes)?;
        let footer = root_as_footer(&footer).map_err(damaged)?;
        let schema = footer.schema().ok_or_else(|| damaged("a footer without columns"))?;
        let schema = guarded(|| try_fb_to_schema(schema).map_err(arrow_error))?;
        let blocks = [footer.dictionaries(), footer.recordBatches()].into_iter().flatten().flatten();
        let first = blocks.map(|block| block.offset()).min().map_or(Ok(length), |offset| {
            let offset = u64::try_from(offset).ok().filter(|offset| *offset <= length);
            offset.ok_or_else(|| damaged("a footer with a batch outside the file"))
        })?;
        Ok(Footer { schema, first })
    }
}

/// The last `bytes` of those before `end`.
fn last(file: &mut Box<dyn Seekable>, end: u64, bytes: u64) -> Result<Vec<u8>> {
    let start = end.checked_sub(bytes).ok_or_else(cut_off)?;
    let mut read = Vec::new();
    file.seek(SeekFrom::Start(start))
        .and_then(|_| file.by_ref().take(bytes).read_to_end(&mut read))
        .map_err(|error| broken(&error))?;
    if (read.len() as u64) < bytes { Err(cut_off()) } else { Ok(read) }
}
