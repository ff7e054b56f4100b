//! How weights change by their gradient, in the forms of TensorFlow's optimisers.

use std::sync::{Mutex, PoisonError};

use crate::team::Team;

/// A rule by which weights change. Beside each weight, some remember other numbers, their slots.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimizer {
    /// `w -= rate * g`.
    Sgd,
    /// `m = momentum * m + g; w -= rate * m`, or with Nesterov's look ahead `w -= rate * (g + momentum * m)`.
    Momentum {
        /// What is kept of the last change.
        momentum: f32,
        /// Whether the gradient is taken as if it were ahead by the momentum.
        nesterov: bool,
    },
    /// `s += (1 - decay) * (g^2 - s); m = momentum * m + rate * g / sqrt(s + epsilon); w -= m`, with `s` starting at 1.
    RmsProp {
        /// What is kept of the mean of squares.
        decay: f32,
        /// What is kept of the last change.
        momentum: f32,
        /// What is added under the root.
        epsilon: f32,
    },
    /// `m += (1 - beta1) * (g - m); v += (1 - beta2) * (g^2 - v); w -= rate' * m / (sqrt(v) + epsilon)` with
    /// `rate' = rate * sqrt(1 - beta2^count) / (1 - beta1^count)`.
    Adam {
        /// What is kept of the mean of gradients.
        beta1: f32,
        /// What is kept of the mean of squares.
        beta2: f32,
        /// What is added to the root.
        epsilon: f32,
    },
    /// `a += g^2; w -= rate * g / sqrt(a)`.
    Adagrad {
        /// Where the sum of squares starts, above 0.
        initial: f32,
    },
    /// `a += (1 - rho) * (g^2 - a); d = g * sqrt(b + epsilon) / sqrt(a + epsilon); b += (1 - rho) * (d^2 - b);
    /// w -= rate * d`.
    Adadelta {
        /// What is kept of the means of squares.
        rho: f32,
        /// What is added under the roots.
        epsilon: f32,
    },
    /// Follow the regularised leader: `b = a + g^2; l += g - (b^-power - a^-power) / rate * w; a = b`, then `w` is
    /// `(sign(l) * l1 - l) / (a^-power / rate + 2 * l2)` where `l` is beyond `l1`, and 0 elsewhere.
    Ftrl {
        /// How the rate falls with the sum of squares, at most 0; -0.5 is the usual.
        power: f32,
        /// Where the sum of squares starts, above 0.
        initial: f32,
        /// Strength of the absolute weights' penalty.
        l1: f32,
        /// Strength of the squared weights' penalty.
        l2: f32,
    },
}

/// What one update is made with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// The learning rate.
    pub learning_rate: f32,
    /// What is added to the gradient for each unit of a weight: the gradient of `weight_decay / 2 * w^2`.
    pub weight_decay: f32,
    /// Which update of these weights this is, counted from 1.
    pub count: u64,
}

impl Optimizer {
    /// What the slots start at, in the order in which TensorFlow numbers them: their number is that of the slots.
    pub fn slots(&self) -> Vec<f32> {
        match *self {
            Optimizer::Sgd => vec![],
            Optimizer::Momentum { .. } => vec![0.0],
            Optimizer::RmsProp { .. } => vec![1.0, 0.0],
            Optimizer::Adam { .. } | Optimizer::Adadelta { .. } => vec![0.0, 0.0],
            Optimizer::Adagrad { initial } => vec![initial],
            Optimizer::Ftrl { initial, .. } => vec![initial, 0.0],
        }
    }

