//! What a step is to learn, and how far it is from that.

use std::collections::BTreeMap;

use super::loss::{Loss, count_correct, feature_matching, soft_targets, softmax_cross_entropy};
use crate::Result;
use crate::plan::Value;
use crate::tensor::Tensor;

/// What the pictures of a batch are to give.
#[derive(Clone, Debug)]
pub enum Targets<'a> {
    /// The class of each picture: softmax cross-entropy of the logits.
    Labels(&'a [usize]),
    /// What another network, the teacher, gives for the same pictures: the weighted sum of the losses named.
    Distill(Distillation<'a>),
}

/// A teacher's outputs, and what each counts.
#[derive(Clone, Debug, Default)]
pub struct Distillation<'a> {
    /// Its logits.
    pub soft: Option<SoftTargets<'a>>,
    /// Its inner values.
    pub features: Vec<FeatureTarget<'a>>,
    /// The class of each picture, and the weight of the softmax cross-entropy.
    pub labels: Option<(&'a [usize], f32)>,
}

/// A teacher's logits as targets: see [`soft_targets`].
#[derive(Clone, Copy, Debug)]
pub struct SoftTargets<'a> {
    /// `[n, classes]`, before softmax.
    pub logits: &'a Tensor,
    /// What both networks' logits are divided by.
    pub temperature: f32,
    /// What the loss counts.
    pub weight: f32,
}

/// A teacher's value as a target: see [`feature_matching`].
#[derive(Clone, Copy, Debug)]
pub struct FeatureTarget<'a> {
    /// Which value of the network that is trained.
    pub value: Value,
    /// What it is to be, in its shape.
    pub target: &'a Tensor,
    /// What the loss counts.
    pub weight: f32,
}

/// The losses of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Losses {
    /// All of it.
    pub total: f32,
    /// That of the targets.
    pub data: f32,
    /// That of the weights: `weight_decay / 2` times the sum of their squares.
    pub regularization: f32,
    /// Pictures whose largest logit is at their label, where there are labels.
    pub correct: usize,
}

/// A loss of the network's values, and its gradients to them.
pub(super) struct Evaluated {
    pub data: f64,
    pub correct: usize,
    pub gradients: Vec<(Value, Tensor)>,
}

impl Targets<'_> {
    /// The values of the network that the loss depends on, each once.
    pub(super) fn values(&self) -> Vec<Value> {
        let mut values = match self {
            Targets::Labels(_) => vec![Value::Logits],
            Targets::Distill(distillation) => {
                let logits = distillation.soft.is_some() || distillation.labels.is_some();
                let features = distillation.features.iter().map(|target| target.value);
                features.chain(logits.then_some(Value::Logits)).collect()
            }
        };
        values.sort_unstable();
        values.dedup();
        values
    }

    /// The loss, given the `values` of the network.
    pub(super) fn evaluate(&self, values: &BTreeMap<Value, Tensor>, smoothing: f32) -> Result<Evaluated> {
        let mut evaluated = Evaluated { data: 0.0, correct: 0, gradients: Vec::new() };
        let mut add = |value: Value, weight: f32, loss: Loss| {
            evaluated.data += f64::from(weight) * loss.value;
            let (shape, mut gradient) = (loss.gradient.shape().to_vec(), loss.gradient.into_data());
            gradient.iter_mut().for_each(|g| *g *= weight);
            Tensor::new(shape, gradient).map(|gradient| evaluated.gradients.push((value, gradient)))
        };
        let mut hard = None;
        match self {
            Targets::Labels(labels) => hard = Some((*labels, 1.0)),
            Targets::Distill(distillation) => {
                if let Some(SoftTargets { logits, temperature, weight }) = distillation.soft {
                    let loss = soft_targets(&values[&Value::Logits], logits, temperature)?;
                    add(Value::Logits, weight, loss)?;
                }
                for FeatureTarget { value, target, weight } in &distillation.features {
                    add(*value, *weight, feature_matching(&values[value], target)?)?;
                }
                hard = distillation.labels.or(hard);
            }
        }
        if let Some((labels, weight)) = hard {
            let logits = &values[&Value::Logits];
            add(Value::Logits, weight, softmax_cross_entropy(logits, labels, smoothing)?)?;
            evaluated.correct = count_correct(logits, labels)?;
        }
        Ok(evaluated)
    }
}
