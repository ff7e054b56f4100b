//! `featvec distill`: a module of TF-Slim's network that computes what the paper's does.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use featvec::distill::{
    Agreement, DistillOptions, Progress, RefineOptions, distill, hold_out, measure, refine,
};
use featvec::export::{GraphOptions, to_hub_module};
use featvec::extractor::{FeatureExtractor, RunOptions};
use featvec::network::DEFAULT_SIZE;
use featvec::pictures::{Found, Preparation};
use featvec::{Error, ErrorKind, Labels, Preset};

use crate::inputs;
use crate::line;
use crate::options::{FetchArgs, LoadArgs};
use crate::stop::{Outcome, Stop, wrong_usage};
use crate::talk::Talk;

/// Make a module of TF-Slim's network that computes what the paper's GoogLeNet does, from photographs alone
#[derive(Args)]
#[command(after_help = "\
Examples:
  featvec distill --teacher bvlc_googlenet.caffemodel photos/ -o student
  featvec distill --teacher bvlc_googlenet.caffemodel --views 4 --seed 7 --held-out 5 photos/ -o student
  featvec distill --teacher bvlc_googlenet.caffemodel --steps 1000 photos/ -o student
  featvec classify --module student dog.jpg

The photographs need no labels; some hundreds of all kinds of things are enough. Layer by layer,
each convolution of the student is fitted by least squares to what the teacher computes at the same
place. With --steps the whole student then learns by gradients to have the teacher's maps, feature
vectors and probabilities. What is done so far is kept in OUTPUT.partial; the same command goes on
from there after a break. The result is the folder of a TF1 Hub module with feature vectors and,
behind a background class, the teacher's classes. How near it comes to the teacher is measured on
the pictures held out.")]
pub struct Distill {
    /// Photographs: files, folders (with all below them), patterns; `-` reads a list from stdin
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// The module to learn from: BVLC GoogLeNet's caffemodel, or a module of its variant
    #[arg(long, value_name = "HANDLE")]
    teacher: String,

    /// The folder to write; it must be empty or not there
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,

    /// Views of each photograph: the whole of it, then parts, mirrored half of the time; each takes about 4 MB of memory
    #[arg(long, value_name = "N", default_value_t = DistillOptions::default().views, value_parser = up_to(1000))]
    views: NonZeroUsize,

    /// Pixels of each view's maps to fit layers at
    #[arg(long, value_name = "N", default_value_t = DistillOptions::default().pixels)]
    pixels: NonZeroUsize,

    /// How strongly filters are drawn to the teacher's: 0.001 is a thousandth of the inputs' own weight
    #[arg(long, value_name = "X", default_value_t = DistillOptions::default().ridge, value_parser = positive::<f64>)]
    ridge: f64,

    /// Passes over the views for each layer
    #[arg(long, value_name = "N", default_value_t = DistillOptions::default().passes, value_parser = up_to(1000))]
    passes: NonZeroUsize,

    /// Steps of learning by gradients afterwards; 32 views each take seconds
    #[arg(long, value_name = "N", default_value_t = RefineOptions::default().steps, value_parser = clap::value_parser!(u64).range(..=1_000_000_000))]
    steps: u64,

    /// Views in a step
    #[arg(long, value_name = "N", default_value_t = RefineOptions::default().batch, value_parser = up_to(512))]
    batch: NonZeroUsize,

    /// Learning rate of the first step, from which it falls to nothing
    #[arg(long, value_name = "X", default_value_t = RefineOptions::default().learning_rate, value_parser = positive::<f32>)]
    learning_rate: f32,

    /// Percent of the photographs that are kept from the student and only measured on
    #[arg(long, value_name = "PERCENT", default_value_t = 10, value_parser = clap::value_parser!(u8).range(0..=90))]
    held_out: u8,

    /// What the choice of photographs held out, of views and of pixels depends on
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Threads; the student does not depend on it [default: as many as this process may run at once]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,

    #[command(flatten)]
    fetch: FetchArgs,
}

