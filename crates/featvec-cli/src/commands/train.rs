//! `featvec train`: from scratch, or from a checkpoint, on folders of classes or on TFRecord files.

mod begin;
mod optimizer;
pub mod record;

use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use featvec::batches::BatchOptions;
use featvec::examples::Examples;
use featvec::labels::LABELS_FILE;
use featvec::train::{TrainOptions, Trainer};
use featvec::training::{Step, Training, TrainingOptions};
use featvec::{Error, ErrorKind, Labels, Preset, Result};

use crate::options::{Augment, BatchNormKind, ExampleArgs, Size};
use crate::stop::{Outcome, Stop, wrong_usage};
use crate::talk::Talk;
use crate::{interrupt, line};
use begin::BeginArgs;
use optimizer::OptimizerArgs;
use record::{Events, Options};

/// Train the network, from scratch or from a checkpoint, as TF-Slim's train_image_classifier
#[derive(Args)]
#[command(after_help = "\
Examples:
  featvec train photos/ --output run/ --steps 10000
  featvec train 'imagenet/train-*' --labels labels.txt --output run/ --epochs 100
  featvec train photos/ --output run/ --module inception_v1.ckpt --trainable-scopes Logits --epochs 5
  featvec train photos/ --output run/ --teacher bvlc_googlenet.caffemodel --label-weight 0 --background
  featvec eval --module run/ photos/

By default everything is TF-Slim's: its distortions of pictures, RMSProp, and a learning rate of 0.01
that is multiplied by 0.94 every two epochs; see docs/training.md. Ctrl-C ends after the step at hand
with a checkpoint. The same command goes on from the last checkpoint as if it had never stopped, also
after the process was killed. The folder is a module for `featvec eval`, `classify` and `embed`;
`tensorboard --logdir run/` shows the curves.")]
pub struct Train {
    #[command(flatten)]
    examples: ExampleArgs,

    /// The folder for checkpoints; one of an earlier run goes on from there
    #[arg(short, long, value_name = "DIR", help_heading = "Output")]
    output: PathBuf,

    /// Steps until the end, those of earlier runs counted [default: no end]
    #[arg(long, value_name = "N", help_heading = "Output")]
    steps: Option<u64>,

    /// Epochs until the end
    #[arg(long, value_name = "N", conflicts_with = "steps", help_heading = "Output")]
    epochs: Option<f64>,

    /// Seconds from one checkpoint to the next
    #[arg(long, value_name = "N", default_value_t = 600, help_heading = "Output")]
    save_secs: u64,

    /// Steps from one checkpoint to the next, beside --save-secs
    #[arg(long, value_name = "N", help_heading = "Output")]
    save_steps: Option<NonZeroUsize>,

    /// Checkpoints that are kept
    #[arg(long, value_name = "N", default_value = "5", help_heading = "Output")]
    keep: NonZeroUsize,

    /// Steps from one line of the log and point of the curves to the next
    #[arg(long, value_name = "N", default_value = "10", help_heading = "Output")]
    log_every: NonZeroUsize,

    /// Pictures in a batch
    #[arg(long, value_name = "N", default_value = "32", help_heading = "Pictures")]
    batch: NonZeroUsize,

    /// Batches that make a step: their gradients are averaged
    #[arg(long, value_name = "N", default_value = "1", help_heading = "Pictures")]
    accumulate: NonZeroUsize,

    /// Height and width of the pictures that are trained with, at least 32x32
    #[arg(long, value_name = "HxW", default_value = "224", help_heading = "Pictures")]
    train_image_size: Size,

    /// How pictures are varied
    #[arg(long, value_enum, default_value_t, help_heading = "Pictures")]
    augment: Augment,

    /// A file with the names of the classes in TFRecord files, one a line or INDEX:NAME [default: labels.txt beside them]
    #[arg(long, value_name = "FILE", help_heading = "Pictures")]
    labels: Option<PathBuf>,

    /// Have a class `background` in front of the others: of those of a folder, or of the teacher
    #[arg(long, help_heading = "Pictures")]
    background: bool,

    /// Threads that prepare pictures beside the step
    #[arg(long, value_name = "N", default_value = "1", help_heading = "Pictures")]
    preprocessing_threads: NonZeroUsize,

    #[command(flatten)]
    begin: BeginArgs,

    /// What batch normalisation normalises by
    #[arg(long, value_enum, default_value_t, help_heading = "Network")]
    batch_norm: BatchNormKind,

    /// What the moving averages keep at each step
    #[arg(long, value_name = "SHARE", default_value_t = 0.9997, help_heading = "Network")]
    batch_norm_decay: f32,

    /// The part of the features that reaches the classifying layer
    #[arg(long, value_name = "SHARE", default_value_t = 0.8, help_heading = "Network")]
    dropout_keep: f32,

