//! The classifying layer that is put on feature vectors: multinomial logistic regression, trained to convergence.

mod lbfgs;
mod objective;
mod sgd;
mod strength;

use std::num::NonZeroUsize;

use crate::network::{Network, WEIGHTS};
use crate::tensor::first_not_finite;
use crate::variables::{ConvVariables, Shift, Variables};
use crate::{Error, ErrorKind, Result, Tensor};

use objective::Objective;

pub use sgd::{SgdOptions, SgdStep};
pub use strength::{Search, Trial, choose_strength};

/// A linear layer from features to the logits of classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// `[features, classes]`.
    pub weights: Tensor,
    /// One per class.
    pub biases: Vec<f32>,
}

/// Feature vectors with their classes.
#[derive(Clone, Debug)]
pub struct Samples<'a> {
    /// The vectors, all of one length.
    rows: Vec<&'a [f32]>,
    /// The class of each.
    classes: Vec<usize>,
    class_count: usize,
    features: usize,
}

/// How a head is fitted to samples.
#[derive(Clone, Debug)]
pub struct FitOptions {
    /// Let every class count the same, however many samples it has.
    pub balance: bool,
    /// Threads to use. The head has the same bits for any number.
    pub threads: NonZeroUsize,
}

/// What came of a fit.
#[derive(Clone, Debug)]
pub struct Fit {
    /// The head.
    pub head: Head,
    /// The loss after each step: mean cross-entropy and penalty.
    pub losses: Vec<f64>,
}

impl<'a> Samples<'a> {
    /// `rows` with the class of each, of `class_count` classes.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] for rows of several lengths or of none, or for a class that is none; [`ErrorKind::Argument`] for a
    /// row with a number that is not finite.
    pub fn new(rows: Vec<&'a [f32]>, classes: Vec<usize>, class_count: usize) -> Result<Samples<'a>> {
        let features = rows.first().map_or(0, |row| row.len());
        let mismatch = |message: String| Error::new(ErrorKind::Mismatch, "samples", message);
        if rows.len() != classes.len() || rows.iter().any(|row| row.is_empty() || row.len() != features) {
            return Err(mismatch(format!(
                "{} vectors of {features} numbers need as many classes",
                rows.len()
            )));
        }
        if let Some(class) = classes.iter().find(|class| **class >= class_count) {
            return Err(mismatch(format!("class {class} of {class_count}")));
        }
        for (index, row) in rows.iter().enumerate() {
            if let Some(at) = first_not_finite(row) {
                let message = format!("feature {at} is {}", row[at]);
                return Err(Error::new(ErrorKind::Argument, format!("sample {index}"), message));
            }
        }
        Ok(Samples { rows, classes, class_count, features })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// These and `others`.
    #[must_use]
    pub fn with(mut self, others: &Samples<'a>) -> Samples<'a> {
        self.rows.extend(&others.rows);
        self.classes.extend(&others.classes);
        self
    }

    /// The class of each sample.
    pub fn classes(&self) -> &[usize] {
        &self.classes
    }

    /// What each sample counts: 1, or with `balance` so that all classes count the same, and all samples together as
    /// many as there are.
    fn weights(&self, balance: bool) -> Vec<f64> {
        if !balance {
            return vec![1.0; self.len()];
        }
        let mut counts = vec![0usize; self.class_count];
        self.classes.iter().for_each(|class| counts[*class] += 1);
        let present = counts.iter().filter(|count| **count > 0).count();
        let weight = |class: &usize| self.len() as f64 / (present * counts[*class]) as f64;
        self.classes.iter().map(weight).collect()
    }
}

impl Head {
    /// Minimises the mean cross-entropy of `samples` + `strength` / 2 · (sum of squared weights), by L-BFGS. The optimum
    /// is unique but for a constant on all biases; it is the one that scikit-learn's `LogisticRegression` has for C = 1 /
    /// (`strength` · samples).
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a strength that is not positive, or for no samples.
    pub fn fit(samples: &Samples<'_>, strength: f64, options: &FitOptions) -> Result<Fit> {
        Head::zero(samples).fit_on(samples, strength, options)
    }

    /// Like [`fit`](Head::fit), beginning from this head: the same optimum, sooner where it is near.
    ///
    /// # Errors
    /// As there; [`ErrorKind::Mismatch`] for samples with other features or classes.
    pub fn fit_on(&self, samples: &Samples<'_>, strength: f64, options: &FitOptions) -> Result<Fit> {
        strength::check(samples, strength)?;
        let shape = [samples.features, samples.class_count];
        if self.weights.shape() != shape {
            let message = format!("a head of {:?}, and samples of {shape:?}", self.weights.shape());
            return Err(Error::new(ErrorKind::Mismatch, "head", message));
        }
        let objective = Objective::new(samples, &samples.weights(options.balance), options.threads);
        let start = objective.place(self);
        let minimum = lbfgs::minimize(&objective, strength, start, lbfgs::CONVERGED);
        Ok(Fit { head: objective.head(&minimum.place), losses: minimum.values })
    }

    /// The classifying layer of `variables`, if they have one.
    pub fn of(variables: &Variables) -> Option<Head> {
        let logits = variables.logits.as_ref()?;
        let Shift::Bias(biases) = &logits.shift else { return None };
        let shape = [variables.network.features(), biases.len()];
        let weights = Tensor::new(shape, logits.weights.clone()).ok()?;
        Some(Head { weights, biases: biases.clone() })
    }

    /// One that finds all classes equally likely.
    fn zero(samples: &Samples<'_>) -> Head {
        let weights = Tensor::zeros(vec![samples.features, samples.class_count]);
        Head { weights, biases: vec![0.0; samples.class_count] }
    }

    /// The logits of `rows`, `[rows, classes]`, with sums in `f64`.
    pub fn logits(&self, rows: &[&[f32]]) -> Tensor {
        let classes = self.biases.len();
        let mut logits = Vec::with_capacity(rows.len() * classes);
        for row in rows {
            let mut sums: Vec<f64> = self.biases.iter().map(|bias| f64::from(*bias)).collect();
            for (x, weights) in row.iter().zip(self.weights.iter_rows()) {
                sums.iter_mut().zip(weights).for_each(|(sum, w)| *sum += f64::from(*x) * f64::from(*w));
            }
            logits.extend(sums.iter().map(|sum| *sum as f32));
        }
        Tensor::new([rows.len(), classes], logits).expect("as many logits as rows and classes")
    }

    /// `variables` with this head as the classifying layer in place of their own, if they have one.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] for a head on another number of features than the network has.
    pub fn onto(&self, variables: &Variables) -> Result<Variables> {
        let network = Network { classes: Some(self.biases.len()), ..variables.network };
        if self.weights.rows() != network.features() {
            let message =
                format!("{} features, and the network has {}", self.weights.rows(), network.features());
            return Err(Error::new(ErrorKind::Mismatch, WEIGHTS, message));
        }
        let logits =
            ConvVariables { weights: self.weights.data().to_vec(), shift: Shift::Bias(self.biases.clone()) };
        Ok(Variables { network, logits: Some(logits), ..variables.clone() })
    }
}
