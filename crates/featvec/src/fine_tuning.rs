//! Fine-tuning: a network whose classifying layer fits its features already is trained on with small steps, and judged
//! by other pictures after every epoch. The best one is kept.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use featvec_formats::{Tensor, TensorData};

use crate::batches::BatchOptions;
use crate::evaluate::Evaluation;
use crate::examples::Examples;
use crate::train::{BatchNorm, LearningRate, TrainOptions, Trainer};
use crate::training::{Step, Training, TrainingOptions};
use crate::variables::{Shift, Variables};
use crate::{Error, ErrorKind, Result};

/// How a network is fine-tuned.
#[derive(Clone, Debug)]
pub struct FineTuningOptions {
    /// How the network is trained.
    pub train: TrainOptions,
    /// How its pictures are drawn and varied.
    pub batches: BatchOptions,
    /// The learning rate of the first step; it falls to zero along half a cosine.
    pub learning_rate: f32,
    /// Passes over the pictures, at most.
    pub epochs: u64,
    /// It ends after so many epochs that have not lowered the validation loss.
    pub patience: u64,
}

/// How well a network does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// Mean cross-entropy.
    pub loss: f32,
    /// The share of the pictures whose likeliest class is the right one.
    pub accuracy: f32,
}

/// What an epoch came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epoch {
    /// By the distorted pictures of its steps.
    pub training: Judgement,
    /// By the validation pictures, after it.
    pub validation: Judgement,
}

/// A network being fine-tuned.
pub struct FineTuning {
    training: Training,
    epochs: Vec<Epoch>,
    /// That of the network to begin with.
    first: Judgement,
    best: Option<Best>,
    running: Running,
    options: FineTuningOptions,
    steps_an_epoch: u64,
}

struct Best {
    /// Counted from 0.
    epoch: usize,
    variables: Variables,
}

/// Sums over the steps of the epoch at hand.
#[derive(Clone, Copy, Debug, Default)]
struct Running {
    loss: f32,
    correct: f32,
    pictures: f32,
}

/// Tensors of a checkpoint beside the trainer's, and an array's numbers in each row of that of the epochs.
const RUNNING: &str = "fine_tuning/running";
const EPOCHS: &str = "fine_tuning/epochs";
const BEST: &str = "fine_tuning/best/";
const BEST_EPOCH: &str = "fine_tuning/best_epoch";

impl From<&Evaluation> for Judgement {
    fn from(evaluation: &Evaluation) -> Judgement {
        Judgement { loss: evaluation.loss as f32, accuracy: evaluation.accuracy.value() as f32 }
    }
}

impl FineTuning {
    /// Begins to train `variables` on `examples`, or goes on from the checkpoint in `folder` as if the run had never
    /// stopped. `first` is what the validation pictures say of `variables` as they are: what is no better is not kept.
    ///
    /// # Errors
    /// Those of [`Trainer::new`] and [`Training::begin`].
    pub fn begin(
        (variables, first): (Variables, Judgement),
        examples: Arc<Examples>,
        (folder, threads): (&Path, NonZeroUsize),
        options: FineTuningOptions,
    ) -> Result<FineTuning> {
        let steps_an_epoch = steps_an_epoch(examples.len(), options.batches.batch);
        let schedule = LearningRate::Cosine { end: 0.0, decay_steps: options.epochs * steps_an_epoch };
        let run = TrainingOptions { learning_rate: options.learning_rate, schedule, keep: 1 };
        let start = variables.clone();
        let trainer = Trainer::new(variables, options.train.clone(), threads)?;
        let training = Training::begin((trainer, None), (examples, options.batches.clone()), folder, run)?;
        let (epochs, best, running) = (Vec::new(), None, Running::default());
        let mut tuning = FineTuning { training, epochs, first, best, running, options, steps_an_epoch };
        if tuning.training.resumed().is_some() {
            tuning.restore(start).map_err(|error| error.within(&folder.display().to_string()))?;
        }
        Ok(tuning)
    }

    /// The step after which it goes on, if it was begun before.
    pub fn resumed(&self) -> Option<u64> {
        self.training.resumed()
    }

    /// Steps made until now, those of earlier runs among them.
    pub fn steps(&self) -> u64 {
        self.training.steps()
    }

    /// Steps of all epochs.
    pub fn all_steps(&self) -> u64 {
        self.options.epochs * self.steps_an_epoch
    }

    /// The epochs that are over.
    pub fn epochs(&self) -> &[Epoch] {
        &self.epochs
    }

