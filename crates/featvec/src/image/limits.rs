//! How large a picture may be, checked against what its header claims.

use featvec_formats::{Error, ErrorKind, Result};

use super::format::Format;

/// Bounds on one picture, checked from its header before anything of its size is allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageLimits {
    /// Most pixels; 2^28 (16384 x 16384) by default, more than any camera gives.
    pub max_pixels: u64,
    /// Most bytes that decoding may hold at once, the picture included; 2 GiB by default.
    pub max_memory_bytes: u64,
}

impl Default for ImageLimits {
    fn default() -> ImageLimits {
        ImageLimits { max_pixels: 1 << 28, max_memory_bytes: 1 << 31 }
    }
}

impl ImageLimits {
    /// The number of pixels of a picture of `(width, height)`, if it may be decoded with
    /// `bytes_per_pixel` of memory.
    pub(super) fn check<N: TryInto<u64>>(
        &self,
        format: Format,
        (width, height): (N, N),
        bytes_per_pixel: usize,
    ) -> Result<usize> {
        let [width, height] = [width, height].map(|side| side.try_into().unwrap_or(u64::MAX));
        if width == 0 || height == 0 {
            return Err(Error::corrupt(format.name(), format!("the picture is {width}x{height}: empty")));
        }
        let pixels = width.saturating_mul(height);
        if pixels > self.max_pixels {
            let message = format!("{width}x{height} pixels, {} are the limit", self.max_pixels);
            return Err(Error::new(ErrorKind::Limit, format.name(), message)
                .with_hint("--max-pixels raises it; a small file of this size is usually an attack"));
        }
        self.check_memory(format, pixels.saturating_mul(bytes_per_pixel as u64))?;
        usize::try_from(pixels).map_err(|_| self.memory_error(format, pixels))
    }

    /// Refuses to hold `bytes` at once if that is beyond the limit.
    pub(super) fn check_memory(&self, format: Format, bytes: u64) -> Result<()> {
        if bytes > self.max_memory_bytes { Err(self.memory_error(format, bytes)) } else { Ok(()) }
    }

    fn memory_error(&self, format: Format, bytes: u64) -> Error {
        let message =
            format!("decoding takes {bytes} bytes of memory, {} are the limit", self.max_memory_bytes);
        Error::new(ErrorKind::Limit, format.name(), message).with_hint("--max-memory raises it")
    }

    /// The memory limit as a length.
    pub(super) fn memory(&self) -> usize {
        usize::try_from(self.max_memory_bytes).unwrap_or(usize::MAX)
    }
}
