//! `featvec embed`: one vector a picture.

mod collect;
mod lines;

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use featvec::module::DEFAULT;
use featvec::plan::Mode;
use featvec::{Error, Module};
use featvec_collections::output::{files_of, refuse_overwriting};
use featvec_collections::run::{self, Pipeline};
use featvec_collections::sources::{self, Input, Place, Shard, SourceOptions};
use featvec_collections::{Format, Manifest, Parts};

use crate::options::{self, ModuleArgs, PictureArgs, PrecisionArgs};
use crate::stop::{Outcome, Stop, wrong_usage};
use crate::talk::Talk;

/// Turn pictures into feature vectors, one row each, in the order of the inputs
#[derive(Args)]
#[command(after_help = "\
Examples:
  featvec embed -o vectors.parquet photos/ more/*.jpg
  find photos -name '*.png' | featvec embed --module module/ -o vectors.csv -
  featvec embed --module module/ -o part3.parquet --shard 3/16 shards/*.tar
  featvec embed --module module/ --preset keras-pil --normalize cat.jpg dog.jpg
  featvec embed --module module/ --endpoint global_pool -o pooled.npy batch.npy

With -o nothing is lost: what is computed is committed to FILE.parts every few seconds, and after
Ctrl-C, a crash, a full disk or a power cut the same command goes on where it was. Each key has one
row. A picture that cannot be read or decoded stops nothing: it gets a row with its status and error
(.parquet, .arrow) or a line in a list of failures (other formats), and the exit code is 1; the same
command with --retry-failed tries it again. With -o x.npy the lists are x.paths.txt and x.failed.txt,
with others x.csv.failed.txt and so on. Beside the output is FILE.manifest.json: see `featvec verify`
and `featvec merge`.

A .npy input is a batch [n,h,w,3], float32 in [0,1] or uint8, and is taken without preset.
With --tags train a vector depends on all pictures of its batch: see --batch.")]
pub struct Embed {
    #[command(flatten)]
    pictures: PictureArgs,

    #[command(flatten)]
    module: ModuleArgs,

    #[command(flatten)]
    precision: PrecisionArgs,

    /// Write to this file instead of stdout: x.parquet, .arrow, .npy, .safetensors, .csv, .jsonl or .txt
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    output: Option<PathBuf>,

    /// How vectors are written [default: by the file's name, text on stdout]
    #[arg(long, value_enum, help_heading = "Output")]
    format: Option<FormatChoice>,

    /// Numbers of the vectors in files
    #[arg(long, value_enum, default_value_t, help_heading = "Output", requires = "output")]
    dtype: DtypeChoice,

    /// Scale each vector to length 1
    #[arg(long, help_heading = "Output")]
    normalize: bool,

    /// Signature of the module [default: image_feature_vector, or default where there is none]
    #[arg(long, value_name = "NAME", help_heading = "Output")]
    signature: Option<String>,

    /// Output of the signature; `featvec inspect` lists them [default: default]
    #[arg(long, value_name = "NAME", help_heading = "Output")]
    endpoint: Option<String>,

    /// Run the share I of N only, chosen by the keys: N machines run it, and `featvec merge` joins what they write
    #[arg(long, value_name = "I/N", help_heading = "Running")]
    shard: Option<Shard>,

    /// Try pictures again that failed before
    #[arg(long, help_heading = "Running", requires = "output", conflicts_with = "restart")]
    retry_failed: bool,

    /// Begin anew, whatever an earlier run has left in FILE.parts
    #[arg(long, help_heading = "Running", requires = "output")]
    restart: bool,

    /// Commit after so many pictures, or after ten seconds [default: 1024]
    #[arg(long, value_name = "N", help_heading = "Running", requires = "output")]
    commit_every: Option<NonZeroUsize>,

    /// List the keys of the pictures that would be run, on stdout, and run none
    #[arg(long, help_heading = "Running")]
    dry_run: bool,
}

/// [`Format`], as it is written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum FormatChoice {
    /// The path, a tab, and the values with spaces between
    Text,
    /// A numpy array [n, ...]; the paths go to x.paths.txt
    Npy,
    /// Comma-separated values with a line of headings
    Csv,
    /// A JSON object a line: path, vector, and shape where it has several dimensions
    Jsonl,
    /// Apache Parquet: keys, hashes, sizes, errors, vectors, and the other columns of tables
    Parquet,
    /// An Arrow IPC file (Feather) with the same columns
    Arrow,
    /// A tensor `vectors`; the paths go to x.safetensors.paths.txt
    Safetensors,
}

impl From<FormatChoice> for Format {
    fn from(choice: FormatChoice) -> Format {
        match choice {
            FormatChoice::Text => Format::Text,
            FormatChoice::Npy => Format::Npy,
            FormatChoice::Csv => Format::Csv,
            FormatChoice::Jsonl => Format::Jsonl,
            FormatChoice::Parquet => Format::Parquet,
            FormatChoice::Arrow => Format::Arrow,
            FormatChoice::Safetensors => Format::Safetensors,
        }
    }
}

/// [`Dtype`], as it is written on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum DtypeChoice {
    /// 32-bit floats, as the network computes them
    #[default]
    F32,
    /// 16-bit floats: half the bytes
    F16,
}

impl Embed {
    pub fn run(self, talk: &Talk) -> Result<Outcome, Stop> {
        // What can be refused is refused before a module is downloaded.
        let format = choose(self.format.map(Format::from), self.output.as_deref())?;
        let precision = self.precision.precision()?;
        let inputs = self.pictures.inputs()?;
        if let Some(output) = &self.output {
            refuse_overwriting(output, format, inputs.iter().filter_map(file))?;
            if !self.restart {
                refuse_foreign(output)?;
            }
        }

        let module = self.module.load_for(precision, self.pictures.prepare.size.is_some(), talk)?;
        let signature = self.signature.as_deref().unwrap_or(module.feature_signature());
        let preparation = self.pictures.prepare.preparation(&module)?;
        let limits = self.module.load.fetch.limits();
        let options = self.pictures.sources.options(&inputs, &preparation, limits)?;
        let passed_over = self.output.iter().flat_map(|output| own_files(output, format)).collect();
        let options = SourceOptions { shard: self.shard, passed_over, ..options };
        self.precision.calibrate(&module, (&inputs, &options), &preparation, talk)?;
        let pipeline = Pipeline {
            module: &module,
            signature,
            output: &module.output_name(signature, self.endpoint.as_deref().unwrap_or(DEFAULT))?,
            batch: self.pictures.prepare.batch(preparation.size, default_batch(&module)),
            preparation: &preparation,
            normalize: self.normalize,
        };
        let row_shape = pipeline.row_shape()?;
        if self.normalize && row_shape.len() != 1 {
            let message =
                format!("--normalize is for vectors, and {} gives {row_shape:?} a picture", pipeline.output);
            return Err(wrong_usage(message).into());
        }
        let task = Task { pipeline, row_shape, inputs, options, format, talk };
        match &self.output {
            Some(output) => self.collect(&task, output),
            None => self.print(&task),
        }
    }
}

/// All that a run needs.
struct Task<'a> {
    pipeline: Pipeline<'a>,
    row_shape: Vec<usize>,
    inputs: Vec<Input>,
    options: SourceOptions,
    format: Format,
    talk: &'a Talk,
}

impl Task<'_> {
    fn open(&self) -> Result<sources::Collection, Error> {
        sources::open(&self.inputs, &self.options)
    }
}

/// Refuses to replace what `embed` has not made, such as a picture of a folder among the inputs.
fn refuse_foreign(output: &Path) -> Result<(), Error> {
    let is_there = fs::metadata(output).is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0);
    if !is_there || Manifest::path_of(output).exists() || Parts::are_in(&Parts::folder_of(output)) {
        return Ok(());
    }
    let message = format!("{} is there already, and has no manifest of featvec embed", output.display());
    Err(wrong_usage(message).with_hint("name another output; --restart replaces this file"))
}

/// What a run that writes `output` makes, which is no input of it when it goes on.
fn own_files(output: &Path, format: Format) -> Vec<PathBuf> {
    let target = fs::canonicalize(output).unwrap_or_else(|_| output.to_owned());
    let files = files_of(&target, format).into_iter().chain([Parts::folder_of(&target)]);
    let whole = |file: PathBuf| {
        let folder = file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        Some(fs::canonicalize(folder).ok()?.join(file.file_name()?))
    };
    files.filter_map(whole).collect()
}

/// How many pictures go through the network at once where nobody says.
fn default_batch(module: &Module) -> NonZeroUsize {
    match module.mode() {
        Mode::Inference => run::BATCH,
        Mode::BatchStatistics => options::BATCH,
    }
}

/// The format for `target` (stdout if there is none) where the user may have `asked` for one.
///
/// # Errors
/// A format that is no lines on stdout; a file name that says another format than was asked for, or none.
fn choose(asked: Option<Format>, target: Option<&Path>) -> Result<Format, Error> {
    let Some(target) = target else {
        return match asked.unwrap_or(Format::Text) {
            lines @ (Format::Text | Format::Csv | Format::Jsonl) => Ok(lines),
            other => Err(wrong_usage(format!("{} cannot go to stdout", other.name()))
                .with_hint(format!("name a file with -o x.{}", other.name()))),
        };
    };
    match (asked, Format::of(target)) {
        (Some(asked), Some(by_name)) if asked != by_name => {
            let message =
                format!("--format {} and -o {} contradict each other", asked.name(), target.display());
            Err(wrong_usage(message))
        }
        (None, None) => {
            let message = format!("the name {} does not say which format is meant", target.display());
            let known = ".parquet, .arrow, .npy, .safetensors, .csv, .jsonl or .txt";
            Err(wrong_usage(message).with_hint(format!("let it end in {known}, or give --format")))
        }
        (asked, by_name) => Ok(asked.or(by_name).unwrap_or(Format::Text)),
    }
}

/// The file or folder on this machine that `input` is, or the list.
fn file(input: &Input) -> Option<&Path> {
    match input {
        Input::Place(Place::Path(path)) | Input::List(Place::Path(path)) => Some(path),
        _ => None,
    }
}
