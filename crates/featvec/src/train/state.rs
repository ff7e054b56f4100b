//! Everything that a training run goes on from.

use std::collections::HashMap;

use featvec_formats::{Tensor, TensorData};
use featvec_kernels::train::Optimizer;

use super::Trainer;
use crate::tensor::first_not_finite;
use crate::{Error, ErrorKind, Result};

/// A tensor of a checkpoint, with its name.
pub type NamedTensor = (String, Tensor);

/// The number of the step, in TensorFlow's spelling.
const GLOBAL_STEP: &str = "global_step";
/// What TensorFlow adds to the names of averages of variables.
const AVERAGE: &str = "ExponentialMovingAverage";

/// What TensorFlow adds to the name of a variable for what the optimiser remembers of it.
fn slot_names(optimizer: &Optimizer) -> Vec<String> {
    let name = match optimizer {
        Optimizer::Sgd => "",
        Optimizer::Momentum { .. } => "Momentum",
        Optimizer::RmsProp { .. } => "RMSProp",
        Optimizer::Adam { .. } => "Adam",
        Optimizer::Adagrad { .. } => "Adagrad",
        Optimizer::Adadelta { .. } => "Adadelta",
        Optimizer::Ftrl { .. } => "Ftrl",
    };
    let numbered = |index| if index == 0 { name.to_string() } else { format!("{name}_{index}") };
    (0..optimizer.slots().len()).map(numbered).collect()
}

impl Trainer {
    /// All that [`restore`](Trainer::restore) needs to go on as if nothing had happened, in TensorFlow's names: the
    /// variables; for each that is trained what the optimiser remembers (like `NAME/RMSProp`, `NAME/RMSProp_1`);
    /// averages (`NAME/ExponentialMovingAverage`); and `global_step`, an `int64`.
    ///
    /// Gradients that are held for the next update are not in it: it is the state after the last one.
    pub fn state(&self) -> Vec<NamedTensor> {
        let tensor = |shape: Vec<usize>, values: &[f32]| {
            Tensor::new(shape, TensorData::F32(values.to_vec())).expect("as many numbers as the shape says")
        };
        let mut state = Vec::new();
        let mut shapes = HashMap::new();
        for (name, shape, values) in self.variables.named() {
            shapes.insert(name.clone(), shape.clone());
            state.push((name, tensor(shape, values)));
        }
        let slots = slot_names(&self.options.optimizer);
        for (name, trained) in self.trained() {
            for (slot, values) in slots.iter().zip(&trained.slots) {
                state.push((format!("{name}/{slot}"), tensor(shapes[&name].clone(), values)));
            }
        }
        for (name, shape, values) in self.averaged.iter().flat_map(|averaged| averaged.named()) {
            state.push((format!("{name}/{AVERAGE}"), tensor(shape, values)));
        }
        let step = TensorData::I64(vec![self.global_step as i64]);
        state.push((GLOBAL_STEP.to_string(), Tensor::new(Vec::new(), step).expect("a scalar")));
        state
    }

    /// Goes on from a `state` that a trainer of the same network and options gave. Tensors of other names do not matter.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] that names a tensor which is missing, has another shape or type, or holds what is no finite
    /// number; nothing has changed then.
    pub fn restore(&mut self, state: &[NamedTensor]) -> Result<()> {
        let found: HashMap<&str, &Tensor> =
            state.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let missing = |name: &str| {
            Error::new(ErrorKind::Mismatch, name, "it is missing in the state to go on from")
                .with_hint("give the options that the training was begun with")
        };
        // The state of now says what there has to be; all is checked before anything changes.
        for (name, own) in self.state() {
            let tensor = found.get(name.as_str()).ok_or_else(|| missing(&name))?;
            if (tensor.shape(), tensor.dtype()) != (own.shape(), own.dtype()) {
                let message = format!(
                    "{} {:?} in the state to go on from; {} {:?} expected",
                    tensor.dtype(),
                    tensor.shape(),
                    own.dtype(),
                    own.shape()
                );
                return Err(Error::new(ErrorKind::Mismatch, name, message)
                    .with_hint("it is of another network, or of other classes"));
            }
            if let Some(index) = tensor.as_f32().and_then(first_not_finite) {
                let message = format!("element {index} is no finite number");
                return Err(Error::new(ErrorKind::Mismatch, name, message));
            }
        }
        let step = found[GLOBAL_STEP].to_i64()?;
        let Some(step) = step.first().and_then(|step| u64::try_from(*step).ok()) else {
            return Err(Error::new(ErrorKind::Mismatch, GLOBAL_STEP, "a number of steps below zero"));
        };
        let copy = |name: String, values: &mut [f32]| {
            values.copy_from_slice(found[name.as_str()].as_f32().expect("its type was checked"));
        };
        let slots = slot_names(&self.options.optimizer);
        let scope = self.variables.network.variant.scope();
        let names: Vec<String> =
            self.variables.layers().map(|(conv, _)| format!("{scope}/{}", conv.name)).collect();
        for (index, layer) in names.iter().enumerate() {
            let trainer_layer = &mut self.layers[index];
            let numbers = self.variables.layer_mut(index).named_mut();
            let trained = [&mut trainer_layer.weights, &mut trainer_layer.shift];
            for ((variable, _), trained) in numbers.iter().zip(trained) {
                for (slot, values) in slots.iter().zip(trained.iter_mut().flat_map(|t| &mut t.slots)) {
                    copy(format!("{layer}/{variable}/{slot}"), values);
                }
            }
            for (variable, values) in numbers {
                copy(format!("{layer}/{variable}"), values);
            }
            if let Some(averaged) = &mut self.averaged {
                for (variable, values) in averaged.layer_mut(index).named_mut() {
                    copy(format!("{layer}/{variable}/{AVERAGE}"), values);
                }
            }
        }
        self.global_step = step;
        self.discard();
        self.set_filters(true);
        Ok(())
    }
}
