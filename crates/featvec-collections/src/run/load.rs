//! The bytes of a picture, and the picture prepared, within bounds of memory.

use std::sync::{Mutex, MutexGuard, PoisonError};

use featvec::image::{DecodeOptions, Original};
use featvec::pictures::{Preparation, read_picture};
use featvec::{ErrorKind, Result, Tensor};

use crate::{Content, Item};

/// Most bytes of a file that several workers hold at the same time; larger ones take turns.
pub const SMALL_FILE_BYTES: u64 = 64 << 20;

/// Most bytes that decoding a picture takes in several workers at the same time; larger ones take turns.
pub const SMALL_DECODING_BYTES: u64 = 256 << 20;

/// Reads and prepares pictures. Whatever they are, one large picture is in hand at a time.
pub(super) struct Loader<'a> {
    /// For a large picture.
    preparation: &'a Preparation,
    small: Preparation,
    large: Mutex<()>,
}

/// The turn of one large picture, which lasts until it is prepared.
pub(super) type Turn<'a> = Option<MutexGuard<'a, ()>>;

/// What is in an item.
pub(super) enum Loaded {
    /// The bytes of a picture.
    File(Vec<u8>),
    /// A picture that is prepared, `[1, h, w, 3]`.
    Image(Tensor),
}

impl<'a> Loader<'a> {
    pub fn new(preparation: &'a Preparation) -> Loader<'a> {
        let mut limits = preparation.decode.limits;
        limits.max_memory_bytes = limits.max_memory_bytes.min(SMALL_DECODING_BYTES);
        let decode = DecodeOptions { limits, ..preparation.decode.clone() };
        Loader { preparation, small: Preparation { decode, ..preparation.clone() }, large: Mutex::new(()) }
    }

    /// The turn of `item`, if it came with bytes that are many.
    pub fn turn_for(&self, item: &Item) -> Turn<'_> {
        let bytes = match &item.content {
            Ok(Content::Bytes(bytes)) => bytes.len(),
            Ok(Content::Image(image)) => size_of_val(image.data()),
            Ok(Content::File(_) | Content::Coming(_)) | Err(_) => 0,
        };
        (bytes as u64 > SMALL_FILE_BYTES).then(|| self.turn())
    }

    /// What `content` is. A large file waits for its `turn`, if it has not come.
    ///
    /// # Errors
    /// A file that cannot be read, or one beyond the limits.
    pub fn read<'l>(&'l self, content: Content, turn: &mut Turn<'l>) -> Result<Loaded> {
        let limit = self.preparation.decode.limits.max_memory_bytes;
        let bytes = match content {
            Content::Image(image) => return Ok(Loaded::Image(image)),
            Content::Bytes(bytes) => bytes,
            Content::Coming(fetch) => fetch()?,
            Content::File(path) => match read_picture(&path, limit.min(SMALL_FILE_BYTES)) {
                Err(error) if error.kind() == ErrorKind::Limit => {
                    turn.get_or_insert_with(|| self.turn());
                    read_picture(&path, limit)?
                }
                read => read?,
            },
        };
        Ok(Loaded::File(bytes))
    }

    /// Decodes `bytes` and prepares them; see [`Preparation::prepare_bytes`].
    ///
    /// # Errors
    /// As there.
    pub fn prepare<'l>(&'l self, bytes: &[u8], out: &mut [f32], turn: &mut Turn<'l>) -> Result<Original> {
        if turn.is_none() {
            match self.small.prepare_bytes(bytes, out) {
                // It was found out before memory was taken.
                Err(error) if error.kind() == ErrorKind::Limit => *turn = Some(self.turn()),
                prepared => return prepared,
            }
        }
        self.preparation.prepare_bytes(bytes, out)
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.large.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
