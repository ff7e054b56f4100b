//! The picture that every decoder ends in and every preset starts from.

use std::fmt;

use featvec_formats::{Error, ErrorKind, Result};

/// Bytes of a pixel.
pub(super) const CHANNELS: usize = 3;

/// A picture of at least one pixel: rows from the top, pixels from the left, red, green and blue bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Rgb8 {
    width: usize,
    height: usize,
    data: Vec<u8>,
}

impl Rgb8 {
    /// A picture from its bytes: `height * width * 3` of them.
    ///
    /// # Errors
    ///
    /// `Argument` if a side is zero or `data` has another length.
    pub fn from_pixels(width: usize, height: usize, data: Vec<u8>) -> Result<Rgb8> {
        let expected = width.checked_mul(height).and_then(|pixels| pixels.checked_mul(CHANNELS));
        if data.is_empty() || expected != Some(data.len()) {
            let message = format!("{} bytes are no {width}x{height} RGB picture", data.len());
            return Err(Error::new(ErrorKind::Argument, "", message));
        }
        Ok(Rgb8 { width, height, data })
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The `height * width * 3` bytes.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The bytes, without a copy.
    pub fn into_data(self) -> Vec<u8> {
        self.data
    }

    /// A picture from bytes that a decoder counted itself.
    pub(super) fn from_counted(width: usize, height: usize, data: Vec<u8>) -> Rgb8 {
        assert_eq!(data.len(), width * height * CHANNELS);
        Rgb8 { width, height, data }
    }
}

impl fmt::Debug for Rgb8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rgb8({}x{})", self.width, self.height)
    }
}