impl Distill {
    pub fn run(self, talk: &Talk) -> Result<Outcome, Stop> {
        refuse_full_folder(&self.output)?;
        let partial = self.partial()?;
        let (options, refine_options) = (self.options(&partial), self.refine_options(&partial));
        let mut failed = 0;
        let mut fail = |path: &Path, error: &Error| {
            talk.failure(format_args!("{}: {error}", line::shown(path)));
            failed += 1;
        };
        let mut photographs = Vec::new();
        for found in inputs::expand(&self.paths)? {
            match found {
                Found::Picture(path) => photographs.push(path),
                Found::Array(path) => {
                    fail(&path, &wrong_usage("an array is no photograph that views could be cut from"));
                }
                Found::Failed(path, error) => fail(&path, &error),
            }
        }
        let mut load = LoadArgs::inference(self.fetch);
        load.threads = self.threads;
        let teacher = load.load(&self.teacher, (Default::default(), false), talk)?;
        fs::create_dir_all(&partial).map_err(|error| Error::io(line::shown(&partial), error))?;
        talk.note(format_args!(
            "what is done so far is kept in {}: after a break the same command goes on from there",
            line::shown(&partial)
        ));
        let (held_out, taught) = hold_out(&photographs, f64::from(self.held_out) / 100.0, self.seed);

        let layers = teacher.variables().network.convs().len();
        talk.begin(taught.len());
        let (mut read, mut begun) = (0, None);
        let mut progress = |progress| match progress {
            Progress::Pictures { done } => {
                talk.advance(done - read);
                read = done;
                if done == taught.len() {
                    talk.begin(layers);
                    talk.advance(1);
                }
            }
            Progress::Fitted { .. } => talk.advance(1),
            Progress::Step { step, .. } => {
                if begun.is_none() {
                    talk.begin(self.steps as usize);
                }
                talk.advance((step - begun.replace(step).unwrap_or(0)) as usize);
            }
        };
        let student = distill(teacher.variables(), &taught, &options, (&mut progress, &mut fail));
        let student = student.and_then(|student| {
            refine(teacher.extractor(), student, &taught, &refine_options, (&mut progress, &mut fail))
        });
        talk.end();
        let student = student?.variables;

        let labels = student.network.classes.and_then(Labels::imagenet);
        let labels = labels.map(|labels| labels.names()).unwrap_or_default();
        let graph = GraphOptions { labels, ..GraphOptions::default() };
        to_hub_module(&student, &graph, &self.output)?;
        let _ = fs::remove_dir_all(&partial); // of no further use, but it does no harm either
        talk.note(format_args!(
            "wrote {}: made from {} photographs, {} views each",
            line::shown(&self.output),
            taught.len(),
            self.views
        ));
        if !held_out.is_empty() {
            let run = RunOptions { threads: self.threads, ..RunOptions::default() };
            let student = FeatureExtractor::new(student, &run)?;
            let preparation = Preparation::new(Preset::default(), DEFAULT_SIZE);
            let agreement = measure([teacher.extractor(), &student], &held_out, &preparation, &mut fail)?;
            tell(&agreement, talk);
        }
        talk.note(format_args!("next: featvec classify --module {}", line::shown(&self.output)));
        Ok(Outcome::of(failed))
    }

    /// The folder of what is done so far.
    fn partial(&self) -> Result<PathBuf, Error> {
        let Some(name) = self.output.file_name() else {
            let message = format!("{} has no name that a folder could be given", line::shown(&self.output));
            return Err(wrong_usage(message));
        };
        let mut name = name.to_owned();
        name.push(".partial");
        Ok(self.output.with_file_name(name))
    }

    fn options(&self, partial: &Path) -> DistillOptions {
        let defaults = DistillOptions::default();
        DistillOptions {
            views: self.views,
            pixels: self.pixels,
            ridge: self.ridge,
            passes: self.passes,
            seed: self.seed,
            threads: self.threads.unwrap_or(defaults.threads),
            checkpoint: Some(partial.join("layers.safetensors")),
            ..defaults
        }
    }

    fn refine_options(&self, partial: &Path) -> RefineOptions {
        let defaults = RefineOptions::default();
        RefineOptions {
            steps: self.steps,
            batch: self.batch,
            learning_rate: self.learning_rate,
            seed: self.seed,
            threads: self.threads.unwrap_or(defaults.threads),
            checkpoints: Some(partial.to_owned()),
            ..defaults
        }
    }
}

/// Hours of work are not to end at a folder that is in use.
fn refuse_full_folder(output: &Path) -> Result<(), Error> {
    let place = || line::shown(output);
    match fs::read_dir(output).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::new(ErrorKind::Argument, place(), "it is there already, and not empty")
            .with_hint("give the name of a new folder")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let parent = output.parent().filter(|parent| !parent.as_os_str().is_empty());
            match parent.unwrap_or(Path::new(".")).metadata() {
                Ok(_) => Ok(()),
                Err(error) => Err(Error::io(place(), error)),
            }
        }
        Err(error) => Err(Error::io(place(), error)),
    }
}

fn tell(agreement: &Agreement, talk: &Talk) {
    let Agreement { pictures, top1, top5, cosine, divergence } = agreement;
    talk.note(format_args!("on {pictures} photographs held out, compared with the teacher:"));
    talk.note(format_args!("  the same likeliest class      {:.1} %", 100.0 * top1));
    talk.note(format_args!("  it is among the likeliest 5   {:.1} %", 100.0 * top5));
    talk.note(format_args!("  cosine of feature vectors     {cosine:.4}"));
    talk.note(format_args!("  divergence of probabilities   {divergence:.3} nats"));
}

fn positive<T: FromStr + Copy + Into<f64>>(text: &str) -> Result<T, String> {
    let number: T = text.parse().map_err(|_| "a number expected".to_string())?;
    let value: f64 = number.into();
    if value.is_finite() && value > 0.0 { Ok(number) } else { Err("a number above 0 expected".to_string()) }
}

/// A count of at least one and at most `most`: what it is good for needs no more, and memory is set aside by it.
fn up_to(most: usize) -> impl Fn(&str) -> Result<NonZeroUsize, String> + Clone {
    move |text| {
        let count = text.parse().ok().filter(|count: &NonZeroUsize| count.get() <= most);
        count.ok_or_else(|| format!("a number from 1 to {most} expected"))
    }
}
