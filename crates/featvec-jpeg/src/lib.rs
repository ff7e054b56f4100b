//! JPEG decoding with exactly the pixels of TensorFlow's `decode_jpeg(channels=3)`, in safe Rust without
//! dependencies.
//!
//! TensorFlow decodes with libjpeg-turbo's fast integer transform, so its pixels differ from those of most
//! other decoders by a few levels, and features computed from them differ too. This crate gives TensorFlow's,
//! bit for bit, or with [`Idct::Accurate`] those of Pillow and OpenCV.
//!
//! ```
//! # fn main() -> Result<(), featvec_jpeg::Error> {
//! # let bytes = include_bytes!("../tests/fixtures/420.jpg");
//! let decoder = featvec_jpeg::Decoder::new(bytes)?;
//! let info = decoder.info();
//! let rgb = decoder.decode(&featvec_jpeg::Options::default())?;
//! assert_eq!(rgb.len(), info.height * info.width * 3);
//! # Ok(())
//! # }
//! ```
//!
//! Who reads only some pixels of a large picture, as resizing without antialiasing does, gets these several times as
//! fast by [`Decoder::decode_grid`]; who needs a smaller picture, by a [`Scale`] of the [`Options`].
//!
//! Sequential and progressive Huffman-coded files of 8 bits are decoded, with 1, 3 or 4 components and any
//! sampling that libjpeg-turbo accepts. Damaged files are decoded or refused as TensorFlow does it, down to its
//! resynchronisation and smoothing, with these exceptions:
//!
//! - Arithmetic coding is refused.
//! - So is a file that ends in the middle of a marker or segment after complete picture data, which TensorFlow
//!   accepts in some cases, and one whose headers promise far more than its data can hold.
//! - The limits are those of [`Options`], not TensorFlow's 2^29 samples.
//! - Where damage puts a fill byte (FF FF 00) into a block, that block may differ.

#![forbid(unsafe_code)]

mod bits;
mod coefficients;
mod color;
mod decoder;
mod error;
mod frame;
mod huffman;
mod idct;
mod layout;
mod markers;
mod render;
mod scan;
mod smoothing;
mod upsample;

pub use decoder::{Decoder, Info, Options};
pub use error::{Error, ErrorKind, Result};
pub use idct::Idct;
pub use layout::{PixelGrid, Scale};
pub use markers::Color;
