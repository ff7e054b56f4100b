//! The minimum of a convex function by its gradients: L-BFGS (Nocedal, 1980) with a diagonal first guess of the curvature.

use std::collections::VecDeque;

use super::objective::Objective;

/// Steps whose curvature is remembered.
const MEMORY: usize = 20;

/// Converged: a step can gain no more than this part of the value.
pub(super) const CONVERGED: f64 = 1e-8;

/// Near enough to tell which of several minima is the best place to go on from.
pub(super) const NEAR: f64 = 1e-4;

const MOST_STEPS: usize = 1000;
const MOST_TRIES: usize = 40;

/// A step must gain this part of what the slope promises (Armijo), and leave at most that part of the slope (Wolfe).
const GAIN: f64 = 1e-4;
const SLOPE: f64 = 0.9;

/// Where the minimum is.
pub(super) struct Minimum {
    pub place: Vec<f64>,
    /// The value at the start and after each step.
    pub values: Vec<f64>,
}

/// A step and what it did to the gradient.
struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    /// Their product.
    curvature: f64,
}

/// The minimum of `objective` + `strength` / 2 · (squared weights), from `place` on, until a step can gain no more than
/// `tolerance` of the value.
pub(super) fn minimize(
    objective: &Objective<'_>,
    strength: f64,
    mut place: Vec<f64>,
    tolerance: f64,
) -> Minimum {
    let weights = objective.variances.len() * objective.classes();
    let evaluate = |place: &[f64], gradient: &mut [f64]| {
        let loss = objective.evaluate(place, gradient);
        for (slope, w) in gradient.iter_mut().zip(&place[..weights]) {
            *slope += strength * w;
        }
        loss + strength / 2.0 * dot(&place[..weights], &place[..weights])
    };
    let inverse = inverse_curvature(objective, strength);
    let mut gradient = vec![0.0; place.len()];
    let mut value = evaluate(&place, &mut gradient);
    let mut values = vec![value];
    let mut memory: VecDeque<Pair> = VecDeque::new();
    let mut next = place.clone();
    let mut next_gradient = gradient.clone();
    while values.len() <= MOST_STEPS {
        let direction = direction(&gradient, &inverse, &memory);
        let slope = dot(&direction, &gradient);
        if -slope <= tolerance * value {
            break;
        }
        // Halving and doubling between what is too short and what is too long finds a step, as the function is convex.
        let (mut low, mut high, mut length) = (0.0, f64::INFINITY, 1.0);
        let mut found = None;
        for _ in 0..MOST_TRIES {
            for ((next, x), d) in next.iter_mut().zip(&place).zip(&direction) {
                *next = x + length * d;
            }
            let tried = evaluate(&next, &mut next_gradient);
            if tried.is_nan() || tried > value + GAIN * length * slope {
                high = length;
            } else if dot(&next_gradient, &direction) < SLOPE * slope {
                low = length;
            } else {
                found = Some(tried);
                break;
            }
            length = if high.is_finite() { f64::midpoint(low, high) } else { 2.0 * low };
        }
        // None is found where rounding hides the gain.
        let Some(found) = found else { break };
        let step: Vec<f64> = next.iter().zip(&place).map(|(next, x)| next - x).collect();
        let change: Vec<f64> = next_gradient.iter().zip(&gradient).map(|(next, g)| next - g).collect();
        let curvature = dot(&step, &change);
        if curvature > 0.0 {
            memory.push_back(Pair { step, change, curvature });
            if memory.len() > MEMORY {
                memory.pop_front();
            }
        }
        std::mem::swap(&mut place, &mut next);
        std::mem::swap(&mut gradient, &mut next_gradient);
        value = found;
        values.push(value);
    }
    Minimum { place, values }
}

/// One over the curvature along each parameter, about: that of the loss is at most a quarter of the feature's variance,
/// and with many classes less.
fn inverse_curvature(objective: &Objective<'_>, strength: f64) -> Vec<f64> {
    let classes = objective.classes() as f64;
    let share = (1.0 - 1.0 / classes) / classes;
    let weights = objective.variances.iter().map(|variance| 1.0 / (share * variance + strength));
    let weights: Vec<f64> = weights.collect();
    let mut inverse = weights.repeat(objective.classes());
    inverse.extend(vec![1.0 / share; objective.classes()]);
    inverse
}

/// Where to go: minus the gradient times the inverse curvature, as far as `memory` knows it, and `inverse` beyond.
fn direction(gradient: &[f64], inverse: &[f64], memory: &VecDeque<Pair>) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut shares = Vec::with_capacity(memory.len());
    for pair in memory.iter().rev() {
        let share = dot(&pair.step, &direction) / pair.curvature;
        add(&mut direction, -share, &pair.change);
        shares.push(share);
    }
    let scale = memory.back().map_or(1.0, |Pair { change, curvature, .. }| {
        curvature / change.iter().zip(inverse).map(|(c, inverse)| c * c * inverse).sum::<f64>()
    });
    direction.iter_mut().zip(inverse).for_each(|(d, inverse)| *d *= scale * inverse);
    for (pair, share) in memory.iter().zip(shares.iter().rev()) {
        let other = dot(&pair.change, &direction) / pair.curvature;
        add(&mut direction, share - other, &pair.step);
    }
    direction
}

/// Sums that are kept apart, so that several are added at once.
const LANES: usize = 8;

fn dot(a: &[f64], b: &[f64]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>()
}

fn add(to: &mut [f64], factor: f64, from: &[f64]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += factor * from);
}
