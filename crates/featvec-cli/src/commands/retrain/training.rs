//! The head: how it is asked for, and how it is trained.

use std::num::NonZeroUsize;
use std::time::{Instant, SystemTime};

use clap::Args;
use featvec::Error;
use featvec::head::{FitOptions, Head, Samples, SgdOptions, Trial, choose_strength};
use serde_json::{Value, json};

use super::history::{History, Pictures};
use crate::talk::Talk;

/// How the head is trained.
#[derive(Args)]
#[command(next_help_heading = "Training")]
pub struct TrainingArgs {
    /// Strength of the L2 penalty, the factor of half the sum of squared weights [default: the one whose head finds the
    /// validation pictures likeliest]
    #[arg(long, value_name = "L2", value_parser = positive)]
    strength: Option<f64>,

    /// Let every class count the same, however many pictures it has
    #[arg(long)]
    pub balance: bool,

    /// Keep the head that has not seen the validation pictures, instead of fitting it again with them
    #[arg(long)]
    no_refit: bool,

    /// Plain gradient descent with a fixed rate, as retrain.py: batches of random pictures of random classes
    #[arg(long, conflicts_with_all = ["strength", "balance", "no_refit"])]
    sgd: bool,

    /// Factor of the gradient
    #[arg(long, value_name = "RATE", default_value = "0.01", requires = "sgd", value_parser = positive)]
    learning_rate: f64,

    /// Steps of gradient descent
    #[arg(long, value_name = "N", default_value = "4000", requires = "sgd")]
    steps: NonZeroUsize,

    /// Pictures a step
    #[arg(long, value_name = "N", default_value = "100", requires = "sgd")]
    train_batch: NonZeroUsize,

    /// Steps from one look at the validation pictures to the next
    #[arg(long, value_name = "N", default_value = "10", requires = "sgd")]
    validate_every: NonZeroUsize,

    /// Where the random numbers of --sgd and --fine-tune begin: the same seed, the same result
    #[arg(long, value_name = "N", default_value = "0")]
    pub seed: u64,
}

/// A trained head, and how it came about.
#[derive(Debug)]
pub struct Trained {
    /// The head.
    pub head: Head,
    /// One that has not seen the validation pictures: the same, or what it was before them.
    pub apart: Head,
    /// How training went.
    pub history: History,
    /// How it was trained, for people.
    pub facts: Vec<(String, String)>,
    /// The same for programs.
    pub json: Value,
}

impl Trained {
    /// An event file for TensorBoard.
    pub fn events(&self, pictures: Pictures) -> Vec<u8> {
        let histograms = [("weights", self.head.weights.data()), ("biases", &self.head.biases[..])];
        let of_training = if pictures == Pictures::Training { &histograms[..] } else { &[] };
        self.history.events(pictures, of_training, SystemTime::now())
    }
}

impl TrainingArgs {
    /// Trains a head.
    ///
    /// # Errors
    /// No pictures to train with; a loss that is not finite.
    pub fn train(
        &self,
        training: &Samples<'_>,
        validation: &Samples<'_>,
        threads: NonZeroUsize,
        talk: &Talk,
    ) -> Result<Trained, Error> {
        let start = Instant::now();
        let mut trained = if self.sgd {
            self.descend(training, validation, talk)?
        } else {
            self.fit(training, validation, (threads, talk))?
        };
        talk.end();
        let seconds = start.elapsed().as_secs_f64();
        trained.facts.push(("Head trained in".to_string(), format!("{seconds:.2} s")));
        trained.json["seconds"] = json!(seconds);
        Ok(trained)
    }

