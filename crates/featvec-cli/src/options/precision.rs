//! What the network computes in.

use std::path::{Path, PathBuf};

use clap::Args;
use featvec::pictures::{Found, Preparation};
use featvec::{Module, Precision, Result, Tensor};
use featvec_collections::Content;
use featvec_collections::sources::{self, Input, SourceOptions};

use super::pictures::parse;
use crate::stop::wrong_usage;
use crate::talk::Talk;

/// Options of commands that run the network.
#[derive(Args)]
#[command(next_help_heading = "Module")]
pub struct PrecisionArgs {
    /// What to compute in
    #[arg(long, value_enum, default_value_t)]
    precision: Choice,

    /// Pictures, or a folder of them, that int8 is fitted to, or `built-in` [default: up to 32 of the inputs]
    #[arg(long, value_name = "PATH")]
    calibration: Option<PathBuf>,
}

/// [`Precision`], as it is written on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// TensorFlow's numbers
    #[default]
    F32,
    /// Bytes: faster, and close to f32
    Int8,
}

impl From<Choice> for Precision {
    fn from(choice: Choice) -> Precision {
        match choice {
            Choice::F32 => Precision::F32,
            Choice::Int8 => Precision::Int8,
        }
    }
}

/// So many pictures are enough, and take a fraction of a second.
const PICTURES: usize = 32;

/// Stands for the pictures that the library brings.
const BUILT_IN: &str = "built-in";

impl PrecisionArgs {
    /// What the module is to be loaded for.
    ///
    /// # Errors
    /// A calibration of what needs none.
    pub fn precision(&self) -> Result<Precision> {
        match self.precision {
            Choice::F32 if self.calibration.is_some() => {
                Err(wrong_usage("--calibration is for --precision int8"))
            }
            choice => Ok(choice.into()),
        }
    }

    /// Fits `module` to the pictures that were named, or to some of `inputs`, if it computes in bytes. Which they are
    /// depends on the inputs alone: they are taken from all over them.
    ///
    /// # Errors
    /// A named calibration without a picture that can be read; pictures that the module cannot run.
    pub fn calibrate(
        &self,
        module: &Module,
        (inputs, options): (&[Input], &SourceOptions),
        preparation: &Preparation,
        talk: &Talk,
    ) -> Result<()> {
        if self.precision == Choice::F32 {
            return Ok(());
        }
        let named = self.calibration.as_deref().filter(|path| *path != Path::new(BUILT_IN));
        let images = match (&self.calibration, named) {
            (_, Some(path)) => sample(&parse(&[path.as_os_str().to_owned()])?, options, preparation)?,
            (Some(_), None) => None,
            // It can be read once only, and the pictures are to be run.
            (None, None) if inputs.contains(&Input::Stdin) => None,
            (None, None) => sample(inputs, options, preparation)?,
        };
        match images {
            Some(images) => {
                module.calibrate(&images)?;
                let of = if named.is_some() { "pictures of --calibration" } else { "of the inputs" };
                talk.note(format_args!("int8 fitted to {} {of}", images.rows()));
            }
            None if named.is_some() => {
                return Err(wrong_usage("--calibration has no picture that can be read"));
            }
            None => talk.note("int8 fitted to built-in pictures, which is less accurate than to your own"),
        }
        Ok(())
    }
}

/// Some of the pictures that `inputs` have, prepared; those that can be read.
fn sample(inputs: &[Input], options: &SourceOptions, preparation: &Preparation) -> Result<Option<Tensor>> {
    // All shares of a collection are fitted to the same pictures.
    let options = SourceOptions { shard: None, ..options.clone() };
    let mut count = 0;
    let mut all = sources::open(inputs, &options)?;
    while all
        .next(&mut |_| {
            count += 1;
            false
        })
        .is_some()
    {}
    let chosen: Vec<usize> = spread(count).collect();
    let (mut at, [height, width]) = (0, preparation.size);
    let mut pixels = Vec::new();
    let mut some = sources::open(inputs, &options)?;
    while let Some(item) = some.next(&mut |_| {
        at += 1;
        chosen.binary_search(&(at - 1)).is_ok()
    }) {
        let mut row = vec![0.0; height * width * 3];
        let prepared = item.content.and_then(|content| match content {
            Content::File(path) => preparation.prepare(&path, &mut row).map(drop),
            Content::Coming(fetch) => preparation.prepare_bytes(&fetch()?, &mut row).map(drop),
            Content::Bytes(bytes) => preparation.prepare_bytes(&bytes, &mut row).map(drop),
            Content::Image(image) if image.data().len() == row.len() => {
                row.copy_from_slice(image.data());
                Ok(())
            }
            Content::Image(_) => Err(wrong_usage("an image of another size")),
        });
        // One that cannot be read is told of when it is run.
        if prepared.is_ok() {
            pixels.extend(row);
        }
    }
    let rows = pixels.len() / (height * width * 3).max(1);
    let images = Tensor::new([rows, height, width, 3], pixels)?;
    Ok(Some(images).filter(|images| images.rows() > 0))
}

/// Some of the pictures among `found`, those that can be read.
pub fn some_pictures(found: &[Found], preparation: &Preparation) -> Result<Option<Tensor>> {
    let paths: Vec<&PathBuf> = found
        .iter()
        .filter_map(|found| if let Found::Picture(path) = found { Some(path) } else { None })
        .collect();
    let chosen: Vec<PathBuf> = spread(paths.len()).map(|index| paths[index].clone()).collect();
    let threads = std::thread::available_parallelism().unwrap_or(std::num::NonZeroUsize::MIN);
    let images = preparation.prepare_batch(&chosen, threads)?.images;
    Ok(Some(images).filter(|images| images.rows() > 0))
}

/// At most [`PICTURES`] of `len` places, evenly spread.
fn spread(len: usize) -> impl Iterator<Item = usize> {
    let count = len.min(PICTURES);
    (0..count).map(move |i| i * len / count)
}
