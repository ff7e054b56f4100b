//! Pictures in files: finding them, and preparing many at once for the network.
//!
//! ```no_run
//! use featvec::pictures::{Found, Preparation, find};
//! use featvec::{Module, Preset};
//!
//! let module = Module::load("feature_vector.tar.gz")?;
//! let preparation = Preparation::new(Preset::default(), module.expected_image_size()?);
//! let paths: Vec<_> = find(["photos".into()])
//!     .into_iter()
//!     .filter_map(|found| match found {
//!         Found::Picture(path) => Some(path),
//!         _ => None,
//!     })
//!     .collect();
//! for paths in paths.chunks(32) {
//!     let batch = preparation.prepare_batch(paths, std::thread::available_parallelism()?)?;
//!     let features = module.run(&batch.images)?;
//!     println!("{:?} for {:?}", features.shape(), batch.outcomes);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod array;
mod find;

use std::fs::File;
use std::io::Read;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use crate::image::{self, DecodeOptions, Decoded, Original, PixelGrid};
use crate::parallel::share_out;
use crate::{Error, ErrorKind, Preset, Result, Tensor};

pub use array::{check_images_shape, images, is_array, range_doubt, read_array};
pub use find::{EXTENSIONS, Found, find};

/// How a file becomes a row of a batch.
#[derive(Clone, Debug)]
pub struct Preparation {
    /// How a picture is resized and scaled.
    pub preset: Preset,
    /// How it is decoded, and how large it may be; [`Preset::decode_options`] gives what belongs to the preset.
    pub decode: DecodeOptions,
    /// Height and width of the result, in this order.
    pub size: [usize; 2],
}

/// Pictures ready for the network.
#[derive(Debug)]
pub struct Batch {
    /// `[n, h, w, 3]` in [0, 1]: the pictures that could be prepared, in the order of their paths.
    pub images: Tensor,
    /// For each path what was found in the file, or why it gave no picture.
    pub outcomes: Vec<Result<Original>>,
}

impl Preparation {
    /// What `preset` says, at `size` `[h, w]`, with the default limits.
    pub fn new(preset: Preset, size: [usize; 2]) -> Preparation {
        Preparation { preset, decode: preset.decode_options(), size }
    }

    /// Decodes the file `path` and prepares it; `out` are the `h * w * 3` values of one row.
    ///
    /// # Errors
    /// A file that cannot be read, or those of [`image::decode`]. The path is not in the error.
    ///
    /// # Panics
    /// If `out` has another length.
    pub fn prepare(&self, path: &Path, out: &mut [f32]) -> Result<Original> {
        self.prepare_bytes(&self.read(path)?, out)
    }

    /// Like [`prepare`](Preparation::prepare), from the `bytes` of a file.
    ///
    /// The result is that of [`image::decode`] and [`Preset::prepare`] (but for [`Fidelity::Fast`](image::Fidelity)), in
    /// less time and memory: of a JPEG only the pixels that the preset reads are made.
    ///
    /// # Errors
    /// Those of [`image::decode`].
    ///
    /// # Panics
    /// If `out` has another length than a row.
    pub fn prepare_bytes(&self, bytes: &[u8], out: &mut [f32]) -> Result<Original> {
        let [height, width] = self.size;
        let (sampled, about) = image::decode_sampled(bytes, &self.decode, self)?;
        self.preset.prepare_sampled(&sampled, height, width, out);
        Ok(about)
    }

    /// Decodes the file `path`.
    ///
    /// # Errors
    /// As of [`prepare`](Preparation::prepare).
    pub(crate) fn decode(&self, path: &Path) -> Result<Decoded> {
        image::decode(&self.read(path)?, &self.decode)
    }

    /// Prepares the files `paths` on `threads` threads, the caller's among them, or on as many as the system gives. The
    /// memory taken is that of the batch and of one decoded picture a thread.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] for a batch that there is no memory for. What is wrong with a file stands in
    /// [`Batch::outcomes`].
    pub fn prepare_batch(&self, paths: &[PathBuf], threads: NonZeroUsize) -> Result<Batch> {
        let [height, width] = self.size;
        let row_len = height.checked_mul(width).and_then(|area| area.checked_mul(3)).unwrap_or(usize::MAX);
        let mut data = Vec::new();
        let len = row_len.saturating_mul(paths.len());
        data.try_reserve_exact(len).map_err(|error| {
            let message = format!("no memory for {} pictures of {height}x{width} at once", paths.len());
            Error::new(ErrorKind::Limit, "", message).with_hint("--batch takes fewer").with_source(error)
        })?;
        data.resize(len, 0.0);
        let mut outcomes: Vec<Option<Result<Original>>> = paths.iter().map(|_| None).collect();
        let rows = data.chunks_exact_mut(row_len.max(1));
        share_out(threads, paths.iter().zip(rows).zip(&mut outcomes), |((path, row), outcome)| {
            *outcome = Some(self.prepare(path, row));
        });
        let outcomes: Vec<_> = outcomes.into_iter().flatten().collect();
        let kept = close_gaps(&mut data, row_len, &outcomes);
        Ok(Batch { images: Tensor::new([kept, height, width, 3], data)?, outcomes })
    }

    /// The bytes of a picture, which are never more than decoding it may take.
    pub(crate) fn read(&self, path: &Path) -> Result<Vec<u8>> {
        read_picture(path, self.decode.limits.max_memory_bytes)
    }
}

impl image::Reader for Preparation {
    fn is_served_by(&self, (width, height): (usize, usize)) -> bool {
        self.preset.kept(height).len() >= self.size[0] && self.preset.kept(width).len() >= self.size[1]
    }

    fn reads(&self, size: (usize, usize)) -> Option<PixelGrid> {
        self.preset.reads(size, self.size)
    }
}

/// The bytes of the picture `path`, at most `limit` of them.
///
/// # Errors
/// A file that cannot be read; [`ErrorKind::Limit`] for a longer one. The path is not in the error.
pub fn read_picture(path: &Path, limit: u64) -> Result<Vec<u8>> {
    if is_named_pipe(path) {
        return Err(Error::new(ErrorKind::Argument, "", "a named pipe, whose writer may never come")
            .with_hint("give a file"));
    }
    let too_long = || {
        let message = format!("more than {limit} bytes, which is the limit");
        Error::new(ErrorKind::Limit, "", message).with_hint("--max-memory raises it")
    };
    let at = |error| Error::io("", error);
    let file = File::open(path).map_err(at)?;
    // What is no plain file tells a length of 0.
    let length = file.metadata().map_err(at)?.len();
    if length > limit {
        return Err(too_long());
    }
    let mut bytes = Vec::with_capacity(length as usize);
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(at)?;
    if bytes.len() as u64 > limit { Err(too_long()) } else { Ok(bytes) }
}

/// Whether opening `path` may wait for ever. A pipe that a shell has opened (`/dev/fd/63`) is a link to one.
#[cfg(unix)]
fn is_named_pipe(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    path.symlink_metadata().is_ok_and(|metadata| metadata.file_type().is_fifo())
}

#[cfg(not(unix))]
fn is_named_pipe(_: &Path) -> bool {
    false
}

/// Moves the rows that came out well together, and returns how many there are.
fn close_gaps<T>(data: &mut Vec<f32>, row_len: usize, outcomes: &[Result<T>]) -> usize {
    let mut kept = 0;
    for (row, _) in outcomes.iter().enumerate().filter(|(_, outcome)| outcome.is_ok()) {
        data.copy_within(row * row_len..(row + 1) * row_len, kept * row_len);
        kept += 1;
    }
    data.truncate(kept * row_len);
    kept
}
