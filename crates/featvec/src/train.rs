//! Training: a step through the network and back, and the update of its variables.
//!
//! The [`Trainer`] normalises, updates and averages as TensorFlow does with a module's graph tagged `train`, and what it
//! computes is the same to the bit for any number of threads. A whole step is [`Trainer::step`]; whoever has a loss of
//! his own takes [`forward`](Trainer::forward), gives the gradients of that loss to any of the network's values to
//! [`backward`](Trainer::backward), and calls [`update`](Trainer::update).
//!
//! ```no_run
//! use std::num::NonZeroUsize;
//! use featvec::train::{Targets, TrainOptions, Trainer};
//! # fn batch() -> (featvec::Tensor, Vec<usize>) { unimplemented!() }
//!
//! let module = featvec::Module::load("https://tfhub.dev/google/imagenet/inception_v1/feature_vector/1")?;
//! let variables = module.variables().clone().with_classes(5, 1);
//! let mut trainer = Trainer::new(variables, TrainOptions::default(), NonZeroUsize::new(2).unwrap())?;
//! for _ in 0..100 {
//!     let (images, labels) = batch();
//!     let losses = trainer.step(&images, &Targets::Labels(&labels), 0.001)?;
//!     println!("{} of {} right, loss {}", losses.correct, labels.len(), losses.total);
//! }
//! # Ok::<(), featvec::Error>(())
//! ```

mod block;
mod head;
mod layer;
pub mod learning_rate;
pub mod loss;
mod options;
mod pass;
mod state;
mod targets;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use featvec_kernels::train::{Scratch, Update, average};
use featvec_kernels::{Kernels, Team};

pub use featvec_kernels::train::Optimizer;
pub use learning_rate::LearningRate;
pub(crate) use options::begins_with;
pub use options::{BatchNorm, TrainOptions, frozen_but};
pub use state::NamedTensor;
pub use targets::{Distillation, FeatureTarget, Losses, SoftTargets, Targets};

use crate::network::{BATCH_NORM_DECAY, WEIGHTS};
use crate::plan::Value;
use crate::random::Random;
use crate::tensor::{Tensor, first_not_finite};
use crate::variables::{Shift, Variables};
use crate::{Error, ErrorKind, Result};
use block::Context;
use head::Head;
use layer::{Layer, Observed, Trained};
use pass::Pass;

/// A network in training.
pub struct Trainer {
    variables: Variables,
    options: TrainOptions,
    kernels: &'static Kernels,
    team: Team,
    scratch: Scratch,
    /// In the order of [`Variables::layers`].
    layers: Vec<Layer>,
    /// For the number of pictures of the last batch.
    machine: Option<Machine>,
    /// Averages of all variables, where they are wanted.
    averaged: Option<Variables>,
    global_step: u64,
    /// Batches whose gradients are held for the next update.
    batches: usize,
}

/// What goes through the network and back.
struct Machine {
    pass: Pass,
    head: Option<Head>,
    /// Whether the last pass forward has not been used by one back.
    is_ready: bool,
}

/// Pixels of all pictures of a batch together: a pixel takes some 700 bytes.
const MAX_BATCH_PIXELS: usize = 1 << 26;

impl Trainer {
    /// Makes ready to train the network of `variables`, on the instruction set that is the fastest here.
    ///
    /// # Errors
    /// Numbers that do not fit the network; options out of their range; nothing left that is not frozen; no threads to be
    /// had from the operating system.
    pub fn new(variables: Variables, options: TrainOptions, threads: NonZeroUsize) -> Result<Trainer> {
        variables.check()?;
        options.check(&variables)?;
        let layers: Vec<Layer> = layers(&variables, &options);
        if !layers.iter().any(Layer::is_trained) {
            let message = "every variable is frozen, so there is nothing to train";
            return Err(Error::new(ErrorKind::Argument, "", message).with_hint("freeze fewer layers"));
        }
        let team = Team::new(threads).map_err(|error| Error::io("starting threads", error))?;
        Ok(Trainer {
            averaged: options.average_decay.map(|_| variables.clone()),
            variables,
            options,
            kernels: Kernels::best(),
            team,
            scratch: Scratch::new(),
            layers,
            machine: None,
            global_step: 0,
            batches: 0,
        })
    }

    /// The trained numbers as they are now.
    pub fn variables(&self) -> &Variables {
        &self.variables
    }

    /// Their averages over the steps, where [`TrainOptions::average_decay`] asks for them.
    pub fn averaged(&self) -> Option<&Variables> {
        self.averaged.as_ref()
    }