    /// Changes `weights` and their `slots` by `gradient`.
    ///
    /// # Panics
    /// Where there are not as many gradients, or slots, as weights, or slots for another optimiser.
    pub fn update(
        &self,
        team: &Team,
        update: &Update,
        gradient: &[f32],
        (weights, slots): (&mut [f32], &mut [Vec<f32>]),
    ) {
        let Update { learning_rate: rate, weight_decay, count } = *update;
        let state = (weights, slots);
        let decayed = |w: f32, g: f32| g + weight_decay * w;
        match *self {
            Optimizer::Sgd => each(team, gradient, state, |w, g, []| *w -= rate * decayed(*w, g)),
            Optimizer::Momentum { momentum, nesterov } => each(team, gradient, state, |w, g, [m]| {
                let g = decayed(*w, g);
                *m = momentum * *m + g;
                *w -= rate * if nesterov { g + momentum * *m } else { *m };
            }),
            Optimizer::RmsProp { decay, momentum, epsilon } => each(team, gradient, state, |w, g, [s, m]| {
                let g = decayed(*w, g);
                *s += (1.0 - decay) * (g * g - *s);
                *m = momentum * *m + rate * g / (*s + epsilon).sqrt();
                *w -= *m;
            }),
            Optimizer::Adam { beta1, beta2, epsilon } => {
                let left = |beta: f32| 1.0 - f64::from(beta).powf(count as f64);
                let rate = (f64::from(rate) * left(beta2).sqrt() / left(beta1)) as f32;
                each(team, gradient, state, |w, g, [m, v]| {
                    let g = decayed(*w, g);
                    *m += (1.0 - beta1) * (g - *m);
                    *v += (1.0 - beta2) * (g * g - *v);
                    *w -= rate * *m / (v.sqrt() + epsilon);
                });
            }
            Optimizer::Adagrad { .. } => each(team, gradient, state, |w, g, [a]| {
                let g = decayed(*w, g);
                *a += g * g;
                *w -= rate * g / a.sqrt();
            }),
            Optimizer::Adadelta { rho, epsilon } => each(team, gradient, state, |w, g, [a, b]| {
                let g = decayed(*w, g);
                *a += (1.0 - rho) * (g * g - *a);
                let d = g * ((*b + epsilon) / (*a + epsilon)).sqrt();
                *b += (1.0 - rho) * (d * d - *b);
                *w -= rate * d;
            }),
            Optimizer::Ftrl { power, l1, l2, .. } => each(team, gradient, state, |w, g, [a, l]| {
                let g = decayed(*w, g);
                let before = a.powf(-power);
                *a += g * g;
                let now = a.powf(-power);
                *l += g - (now - before) / rate * *w;
                let beyond = l1.copysign(*l) - *l;
                *w = if l.abs() > l1 { beyond / (now / rate + 2.0 * l2) } else { 0.0 };
            }),
        }
    }
}

/// Moves exponential moving `averages` towards `values`: `average -= (1 - decay) * (average - value)`.
///
/// # Panics
/// Where there are not as many averages as values.
pub fn average(team: &Team, decay: f32, values: &[f32], averages: &mut [f32]) {
    each(team, values, (averages, &mut []), |average, value, []| {
        *average -= (1.0 - decay) * (*average - value)
    });
}

/// Weights of an item of work: some microseconds.
const CHUNK: usize = 1 << 14;

/// Applies `rule` to each weight with its gradient and its slots, shared out over the team.
fn each<const SLOTS: usize>(
    team: &Team,
    gradient: &[f32],
    (weights, slots): (&mut [f32], &mut [Vec<f32>]),
    rule: impl Fn(&mut f32, f32, [&mut f32; SLOTS]) + Sync,
) {
    let len = weights.len();
    assert!(gradient.len() == len && slots.iter().all(|slot| slot.len() == len), "slices of another length");
    let slots: &mut [Vec<f32>; SLOTS] = slots.try_into().expect("slots of another optimiser");
    let mut slots = slots.each_mut().map(|slot| slot.chunks_mut(CHUNK));
    let chunks: Vec<_> = weights
        .chunks_mut(CHUNK)
        .zip(gradient.chunks(CHUNK))
        .map(|(weights, gradient)| {
            let slots = slots.each_mut().map(|slot| slot.next().unwrap_or_default());
            Mutex::new((weights, gradient, slots))
        })
        .collect();
    team.share(chunks.len(), &|chunk| {
        // Nobody else wants this chunk: the lock is for the compiler.
        let mut chunk = chunks[chunk].lock().unwrap_or_else(PoisonError::into_inner);
        let (weights, gradient, slots) = &mut *chunk;
        let len = weights.len();
        // Said again for each, so that the compiler leaves out the checks of every index.
        let (weights, gradient) = (&mut weights[..len], &gradient[..len]);
        let mut slots = slots.each_mut().map(|slot| &mut slot[..len]);
        for i in 0..len {
            rule(&mut weights[i], gradient[i], slots.each_mut().map(|slot| &mut slot[i]));
        }
    });
}
