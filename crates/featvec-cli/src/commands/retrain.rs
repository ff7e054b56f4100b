//! `featvec retrain`: a classifier for one's own classes, from a folder of pictures.

mod fine_tune;
mod folder;
mod history;
mod judged;
mod metrics;
mod summary;
mod training;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{fs, io};

use clap::Args;
use featvec::data_set::{DataSet, SplitOptions};
use featvec::export::GraphOptions;
use featvec::feature_cache::FeatureCache;
use featvec::features::{Features, Origin};
use featvec::head::{Head, Samples};
use featvec::image::Fidelity;
use featvec::module::Notes;
use featvec::pictures::Preparation;
use featvec::plan::Mode;
use featvec::report::Report;
use featvec::split::{Percentages, Split};
use featvec::{Cache, Error, ErrorKind, Module};
use serde_json::json;

use crate::line;
use crate::options::{BATCH, ModuleArgs, PreparationArgs};
use crate::stop::{Outcome, Stop, wrong_usage};
use crate::talk::Talk;
use fine_tune::{FineTuneArgs, Ground};
use folder::{OutputFolder, Results};
use history::Pictures;
use judged::{Judged, Vectors};
use training::{Trained, TrainingArgs};

/// Train a classifier for your own classes on a folder of pictures, one sub-folder a class
#[derive(Args)]
#[command(after_help = "\
Examples:
  featvec retrain -o flowers-model flower_photos/
  featvec classify --module flowers-model rose.jpg
  featvec retrain --module bvlc_googlenet.caffemodel -o model photos/train --test-folder photos/val
  featvec retrain --module module/ -o model --balance --preset keras-pil photos/
  featvec retrain --module module/ -o model --fine-tune photos/
  featvec retrain --module module/ -o model --sgd --learning-rate 0.01 --steps 4000 photos/

The head (multinomial logistic regression) is trained to convergence on the module's feature
vectors. Pictures fall to training, validation and testing by the hash of their paths, as in
retrain.py, so adding pictures moves none. A folder with train/ and val/ or test/ in it is taken
as it is split: held-out pictures are the test.

The output folder is a classification module that `featvec classify` and `embed` take as --module,
with labels.txt, the preset it was trained with, report.html, metrics.json, events for TensorBoard
and a checkpoint. Feature vectors are kept in one file as they come: a run that was ended goes on
where it was, and the next one on the same pictures takes seconds.

With --fine-tune the whole network is trained after the head, some seconds for 100 pictures and
epoch. Ctrl-C stops it, and the same command goes on from there.")]
pub struct Retrain {
    /// The pictures: each sub-folder is a class
    #[arg(value_name = "FOLDER", help_heading = "Arguments")]
    folder: PathBuf,

    /// The folder to write
    #[arg(short, long, value_name = "FOLDER", help_heading = "Output")]
    output: PathBuf,

    /// Replace the output folder of an earlier run
    #[arg(long, help_heading = "Output")]
    force: bool,

    #[command(flatten)]
    split: SplitArgs,

    #[command(flatten)]
    training: TrainingArgs,

    #[command(flatten)]
    fine_tune: FineTuneArgs,

    #[command(flatten)]
    module: ModuleArgs,

    #[command(flatten)]
    prepare: PreparationArgs,

    #[command(flatten)]
    features: FeatureArgs,
}

/// Which pictures are held out.
#[derive(Args)]
#[command(next_help_heading = "Split")]
struct SplitArgs {
    /// How many of the pictures are for validation
    #[arg(long, value_name = "PERCENT", default_value = "10", value_parser = percentage)]
    validation_percentage: f64,

    /// How many of the pictures are for testing
    #[arg(long, value_name = "PERCENT", default_value = "10", value_parser = percentage)]
    test_percentage: f64,

    /// Take the pictures of this folder, which has the same classes, for validation
    #[arg(long, value_name = "FOLDER", requires = "test_folder")]
    validation_folder: Option<PathBuf>,

    /// Take the pictures of this folder, which has the same classes, for testing
    #[arg(long, value_name = "FOLDER")]
    test_folder: Option<PathBuf>,
}

/// Where feature vectors are kept.
#[derive(Args)]
#[command(next_help_heading = "Feature vectors")]
struct FeatureArgs {
    /// Keep feature vectors in this file [default: features.tfrecord among the downloaded modules]
    #[arg(long, value_name = "FILE", conflicts_with = "no_feature_cache")]
    feature_cache: Option<PathBuf>,

    /// Keep no feature vectors
    #[arg(long)]
    no_feature_cache: bool,
}

const FEATURE_FILE: &str = "features.tfrecord";