    /// How it trains.
    pub fn options(&self) -> &TrainOptions {
        &self.options
    }

    /// The kernels in use.
    pub fn kernels(&self) -> &'static Kernels {
        self.kernels
    }

    /// Threads in use.
    pub fn threads(&self) -> usize {
        self.team.members()
    }

    /// What the processor can do at all: see [`FeatureExtractor::peak_flops`].
    ///
    /// [`FeatureExtractor::peak_flops`]: crate::extractor::FeatureExtractor::peak_flops
    pub fn peak_flops(&self, duration: Duration) -> f64 {
        self.kernels.peak_flops(&self.team, duration)
    }

    /// Updates until now.
    pub fn global_step(&self) -> u64 {
        self.global_step
    }

    /// The gradients held for the next update, with the names of their variables: the sum of those of all
    /// [`backward`](Trainer::backward)s since the last one. That of weight decay is not in it.
    pub fn gradients(&self) -> impl Iterator<Item = (String, &[f32])> {
        self.trained().map(|(name, trained)| (name, &trained.gradient[..]))
    }

    /// The variables that are trained.
    fn trained(&self) -> impl Iterator<Item = (String, &Trained)> {
        let scope = self.variables.network.variant.scope();
        self.variables.layers().zip(&self.layers).flat_map(move |((conv, numbers), layer)| {
            let names = numbers.named();
            let name = move |index: usize| format!("{scope}/{}/{}", conv.name, names[index].0);
            let weights = layer.weights.as_ref().map(|trained| (name(0), trained));
            let shift = layer.shift.as_ref().map(|trained| (name(1), trained));
            weights.into_iter().chain(shift)
        })
    }

    /// One batch: forward, loss, and backward; and the update, where it is the last of
    /// [`accumulate`](TrainOptions::accumulate) batches. `images` are `[n, h, w, 3]` in [0, 1].
    ///
    /// # Errors
    /// Those of [`forward`](Trainer::forward); targets that do not fit; a loss or a gradient that is no finite number.
    /// Nothing has changed then, but the gradients held are forgotten where one of them is no finite number.
    pub fn step(&mut self, images: &Tensor, targets: &Targets<'_>, learning_rate: f32) -> Result<Losses> {
        let values = targets.values();
        let outputs = self.forward(images, &values)?;
        let values: BTreeMap<Value, Tensor> = values.into_iter().zip(outputs).collect();
        let evaluated = targets.evaluate(&values, self.options.label_smoothing)?;
        let regularization = self.regularization();
        let total = evaluated.data + regularization;
        if !total.is_finite() {
            let message = format!("the loss of step {} is {total}", self.global_step);
            return Err(Error::new(ErrorKind::Argument, "", message)
                .with_hint("the learning rate may be too high; go on from the last good checkpoint"));
        }
        let part = 1.0 / self.options.accumulate as f32;
        let scaled = |(value, gradient): (Value, Tensor)| {
            let shape = gradient.shape().to_vec();
            Ok((value, Tensor::new(shape, gradient.data().iter().map(|g| g * part).collect())?))
        };
        let gradients = evaluated.gradients.into_iter().map(scaled).collect::<Result<Vec<_>>>()?;
        self.backward(&gradients)?;
        if self.batches >= self.options.accumulate {
            self.update(learning_rate)?;
        }
        Ok(Losses {
            total: total as f32,
            data: evaluated.data as f32,
            regularization: regularization as f32,
            correct: evaluated.correct,
        })
    }

    /// Computes `values` for `images`, `[n, h, w, 3]` in [0, 1], as in training: normalised as
    /// [`batch_norm`](TrainOptions::batch_norm) says, the logits after dropout. Each is `[n, ...]`.
    ///
    /// # Errors
    /// Images of another shape, or that are no numbers; a value that the network does not have; more pictures than fit
    /// in memory.
    pub fn forward(&mut self, images: &Tensor, values: &[Value]) -> Result<Vec<Tensor>> {
        let n = self.check_images(images)?;
        values.iter().try_for_each(|value| value.check(&self.variables.network))?;
        let mut machine = match self.machine.take() {
            Some(machine) if machine.pass.is_for(n, self.options.size) => machine,
            // The memory of the last one is given back first.
            _ => self.machine(n),
        };
        let stream = self.global_step * self.options.accumulate as u64 + self.batches as u64;
        let mut context = Context {
            team: &self.team,
            scratch: &mut self.scratch,
            variables: &self.variables,
            layers: &mut self.layers,
        };
        let features = machine.pass.forward(&mut context, images.data());
        let mut logits = None;
        if let Some(head) = &mut machine.head {
            let dropout = (self.options.dropout_keep, Random::new(self.options.seed, stream));
            let data = head.forward(&mut context, &features, dropout);
            logits = Some(Tensor::new([n, data.len() / n], data)?);
        }
        machine.is_ready = true;
        let output = |value: &Value| match (value, &logits) {
            (Value::Logits, Some(logits)) => logits.clone(),
            _ => machine.pass.value(*value),
        };
        let outputs = values.iter().map(output).collect();
        self.machine = Some(machine);
        Ok(outputs)
    }

    /// Adds to the gradients held those of a loss, given its `gradients` to values of the last pass
    /// [`forward`](Trainer::forward), each in the shape of its value. That pass is used up.
    ///
    /// # Errors
    /// No pass forward before; gradients of another shape, or that are no numbers.
    pub fn backward(&mut self, gradients: &[(Value, Tensor)]) -> Result<()> {
        let argument = |message: String| Err(Error::new(ErrorKind::Argument, "", message));
        let Some(mut machine) = self.machine.take_if(|machine| machine.is_ready) else {
            return argument("there is no pass forward to go back on".to_string());
        };
        let checked = gradients.iter().try_for_each(|(value, gradient)| {
            value.check(&self.variables.network)?;
            let shape = match (value, self.variables.network.classes) {
                (Value::Logits, Some(classes)) => vec![machine.pass.shape(Value::Features)[0], classes],
                _ => machine.pass.shape(*value),
            };
            if gradient.shape() != shape {
                return argument(format!("a gradient of {:?} to {value:?} of {shape:?}", gradient.shape()));
            }
            match first_not_finite(gradient.data()) {
                Some(index) => argument(format!("the gradient to {value:?} is no number at {index}")),
                None => Ok(()),
            }
        });
        if checked.is_ok() {
            self.backward_checked(&mut machine, gradients);
            machine.is_ready = false;
        }
        self.machine = Some(machine);
        checked
    }

    fn backward_checked(&mut self, machine: &mut Machine, gradients: &[(Value, Tensor)]) {
        let mut sums: BTreeMap<Value, Vec<f32>> = BTreeMap::new();
        let mut add = |value: Value, gradient: &[f32]| match sums.entry(value) {
            std::collections::btree_map::Entry::Vacant(entry) => drop(entry.insert(gradient.to_vec())),
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                entry.get_mut().iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g);
            }
        };
        gradients.iter().for_each(|(value, gradient)| add(*value, gradient.data()));
        let mut context = Context {
            team: &self.team,
            scratch: &mut self.scratch,
            variables: &self.variables,
            layers: &mut self.layers,
        };
        if let (Some(dlogits), Some(head)) = (sums.remove(&Value::Logits), &mut machine.head) {
            let dfeatures = head.backward(&mut context, &dlogits);
            let features = sums.entry(Value::Features).or_insert_with(|| vec![0.0; dfeatures.len()]);
            features.iter_mut().zip(&dfeatures).for_each(|(sum, g)| *sum += g);
        }
        machine.pass.backward(&mut context, &sums);
        machine.pass.observe(&mut self.layers);
        self.batches += 1;
    }

    /// Changes the variables by the gradients held and forgets these: the optimiser, then moving averages, averages of all
    /// variables, and the number of the step.
    ///
    /// # Errors
    /// A learning rate or a gradient that is no finite number. Nothing has changed then, but the gradients are forgotten.
    pub fn update(&mut self, learning_rate: f32) -> Result<()> {
        let bad = self
            .gradients()
            .find_map(|(name, gradient)| first_not_finite(gradient).map(|index| (name, gradient[index])));
        if let Some((name, value)) = bad {
            self.discard();
            let message = format!("a gradient of step {} is {value}", self.global_step);
            return Err(Error::new(ErrorKind::Argument, name, message)
                .with_hint("the learning rate may be too high; go on from the last good checkpoint"));
        }
        if !learning_rate.is_finite() {
            self.discard();
            let message = format!("a learning rate of {learning_rate}; a number expected");
            return Err(Error::new(ErrorKind::Argument, "", message));
        }
        let update =
            Update { learning_rate, weight_decay: self.options.weight_decay, count: self.global_step + 1 };
        let rule = (&self.options.optimizer, &update);
        let decay = match self.options.batch_norm {
            BatchNorm::Batch { decay: Some(decay) } => decay,
            _ => BATCH_NORM_DECAY,
        };
        for (index, layer) in self.layers.iter_mut().enumerate() {
            layer.update(&self.team, rule, decay, self.variables.layer_mut(index));
        }
        if let (Some(averaged), Some(decay)) = (&mut self.averaged, self.options.average_decay) {
            let step = self.global_step as f32;
            let decay = decay.min((1.0 + step) / (10.0 + step));
            for index in 0..self.layers.len() {
                let values = self.variables.layer(index).named();
                for ((_, values), (_, averages)) in
                    values.into_iter().zip(averaged.layer_mut(index).named_mut())
                {
                    average(&self.team, decay, values, averages);
                }
            }
        }
        self.global_step += 1;
        self.batches = 0;
        self.set_filters(false);
        Ok(())
    }

    /// Forgets the gradients and statistics that are held for the next update.
    fn discard(&mut self) {
        self.layers.iter_mut().for_each(Layer::discard);
        self.batches = 0;
    }

    /// Gives the filters to what goes through the network: `all` of them, or those that are trained.
    fn set_filters(&mut self, all: bool) {
        if let Some(Machine { pass, head, is_ready }) = &mut self.machine {
            let layers = Some(&self.layers[..]).filter(|_| !all);
            pass.set_filters((&self.team, &mut self.scratch), &self.variables, layers);
            if let (Some(head), Some(numbers)) = (head, &self.variables.logits) {
                head.set_filter((&self.team, &mut self.scratch), numbers);
            }
            *is_ready = false;
        }
    }

    /// For `n` pictures.
    fn machine(&mut self, n: usize) -> Machine {
        let pass = Pass::new(self.kernels, &self.variables, (n, self.options.size));
        let head = Head::new(self.kernels, &self.variables, n);
        self.machine = Some(Machine { pass, head, is_ready: false });
        self.set_filters(true);
        self.machine.take().expect("just made")
    }

    /// The number of `images`.
    fn check_images(&self, images: &Tensor) -> Result<usize> {
        let [h, w] = self.options.size;
        let n = match *images.shape() {
            [n, rows, columns, 3] if n > 0 && [rows, columns] == [h, w] => n,
            ref shape => {
                let message = format!("images are [n, {h}, {w}, 3], not {shape:?}");
                return Err(Error::new(ErrorKind::Mismatch, "", message));
            }
        };
        if n > MAX_BATCH_PIXELS / (h * w) {
            let message = format!("{n} pictures of {h}x{w} pixels at once take too much memory");
            let hint = "give fewer at a time, and accumulate their gradients";
            return Err(Error::new(ErrorKind::Limit, "", message).with_hint(hint));
        }
        match first_not_finite(images.data()) {
            Some(index) => {
                let message = format!("element {index} of the images is {}", images.data()[index]);
                Err(Error::new(ErrorKind::Argument, "", message))
            }
            None => Ok(n),
        }
    }

    /// `weight_decay / 2` times the sum of all squared weights, as TensorFlow's regularisation losses.
    fn regularization(&self) -> f64 {
        let squares: f64 = self.variables.layers().map(|(_, numbers)| sum_of_squares(&numbers.weights)).sum();
        f64::from(self.options.weight_decay) / 2.0 * squares
    }
}

