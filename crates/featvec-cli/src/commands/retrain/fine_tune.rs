//! `--fine-tune`: after the head, the whole network.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use featvec::batches::BatchOptions;
use featvec::data_set::DataSet;
use featvec::examples::Examples;
use featvec::extractor::{FeatureExtractor, RunOptions};
use featvec::features::Features;
use featvec::fine_tuning::{
    Epoch, FineTuning, FineTuningOptions, Judgement, has_batch_norm, safer_batch_norm, steps,
};
use featvec::head::Head;
use featvec::pictures::Preparation;
use featvec::split::Split;
use featvec::train::{BatchNorm, Optimizer, TrainOptions, frozen_but};
use featvec::training::Step;
use featvec::variables::Variables;
use featvec::{Error, ErrorKind, Module};
use serde_json::{Value, json};

use super::history::{History, Pictures};
use super::judged::{Judged, Vectors};
use crate::commands::train::record;
use crate::options::{Augment, BatchNormKind};
use crate::stop::wrong_usage;
use crate::talk::Talk;
use crate::{interrupt, line};

/// How the network is trained after the head.
#[derive(Args)]
#[command(next_help_heading = "Fine-tuning")]
pub struct FineTuneArgs {
    /// After the head train the whole network, with distorted pictures; the best by the validation pictures is kept, and
    /// the head alone where none is better
    #[arg(long)]
    pub fine_tune: bool,

    /// Passes over the training pictures, at most
    #[arg(long, value_name = "N", default_value = "8", requires = "fine_tune")]
    epochs: NonZeroU64,

    /// End after so many epochs that have not lowered the validation loss
    #[arg(long, value_name = "EPOCHS", default_value = "4", requires = "fine_tune")]
    patience: NonZeroU64,

    /// The learning rate of the first step; it falls to zero along half a cosine
    #[arg(long, value_name = "RATE", default_value = "0.001", requires = "fine_tune", value_parser = super::training::positive)]
    fine_tune_rate: f64,

    /// Pictures a step
    #[arg(long, value_name = "N", default_value = "32", requires = "fine_tune")]
    fine_tune_batch: NonZeroUsize,

    /// How pictures are varied
    #[arg(long, value_enum, default_value_t, requires = "fine_tune")]
    augment: Augment,

    /// What batch normalisation normalises by [default: the safer for the batch and the number of steps]
    #[arg(long, value_enum, requires = "fine_tune")]
    batch_norm: Option<BatchNormKind>,

    /// Names, or beginnings of names, of the variables to train [default: all]
    #[arg(long, value_name = "SCOPE,..", value_delimiter = ',', requires = "fine_tune")]
    trainable_scopes: Vec<String>,

    /// Weight of the squared filters in the loss
    #[arg(long, value_name = "NUMBER", default_value_t = 4e-5, requires = "fine_tune")]
    weight_decay: f32,

    /// The part of the features that reaches the classifying layer
    #[arg(long, value_name = "SHARE", default_value_t = 0.8, requires = "fine_tune")]
    dropout_keep: f32,

    /// Threads that prepare pictures beside the step
    #[arg(long, value_name = "N", default_value = "1", requires = "fine_tune")]
    preprocessing_threads: NonZeroUsize,

    /// Seconds from one checkpoint to the next, in a folder beside the output folder
    #[arg(long, value_name = "N", default_value_t = 60, requires = "fine_tune")]
    save_secs: u64,
}

/// What a network is fine-tuned with.
pub struct Ground<'a> {
    pub set: &'a DataSet,
    /// Of the module; none for a picture that cannot be read.
    pub vectors: &'a Vectors,
    pub module: &'a Module,
    pub preparation: &'a Preparation,
    /// Pictures that are judged at a time.
    pub batch: NonZeroUsize,
}

/// What came of it.
pub struct Tuned {
    /// The best network, if it is better than the head alone.
    pub variables: Option<Variables>,
    /// How it was trained, for people.
    pub facts: Vec<(String, String)>,
    /// The same for programs.
    pub json: Value,
}

