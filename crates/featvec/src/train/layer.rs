//! What training holds of each layer beside its numbers: gradients, the optimiser's memory, statistics of batches.

use featvec_kernels::Team;
use featvec_kernels::train::{Optimizer, Update, average};

use crate::variables::{ConvVariables, Shift};

/// A variable that is trained.
pub(super) struct Trained {
    /// The sum of what [`add`](Trained::add) was given since the last update, one for each element.
    pub gradient: Vec<f32>,
    /// Whether there is anything in the sum.
    held: bool,
    /// What the optimiser remembers of each element.
    pub slots: Vec<Vec<f32>>,
}

impl Trained {
    pub fn new(len: usize, optimizer: &Optimizer) -> Trained {
        let slots = optimizer.slots().into_iter().map(|start| vec![start; len]).collect();
        Trained { gradient: vec![0.0; len], held: false, slots }
    }

    /// Room for a gradient that [`add`](Trained::add) then gets: the sum's own, as long as that is empty.
    pub fn room(&mut self) -> Vec<f32> {
        if self.held { vec![0.0; self.gradient.len()] } else { std::mem::take(&mut self.gradient) }
    }

    pub fn add(&mut self, gradient: Vec<f32>) {
        if self.held {
            self.gradient.iter_mut().zip(&gradient).for_each(|(sum, g)| *sum += g);
        } else {
            (self.gradient, self.held) = (gradient, true);
        }
    }

    /// Empties the sum.
    pub fn discard(&mut self) {
        self.gradient.fill(0.0);
        self.held = false;
    }

    fn update(&mut self, team: &Team, (optimizer, update): (&Optimizer, &Update), values: &mut [f32]) {
        optimizer.update(team, update, &self.gradient, (values, &mut self.slots));
        self.discard();
    }
}

/// The mean of the statistics of the batches since the last update.
#[derive(Default)]
pub(super) struct Observed {
    mean: Vec<f64>,
    variance: Vec<f64>,
    batches: usize,
}

impl Observed {
    /// Adds the statistics of a batch of `count` values a channel. The variance that is kept is that of which they are
    /// a sample: over `count - 1`, as TensorFlow's fused operation has it.
    pub fn add(&mut self, mean: &[f32], variance: &[f32], count: usize) {
        let unbiased = count as f64 / (count.max(2) - 1) as f64;
        for (sums, values, factor) in [(&mut self.mean, mean, 1.0), (&mut self.variance, variance, unbiased)]
        {
            sums.resize(values.len(), 0.0);
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += f64::from(*value) * factor);
        }
        self.batches += 1;
    }

    fn update(&mut self, team: &Team, decay: f32, [mean, variance]: [&mut [f32]; 2]) {
        if self.batches > 0 {
            for (moving, sums) in [(mean, &self.mean), (variance, &self.variance)] {
                let values: Vec<f32> = sums.iter().map(|sum| (sum / self.batches as f64) as f32).collect();
                average(team, decay, &values, moving);
            }
        }
        self.discard();
    }

    pub fn discard(&mut self) {
        *self = Observed::default();
    }
}

/// A layer in training. What is frozen is none.
pub(super) struct Layer {
    pub weights: Option<Trained>,
    /// Beta, or the bias.
    pub shift: Option<Trained>,
    /// None where the layer normalises by its moving averages, or not at all.
    pub observed: Option<Observed>,
}

impl Layer {
    pub fn is_trained(&self) -> bool {
        self.weights.is_some() || self.shift.is_some()
    }

    /// Forgets what was held for the next update.
    pub fn discard(&mut self) {
        self.weights.iter_mut().chain(&mut self.shift).for_each(Trained::discard);
        self.observed.iter_mut().for_each(Observed::discard);
    }

    /// Changes the layer's `numbers` by what is held. Only the weights decay.
    pub fn update(
        &mut self,
        team: &Team,
        (optimizer, update): (&Optimizer, &Update),
        decay: f32,
        numbers: &mut ConvVariables,
    ) {
        if let Some(weights) = &mut self.weights {
            weights.update(team, (optimizer, update), &mut numbers.weights);
        }
        if let Some(shift) = &mut self.shift {
            let update = Update { weight_decay: 0.0, ..*update };
            let (Shift::Bias(values) | Shift::BatchNorm { beta: values, .. }) = &mut numbers.shift;
            shift.update(team, (optimizer, &update), values);
        }
        if let (Some(observed), Shift::BatchNorm { moving_mean, moving_variance, .. }) =
            (&mut self.observed, &mut numbers.shift)
        {
            observed.update(team, decay, [moving_mean, moving_variance]);
        }
    }
}