    /// The network as it is now.
    pub fn variables(&self) -> &Variables {
        self.training.trainer().variables()
    }

    /// Whether an epoch is over, and [`judge`](FineTuning::judge) is to be told how well the network does.
    pub fn is_to_be_judged(&self) -> bool {
        self.steps() == (self.epochs.len() as u64 + 1) * self.steps_an_epoch
    }

    /// Whether the last epochs, as many as [`patience`](FineTuningOptions::patience) says, have not lowered the loss.
    pub fn is_exhausted(&self) -> bool {
        let losses = || self.epochs.iter().map(|epoch| epoch.validation.loss);
        let lowest = losses().fold(f32::INFINITY, f32::min);
        let since = losses().rev().position(|loss| loss <= lowest).unwrap_or(0);
        since as u64 >= self.options.patience
    }

    /// Whether there is nothing more to do.
    pub fn is_done(&self) -> bool {
        self.epochs.len() as u64 >= self.options.epochs || self.is_exhausted() || self.has_diverged()
    }

    /// Whether the last step failed because the loss or a gradient was no finite number.
    pub fn has_diverged(&self) -> bool {
        self.training.has_diverged()
    }

    /// Makes one step.
    ///
    /// # Errors
    /// Those of [`Training::step`]; it [has diverged](FineTuning::has_diverged) then, or there is nothing to train with.
    pub fn step(&mut self) -> Result<Step> {
        let step = self.training.step()?;
        self.running.loss += step.data_loss * step.pictures as f32;
        self.running.correct += step.correct.unwrap_or(0) as f32;
        self.running.pictures += step.pictures as f32;
        Ok(step)
    }

    /// Ends an epoch, of whose network the validation pictures say `validation`. It is kept if it is the best until now:
    /// if it has a lower loss than all before it, and recognises as many pictures as the one to begin with.
    pub fn judge(&mut self, validation: Judgement) {
        let Running { loss, correct, pictures } = std::mem::take(&mut self.running);
        let training = Judgement { loss: loss / pictures, accuracy: correct / pictures };
        let best = self.best.as_ref().map_or(self.first, |best| self.epochs[best.epoch].validation);
        if validation.loss < best.loss && validation.accuracy >= self.first.accuracy {
            self.best = Some(Best { epoch: self.epochs.len(), variables: self.variables().clone() });
        }
        self.epochs.push(Epoch { training, validation });
    }

    /// The number of the best epoch, counted from 1, and its network, if it is better than the one to begin with.
    pub fn best(&self) -> Option<(usize, &Variables)> {
        self.best.as_ref().map(|best| (best.epoch + 1, &best.variables))
    }

    /// Writes a checkpoint.
    ///
    /// # Errors
    /// A full disk; the checkpoint before is kept.
    pub fn save(&mut self) -> Result<()> {
        let floats = |shape: Vec<usize>, values: Vec<f32>| Tensor::new(shape, TensorData::F32(values));
        let Running { loss, correct, pictures } = self.running;
        let rows = self.epochs.iter().flat_map(|Epoch { training, validation }| {
            [training.loss, training.accuracy, validation.loss, validation.accuracy]
        });
        let mut more = vec![
            (RUNNING.to_string(), floats(vec![3], vec![loss, correct, pictures])?),
            (EPOCHS.to_string(), floats(vec![self.epochs.len(), 4], rows.collect())?),
        ];
        if let Some(Best { epoch, variables }) = &self.best {
            let epoch = Tensor::new(vec![], TensorData::I64(vec![*epoch as i64]))?;
            more.push((BEST_EPOCH.to_string(), epoch));
            for (name, shape, values) in variables.named() {
                more.push((format!("{BEST}{name}"), floats(shape, values.to_vec())?));
            }
        }
        self.training.save_with(more)
    }

