//! A network that another one learns from: distillation (Hinton et al., *Distilling the Knowledge in a Neural Network*,
//! 2015), with feature matching.

use crate::extractor::FeatureExtractor;
use crate::plan::{Mode, Value};
use crate::train::{Distillation, FeatureTarget, SoftTargets, Targets};
use crate::{Error, ErrorKind, Result, Tensor};

/// What the parts of the loss count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TeacherOptions {
    /// What both networks' logits are divided by before softmax.
    pub temperature: f32,
    /// What it counts to predict the teacher's probabilities.
    pub soft_weight: f32,
    /// What it counts to have the teacher's feature vectors.
    pub feature_weight: f32,
    /// What it counts to predict the label.
    pub label_weight: f32,
    /// Whether the student has one more class in front of the teacher's, as TF-Slim's background.
    pub background: bool,
}

impl Default for TeacherOptions {
    fn default() -> TeacherOptions {
        TeacherOptions {
            temperature: 4.0,
            soft_weight: 1.0,
            feature_weight: 1.0,
            label_weight: 1.0,
            background: false,
        }
    }
}

/// A trained network, and what is learned from it. It sees the pictures that the student sees, scaled its own way.
pub struct Teacher {
    extractor: FeatureExtractor,
    options: TeacherOptions,
}

/// What a teacher makes of a batch.
#[derive(Debug)]
pub struct Lesson {
    logits: Option<Tensor>,
    features: Option<Tensor>,
    options: TeacherOptions,
}

impl Teacher {
    /// The network that `extractor` runs as a teacher of one with `classes` classes.
    ///
    /// # Errors
    /// Weights that are no numbers of at least 0, or all 0; probabilities of a network without classes or with others.
    pub fn new(extractor: FeatureExtractor, options: TeacherOptions, classes: usize) -> Result<Teacher> {
        let argument = |message: String| Err(Error::new(ErrorKind::Argument, "teacher", message));
        let TeacherOptions { temperature, soft_weight, feature_weight, label_weight, background } = options;
        let weights = [soft_weight, feature_weight, label_weight];
        if weights.iter().any(|weight| !(*weight >= 0.0 && weight.is_finite())) {
            return argument(format!("weights of {weights:?}; 0 or more expected"));
        }
        if soft_weight == 0.0 && feature_weight == 0.0 {
            return argument("nothing is learned from it: all its weights are 0".to_string());
        }
        if !(temperature > 0.0 && temperature.is_finite()) {
            return argument(format!("a temperature of {temperature}; more than 0 expected"));
        }
        let own = extractor.variables().network.classes.map(|own| own + usize::from(background));
        if soft_weight > 0.0 && own != Some(classes) {
            let own = own.map_or("no classes".to_string(), |own| format!("{own} classes"));
            let message = format!("it has {own}, and the network that learns from it {classes}");
            return Err(Error::new(ErrorKind::Mismatch, "teacher", message)
                .with_hint("learn its feature vectors only, with --soft-weight 0"));
        }
        Ok(Teacher { extractor, options })
    }

    /// Whether the labels count beside it.
    pub fn uses_labels(&self) -> bool {
        self.options.label_weight > 0.0
    }

    /// What it makes of `images`, `[n, h, w, 3]` in [0, 1].
    ///
    /// # Errors
    /// Those of [`FeatureExtractor::run`].
    pub fn lesson(&self, images: &Tensor) -> Result<Lesson> {
        let wanted =
            [(Value::Features, self.options.feature_weight), (Value::Logits, self.options.soft_weight)];
        let mut lesson = Lesson { logits: None, features: None, options: self.options };
        let values: Vec<Value> =
            wanted.iter().filter(|(_, weight)| *weight > 0.0).map(|(value, _)| *value).collect();
        for (value, tensor) in values.iter().zip(self.extractor.run(images, Mode::Inference, &values)?) {
            match value {
                Value::Logits if self.options.background => lesson.logits = Some(with_background(&tensor)?),
                Value::Logits => lesson.logits = Some(tensor),
                _ => lesson.features = Some(tensor),
            }
        }
        Ok(lesson)
    }
}

impl Lesson {
    /// It as targets of a step, beside the `labels`.
    pub fn targets<'a>(&'a self, labels: &'a [usize]) -> Targets<'a> {
        let TeacherOptions { temperature, soft_weight, feature_weight, label_weight, .. } = self.options;
        let features = self.features.iter();
        Targets::Distill(Distillation {
            soft: self.logits.as_ref().map(|logits| SoftTargets { logits, temperature, weight: soft_weight }),
            features: features
                .map(|target| FeatureTarget { value: Value::Features, target, weight: feature_weight })
                .collect(),
            labels: (label_weight > 0.0).then_some((labels, label_weight)),
        })
    }
}

/// A class in front that is as unlikely as the least likely one.
pub(crate) fn with_background(logits: &Tensor) -> Result<Tensor> {
    let classes = logits.shape().last().copied().unwrap_or(0);
    let mut data = Vec::with_capacity(logits.rows() * (classes + 1));
    for row in logits.iter_rows() {
        data.push(row.iter().copied().fold(f32::INFINITY, f32::min));
        data.extend(row);
    }
    Tensor::new([logits.rows(), classes + 1], data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extractor::RunOptions;
    use crate::network::{Network, Variant};
    use crate::variables::Variables;

    fn extractor(classes: Option<usize>) -> FeatureExtractor {
        let network = Network { variant: Variant::Slim, classes };
        FeatureExtractor::new(Variables::random(network, 1), &RunOptions::default()).unwrap()
    }

    #[test]
    fn a_lesson_is_what_the_teacher_gives() {
        let images =
            Tensor::new([2, 32, 32, 3], (0..6144).map(|i| (i % 256) as f32 / 256.0).collect()).unwrap();
        let expected =
            extractor(Some(4)).run(&images, Mode::Inference, &[Value::Logits, Value::Features]).unwrap();
        let options = TeacherOptions { background: true, ..TeacherOptions::default() };
        let lesson = Teacher::new(extractor(Some(4)), options, 5).unwrap().lesson(&images).unwrap();
        assert_eq!(lesson.features.as_ref(), Some(&expected[1]));
        let logits = lesson.logits.as_ref().unwrap();
        assert_eq!(logits.shape(), [2, 5]);
        for (padded, row) in logits.iter_rows().zip(expected[0].iter_rows()) {
            assert_eq!(padded[1..], *row);
            assert!(row.iter().all(|logit| *logit >= padded[0]));
        }
        let Targets::Distill(targets) = lesson.targets(&[3, 4]) else { panic!("a distillation") };
        assert_eq!(targets.labels, Some((&[3, 4][..], 1.0)));
        assert_eq!((targets.features.len(), targets.soft.unwrap().temperature), (1, 4.0));
    }

    #[test]
    fn what_cannot_be_learned_is_refused() {
        let message = |classes, options| {
            Teacher::new(extractor(classes), options, 5).map(drop).unwrap_err().to_string()
        };
        let default = TeacherOptions::default();
        assert!(message(Some(4), default).contains("it has 4 classes"));
        assert!(message(None, default).contains("it has no classes"));
        let none = TeacherOptions { soft_weight: 0.0, feature_weight: 0.0, ..default };
        assert!(message(Some(5), none).contains("nothing is learned"));
        assert!(message(Some(5), TeacherOptions { label_weight: -1.0, ..default }).contains("0 or more"));
        assert!(message(Some(5), TeacherOptions { temperature: 0.0, ..default }).contains("more than 0"));
    }
}