/// In `f64`, in several sums, so that the compiler makes vectors of them.
fn sum_of_squares(values: &[f32]) -> f64 {
    let (chunks, rest) = values.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(*value) * f64::from(*value);
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>()
}

/// What of each layer is trained.
fn layers(variables: &Variables, options: &TrainOptions) -> Vec<Layer> {
    let network = &variables.network;
    let scope = network.variant.scope();
    let layers = variables.layers().map(|(conv, numbers)| {
        let named = numbers.named();
        let is_frozen = |name: &str| options.is_frozen(network, &format!("{scope}/{}/{name}", conv.name));
        let trained = |index: usize| {
            let (name, values): (&str, &[f32]) = named[index];
            (!is_frozen(name)).then(|| Trained::new(values.len(), &options.optimizer))
        };
        let observed = match (&numbers.shift, options.batch_norm) {
            (Shift::BatchNorm { .. }, BatchNorm::Batch { .. }) => {
                // The moving averages come after the weights and beta.
                let frozen = named.iter().skip(2).any(|(name, _)| is_frozen(name));
                (!frozen).then(Observed::default)
            }
            _ => None,
        };
        debug_assert_eq!(named[0].0, WEIGHTS);
        Layer { weights: trained(0), shift: trained(1), observed }
    });
    layers.collect()
}
