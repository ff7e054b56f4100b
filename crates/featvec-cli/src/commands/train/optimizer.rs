//! How weights change, as it is written on the command line: TF-Slim's optimisers with its numbers.

use clap::Args;
use featvec::train::{LearningRate, Optimizer};

/// Options of the optimiser and the learning rate.
#[derive(Args)]
#[command(next_help_heading = "Optimiser")]
pub struct OptimizerArgs {
    /// How weights change by their gradients
    #[arg(long, value_enum, default_value_t)]
    optimizer: Kind,

    /// The learning rate of the first step
    #[arg(long, value_name = "RATE", default_value_t = 0.01)]
    pub learning_rate: f32,

    /// How the learning rate changes
    #[arg(long, value_enum, default_value_t)]
    learning_rate_decay: Decay,

    /// What the learning rate is multiplied by, with --learning-rate-decay exponential
    #[arg(long, value_name = "FACTOR", default_value_t = 0.94)]
    learning_rate_decay_factor: f32,

    /// Epochs after which it is multiplied; polynomial and cosine: after which it is at its end
    #[arg(long, value_name = "N", default_value_t = 2.0)]
    epochs_per_decay: f32,

    /// The last learning rate, with polynomial and cosine
    #[arg(long, value_name = "RATE", default_value_t = 1e-4)]
    end_learning_rate: f32,

    /// What is kept of the last change, with rmsprop and momentum
    #[arg(long, value_name = "SHARE", default_value_t = 0.9)]
    momentum: f32,

    /// What is kept of the mean of squares, with rmsprop
    #[arg(long, value_name = "SHARE", default_value_t = 0.9)]
    rmsprop_decay: f32,

    /// What is added to the root of the mean of squares, with rmsprop, adam and adadelta
    #[arg(long, value_name = "NUMBER", default_value_t = 1.0)]
    opt_epsilon: f32,

    /// What is kept of the mean of gradients, with adam
    #[arg(long, value_name = "SHARE", default_value_t = 0.9)]
    adam_beta1: f32,

    /// What is kept of the mean of squares, with adam
    #[arg(long, value_name = "SHARE", default_value_t = 0.999)]
    adam_beta2: f32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// TF-Slim's default
    #[default]
    Rmsprop,
    Momentum,
    Sgd,
    Adam,
    Adagrad,
    Adadelta,
    Ftrl,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Decay {
    /// Multiplied at once every few epochs
    #[default]
    Exponential,
    /// Not at all
    Fixed,
    /// Along a straight line
    Polynomial,
    /// Along half a wave
    Cosine,
}

impl OptimizerArgs {
    /// The optimiser.
    pub fn optimizer(&self) -> Optimizer {
        let (momentum, epsilon) = (self.momentum, self.opt_epsilon);
        match self.optimizer {
            Kind::Rmsprop => Optimizer::RmsProp { decay: self.rmsprop_decay, momentum, epsilon },
            Kind::Momentum => Optimizer::Momentum { momentum, nesterov: false },
            Kind::Sgd => Optimizer::Sgd,
            Kind::Adam => Optimizer::Adam { beta1: self.adam_beta1, beta2: self.adam_beta2, epsilon },
            // TF-Slim's defaults, which nobody changes.
            Kind::Adagrad => Optimizer::Adagrad { initial: 0.1 },
            Kind::Adadelta => Optimizer::Adadelta { rho: 0.95, epsilon },
            Kind::Ftrl => Optimizer::Ftrl { power: -0.5, initial: 0.1, l1: 0.0, l2: 0.0 },
        }
    }

    /// The schedule for `samples` pictures in steps of `step_pictures`.
    pub fn schedule(&self, samples: usize, step_pictures: usize) -> LearningRate {
        let steps = samples as f64 / step_pictures.max(1) as f64 * f64::from(self.epochs_per_decay);
        let (decay_steps, end) = ((steps as u64).max(1), self.end_learning_rate);
        match self.learning_rate_decay {
            Decay::Fixed => LearningRate::Fixed,
            Decay::Exponential => LearningRate::Exponential {
                factor: self.learning_rate_decay_factor,
                decay_steps,
                staircase: true,
            },
            Decay::Polynomial => LearningRate::Polynomial { end, power: 1.0, decay_steps },
            Decay::Cosine => LearningRate::Cosine { end, decay_steps },
        }
    }
}
