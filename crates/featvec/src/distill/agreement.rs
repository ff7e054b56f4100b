//! How near a student is to its teacher.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use crate::classify::{softmax, top_k};
use crate::compare::cosine;
use crate::extractor::FeatureExtractor;
use crate::pictures::Preparation;
use crate::plan::{Mode, Value};
use crate::{Error, ErrorKind, Result, Tensor};

/// What student and teacher make of the same pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Agreement {
    /// How many pictures.
    pub pictures: usize,
    /// The share of pictures whose likeliest class is the teacher's.
    pub top1: f64,
    /// The share of pictures for which the teacher's likeliest class is among the student's five likeliest.
    pub top5: f64,
    /// The mean cosine between the two feature vectors, the student's brought to the teacher's scale.
    pub cosine: f64,
    /// The mean Kullback-Leibler divergence of the student's probabilities from the teacher's, in nats.
    pub divergence: f64,
}

/// Pictures run at once.
const BATCH: usize = 16;

/// Compares the `student` that [`distill`](super::distill) made with its `teacher` on the pictures `paths`; `fail` is told
/// which could not be read, and why.
///
/// # Errors
/// [`ErrorKind::Mismatch`] where one is not the student of the other; [`ErrorKind::Argument`] where no picture can be read.
pub fn measure(
    [teacher, student]: [&FeatureExtractor; 2],
    paths: &[PathBuf],
    preparation: &Preparation,
    fail: &mut dyn FnMut(&Path, &Error),
) -> Result<Agreement> {
    let scales = scales([teacher, student])?;
    let threads = NonZeroUsize::new(student.threads()).unwrap_or(NonZeroUsize::MIN);
    let mut sum = Agreement::default();
    for paths in paths.chunks(BATCH) {
        let batch = preparation.prepare_batch(paths, threads)?;
        for (path, outcome) in paths.iter().zip(&batch.outcomes) {
            if let Err(error) = outcome {
                fail(path, error);
            }
        }
        if batch.images.rows() == 0 {
            continue;
        }
        let run = |extractor: &FeatureExtractor| {
            extractor.run(&batch.images, Mode::Inference, &[Value::Features, Value::Logits])
        };
        let [teachers, students]: [Tensor; 2] = {
            let (mut teachers, mut students) = (run(teacher)?, run(student)?);
            for (a, b) in teachers[0].iter_rows().zip(students[0].iter_rows()) {
                let scaled: Vec<f32> = b.iter().zip(&scales).map(|(x, scale)| x * scale).collect();
                sum.cosine += cosine(a, &scaled);
            }
            [softmax(teachers.remove(1)), softmax(students.remove(1))]
        };
        for (a, b) in teachers.iter_rows().zip(students.iter_rows()) {
            let b = &b[1..]; // without the background class
            let likeliest =
                |row: &[f32], k| top_k(row, k).into_iter().map(|class| class.index).collect::<Vec<_>>();
            let (wanted, found) = (likeliest(a, 1), likeliest(b, 5));
            sum.pictures += 1;
            sum.top1 += f64::from(u8::from(wanted[0] == found[0]));
            sum.top5 += f64::from(u8::from(found.contains(&wanted[0])));
            let terms = a.iter().zip(b).filter(|(a, _)| **a > 0.0);
            sum.divergence += terms
                .map(|(a, b)| f64::from(*a) * (f64::from(*a) / f64::from(b.max(f32::MIN_POSITIVE))).ln())
                .sum::<f64>();
        }
    }
    if sum.pictures == 0 {
        return Err(Error::new(ErrorKind::Argument, "", "there are no pictures to compare on"));
    }
    let mean = |sum_of: f64| sum_of / sum.pictures as f64;
    Ok(Agreement {
        pictures: sum.pictures,
        top1: mean(sum.top1),
        top5: mean(sum.top5),
        cosine: mean(sum.cosine),
        divergence: mean(sum.divergence),
    })
}

/// What each feature of the student is to be multiplied by: its weights for the classes are the teacher's times this.
fn scales([teacher, student]: [&FeatureExtractor; 2]) -> Result<Vec<f32>> {
    let [teacher, student] = [teacher, student].map(|extractor| extractor.variables());
    let mismatch = || Error::new(ErrorKind::Mismatch, "", "the student has not the teacher's classes");
    let (Some(teachers), Some(students)) = (&teacher.logits, &student.logits) else {
        return Err(mismatch());
    };
    let (Some(classes), true) = (
        teacher.network.classes,
        student.network.classes == teacher.network.classes.map(|classes| classes + 1),
    ) else {
        return Err(mismatch());
    };
    let norm = |row: &[f32]| row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let rows = teachers.weights.chunks_exact(classes).zip(students.weights.chunks_exact(classes + 1));
    Ok(rows.map(|(a, b)| (norm(b) / norm(a).max(f64::MIN_POSITIVE)) as f32).collect())
}
