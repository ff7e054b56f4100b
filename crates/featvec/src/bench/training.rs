//! The time of a step of training.

use std::num::NonZeroUsize;
use std::time::Instant;

use super::{Bench, Measurement, SLICE, random_images};
use crate::Result;
use crate::network::Network;
use crate::plan::{Precision, Value};
use crate::tensor::Tensor;
use crate::train::Trainer;

/// Too small to change what is measured.
const LEARNING_RATE: f32 = 1e-9;

impl Bench<'_> {
    /// Runs steps of `trainer` with `batch` pictures in turns with the peak, as [`measure`](Bench::measure) does: forward,
    /// back from the feature vectors to every variable that is trained, and the update.
    ///
    /// The operations of a step are counted as direct convolution: each layer's sums, and the gradients to its filter and
    /// to its input, which are as many each; the first layer's input has none.
    ///
    /// # Errors
    /// Those of [`Trainer::forward`].
    pub fn measure_training(&mut self, trainer: &mut Trainer, batch: NonZeroUsize) -> Result<Measurement> {
        let size = trainer.options().size;
        let images = random_images(batch.get(), size);
        let network = Network { classes: None, ..trainer.variables().network };
        let features = network.features();
        let mut gradient = Tensor::zeros(vec![batch.get(), features]);
        gradient.data_mut().fill(1.0 / (batch.get() * features) as f32);
        let gradients = [(Value::Features, gradient)];
        let step = |trainer: &mut Trainer| {
            let start = Instant::now();
            trainer.forward(&images, &[])?;
            trainer.backward(&gradients)?;
            trainer.update(LEARNING_RATE)?;
            Ok((start.elapsed().as_secs_f64(), Vec::new()))
        };
        step(trainer)?; // takes the memory
        let machine = (trainer.kernels().name(), trainer.threads());
        let trainer = std::cell::RefCell::new(trainer);
        let turns = self.turns(machine, &mut || step(&mut trainer.borrow_mut()), &|| {
            trainer.borrow().peak_flops(SLICE)
        })?;
        let first = network
            .sized_convs(size)
            .first()
            .map_or(0, |(conv, [h, w])| h * w * conv.shape.iter().product::<usize>());
        let operations = 2.0 * (3 * network.multiply_adds(size) - first) as f64;
        let undisturbed = self.undisturbed(machine, &turns);
        Ok(Measurement::of(&undisturbed, &[], (Precision::F32, machine), (operations, batch)))
    }
}