impl Retrain {
    pub fn run(self: Box<Self>, talk: &Talk) -> Result<Outcome, Stop> {
        // What can be refused is refused before a module is downloaded.
        let output = OutputFolder::check(&self.output, &self.folder, self.force)?;
        let set = DataSet::read(&self.folder, &self.split.options()?)?;
        self.fine_tune.check(&set)?;
        set.warnings.iter().for_each(|warning| talk.note(warning));
        let module = self.load_module(talk)?;
        let preparation = self.prepare.preparation(&module)?;

        let mut failures = Vec::new();
        for (path, error) in &set.failures {
            fail(path, error, (&mut failures, talk));
        }
        let vectors = self.vectors((&module, &preparation), &set, (&mut failures, talk))?;
        let mut trained = self.train(&set, &vectors, (&module, talk))?;
        let mut judged = Judged::new(&set, &vectors, (&trained.head, &trained.apart));
        let mut variables = trained.head.onto(module.variables())?;
        let checkpoints = output.beside("fine-tuning");
        let mut fine_tuning = None;
        let batch = self.prepare.batch(preparation.size, BATCH);
        let ground =
            Ground { set: &set, vectors: &vectors, module: &module, preparation: &preparation, batch };
        if self.fine_tune.fine_tune {
            trained.history.continue_by("epoch");
            let head = (&trained.apart, self.training.balance, self.training.seed);
            let place = (&*checkpoints, &mut trained.history);
            let Some(mut tuned) = self.fine_tune.run(&ground, head, place, (&mut failures, talk))? else {
                return Ok(Outcome::Interrupted);
            };
            if let Some(best) = tuned.variables {
                let head_alone = judged.evaluation.accuracy;
                judged = ground.judge(&best, judged.split)?;
                let name = judged.name();
                talk.note(format_args!(
                    "{name} accuracy with the head alone: {:.1} %",
                    100.0 * head_alone.value()
                ));
                tuned.facts.push((
                    format!("With the head alone, {name} accuracy"),
                    format!("{:.1} %", 100.0 * head_alone.value()),
                ));
                tuned.json["judged_with_head_alone"] = metrics::share(head_alone);
                trained.head = Head::of(&best).unwrap_or(trained.head);
                variables = best;
            }
            trained.facts.extend(tuned.facts);
            fine_tuning = Some(tuned.json);
        }
        if judged.split != Split::Test {
            talk.note(format_args!(
                "there are no test pictures: the figures are those of the {} pictures, and better than the truth",
                judged.name()
            ));
        }

        let facts = self.facts(&set, (&module, &preparation), &trained);
        let report = Report {
            title: format!("Retrained on {}", self.folder.display()),
            facts,
            labels: &set.labels,
            evaluation: &judged.evaluation,
            charts: trained.history.charts(),
            pictures: judged.pictures.clone(),
            preparation: &preparation,
        };
        let mut metrics = metrics::evaluation(&judged, &set.labels);
        metrics["training"] = trained.json.clone();
        metrics["fine_tuning"] = json!(fine_tuning);
        metrics["split"] = json!(counts(&set));
        metrics["module"] = json!(module.handle());
        metrics["preset"] = json!(preparation.preset.name());
        metrics["decode"] = json!(preparation.decode.fidelity.name());
        metrics["failures"] = metrics::failures(&failures);
        output.write(&Results {
            variables,
            graph: self.graph_options((&module, &preparation), &set.labels)?,
            notes: Notes {
                preset: preparation.preset,
                exif: preparation.decode.exif,
                fidelity: preparation.decode.fidelity,
            },
            metrics,
            report: report.html(),
            events: [Pictures::Training, Pictures::Validation].map(|pictures| trained.events(pictures)),
        })?;
        if fine_tuning.is_some() {
            let failed = |error| Error::io(checkpoints.display().to_string(), error);
            fs::remove_dir_all(&checkpoints).map_err(failed)?;
        }
        summary::print(&mut io::stdout().lock(), &judged, &set.labels).map_err(Stop::from_stdout)?;
        talk.note(format_args!(
            "wrote {}: a module, and what report.html in it shows",
            line::shown(&self.output)
        ));
        Ok(Outcome::of(failures.len()))
    }

    fn graph_options(
        &self,
        (module, preparation): (&Module, &Preparation),
        labels: &[String],
    ) -> Result<GraphOptions, Error> {
        Ok(GraphOptions { size: preparation.size, labels: labels.to_vec(), ..GraphOptions::of(module)? })
    }

    fn load_module(&self, talk: &Talk) -> Result<Module, Error> {
        let module = self.module.load(self.prepare.size.is_some(), talk)?;
        if module.mode() != Mode::Inference {
            let message = "with --tags train a feature vector depends on all pictures of its batch";
            return Err(wrong_usage(message).with_hint("leave out --tags"));
        }
        Ok(module)
    }