    #[command(flatten)]
    optimizer: OptimizerArgs,

    /// Weight of the squared filters in the loss
    #[arg(long, value_name = "NUMBER", default_value_t = 4e-5, help_heading = "Optimiser")]
    weight_decay: f32,

    /// The part of each label that is spread over all classes
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, help_heading = "Optimiser")]
    label_smoothing: f32,

    /// Keep averages of the variables too, of which this share is kept at each step
    #[arg(long, value_name = "SHARE", help_heading = "Optimiser")]
    moving_average_decay: Option<f32>,

    /// Decides on the first numbers, the order of the pictures, their distortions and on dropout
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Optimiser")]
    seed: u64,

    /// Threads of the step [default: as many as this process may run at once]
    #[arg(long, value_name = "N", help_heading = "Network")]
    threads: Option<NonZeroUsize>,
}

impl Train {
    pub fn run(self: Box<Self>, talk: &Talk) -> std::result::Result<Outcome, Stop> {
        let teacher = self.begin.load_teacher(talk)?;
        let (examples, classes) = self.read_examples(teacher.as_ref().map(|t| self.begin.classes_of(t)))?;
        let step_pictures = self.batch.get().saturating_mul(self.accumulate.get());
        let learns_alone = match &teacher {
            Some(teacher) => self.begin.classes_of(teacher)?.is_some(),
            None => false,
        };
        let background = self.background && learns_alone;
        let teacher =
            teacher.map(|teacher| self.begin.teacher(teacher, (classes.len(), background))).transpose()?;

        let variables = self.begin.variables(classes.len(), self.seed, talk)?;
        let options = TrainOptions { frozen: self.begin.frozen(&variables)?, ..self.train_options() };
        let threads = match self.threads {
            Some(threads) => threads,
            None => std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        };
        let trainer = Trainer::new(variables, options, threads)?;
        let training_options = TrainingOptions {
            learning_rate: self.optimizer.learning_rate,
            schedule: self.optimizer.schedule(examples.len(), step_pictures),
            keep: self.keep.get(),
        };
        let len = examples.len();
        let batches = (Arc::new(examples), self.batch_options());
        // Before anything is written: who comes first decides what Ctrl-C does.
        interrupt::watch();
        let training = Training::begin((trainer, teacher), batches, &self.output, training_options)?;
        record::labels(&self.output, &classes)?;
        let changed = record::changed(&self.output, &self.options(len));
        record::options(&self.output, &self.options(len))?;
        match training.resumed() {
            Some(step) => talk.note(format_args!("going on after step {step}")),
            None => talk.note(format_args!("{len} pictures of {} classes", classes.len())),
        }
        if training.resumed().is_some() {
            changed.iter().for_each(|change| talk.note(format_args!("since the run was begun, {change}")));
        }
        let end = match (self.steps, self.epochs) {
            (Some(steps), _) => steps,
            (None, Some(epochs)) => (epochs * len as f64 / step_pictures as f64).ceil() as u64,
            (None, None) => u64::MAX,
        };
        self.train(training, end, talk)
    }

    /// Makes steps until `end`, or until it is interrupted.
    fn train(&self, mut training: Training, end: u64, talk: &Talk) -> std::result::Result<Outcome, Stop> {
        let mut events = Events::create(&self.output)?;
        let mut unreadable = 0;
        let (mut saved, mut logged) = (Instant::now(), (Instant::now(), 0));
        let is_watched = std::io::stderr().is_terminal();
        match end {
            u64::MAX => talk.begin_steps(),
            end => talk.begin(usize::try_from(end.saturating_sub(training.steps())).unwrap_or(usize::MAX)),
        }
        while training.steps() < end && !interrupt::requested() {
            let step = training.step()?;
            for error in &step.unreadable {
                talk.failure(line::shown(error.to_string()));
            }
            unreadable += step.unreadable.len();
            logged.1 += step.pictures;
            let rate = logged.1 as f64 / logged.0.elapsed().as_secs_f64();
            let message = described(&step, rate);
            talk.advance_to(&message);
            if step.number % self.log_every.get() as u64 == 0 {
                events.add(&step, rate)?;
                if !is_watched {
                    talk.note(format_args!("step {}: {message}", step.number));
                }
                logged = (Instant::now(), 0);
            }
            let is_due = self.save_steps.is_some_and(|steps| step.number % steps.get() as u64 == 0);
            if is_due || saved.elapsed() >= Duration::from_secs(self.save_secs) {
                training.save()?;
                saved = Instant::now();
            }
        }
        training.save()?;
        talk.end();
        let (steps, folder) = (training.steps(), self.output.display());
        if steps < end && interrupt::requested() {
            talk.note(format_args!(
                "interrupted; {folder} has the checkpoint of step {steps}, to go on from"
            ));
            return Ok(Outcome::Interrupted);
        }
        talk.note(format_args!("{steps} steps done; the checkpoint is in {folder}"));
        if unreadable > 0 {
            talk.note(format_args!("{unreadable} pictures could not be read and were passed over"));
        }
        Ok(Outcome::of(unreadable))
    }

