//! Ranges of a module's numbers, variable by variable or stage by stage.

use featvec::Module;
use featvec::module::Format;
use featvec::network::{Conv, MOVING_MEAN, MOVING_VARIANCE, WEIGHTS};
use featvec::variables::ConvVariables;
use serde_json::{Value, json};

/// What is told of some numbers.
pub struct Statistics {
    pub name: String,
    pub count: usize,
    pub min: f32,
    pub max: f32,
    pub mean: f64,
    /// Set where they are one variable's.
    pub variable: Option<Shape>,
}

/// What is told of a variable beside its numbers.
pub struct Shape {
    pub shape: Vec<usize>,
    pub trainable: bool,
}

impl Statistics {
    fn of<'a>(name: String, values: impl IntoIterator<Item = &'a f32>) -> Statistics {
        let (mut count, mut sum) = (0, 0.0);
        let (mut min, mut max) = (f32::INFINITY, f32::NEG_INFINITY);
        for value in values {
            (min, max) = (min.min(*value), max.max(*value));
            sum += f64::from(*value);
            count += 1;
        }
        Statistics { name, count, min, max, mean: sum / count.max(1) as f64, variable: None }
    }

    pub fn to_json(&self) -> Value {
        let mut object = json!({
            "name": self.name,
            "numbers": self.count,
            "min": self.min,
            "max": self.max,
            "mean": self.mean,
        });
        if let Some(variable) = &self.variable {
            object["shape"] = json!(variable.shape);
            object["trainable"] = json!(variable.trainable);
        }
        object
    }
}

/// The layers with their numbers, the classifying one last.
fn layers(module: &Module) -> Vec<(Conv, &ConvVariables)> {
    let variables = module.variables();
    let convs = variables.network.convs().into_iter().chain(variables.network.logits());
    convs.zip(variables.convs.iter().chain(&variables.logits)).collect()
}

/// Every variable.
pub fn by_variable(module: &Module) -> Vec<Statistics> {
    let scope = match module.format() {
        Format::Caffemodel => String::new(),
        _ => format!("{}/", module.variables().network.variant.scope()),
    };
    let mut statistics = Vec::new();
    for (conv, layer) in layers(module) {
        for (name, values) in layer.named() {
            let shape = if name == WEIGHTS { conv.shape.to_vec() } else { vec![values.len()] };
            let trainable = ![MOVING_MEAN, MOVING_VARIANCE].contains(&name);
            statistics.push(Statistics {
                variable: Some(Shape { shape, trainable }),
                ..Statistics::of(format!("{scope}{}/{name}", conv.name), values)
            });
        }
    }
    statistics
}

/// All numbers of each stage together: the stage is what the names of its layers begin with.
pub fn by_stage(module: &Module) -> Vec<Statistics> {
    let layers = layers(module);
    let stage = |conv: &Conv| conv.name.split('/').next().unwrap_or_default().to_string();
    layers
        .chunk_by(|(a, _), (b, _)| stage(a) == stage(b))
        .map(|layers| {
            let values = layers.iter().flat_map(|(_, layer)| layer.named()).flat_map(|(_, values)| values);
            Statistics::of(stage(&layers[0].0), values)
        })
        .collect()
}
