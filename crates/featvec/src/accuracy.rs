//! What another way of computing does to the vectors of real pictures.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use crate::classify::top_k;
use crate::compare::cosine;
use crate::extractor::FeatureExtractor;
use crate::pictures::Preparation;
use crate::plan::{Mode, Value};
use crate::{Error, ErrorKind, Result};

/// How near the vectors of two extractors are to each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Accuracy {
    /// Pictures that both computed.
    pub pictures: usize,
    /// Pictures that could not be read.
    pub failed: usize,
    /// The mean cosine between the two vectors of a picture.
    pub mean_cosine: f64,
    /// The smallest.
    pub worst_cosine: f64,
    /// The picture that has it.
    pub worst_picture: PathBuf,
    /// The share of pictures whose likeliest class is the same; none where the network has no classes.
    pub top1_agreement: Option<f64>,
}

/// Prepares the pictures `paths`, a `batch` at a time, and gives them to both extractors, which differ in how they
/// compute and not in the network. `fail` is told which pictures could not be read, and why.
///
/// # Errors
/// [`ErrorKind::Argument`] where no picture can be read; those of [`FeatureExtractor::run`].
pub fn compare(
    [reference, candidate]: [&FeatureExtractor; 2],
    paths: &[PathBuf],
    (preparation, batch): (&Preparation, NonZeroUsize),
    fail: &mut dyn FnMut(&Path, &Error),
) -> Result<Accuracy> {
    let values = match reference.variables().logits {
        Some(_) => &[Value::Features, Value::Logits][..],
        None => &[Value::Features],
    };
    let threads = NonZeroUsize::new(candidate.threads()).unwrap_or(NonZeroUsize::MIN);
    let mut cosines: Vec<(f64, &Path)> = Vec::new();
    let mut agreements = 0;
    for paths in paths.chunks(batch.get()) {
        let prepared = preparation.prepare_batch(paths, threads)?;
        let mut read = Vec::with_capacity(paths.len());
        for (path, outcome) in paths.iter().zip(&prepared.outcomes) {
            match outcome {
                Ok(_) => read.push(path.as_path()),
                Err(error) => fail(path, error),
            }
        }
        if read.is_empty() {
            continue;
        }
        let [expected, got] =
            [reference, candidate].map(|extractor| extractor.run(&prepared.images, Mode::Inference, values));
        let (expected, got) = (expected?, got?);
        let vectors = expected[0].iter_rows().zip(got[0].iter_rows());
        cosines.extend(vectors.map(|(a, b)| cosine(a, b)).zip(read));
        if let ([_, expected], [_, got]) = (&expected[..], &got[..]) {
            let logits = expected.iter_rows().zip(got.iter_rows());
            agreements += logits.filter(|(a, b)| top_1(a) == top_1(b)).count();
        }
    }
    let Some(&(worst_cosine, worst_picture)) = cosines.iter().min_by(|a, b| a.0.total_cmp(&b.0)) else {
        return Err(Error::new(ErrorKind::Argument, "", "there are no pictures to compare vectors of"));
    };
    let pictures = cosines.len();
    Ok(Accuracy {
        pictures,
        failed: paths.len() - pictures,
        mean_cosine: cosines.iter().map(|(cosine, _)| cosine).sum::<f64>() / pictures as f64,
        worst_cosine,
        worst_picture: worst_picture.to_owned(),
        top1_agreement: (values.len() > 1).then(|| agreements as f64 / pictures as f64),
    })
}

fn top_1(logits: &[f32]) -> Option<usize> {
    top_k(logits, 1).first().map(|prediction| prediction.index)
}