    /// The vectors of the data set's pictures.
    fn vectors(
        &self,
        (module, preparation): (&Module, &Preparation),
        set: &DataSet,
        (failures, talk): (&mut Vec<(PathBuf, String)>, &Talk),
    ) -> Result<Vec<Option<Vec<f32>>>, Error> {
        let start = Instant::now();
        let batch = self.prepare.batch(preparation.size, BATCH);
        let mut features = Features::new(module, preparation, batch, self.features.open()?)?;
        let paths: Vec<PathBuf> = set.pictures.iter().map(|picture| picture.path.clone()).collect();
        let (mut cached, mut computed) = (0, 0);
        talk.begin(paths.len());
        let vectors = features.read(&paths, &mut |path, origin| {
            match origin {
                Ok(Origin::Cached) => cached += 1,
                Ok(Origin::Computed) => computed += 1,
                Err(error) => fail(path, error, (failures, talk)),
            }
            talk.advance(1);
        })?;
        talk.end();
        let rate = (cached + computed) as f64 / start.elapsed().as_secs_f64().max(f64::EPSILON);
        talk.note(format_args!(
            "{computed} feature vectors computed, {cached} from the cache, {rate:.1} pictures/s"
        ));
        Ok(vectors.into_iter().map(Result::ok).collect())
    }

    fn train(
        &self,
        set: &DataSet,
        vectors: &Vectors,
        (module, talk): (&Module, &Talk),
    ) -> Result<Trained, Error> {
        let training = samples(set, vectors, Split::Training)?;
        for (class, label) in set.labels.iter().enumerate() {
            if !training.classes().contains(&class) {
                let message = format!("none of the pictures of class {label:?} can be trained with");
                return Err(Error::new(ErrorKind::Argument, self.folder.display().to_string(), message)
                    .with_hint("the messages above say why"));
            }
        }
        let validation = samples(set, vectors, Split::Validation)?;
        let threads = NonZeroUsize::new(module.extractor().threads()).unwrap_or(NonZeroUsize::MIN);
        self.training.train(&training, &validation, threads, talk)
    }

    fn facts(
        &self,
        set: &DataSet,
        (module, preparation): (&Module, &Preparation),
        trained: &Trained,
    ) -> Vec<(String, String)> {
        let [training, validation, test] = counts(set);
        let [height, width] = preparation.size;
        let mut facts = vec![
            (
                "Pictures".to_string(),
                format!("{training} for training, {validation} for validation, {test} for testing"),
            ),
            ("Test pictures".to_string(), set.test_source.clone()),
            ("Module".to_string(), module.handle().to_string()),
            ("Preset".to_string(), format!("{}, {height}x{width}", preparation.preset)),
        ];
        if preparation.decode.fidelity == Fidelity::Fast {
            facts.push(("Decoding".to_string(), preparation.decode.fidelity.to_string()));
        }
        facts.extend(trained.facts.iter().cloned());
        facts.push(("Made by".to_string(), concat!("featvec ", env!("CARGO_PKG_VERSION")).to_string()));
        facts
    }
}

impl SplitArgs {
    fn options(&self) -> Result<SplitOptions, Error> {
        let percentages = Percentages { validation: self.validation_percentage, test: self.test_percentage };
        if percentages.validation + percentages.test >= 100.0 {
            return Err(wrong_usage("with these percentages no picture is left to train with"));
        }
        Ok(SplitOptions {
            percentages,
            validation_folder: self.validation_folder.clone(),
            test_folder: self.test_folder.clone(),
        })
    }
}

impl FeatureArgs {
    fn open(&self) -> Result<Option<FeatureCache>, Error> {
        if self.no_feature_cache {
            return Ok(None);
        }
        let path = match &self.feature_cache {
            Some(path) => path.clone(),
            None => {
                let modules = Cache::open_default().map_err(|error| {
                    error.with_hint("name a file with --feature-cache, or give --no-feature-cache")
                })?;
                modules.root().join(FEATURE_FILE)
            }
        };
        FeatureCache::open(&path).map(Some)
    }
}

/// Vectors and classes of the pictures of `split`.
fn samples<'a>(set: &DataSet, vectors: &'a Vectors, split: Split) -> Result<Samples<'a>, Error> {
    let (rows, classes) = set
        .of(split)
        .filter_map(|index| Some((vectors[index].as_deref()?, set.pictures[index].class)))
        .unzip();
    Samples::new(rows, classes, set.labels.len())
}

/// Pictures for training, validation and testing.
fn counts(set: &DataSet) -> [usize; 3] {
    [Split::Training, Split::Validation, Split::Test].map(|split| set.of(split).count())
}

fn fail(path: &Path, error: &Error, (failures, talk): (&mut Vec<(PathBuf, String)>, &Talk)) {
    talk.failure(format_args!("{}: {error}", line::shown(path)));
    failures.push((path.to_owned(), error.to_string()));
}

fn percentage(text: &str) -> Result<f64, &'static str> {
    text.parse().ok().filter(|x| (0.0..100.0).contains(x)).ok_or("a number from 0 to below 100 is needed")
}
