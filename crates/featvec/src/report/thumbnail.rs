//! Pictures small enough to be part of a page.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::image::{self, Rgb8};
use crate::pictures::Preparation;
use crate::{Error, ErrorKind, Preset, Result};
use std::path::Path;

/// The longer side of a thumbnail, in pixels.
const SIDE: usize = 160;

/// The picture at `path`, decoded as `preparation` says, as the `data:` address of a small PNG.
///
/// # Errors
/// A file that cannot be read any more.
pub(super) fn thumbnail(path: &Path, preparation: &Preparation) -> Result<String> {
    let image = image::decode(&preparation.read(path)?, &preparation.decode)?.image;
    let (width, height) = fitted(&image);
    let mut values = vec![0.0; width * height * 3];
    // The one preset that takes every pixel of a large picture into account.
    Preset::KerasPil.prepare(&image, height, width, &mut values);
    let bytes: Vec<u8> = values.iter().map(|value| (value * 255.0).round() as u8).collect();
    let png = encode_png(&bytes, [width as u32, height as u32])
        .map_err(|error| Error::new(ErrorKind::Argument, "", error.to_string()))?;
    Ok(format!("data:image/png;base64,{}", BASE64_STANDARD.encode(png)))
}

/// Width and height of the thumbnail: not larger than the picture.
fn fitted(image: &Rgb8) -> (usize, usize) {
    let longer = image.width().max(image.height());
    let side = |len: usize| if longer <= SIDE { len } else { (len * SIDE / longer).max(1) };
    (side(image.width()), side(image.height()))
}

fn encode_png(rgb: &[u8], [width, height]: [u32; 2]) -> std::result::Result<Vec<u8>, png::EncodingError> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(rgb)?;
    writer.finish()?;
    Ok(file)
}