impl Ground<'_> {
    /// What `variables` make of the pictures of `split`.
    pub fn judge(&self, variables: &Variables, split: Split) -> Result<Judged<'_>, Error> {
        let own = self.module.extractor();
        let options = RunOptions {
            threads: NonZeroUsize::new(own.threads()),
            isa: Some(own.kernels().name().to_string()),
            ..RunOptions::default()
        };
        let network = FeatureExtractor::new(variables.clone(), &options)?;
        let indices: Vec<usize> = self.readable(split).collect();
        let paths: Vec<PathBuf> =
            indices.iter().map(|index| self.set.pictures[*index].path.clone()).collect();
        let mut features = Features::of_network(&network, self.preparation, self.batch);
        let mut vectors = vec![None; self.set.pictures.len()];
        for ((index, vector), path) in indices.iter().zip(features.read(&paths, &mut |_, _| ())?).zip(&paths)
        {
            vectors[*index] = Some(vector.map_err(|error| error.within(&path.display().to_string()))?);
        }
        let head = Head::of(variables).expect("the network has the classes of the data set");
        Ok(Judged::of(split, (self.set, &vectors), &head))
    }

    fn readable(&self, split: Split) -> impl Iterator<Item = usize> {
        self.set.of(split).filter(|index| self.vectors[*index].is_some())
    }

    /// The pictures to train with; with `balance` as many of each class as of the largest, those of small ones repeatedly.
    fn examples(&self, balance: bool) -> Examples {
        let mut classes = vec![Vec::new(); self.set.labels.len()];
        for picture in self.readable(Split::Training).map(|index| &self.set.pictures[index]) {
            classes[picture.class].push((picture.path.clone(), picture.class));
        }
        let largest = classes.iter().map(Vec::len).max().unwrap_or(0);
        let files = classes.iter().flat_map(|class| {
            class.iter().cycle().take(if balance { largest } else { class.len() }).cloned()
        });
        Examples::from_pictures(files.collect(), self.set.labels.clone())
    }
}

impl FineTuneArgs {
    /// Refuses a data set without pictures to choose by.
    ///
    /// # Errors
    /// No validation pictures.
    pub fn check(&self, set: &DataSet) -> Result<(), Error> {
        if self.fine_tune && set.of(Split::Validation).next().is_none() {
            let message = "there are no validation pictures, by which --fine-tune keeps the best network";
            return Err(wrong_usage(message).with_hint("raise --validation-percentage"));
        }
        Ok(())
    }

