//! `featvec embed`: one vector a picture.

use std::path::{Path, PathBuf};

use clap::Args;
use featvec::module::DEFAULT;
use featvec::pictures::Found;
use featvec::{Error, Tensor};

use crate::options::{ModuleArgs, PictureArgs, PrecisionArgs};
use crate::output::{Format, Output};
use crate::pipeline::Pipeline;
use crate::stop::{Outcome, Stop, wrong_usage};
use crate::talk::Talk;

/// Turn pictures into feature vectors, one row each, in the order of the inputs
#[derive(Args)]
#[command(after_help = "\
Examples:
  featvec embed -o vectors.npy photos/ more/*.jpg
  find photos -name '*.png' | featvec embed --module module/ -o vectors.csv -
  featvec embed --module module/ --preset keras-pil --normalize cat.jpg dog.jpg
  featvec embed --module module/ --endpoint global_pool -o pooled.npy batch.npy

With -o x.npy the names of the rows are in x.paths.txt. A picture that cannot be read gets no
row; with -o it is listed in x.failed.txt with the reason, and the exit code is 1.
A .npy input is a batch [n,h,w,3], float32 in [0,1] or uint8, and is taken without preset.
With --tags train a vector depends on all pictures of its batch: see --batch.")]
pub struct Embed {
    #[command(flatten)]
    pictures: PictureArgs,

    #[command(flatten)]
    module: ModuleArgs,

    #[command(flatten)]
    precision: PrecisionArgs,

    /// Write to this file instead of stdout: x.npy, x.csv, x.jsonl or x.txt
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    output: Option<PathBuf>,

    /// How vectors are written [default: by the file's name, text on stdout]
    #[arg(long, value_enum, help_heading = "Output")]
    format: Option<Format>,

    /// Scale each vector to length 1
    #[arg(long, help_heading = "Output")]
    normalize: bool,

    /// Signature of the module [default: image_feature_vector, or default where there is none]
    #[arg(long, value_name = "NAME", help_heading = "Output")]
    signature: Option<String>,

    /// Output of the signature; `featvec inspect` lists them [default: default]
    #[arg(long, value_name = "NAME", help_heading = "Output")]
    endpoint: Option<String>,
}

impl Embed {
    pub fn run(self, talk: &Talk) -> Result<Outcome, Stop> {
        // What can be refused is refused before a module is downloaded.
        Format::choose(self.format, self.output.as_deref())?;
        let precision = self.precision.precision()?;
        let found = self.pictures.find()?;
        if let Some(output) = &self.output {
            refuse_overwriting(&found, output)?;
        }

        let module = self.module.load_for(precision, self.pictures.prepare.size.is_some(), talk)?;
        let signature = self.signature.as_deref().unwrap_or(module.feature_signature());
        let preparation = self.pictures.prepare.preparation(&module)?;
        let limits = self.module.load.fetch.limits();
        self.precision.calibrate(&module, &found, (&preparation, &limits), talk)?;
        let pipeline = Pipeline {
            module: &module,
            signature,
            output: &module.output_name(signature, self.endpoint.as_deref().unwrap_or(DEFAULT))?,
            batch: self.pictures.prepare.batch(preparation.size),
            preparation,
            limits,
            talk,
        };
        let row_shape = pipeline.row_shape()?;
        if self.normalize && row_shape.len() != 1 {
            let message =
                format!("--normalize is for vectors, and {} gives {row_shape:?} a picture", pipeline.output);
            return Err(wrong_usage(message).into());
        }

        let mut output = Output::begin(self.format, self.output.as_deref(), &row_shape)?;
        let tally = pipeline.run(found, &mut |names, values| {
            if self.normalize {
                output.write(names, &normalized(values)?)
            } else {
                output.write(names, values)
            }
        })?;
        output.finish(&tally)?;
        Ok(Outcome::of(tally.failures.len()))
    }
}

/// An output must not take the place of an input.
fn refuse_overwriting(found: &[Found], output: &Path) -> Result<(), Error> {
    let Ok(target) = output.canonicalize() else {
        return Ok(());
    };
    let is_target = |found: &Found| match found {
        Found::Picture(path) | Found::Array(path) => path.canonicalize().is_ok_and(|path| path == target),
        Found::Failed(..) => false,
    };
    if found.iter().any(is_target) {
        return Err(wrong_usage(format!("{} is an input and cannot be the output too", output.display())));
    }
    Ok(())
}

/// Each row divided by its length; rows of zeros stay as they are.
fn normalized(values: &Tensor) -> Result<Tensor, Error> {
    let mut data = Vec::with_capacity(values.data().len());
    for row in values.iter_rows() {
        let length = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let factor = if length > 0.0 { 1.0 / length } else { 0.0 };
        data.extend(row.iter().map(|x| (f64::from(*x) * factor) as f32));
    }
    Tensor::new(values.shape(), data)
}
