//! Batches of images that another program has prepared, in numpy's files.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use featvec_formats::{Limits, TensorData, npy};

use crate::tensor::first_not_finite;
use crate::{Error, ErrorKind, Result, Tensor};

/// Whether the name of `path` is that of a numpy file.
pub fn is_array(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy"))
}

/// Reads the batch of images in a numpy file, `[n, h, w, 3]`: floats as they are, bytes times 1/255 as TensorFlow
/// converts them.
///
/// # Errors
/// A file that cannot be read or is no array; another shape or type; a value that is no number; an array beyond
/// `limits`. The path is not in the error.
pub fn read_array(path: &Path, limits: &Limits) -> Result<Tensor> {
    let file = File::open(path).map_err(|error| Error::io("", error))?;
    let array = npy::read(BufReader::new(file), limits)?;
    check_images_shape(array.shape())?;
    images(array)
}

/// Checks that an array of `shape` is a batch of images, `[n, h, w, 3]`.
///
/// # Errors
/// One that is not.
pub fn check_images_shape(shape: &[usize]) -> Result<()> {
    let error =
        || Error::new(ErrorKind::Mismatch, "", format!("an array of {shape:?}, not [n, height, width, 3]"));
    match shape {
        [_, _, _, 3] => Ok(()),
        [_, 3, _, _] => Err(error().with_hint("channels come last: numpy.transpose(x, (0, 2, 3, 1))")),
        [_, _, 3] => Err(error().with_hint("a single image needs a first dimension of 1: x[None]")),
        _ => Err(error()),
    }
}

/// The images of `array`: floats as they are, bytes times 1/255.
///
/// # Errors
/// Another type of elements; a value that is no number.
pub fn images(array: featvec_formats::Tensor) -> Result<Tensor> {
    let shape = array.shape().to_vec();
    let values = match array.into_data() {
        TensorData::U8(levels) => levels.into_iter().map(|level| f32::from(level) * (1.0 / 255.0)).collect(),
        data => npy_floats(shape.clone(), data)?,
    };
    if let Some(index) = first_not_finite(&values) {
        let message = format!("element {index} is {}", values[index]);
        return Err(Error::new(ErrorKind::Argument, "", message).with_hint("images hold numbers in [0, 1]"));
    }
    Tensor::new(shape, values)
}

fn npy_floats(shape: Vec<usize>, data: TensorData) -> Result<Vec<f32>> {
    featvec_formats::Tensor::new(shape, data)?
        .into_f32()
        .map_err(|error| error.with_hint("images are float32 in [0, 1], or uint8 in 0..255"))
}

/// What is doubtful about `images` that should lie in [0, 1], for a warning. A little beyond is what resizing with a
/// cubic filter gives.
pub fn range_doubt(images: &Tensor) -> Option<String> {
    let whole = (f32::INFINITY, f32::NEG_INFINITY);
    let (min, max) = images.data().iter().fold(whole, |(min, max), x| (min.min(*x), max.max(*x)));
    let guess = if max > 1.5 {
        "0..255: divide by 255"
    } else if min < -0.5 {
        "-1..1: halve and add 0.5"
    } else {
        return None;
    };
    Some(format!("the values reach from {min} to {max}, and the module wants 0..1; they look like {guess}"))
}
