//! Learning rates that change as training goes on.

/// How the learning rate changes with the number of steps taken, as TensorFlow's decays do.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum LearningRate {
    /// It does not change.
    #[default]
    Fixed,
    /// `initial * factor^(step / decay_steps)`.
    Exponential {
        /// What it is multiplied by every `decay_steps` steps.
        factor: f32,
        /// Steps from one factor to the next.
        decay_steps: u64,
        /// Whether it falls at once after `decay_steps` steps, and not a little at each.
        staircase: bool,
    },
    /// From the initial rate to `end`, along a power of what is left of `decay_steps`, and then `end`.
    Polynomial {
        /// The last rate.
        end: f32,
        /// 1 is a straight line.
        power: f32,
        /// Steps until the last rate.
        decay_steps: u64,
    },
    /// Half a wave from the initial rate to `end`, and then `end`.
    Cosine {
        /// The last rate.
        end: f32,
        /// Steps until the last rate.
        decay_steps: u64,
    },
}

impl LearningRate {
    /// TF-Slim's default for `samples` pictures in batches of `batch`: times 0.94 every two epochs, at once.
    pub fn slim(samples: usize, batch: usize) -> LearningRate {
        let decay_steps = (samples as f64 / batch.max(1) as f64 * 2.0) as u64;
        LearningRate::Exponential { factor: 0.94, decay_steps, staircase: true }
    }

    /// The rate for the step after `step` steps, where `initial` is that of the first.
    ///
    /// Without steps to decay in (`decay_steps` is 0), one is assumed.
    pub fn at(&self, initial: f32, step: u64) -> f32 {
        let initial = f64::from(initial);
        let periods = |steps: u64| step as f64 / steps.max(1) as f64;
        let rate = match *self {
            LearningRate::Fixed => initial,
            LearningRate::Exponential { factor, decay_steps, staircase } => {
                let periods = periods(decay_steps);
                initial * f64::from(factor).powf(if staircase { periods.floor() } else { periods })
            }
            LearningRate::Polynomial { end, power, decay_steps } => {
                let (end, left) = (f64::from(end), 1.0 - periods(decay_steps).min(1.0));
                (initial - end) * left.powf(f64::from(power)) + end
            }
            LearningRate::Cosine { end, decay_steps } => {
                let (end, done) = (f64::from(end), periods(decay_steps).min(1.0));
                (initial - end) * (1.0 + (std::f64::consts::PI * done).cos()) / 2.0 + end
            }
        };
        rate as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_tensorflows() {
        assert_eq!(LearningRate::Fixed.at(0.01, 1_000_000), 0.01);
        let stairs = LearningRate::slim(3000, 32);
        assert_eq!(stairs, LearningRate::Exponential { factor: 0.94, decay_steps: 187, staircase: true });
        assert_eq!([0, 186, 187, 374].map(|step| stairs.at(1.0, step)), [1.0, 1.0, 0.94, 0.8836]);
        let smooth = LearningRate::Exponential { factor: 0.25, decay_steps: 10, staircase: false };
        assert_eq!(smooth.at(1.0, 5), 0.5);
        let line = LearningRate::Polynomial { end: 0.25, power: 1.0, decay_steps: 4 };
        assert_eq!([0, 2, 4, 9].map(|step| line.at(1.25, step)), [1.25, 0.75, 0.25, 0.25]);
        let square = LearningRate::Polynomial { end: 0.0, power: 2.0, decay_steps: 4 };
        assert_eq!(square.at(1.0, 2), 0.25);
        let cosine = LearningRate::Cosine { end: 0.0, decay_steps: 8 };
        assert_eq!([0, 4, 8, 80].map(|step| cosine.at(2.0, step)), [2.0, 1.0, 0.0, 0.0]);
        for rate in [LearningRate::slim(0, 0), LearningRate::Cosine { end: 0.5, decay_steps: 0 }] {
            assert!(rate.at(1.0, 3).is_finite());
        }
    }
}
