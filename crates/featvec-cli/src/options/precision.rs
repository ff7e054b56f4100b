//! What the network computes in.

use std::path::{Path, PathBuf};

use clap::Args;
use featvec::pictures::{Found, Preparation, read_array};
use featvec::{Limits, Module, Precision, Result, Tensor};

use crate::inputs;
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
    /// depends on the list alone: they are taken from all over it.
    ///
    /// # Errors
    /// A named calibration without a picture that can be read; pictures that the module cannot run.
    pub fn calibrate(
        &self,
        module: &Module,
        inputs: &[Found],
        (preparation, limits): (&Preparation, &Limits),
        talk: &Talk,
    ) -> Result<()> {
        let built_in = self.calibration.as_deref() == Some(Path::new(BUILT_IN));
        if self.precision == Choice::F32 {
            return Ok(());
        }
        let named = match &self.calibration {
            Some(path) if !built_in => Some(inputs::expand(std::slice::from_ref(path))?),
            _ => None,
        };
        let images = if built_in {
            None
        } else {
            some_pictures(named.as_deref().unwrap_or(inputs), preparation)?
                .or_else(|| rows(named.as_deref().unwrap_or(inputs), limits))
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

/// Some rows of the first array among `found` that has any.
fn rows(found: &[Found], limits: &Limits) -> Option<Tensor> {
    found.iter().find_map(|found| {
        let Found::Array(path) = found else { return None };
        let images = read_array(path, limits).ok()?;
        let all: Vec<&[f32]> = images.iter_rows().collect();
        let chosen: Vec<&[f32]> = spread(all.len()).map(|index| all[index]).collect();
        let mut shape = images.shape().to_vec();
        shape[0] = chosen.len();
        Tensor::new(shape, chosen.concat()).ok().filter(|images| images.rows() > 0)
    })
}

/// At most [`PICTURES`] of `len` places, evenly spread.
fn spread(len: usize) -> impl Iterator<Item = usize> {
    let count = len.min(PICTURES);
    (0..count).map(move |i| i * len / count)
}