    fn fit(
        &self,
        training: &Samples<'_>,
        validation: &Samples<'_>,
        (threads, talk): (NonZeroUsize, &Talk),
    ) -> Result<Trained, Error> {
        let options = FitOptions { balance: self.balance, threads };
        let mut history = History::new("strength", true);
        let mut trials: Vec<Trial> = Vec::new();
        talk.begin_steps();
        let (strength, apart) = match self.strength {
            Some(strength) => (strength, None),
            None if validation.is_empty() => {
                // scikit-learn's default.
                let strength = 1.0 / training.len() as f64;
                talk.note(format_args!(
                    "no validation pictures to choose by: the strength is {strength:.2e}"
                ));
                (strength, None)
            }
            None => {
                let search = choose_strength(training, validation, &options, &mut |trial| {
                    let at = (trials.len(), trial.strength);
                    history.add(("loss", Pictures::Training), at, trial.training_loss);
                    history.add(("loss", Pictures::Validation), at, trial.validation_loss);
                    history.add(("accuracy", Pictures::Validation), at, trial.validation_accuracy);
                    trials.push(*trial);
                    talk.advance_to(format_args!(
                        "strength {:.1e}: loss {:.4}, validation accuracy {:.1} %",
                        trial.strength,
                        trial.training_loss,
                        100.0 * trial.validation_accuracy
                    ));
                })?;
                (search.trials[search.best].strength, Some(search.head))
            }
        };
        let apart = match apart {
            // It is near the optimum; who keeps it wants the optimum.
            Some(head) if self.no_refit => head.fit_on(training, strength, &options)?.head,
            Some(head) => head,
            None => Head::fit(training, strength, &options)?.head,
        };
        let refit = !self.no_refit && !validation.is_empty();
        let head = match refit {
            true => apart.fit_on(&training.clone().with(validation), strength, &options)?.head,
            false => apart.clone(),
        };
        let how = match trials.len() {
            0 => format!("{strength:.3e}"),
            tried => format!("{strength:.3e}, the best of {tried} on the validation pictures"),
        };
        let pictures = if refit { "the training and validation pictures" } else { "the training pictures" };
        let facts = vec![
            ("Head".to_string(), "multinomial logistic regression, by L-BFGS".to_string()),
            ("Strength of the penalty".to_string(), how),
            ("Fitted to".to_string(), pictures.to_string()),
            (
                "Classes count".to_string(),
                if self.balance { "the same" } else { "by their pictures" }.to_string(),
            ),
        ];
        let tried: Vec<Value> = trials
            .iter()
            .map(|trial| {
                json!({
                    "strength": trial.strength,
                    "training_loss": trial.training_loss,
                    "validation_loss": trial.validation_loss,
                    "validation_accuracy": trial.validation_accuracy,
                    "steps": trial.steps,
                })
            })
            .collect();
        let json = json!({
            "method": "l-bfgs", "strength": strength, "balance": self.balance, "refit": refit, "trials": tried,
        });
        Ok(Trained { head, apart, history, facts, json })
    }

    fn descend(
        &self,
        training: &Samples<'_>,
        validation: &Samples<'_>,
        talk: &Talk,
    ) -> Result<Trained, Error> {
        let options = SgdOptions {
            learning_rate: self.learning_rate as f32,
            steps: self.steps.get(),
            batch: self.train_batch.get(),
            validate_every: self.validate_every.get(),
            seed: self.seed,
        };
        let mut history = History::new("step", false);
        let mut done = 0;
        talk.begin(options.steps);
        let head = Head::descend(training, validation, &options, &mut |step| {
            let at = (step.step, step.step as f64);
            history.add(("loss", Pictures::Training), at, step.training_loss);
            history.add(("accuracy", Pictures::Training), at, step.training_accuracy);
            let mut told = format!("loss {:.4}", step.training_loss);
            if let (Some(loss), Some(accuracy)) = (step.validation_loss, step.validation_accuracy) {
                history.add(("loss", Pictures::Validation), at, loss);
                history.add(("accuracy", Pictures::Validation), at, accuracy);
                told += &format!(", validation accuracy {:.1} %", 100.0 * accuracy);
            }
            talk.advance(step.step - done);
            talk.describe(told);
            done = step.step;
        })?;
        let (learning_rate, SgdOptions { steps, batch, seed, .. }) = (self.learning_rate, options);
        let how = format!(
            "plain gradient descent: {steps} steps of {batch} pictures, rate {learning_rate}, seed {seed}"
        );
        let json = json!({
            "method": "sgd", "learning_rate": learning_rate, "steps": steps, "batch": batch, "seed": seed,
        });
        let facts = vec![("Head".to_string(), how)];
        Ok(Trained { apart: head.clone(), head, history, facts, json })
    }
}

pub fn positive(text: &str) -> Result<f64, &'static str> {
    text.parse().ok().filter(|x: &f64| x.is_finite() && *x > 0.0).ok_or("a positive number is needed")
}
