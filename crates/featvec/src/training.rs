//! A training run: a [`Trainer`] fed with batches, its checkpoints, and where it goes on after it was stopped.

use std::path::Path;
use std::sync::Arc;

use crate::batches::{BatchOptions, Batches};
use crate::checkpoints::Checkpoints;
use crate::examples::Examples;
use crate::teacher::Teacher;
use crate::train::{LearningRate, NamedTensor, Targets, Trainer};
use crate::{Error, ErrorKind, Result};

/// How a run goes.
#[derive(Clone, Debug)]
pub struct TrainingOptions {
    /// The learning rate of the first step.
    pub learning_rate: f32,
    /// How it changes.
    pub schedule: LearningRate,
    /// How many checkpoints are kept.
    pub keep: usize,
}

/// A training run in a folder.
pub struct Training {
    trainer: Trainer,
    batches: Batches,
    teacher: Option<Teacher>,
    checkpoints: Checkpoints,
    options: TrainingOptions,
    resumed: Option<u64>,
    /// What the checkpoint had that it goes on from, the trainer's tensors among it.
    state: Vec<NamedTensor>,
    has_diverged: bool,
}

/// What one step did.
#[derive(Debug)]
pub struct Step {
    /// How many steps have been made, this one among them.
    pub number: u64,
    /// The loss: that of the targets and that of the weights.
    pub loss: f32,
    /// That of the targets.
    pub data_loss: f32,
    /// That of the weights.
    pub regularization_loss: f32,
    /// Pictures whose likeliest class was the right one; none where labels do not count.
    pub correct: Option<usize>,
    /// Pictures of the step.
    pub pictures: usize,
    /// The learning rate.
    pub learning_rate: f32,
    /// What is wrong with pictures that were found to be unreadable.
    pub unreadable: Vec<Error>,
}

impl Step {
    /// The share of the pictures whose likeliest class was the right one, where labels count.
    pub fn accuracy(&self) -> Option<f64> {
        self.correct.map(|correct| correct as f64 / self.pictures.max(1) as f64)
    }
}

impl Training {
    /// Begins to train, or goes on from the latest checkpoint in `folder` as if the run had never stopped.
    ///
    /// # Errors
    /// A folder that cannot be used; a checkpoint that is damaged, or of another network or optimiser; those of
    /// [`Batches::new`].
    pub fn begin(
        (mut trainer, teacher): (Trainer, Option<Teacher>),
        (examples, batches): (Arc<Examples>, BatchOptions),
        folder: &Path,
        options: TrainingOptions,
    ) -> Result<Training> {
        let checkpoints = Checkpoints::open(folder, options.keep)?;
        let mut resumed = None;
        let state = checkpoints.read_latest()?.unwrap_or_default();
        if !state.is_empty() {
            trainer.restore(&state).map_err(|error| error.within(&folder.display().to_string()))?;
            resumed = Some(trainer.global_step());
        }
        let first = trainer.global_step() * trainer.options().accumulate as u64;
        let batches = Batches::new(examples, batches, first)?;
        Ok(Training { trainer, batches, teacher, checkpoints, options, resumed, state, has_diverged: false })
    }

    /// The step after which it goes on, if it was begun before.
    pub fn resumed(&self) -> Option<u64> {
        self.resumed
    }

    /// What the checkpoint had that it went on from: what [`save_with`](Training::save_with) was given is among it. It
    /// is there once.
    pub fn take_state(&mut self) -> Vec<NamedTensor> {
        std::mem::take(&mut self.state)
    }

    /// Whether the last step failed because the loss or a gradient was no finite number.
    pub fn has_diverged(&self) -> bool {
        self.has_diverged
    }

    /// What trains.
    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    /// Steps made until now, those of earlier runs among them.
    pub fn steps(&self) -> u64 {
        self.trainer.global_step()
    }

    /// Makes one step.
    ///
    /// # Errors
    /// Examples that cannot be trained with; those of [`Trainer::step`]: a loss that is no number leaves the checkpoints
    /// as they are.
    pub fn step(&mut self) -> Result<Step> {
        let learning_rate = self.options.schedule.at(self.options.learning_rate, self.steps());
        let accumulate = self.trainer.options().accumulate;
        let uses_labels = self.teacher.as_ref().is_none_or(Teacher::uses_labels);
        let mut step = Step {
            number: self.steps() + 1,
            loss: 0.0,
            data_loss: 0.0,
            regularization_loss: 0.0,
            correct: uses_labels.then_some(0),
            pictures: 0,
            learning_rate,
            unreadable: Vec::new(),
        };
        for _ in 0..accumulate {
            let batch = self.batches.next().expect("batches never end")?;
            step.unreadable.extend(batch.unreadable.into_iter().map(|(_, error)| error));
            let lesson = self.teacher.as_ref().map(|teacher| teacher.lesson(&batch.images)).transpose()?;
            let targets = match &lesson {
                Some(lesson) => lesson.targets(&batch.labels),
                None => Targets::Labels(&batch.labels),
            };
            let losses = self.trainer.step(&batch.images, &targets, learning_rate);
            self.has_diverged = losses.as_ref().is_err_and(|error| error.kind() == ErrorKind::Argument);
            let losses = losses.map_err(|error| match (error.kind(), self.checkpoints.latest()) {
                // A loss or gradients that are no numbers.
                (ErrorKind::Argument, Some(last)) => error.with_hint(format!(
                    "the checkpoint of step {last} is kept; go on from it with a lower learning rate"
                )),
                (ErrorKind::Argument, None) => error.with_hint("begin again with a lower learning rate"),
                _ => error,
            })?;
            let part = 1.0 / accumulate as f32;
            step.loss += losses.total * part;
            step.data_loss += losses.data * part;
            step.regularization_loss += losses.regularization * part;
            step.correct = step.correct.map(|correct| correct + losses.correct);
            step.pictures += batch.labels.len();
        }
        Ok(step)
    }

    /// Writes a checkpoint, unless the latest one is of this very step.
    ///
    /// # Errors
    /// A full disk; the checkpoints before are kept.
    pub fn save(&mut self) -> Result<()> {
        self.save_with(Vec::new())
    }

    /// The same with the tensors `more` beside the trainer's.
    ///
    /// # Errors
    /// As there.
    pub fn save_with(&mut self, more: Vec<NamedTensor>) -> Result<()> {
        if self.checkpoints.latest() == Some(self.steps()) {
            return Ok(());
        }
        self.checkpoints.save(self.steps(), &[self.trainer.state(), more].concat())
    }
}
