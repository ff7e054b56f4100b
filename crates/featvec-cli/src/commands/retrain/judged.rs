//! Who judges the head: pictures that it has not seen, as far as there are any.

use std::path::Path;

use featvec::data_set::DataSet;
use featvec::evaluate::Evaluation;
use featvec::head::Head;
use featvec::split::Split;

/// What the head makes of some of the pictures.
#[derive(Debug)]
pub struct Judged<'a> {
    /// Which pictures.
    pub split: Split,
    /// Their files.
    pub pictures: Vec<&'a Path>,
    /// What came out.
    pub evaluation: Evaluation,
}

/// The vectors of a data set's pictures; none for a picture that could not be read.
pub type Vectors = [Option<Vec<f32>>];

impl<'a> Judged<'a> {
    /// Of the test pictures; where there are none, of the validation pictures, by the head that has not seen them; where
    /// there are none either, of those that it was trained with.
    pub fn new(set: &'a DataSet, vectors: &Vectors, (head, apart): (&Head, &Head)) -> Judged<'a> {
        let of = |split, head| Judged::of(split, (set, vectors), head);
        let test = of(Split::Test, head);
        if !test.pictures.is_empty() {
            return test;
        }
        let validation = of(Split::Validation, apart);
        if validation.pictures.is_empty() { of(Split::Training, head) } else { validation }
    }

    /// Of the pictures of `split`, by `head`.
    pub fn of(split: Split, (set, vectors): (&'a DataSet, &Vectors), head: &Head) -> Judged<'a> {
        let mut pictures = Vec::new();
        let mut rows = Vec::new();
        let mut truth = Vec::new();
        for index in set.of(split) {
            if let Some(vector) = &vectors[index] {
                let picture = &set.pictures[index];
                pictures.push(picture.path.as_path());
                rows.push(&vector[..]);
                truth.push(picture.class);
            }
        }
        Judged { split, pictures, evaluation: Evaluation::new(head.logits(&rows), &truth) }
    }

    /// What the pictures are called.
    pub fn name(&self) -> &'static str {
        match self.split {
            Split::Test => "test",
            Split::Validation => "validation",
            Split::Training => "training",
        }
    }
}