    /// The pictures, and the names of the classes of the network: those of the pictures, or of the teacher.
    fn read_examples(&self, teacher: Option<Result<Option<usize>>>) -> Result<(Examples, Vec<String>)> {
        let of_teacher = teacher.transpose()?.flatten();
        let mut examples = match self.examples.folder()? {
            Some(folder) => Examples::from_folder(folder)?,
            None => {
                let classes = self.record_classes()?;
                self.examples.records(classes, &self.begin.fetch.limits())?
            }
        };
        let background = || self.background.then(|| BACKGROUND.to_string()).into_iter();
        if let Some(classes) = of_teacher {
            let names = match Labels::imagenet(classes) {
                Some(labels) => labels.names(),
                None => (0..classes).map(|index| index.to_string()).collect(),
            };
            return Ok((examples, background().chain(names).collect()));
        }
        let names = examples.classes().to_vec();
        if names.len() < 2 {
            let message = format!("one class only, {:?}: there is nothing to tell it from", names.first());
            return Err(Error::new(ErrorKind::Argument, "", message)
                .with_hint("give a folder with a sub-folder for each class"));
        }
        if self.background {
            let labels: Vec<usize> = (1..=names.len()).collect();
            examples.relabel(&labels, background().chain(names).collect())?;
        }
        let classes = examples.classes().to_vec();
        Ok((examples, classes))
    }

    /// What the classes in TFRecord files are called.
    fn record_classes(&self) -> Result<Vec<String>> {
        let files = self.examples.record_files();
        let beside = files.first().map(|file| file.with_file_name(LABELS_FILE)).filter(|file| file.is_file());
        let Some(file) = self.labels.clone().or(beside) else {
            return Err(wrong_usage("nobody says what the classes of these TFRecord files are")
                .with_hint("give their names with --labels FILE, one a line"));
        };
        Ok(Labels::read(&file)?.names())
    }

    fn train_options(&self) -> TrainOptions {
        TrainOptions {
            optimizer: self.optimizer.optimizer(),
            weight_decay: self.weight_decay,
            batch_norm: self.batch_norm.with(self.batch_norm_decay),
            dropout_keep: self.dropout_keep,
            label_smoothing: self.label_smoothing,
            average_decay: self.moving_average_decay,
            frozen: Vec::new(),
            accumulate: self.accumulate.get(),
            size: self.train_image_size.0,
            seed: self.seed,
        }
    }

    fn batch_options(&self) -> BatchOptions {
        let augmentation = self.augment.augmentation(Preset::SlimEval);
        BatchOptions {
            batch: self.batch,
            augmentation,
            seed: self.seed,
            threads: self.preprocessing_threads,
            decode: augmentation.preset().decode_options(),
            ..BatchOptions::new(self.train_image_size.0)
        }
    }

    /// What a run of `pictures` pictures depends on: to go on to the bit, they must stay as they are.
    fn options(&self, pictures: usize) -> Options {
        let options = TrainOptions { frozen: Vec::new(), ..self.train_options() };
        let [height, width] = options.size;
        [
            ("pictures", pictures.to_string()),
            ("batch", self.batch.to_string()),
            ("accumulate", self.accumulate.to_string()),
            ("train-image-size", format!("{height}x{width}")),
            ("augment", format!("{:?}", self.augment)),
            ("seed", self.seed.to_string()),
            ("optimizer", format!("{:?}", options.optimizer)),
            ("learning-rate", self.optimizer.learning_rate.to_string()),
            ("learning-rate-decay", {
                let step_pictures = self.batch.get().saturating_mul(self.accumulate.get());
                format!("{:?}", self.optimizer.schedule(pictures, step_pictures))
            }),
            ("weight-decay", self.weight_decay.to_string()),
            ("batch-norm", format!("{:?}", options.batch_norm)),
            ("dropout-keep", self.dropout_keep.to_string()),
            ("label-smoothing", self.label_smoothing.to_string()),
            ("moving-average-decay", format!("{:?}", self.moving_average_decay)),
            ("teacher", format!("{:?}", self.begin.teacher)),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_string(), value))
        .collect()
    }
}

/// TF-Slim's name of the class that it puts before the others.
const BACKGROUND: &str = "background";

fn described(step: &Step, pictures_per_second: f64) -> String {
    let share = step.accuracy().map(|share| format!(", accuracy {:.0} %", 100.0 * share)).unwrap_or_default();
    format!("loss {:.4}{share}, {pictures_per_second:.1} pictures/s", step.loss)
}