    /// Takes what [`save`](FineTuning::save) wrote; `variables` have the shapes of the best ones.
    fn restore(&mut self, mut variables: Variables) -> Result<()> {
        let state = self.training.take_state();
        let find = |name: &str| -> Option<&Tensor> {
            state.iter().find(|(known, _)| known == name).map(|(_, tensor)| tensor)
        };
        let floats = |name: &str| {
            find(name).and_then(Tensor::as_f32).ok_or_else(|| {
                Error::new(ErrorKind::Mismatch, name, "it is missing in the state to go on from")
                    .with_hint("remove the folder to begin again")
            })
        };
        let running = floats(RUNNING)?;
        if let [loss, correct, pictures] = *running {
            self.running = Running { loss, correct, pictures };
        }
        let (rows, _) = floats(EPOCHS)?.as_chunks::<4>();
        self.epochs = rows
            .iter()
            .map(|&[loss, accuracy, validation_loss, validation_accuracy]| Epoch {
                training: Judgement { loss, accuracy },
                validation: Judgement { loss: validation_loss, accuracy: validation_accuracy },
            })
            .collect();
        let epoch = find(BEST_EPOCH).map(Tensor::to_i64).transpose()?;
        let epoch = epoch.and_then(|epoch| usize::try_from(*epoch.first()?).ok());
        if let Some(epoch) = epoch.filter(|epoch| *epoch < self.epochs.len()) {
            let names: Vec<String> = variables.named().map(|(name, ..)| format!("{BEST}{name}")).collect();
            let mut names = names.iter();
            for index in 0..variables.layers().count() {
                for ((_, values), name) in variables.layer_mut(index).named_mut().into_iter().zip(&mut names)
                {
                    *values = floats(name)?.to_vec();
                }
            }
            variables.check()?;
            self.best = Some(Best { epoch, variables });
        }
        Ok(())
    }
}

fn steps_an_epoch(pictures: usize, batch: NonZeroUsize) -> u64 {
    pictures.div_ceil(batch.get()) as u64
}

/// Batches of fewer pictures than this have statistics that are too rough.
const LEAST_BATCH: usize = 16;
/// So much of the way moving averages should have gone to the statistics of the pictures at hand.
const LEAST_FOLLOWED: f64 = 0.95;

/// Which batch normalisation is the safer one for a run of `steps` steps of `batch` pictures, and why.
///
/// By the statistics of batches a network learns to be right with those; it is used with its moving averages, which keep
/// `decay` at each step. So batches must be large enough to have statistics, and steps enough for the averages to arrive.
pub fn safer_batch_norm(
    network: &Variables,
    decay: f32,
    (batch, steps): (usize, u64),
) -> (BatchNorm, String) {
    if !has_batch_norm(network) {
        return (BatchNorm::Frozen, "the network has no batch normalisation".to_string());
    }
    let followed = 1.0 - f64::from(decay).powf(steps as f64);
    if batch < LEAST_BATCH {
        let why = format!("statistics of {batch} pictures, fewer than {LEAST_BATCH}, are too rough");
        (BatchNorm::Frozen, why)
    } else if followed < LEAST_FOLLOWED {
        let why = format!(
            "in {steps} steps moving averages that keep {decay} go {:.0} % of the way to the statistics of these pictures, \
             and the network is used with its moving averages",
            100.0 * followed
        );
        (BatchNorm::Frozen, why)
    } else {
        let why = format!("moving averages that keep {decay} arrive in {steps} steps of {batch} pictures");
        (BatchNorm::Batch { decay: Some(decay) }, why)
    }
}

/// Whether `variables` are of a network with batch normalisation.
pub fn has_batch_norm(variables: &Variables) -> bool {
    variables.convs.iter().any(|conv| matches!(conv.shift, Shift::BatchNorm { .. }))
}

/// Steps of a run over `pictures` pictures.
pub fn steps(pictures: usize, batch: NonZeroUsize, epochs: u64) -> u64 {
    epochs * steps_an_epoch(pictures, batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Network, Variant};

    #[test]
    fn batch_norm_is_frozen_unless_its_averages_can_follow() {
        let network = |variant| Variables::random(Network { variant, classes: None }, 1);
        let slim = network(Variant::Slim);
        let choose = |decay, batch, steps| safer_batch_norm(&slim, decay, (batch, steps));
        let (chosen, why) = choose(0.9997, 32, 100);
        assert_eq!(chosen, BatchNorm::Frozen);
        assert!(why.contains("go 3 % of the way"), "{why}");
        let (chosen, why) = choose(0.9, 15, 100_000);
        assert_eq!(chosen, BatchNorm::Frozen);
        assert!(why.contains("15 pictures"), "{why}");
        assert_eq!(choose(0.9, 16, 29).0, BatchNorm::Batch { decay: Some(0.9) });
        assert_eq!(choose(0.9, 16, 28).0, BatchNorm::Frozen);
        assert_eq!(choose(0.9997, 32, 10_000).0, BatchNorm::Batch { decay: Some(0.9997) });
        let (_, why) = safer_batch_norm(&network(Variant::Paper), 0.9, (32, 100_000));
        assert_eq!(why, "the network has no batch normalisation");
    }
}