    /// Trains the network of `head`, which has not seen the validation pictures; nothing if it was interrupted. `folder`
    /// is for checkpoints.
    ///
    /// # Errors
    /// Scopes that are none; a full disk; a network that cannot be trained.
    pub fn run(
        &self,
        ground: &Ground<'_>,
        (head, balance, seed): (&Head, bool, u64),
        (folder, history): (&Path, &mut History),
        (failures, talk): (&mut Vec<(PathBuf, String)>, &Talk),
    ) -> Result<Option<Tuned>, Error> {
        let start = Instant::now();
        let variables = head.onto(ground.module.variables())?;
        let first = Judged::of(Split::Validation, (ground.set, ground.vectors), head).evaluation;
        let examples = ground.examples(balance);
        let (batch_norm, why) = self.batch_norm(ground.module, examples.len());
        talk.note(format_args!("batch normalisation: {why}"));
        let options = self.options(ground, (&variables, batch_norm), seed)?;
        let mut record = self.record(ground, &variables, &options);
        record.insert("balance".to_string(), balance.to_string());
        let place = folder.display().to_string();
        if fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some()) && !record::is_in(folder) {
            let message = "the place for checkpoints is a folder with other things in it";
            return Err(Error::new(ErrorKind::Argument, place, message).with_hint("rename or remove it"));
        }
        let changed = record::changed(folder, &record);
        if !changed.is_empty() {
            talk.note(format_args!(
                "{place} is of another run, which is begun again: {}",
                changed.join("; ")
            ));
            fs::remove_dir_all(folder).map_err(|error| Error::io(place.clone(), error))?;
        }
        // Before anything is written: who comes first decides what Ctrl-C does.
        interrupt::watch();
        let threads = NonZeroUsize::new(ground.module.extractor().threads()).unwrap_or(NonZeroUsize::MIN);
        let begun = (variables, Judgement::from(&first));
        let mut tuning = FineTuning::begin(begun, Arc::new(examples), (folder, threads), options)?;
        record::options(folder, &record)?;
        if let Some(step) = tuning.resumed() {
            talk.note(format_args!("going on with fine-tuning after step {step}"));
        }
        let mut told = format!(", validation accuracy {:.1} %", 100.0 * first.accuracy.value());
        let (steps, loss) = (tuning.all_steps(), first.loss);
        talk.note(format_args!(
            "fine-tuning: {steps} steps at most; head alone: validation loss {loss:.4}{told}"
        ));
        talk.begin(usize::try_from(tuning.all_steps() - tuning.steps()).unwrap_or(usize::MAX));
        let mut saved = Instant::now();
        let mut diverged = None;
        while !tuning.is_done() && !interrupt::requested() {
            if tuning.is_to_be_judged() {
                let judged = ground.judge(tuning.variables(), Split::Validation)?;
                tuning.judge(Judgement::from(&judged.evaluation));
                let epoch = tuning.epochs().last().expect("it was judged just now");
                told = format!(", validation accuracy {:.1} %", 100.0 * epoch.validation.accuracy);
                talk.note(described(tuning.epochs().len(), epoch));
            } else {
                match tuning.step() {
                    Ok(step) => {
                        tell(&step, &told, talk);
                        for error in step.unreadable {
                            talk.failure(line::shown(error.to_string()));
                            failures.push((PathBuf::from(error.place()), error.message().to_string()));
                        }
                    }
                    Err(error) if tuning.has_diverged() => diverged = Some(error.message().to_string()),
                    Err(error) => return Err(error),
                }
            }
            if saved.elapsed() >= Duration::from_secs(self.save_secs) && !tuning.has_diverged() {
                tuning.save()?;
                saved = Instant::now();
            }
        }
        talk.end();
        if interrupt::requested() && !tuning.is_done() {
            tuning.save()?;
            let steps = tuning.steps();
            talk.note(format_args!("interrupted after step {steps}; the same command goes on from {place}"));
            return Ok(None);
        }
        if diverged.is_none() {
            // What follows takes a while too.
            tuning.save()?;
        }
        let ended = match &diverged {
            Some(error) => {
                talk.failure(format_args!("fine-tuning has ended early: {error} (lower --fine-tune-rate)"));
                error.clone()
            }
            None if tuning.is_exhausted() => {
                format!("{} epochs have not lowered the validation loss", self.patience)
            }
            None => "all epochs are done".to_string(),
        };
        for (index, epoch) in tuning.epochs().iter().enumerate() {
            let at = (index + 1, (index + 1) as f64);
            for (pictures, Judgement { loss, accuracy }) in
                [(Pictures::Training, epoch.training), (Pictures::Validation, epoch.validation)]
            {
                history.add(("fine_tuning_loss", pictures), at, loss.into());
                history.add(("fine_tuning_accuracy", pictures), at, accuracy.into());
            }
        }
        let kept = match tuning.best() {
            Some((epoch, _)) => {
                format!(
                    "the network after epoch {epoch}, the best on the validation pictures, which it has not seen"
                )
            }
            None => "the head alone: no fine-tuned network is better on the validation pictures".to_string(),
        };
        talk.note(format_args!("{ended}; kept: {kept}"));
        let seconds = start.elapsed().as_secs_f64();
        let facts = vec![
            ("Kept".to_string(), kept),
            (
                "Fine-tuned".to_string(),
                format!(
                    "{} epochs, {} steps, {seconds:.0} s; {ended}",
                    tuning.epochs().len(),
                    tuning.steps()
                ),
            ),
            ("Batch normalisation".to_string(), why.clone()),
        ];
        let json = json!({
            "settings": record,
            "batch_norm": why,
            "steps": tuning.steps(),
            "ended": ended,
            "kept_epoch": tuning.best().map(|(epoch, _)| epoch),
            "head_alone": judgement(Judgement::from(&first)),
            "epochs": tuning.epochs().iter().map(|epoch| json!({
                "training": judgement(epoch.training),
                "validation": judgement(epoch.validation),
            })).collect::<Vec<_>>(),
            "seconds": seconds,
        });
        Ok(Some(Tuned { variables: tuning.best().map(|(_, best)| best.clone()), facts, json }))
    }

    /// What batch normalisation normalises by, and why.
    fn batch_norm(&self, module: &Module, pictures: usize) -> (BatchNorm, String) {
        let (variables, decay) = (module.variables(), module.batch_norm_decay());
        let steps = steps(pictures, self.fine_tune_batch, self.epochs.get());
        let name = |batch_norm| match batch_norm {
            BatchNorm::Batch { .. } => "by the statistics of each batch",
            BatchNorm::Frozen => "frozen",
        };
        match self.batch_norm.filter(|_| has_batch_norm(variables)) {
            Some(kind) => {
                let asked = kind.with(decay);
                (asked, format!("{}, as asked for", name(asked)))
            }
            None => {
                let (chosen, why) = safer_batch_norm(variables, decay, (self.fine_tune_batch.get(), steps));
                let why = if has_batch_norm(variables) { format!("{}: {why}", name(chosen)) } else { why };
                (chosen, why)
            }
        }
    }

    fn options(
        &self,
        ground: &Ground<'_>,
        (variables, batch_norm): (&Variables, BatchNorm),
        seed: u64,
    ) -> Result<FineTuningOptions, Error> {
        let Preparation { preset, decode, size } = ground.preparation.clone();
        Ok(FineTuningOptions {
            train: TrainOptions {
                optimizer: Optimizer::Momentum { momentum: 0.9, nesterov: false },
                weight_decay: self.weight_decay,
                batch_norm,
                dropout_keep: self.dropout_keep,
                frozen: frozen_but(variables, &self.trainable_scopes)?,
                size,
                seed,
                ..TrainOptions::default()
            },
            batches: BatchOptions {
                batch: self.fine_tune_batch,
                augmentation: self.augment.augmentation(preset),
                seed,
                threads: self.preprocessing_threads,
                decode,
                ..BatchOptions::new(size)
            },
            learning_rate: self.fine_tune_rate as f32,
            epochs: self.epochs.get(),
            patience: self.patience.get(),
        })
    }

    /// All that a run depends on, for people as far as it can be said.
    fn record(
        &self,
        ground: &Ground<'_>,
        variables: &Variables,
        options: &FineTuningOptions,
    ) -> record::Options {
        let mut hash = DefaultHasher::new();
        for (.., values) in variables.named() {
            values.iter().for_each(|value| value.to_bits().hash(&mut hash));
        }
        let network = hash.finish();
        let mut hash = DefaultHasher::new();
        for picture in ground.set.pictures.iter().filter(|picture| picture.split != Split::Test) {
            (&picture.path, picture.class, picture.split == Split::Training).hash(&mut hash);
        }
        let FineTuningOptions { train, batches, .. } = options;
        let [height, width] = train.size;
        [
            ("network and head", format!("{network:016x}")),
            ("pictures", format!("{:016x}", hash.finish())),
            ("preset", ground.preparation.preset.to_string()),
            ("decoding", format!("{:?}", ground.preparation.decode)),
            ("size", format!("{height}x{width}")),
            ("epochs", options.epochs.to_string()),
            ("patience", options.patience.to_string()),
            ("fine-tune-rate", options.learning_rate.to_string()),
            ("fine-tune-batch", batches.batch.to_string()),
            ("augment", format!("{:?}", batches.augmentation)),
            ("batch-norm", format!("{:?}", train.batch_norm)),
            ("trainable-scopes", self.trainable_scopes.join(",")),
            ("optimizer", format!("{:?}", train.optimizer)),
            ("weight-decay", train.weight_decay.to_string()),
            ("dropout-keep", train.dropout_keep.to_string()),
            ("seed", train.seed.to_string()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_string(), value))
        .collect()
    }
}

fn tell(step: &Step, validation: &str, talk: &Talk) {
    let accuracy = step.accuracy().unwrap_or(f64::NAN);
    talk.advance_to(format_args!(
        "loss {:.4}, accuracy {:.0} %{validation}",
        step.data_loss,
        100.0 * accuracy
    ));
}

fn described(number: usize, Epoch { training, validation }: &Epoch) -> String {
    let [training_accuracy, validation_accuracy] = [training, validation].map(|it| 100.0 * it.accuracy);
    format!(
        "epoch {number}: loss {:.4}, accuracy {training_accuracy:.1} %; validation loss {:.4}, accuracy {validation_accuracy:.1} %",
        training.loss, validation.loss
    )
}

fn judgement(Judgement { loss, accuracy }: Judgement) -> Value {
    json!({ "loss": loss, "accuracy": accuracy })
}
