//! `featvec classify`: what is in the pictures.

use std::io::{self, BufWriter, Stdout, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use featvec::classify::{Prediction, softmax, top_k};
use featvec::module::{DEFAULT, IMAGE_CLASSIFICATION};
use featvec::{Error, ErrorKind, Labels, Module, Tensor};
use featvec_collections::Row;
use featvec_collections::run::{self, Pipeline, Sink};
use featvec_collections::sources;
use serde_json::json;

use crate::options::{ModuleArgs, PictureArgs, PrecisionArgs, TextOrJson};
use crate::stop::{Outcome, Stop};
use crate::talk::Talk;
use crate::watch::Watch;
use crate::{interrupt, line};

/// Say what is in pictures: the likeliest classes with their probabilities
#[derive(Args)]
#[command(after_help = "\
Examples:
  featvec classify dog.jpg
  featvec classify --module classification.tar.gz --top 1 --format json photos/
  featvec classify --module retrained/ rose.jpg
  featvec classify --module mine.ckpt --labels mine.txt cat.jpg

The module must have a classifying layer. A folder with a labels.txt in it, as `featvec retrain`
writes, names its classes; modules of 1001 classes (TF-Slim, with a background class at 0) and of
1000 get the names of ImageNet's; for others give --labels, one name a line in the order of the
classes.")]
pub struct Classify {
    #[command(flatten)]
    pictures: PictureArgs,

    #[command(flatten)]
    module: ModuleArgs,

    #[command(flatten)]
    precision: PrecisionArgs,

    /// How many classes to tell
    #[arg(long, value_name = "K", default_value = "5", help_heading = "Output")]
    top: NonZeroUsize,

    /// As text, or a JSON object a line
    #[arg(long, value_enum, default_value_t, help_heading = "Output")]
    format: TextOrJson,

    /// A file with the names of the classes, one a line
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    labels: Option<PathBuf>,
}

impl Classify {
    pub fn run(self, talk: &Talk) -> Result<Outcome, Stop> {
        let precision = self.precision.precision()?;
        let inputs = self.pictures.inputs()?;
        let module = self.module.load_for(precision, self.pictures.prepare.size.is_some(), talk)?;
        let classes = classes(&module)?;
        let labels = self.labels(classes, &module)?;
        let preparation = self.pictures.prepare.preparation(&module)?;
        let limits = self.module.load.fetch.limits();
        let options = self.pictures.sources.options(&inputs, &preparation, limits)?;
        self.precision.calibrate(&module, (&inputs, &options), &preparation, talk)?;
        let pipeline = Pipeline {
            module: &module,
            signature: classifying_signature(&module),
            output: DEFAULT,
            batch: self.pictures.prepare.batch(preparation.size, run::BATCH),
            preparation: &preparation,
            normalize: false,
        };
        if pipeline.row_shape()? != [classes] {
            let message = format!("signature {:?} does not give {classes} logits", pipeline.signature);
            return Err(mismatch(&module, message).into());
        }
        let mut collection = sources::open(&inputs, &options)?;
        let mut printer =
            Printer { classify: &self, labels: labels.as_ref(), stdout: BufWriter::new(io::stdout()) };
        let mut watch = Watch::new(talk, preparation.decode.exif, 0);
        watch.count(&inputs, &options, collection.expected);
        let run =
            pipeline.run(&mut collection, &mut printer, interrupt::flag(), &mut |event| watch.row(event));
        let summary = run.inspect_err(|_| talk.end())?;
        watch.end(&summary);
        Ok(Outcome::of(usize::try_from(summary.failed()).unwrap_or(usize::MAX)))
    }

    /// The names of the module's classes, as far as they are known.
    fn labels(&self, classes: usize, module: &Module) -> Result<Option<Labels>, Error> {
        let beside = Labels::beside(module);
        let Some(file) = self.labels.as_ref().or(beside.as_ref()) else {
            return Ok(Labels::imagenet(classes));
        };
        let labels = Labels::read(file)?;
        if labels.len() != classes {
            let message = format!("{} labels in {}, and {classes} classes", labels.len(), file.display());
            return Err(mismatch(module, message).with_hint("one label a line, the first for class 0"));
        }
        Ok(Some(labels))
    }
}

/// Prints predictions as they come.
struct Printer<'a> {
    classify: &'a Classify,
    labels: Option<&'a Labels>,
    stdout: BufWriter<Stdout>,
}

impl Sink for Printer<'_> {
    type Error = Stop;

    fn write(&mut self, row: Row) -> Result<(), Stop> {
        let Some(logits) = row.vector else { return Ok(()) };
        let probabilities = softmax(Tensor::new([1, logits.len()], logits)?);
        let predictions = top_k(probabilities.data(), self.classify.top.get());
        let print = match self.classify.format {
            TextOrJson::Text => print_text,
            TextOrJson::Json => print_json,
        };
        print(&mut self.stdout, &row.key, (&predictions, self.labels))
            .and_then(|()| self.stdout.flush())
            .map_err(Stop::from_stdout)
    }
}

/// Classes of the module.
fn classes(module: &Module) -> Result<usize, Error> {
    module.variables().network.classes.ok_or_else(|| {
        let error =
            mismatch(module, "it gives feature vectors only: it has no classifying layer".to_string());
        error.with_hint(if module.tags().is_empty() {
            "give a classification module, for example \
             --module https://tfhub.dev/google/imagenet/inception_v1/classification/1"
        } else {
            "leave out --tags: in a graph for training, logits go through random dropout"
        })
    })
}

/// The signature for logits, whatever the default is.
fn classifying_signature(module: &Module) -> &'static str {
    if module.signatures().contains_key(IMAGE_CLASSIFICATION) { IMAGE_CLASSIFICATION } else { DEFAULT }
}

fn mismatch(module: &Module, message: String) -> Error {
    Error::new(ErrorKind::Mismatch, format!("module {}", module.handle()), message)
}

fn print_text(
    stream: &mut BufWriter<Stdout>,
    key: &str,
    (predictions, labels): (&[Prediction], Option<&Labels>),
) -> io::Result<()> {
    stream.write_all(&line::field(key.as_ref()))?;
    writeln!(stream)?;
    for Prediction { index, probability } in predictions {
        let label = labels.and_then(|labels| labels.get(*index));
        let label = label.map_or_else(|| format!("class {index}"), |label| line::shown(&label.name));
        writeln!(stream, "  {:5.1} %  {label}", probability * 100.0)?;
    }
    Ok(())
}

fn print_json(
    stream: &mut BufWriter<Stdout>,
    key: &str,
    (predictions, labels): (&[Prediction], Option<&Labels>),
) -> io::Result<()> {
    let predictions: Vec<_> = predictions
        .iter()
        .map(|Prediction { index, probability }| {
            let label = labels.and_then(|labels| labels.get(*index));
            json!({
                "index": index,
                "label": label.map(|label| &label.name),
                "synset": label.and_then(|label| label.synset.as_ref()),
                "probability": probability,
            })
        })
        .collect();
    writeln!(stream, "{}", json!({ "path": key, "predictions": predictions }))
}
