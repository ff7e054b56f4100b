//! How a network is trained.

use featvec_kernels::train::Optimizer;

use crate::network::{DEFAULT_SIZE, MOVING_MEAN, MOVING_VARIANCE, Network};
use crate::plan::check_size;
use crate::variables::Variables;
use crate::{Error, ErrorKind, Result};

/// What batch normalisation normalises by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BatchNorm {
    /// The statistics of each batch, which the moving averages follow: as a module's graph tagged `train`.
    Batch {
        /// What the moving averages keep at each step; none means TF-Slim's 0.9997.
        decay: Option<f32>,
    },
    /// The moving averages, which stay as they are: as in inference. For batches too small to have statistics.
    Frozen,
}

/// How a network is trained. By default as TF-Slim trains it.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainOptions {
    /// How weights change by their gradient.
    pub optimizer: Optimizer,
    /// For each weight `w` of a filter, the loss has `weight_decay / 2 * w^2` more.
    pub weight_decay: f32,
    /// What batch normalisation normalises by. A network without it, as the paper's, is not concerned.
    pub batch_norm: BatchNorm,
    /// The part of a feature vector that reaches the classifying layer, chosen anew each time; 1 is all of it.
    pub dropout_keep: f32,
    /// The part of each label that is spread over all classes.
    pub label_smoothing: f32,
    /// Averages of all variables are made that keep this much at each step, less of it at first: at step `t` at most
    /// `(1 + t) / (10 + t)`, as TensorFlow does.
    pub average_decay: Option<f32>,
    /// How the names begin of variables that do not change, with or without the network's scope. A layer whose moving
    /// averages are among them is normalised by these, so that it is as in inference.
    pub frozen: Vec<String>,
    /// So many batches make a step: their gradients are averaged.
    pub accumulate: usize,
    /// Height and width of the pictures.
    pub size: [usize; 2],
    /// What dropout depends on, beside the number of the step.
    pub seed: u64,
}

impl Default for TrainOptions {
    fn default() -> TrainOptions {
        TrainOptions {
            optimizer: Optimizer::RmsProp { decay: 0.9, momentum: 0.9, epsilon: 1.0 },
            weight_decay: 4e-5,
            batch_norm: BatchNorm::Batch { decay: None },
            dropout_keep: 0.8,
            label_smoothing: 0.0,
            average_decay: None,
            frozen: Vec::new(),
            accumulate: 1,
            size: DEFAULT_SIZE,
            seed: 0,
        }
    }
}

impl TrainOptions {
    /// Refuses numbers out of their range, and names of nothing.
    pub(super) fn check(&self, variables: &Variables) -> Result<()> {
        check_size(self.size)?;
        let argument = |message: String| Err(Error::new(ErrorKind::Argument, "", message));
        let decay = match self.batch_norm {
            BatchNorm::Batch { decay } => decay,
            BatchNorm::Frozen => None,
        };
        for (what, value) in [
            ("the decay of moving averages", decay),
            ("the decay of averaged variables", self.average_decay),
            ("the label smoothing", Some(self.label_smoothing)),
        ] {
            if let Some(value) = value.filter(|value| !(0.0..=1.0).contains(value)) {
                return argument(format!("{what} is {value}; 0 to 1 expected"));
            }
        }
        if !(self.dropout_keep > 0.0 && self.dropout_keep <= 1.0) {
            return argument(format!("dropout keeps {}; more than 0, up to 1 expected", self.dropout_keep));
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return argument(format!("a weight decay of {}; 0 or more expected", self.weight_decay));
        }
        if self.accumulate == 0 {
            return argument("a step of no batches; 1 or more expected".to_string());
        }
        for prefix in &self.frozen {
            let mut names = variables.named().map(|(name, ..)| name);
            if !names.any(|name| begins_with(&variables.network, &name, prefix)) {
                let message = format!("no variable's name begins with {prefix:?}, so none can be frozen");
                let hint = "`featvec inspect --all-variables` lists the names";
                return Err(Error::new(ErrorKind::Argument, "", message).with_hint(hint));
            }
        }
        Ok(())
    }

    /// Whether the variable `name` of `network` stays as it is.
    pub(super) fn is_frozen(&self, network: &Network, name: &str) -> bool {
        self.frozen.iter().any(|prefix| begins_with(network, name, prefix))
    }
}

/// The variables to [freeze](TrainOptions::frozen) so that only those are trained whose names begin with one of `scopes`,
/// with or without the network's scope; without scopes, none. Moving averages are not trained, and follow the batches
/// as long as layers normalise by these.
///
/// # Errors
/// A scope that no variable is in.
pub fn frozen_but(variables: &Variables, scopes: &[String]) -> Result<Vec<String>> {
    if scopes.is_empty() {
        return Ok(Vec::new());
    }
    let network = &variables.network;
    let is_average = |name: &str| [MOVING_MEAN, MOVING_VARIANCE].iter().any(|end| name.ends_with(end));
    let names = variables.named().map(|(name, ..)| name).filter(|name| !is_average(name));
    let mut names: Vec<String> = names.collect();
    for prefix in scopes {
        if !names.iter().any(|name| begins_with(network, name, prefix)) {
            let message = format!("no variable that is trained begins with {prefix:?}");
            return Err(Error::new(ErrorKind::Argument, "", message)
                .with_hint("`featvec inspect --all-variables` lists the names"));
        }
    }
    names.retain(|name| !scopes.iter().any(|prefix| begins_with(network, name, prefix)));
    Ok(names)
}

/// Whether `name` begins with `prefix`, with or without the network's scope.
pub(crate) fn begins_with(network: &Network, name: &str, prefix: &str) -> bool {
    let inner = name.strip_prefix(network.variant.scope()).and_then(|name| name.strip_prefix('/'));
    name.starts_with(prefix) || inner.is_some_and(|inner| inner.starts_with(prefix))
}
