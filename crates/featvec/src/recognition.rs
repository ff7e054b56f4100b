//! How often a classifying network is right.

use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::ahead::Ahead;
use crate::classify::{softmax, top_k};
use crate::crops::Crops;
use crate::evaluate::Share;
use crate::examples::{Examples, Loaded};
use crate::extractor::FeatureExtractor;
use crate::image::DecodeOptions;
use crate::plan::{Mode, Value};
use crate::{Error, ErrorKind, Preset, Result, Tensor};

/// How pictures are given to the network.
#[derive(Clone, Debug)]
pub struct RecognitionOptions {
    /// How a picture is prepared.
    pub preset: Preset,
    /// How it is decoded.
    pub decode: DecodeOptions,
    /// How many views of a picture are averaged: the probabilities are.
    pub crops: Crops,
    /// Height and width of a view.
    pub size: [usize; 2],
    /// Views that go through the network at once, at the least those of one picture.
    pub batch: NonZeroUsize,
}

impl RecognitionOptions {
    /// TF-Slim's: its preset, one view, at `size` `[h, w]`.
    pub fn new(size: [usize; 2]) -> RecognitionOptions {
        let preset = Preset::SlimEval;
        let batch = NonZeroUsize::new(32).expect("32 is not 0");
        RecognitionOptions { preset, decode: preset.decode_options(), crops: Crops::One, size, batch }
    }
}

/// How often the network was right about the pictures of one class, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// How many pictures there were.
    pub pictures: usize,
    /// How often the likeliest class was the right one.
    pub top1: usize,
    /// How often the right one was among the five likeliest.
    pub top5: usize,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Recognition {
    /// All pictures.
    pub total: Score,
    /// By label.
    pub classes: Vec<Score>,
    /// Pictures that could not be read.
    pub unreadable: usize,
}

impl Score {
    /// How often the likeliest class was the right one.
    pub fn top1_share(&self) -> Share {
        Share { count: self.top1, total: self.pictures }
    }

    /// How often the right one was among the five likeliest.
    pub fn top5_share(&self) -> Share {
        Share { count: self.top5, total: self.pictures }
    }

    fn add(&mut self, rank: usize) {
        self.pictures += 1;
        self.top1 += usize::from(rank < 1);
        self.top5 += usize::from(rank < 5);
    }
}

/// Classifies all `examples`, whose labels are classes of the network that `extractor` runs, and compares.
///
/// Pictures are prepared by one thread less than there are, at least one, beside the network. `see` is told how
/// many more pictures were done, and which of them could not be read, and why.
///
/// # Errors
/// A network without classes, or with other ones than the examples; those of [`Examples::load`]; no picture that can be
/// read; those of [`FeatureExtractor::run`].
pub fn measure(
    extractor: &FeatureExtractor,
    examples: &Arc<Examples>,
    options: &RecognitionOptions,
    see: &mut dyn FnMut(usize, &[Error]),
) -> Result<Recognition> {
    let classes = extractor.variables().network.classes.unwrap_or(0);
    if classes != examples.classes().len() {
        let message = format!("the network has {classes} classes, the pictures {}", examples.classes().len());
        return Err(Error::new(ErrorKind::Mismatch, "", message));
    }
    let step = (options.batch.get() / options.crops.count()).max(1);
    let steps = examples.len().div_ceil(step) as u64;
    let threads = NonZeroUsize::new(extractor.threads() - 1).unwrap_or(NonZeroUsize::MIN);
    let (shared, prepared_as) = (Arc::clone(examples), options.clone());
    let batches = Ahead::new(0..steps, threads, move |number| {
        let first = number as usize * step;
        Prepared::new(&shared, first..(first + step).min(shared.len()), &prepared_as)
    })?;
    let mut recognition = Recognition { classes: vec![Score::default(); classes], ..Recognition::default() };
    for batch in batches {
        let batch = batch?;
        recognition.unreadable += batch.unreadable.len();
        let done = batch.labels.len() + batch.unreadable.len();
        if !batch.labels.is_empty() {
            let logits = extractor.run(&batch.views, Mode::Inference, &[Value::Logits])?.remove(0);
            let probabilities = softmax(logits);
            let views = probabilities.data().chunks_exact(classes * options.crops.count());
            for (views, &label) in views.zip(&batch.labels) {
                let predictions = top_k(&mean(views, classes), 5);
                let rank = predictions.iter().position(|prediction| prediction.index == label);
                let rank = rank.unwrap_or(predictions.len().max(5));
                recognition.total.add(rank);
                recognition.classes[label].add(rank);
            }
        }
        see(done, &batch.unreadable);
    }
    if recognition.total.pictures == 0 {
        let message = format!("none of the {} pictures can be read", examples.len());
        return Err(Error::new(ErrorKind::Argument, "", message));
    }
    Ok(recognition)
}

/// The mean of rows of `len` values.
fn mean(rows: &[f32], len: usize) -> Vec<f32> {
    let count = (rows.len() / len) as f64;
    let column = |index: usize| rows[index..].iter().step_by(len).map(|value| f64::from(*value)).sum::<f64>();
    (0..len).map(|index| (column(index) / count) as f32).collect()
}

/// Pictures ready for the network.
struct Prepared {
    /// `[pictures * crops, h, w, 3]`.
    views: Tensor,
    labels: Vec<usize>,
    unreadable: Vec<Error>,
}

impl Prepared {
    fn new(
        examples: &Examples,
        indices: std::ops::Range<usize>,
        options: &RecognitionOptions,
    ) -> Result<Prepared> {
        let ([height, width], crops) = (options.size, options.crops);
        let len = [width, 3, crops.count()].iter().fold(height, |len, factor| len.saturating_mul(*factor));
        let (mut data, mut labels, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
        for index in indices {
            match examples.load(index, &options.decode)? {
                Loaded::Unreadable(error) => unreadable.push(error),
                Loaded::Picture(image, label) => {
                    let start = data.len();
                    data.try_reserve(len).map_err(|error| {
                        let message = "no memory for the pictures of one batch";
                        Error::new(ErrorKind::Limit, "", message).with_source(error)
                    })?;
                    data.resize(start + len, 0.0);
                    crops.prepare(options.preset, &image, (height, width), &mut data[start..]);
                    labels.push(label);
                }
            }
        }
        let views = Tensor::new([labels.len() * crops.count(), height, width, 3], data)?;
        Ok(Prepared { views, labels, unreadable })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_of_columns() {
        assert_eq!(mean(&[0.0, 1.0, 0.5, 0.5], 2), [0.25, 0.75]);
    }
}
