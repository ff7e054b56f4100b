//! What training begins with: random numbers, or a network that is trained already; and its teacher.

use clap::Args;
use featvec::extractor::{FeatureExtractor, RunOptions};
use featvec::handle::Handle;
use featvec::network::{Network, Variant};
use featvec::source::{self, Source};
use featvec::teacher::{Teacher, TeacherOptions};
use featvec::train::frozen_but;
use featvec::variables::{BeginFrom, Trained, Variables};
use featvec::{Error, ErrorKind, Module, Precision, Result};

use crate::options::{FetchArgs, LoadArgs};
use crate::talk::Talk;

/// Options of what training begins with.
#[derive(Args)]
#[command(next_help_heading = "Network")]
pub struct BeginArgs {
    /// Begin with the variables of this module or checkpoint, instead of random ones
    #[arg(long, value_name = "HANDLE")]
    module: Option<String>,

    /// Names, or beginnings of names, of variables that begin with random numbers all the same
    #[arg(long, value_name = "SCOPE,..", value_delimiter = ',', requires = "module")]
    checkpoint_exclude_scopes: Vec<String>,

    /// Begin variables that the checkpoint does not have with random numbers
    #[arg(long, requires = "module")]
    ignore_missing_vars: bool,

    /// Names, or beginnings of names, of the variables to train [default: all]
    #[arg(long, value_name = "SCOPE,..", value_delimiter = ',')]
    trainable_scopes: Vec<String>,

    /// A module to learn from as well: its probabilities and feature vectors for the same pictures
    #[arg(long, value_name = "HANDLE", help_heading = "Teacher")]
    pub teacher: Option<String>,

    /// What logits are divided by before probabilities are compared
    #[arg(long, value_name = "T", default_value_t = 4.0, requires = "teacher", help_heading = "Teacher")]
    temperature: f32,

    /// What the teacher's probabilities count [default: 1, or 0 where it has other classes]
    #[arg(long, value_name = "W", requires = "teacher", help_heading = "Teacher")]
    soft_weight: Option<f32>,

    /// What the teacher's feature vectors count
    #[arg(long, value_name = "W", default_value_t = 1.0, requires = "teacher", help_heading = "Teacher")]
    feature_weight: f32,

    /// What the labels count; with 0 the network gets the teacher's classes instead of those of the pictures
    #[arg(long, value_name = "W", default_value_t = 1.0, requires = "teacher", help_heading = "Teacher")]
    label_weight: f32,

    #[command(flatten)]
    pub fetch: FetchArgs,
}

impl BeginArgs {
    /// The teacher's network, if there is one.
    ///
    /// # Errors
    /// Those of [`Module::load`].
    pub fn load_teacher(&self, talk: &Talk) -> Result<Option<Variables>> {
        let handle = self.teacher.as_deref();
        handle.map(|handle| Ok(self.load(handle, talk)?.variables().clone())).transpose()
    }

    /// The classes of a network that learns from `teacher` alone; none where labels count.
    ///
    /// # Errors
    /// A teacher without classes.
    pub fn classes_of(&self, teacher: &Variables) -> Result<Option<usize>> {
        if self.label_weight > 0.0 {
            return Ok(None);
        }
        teacher.network.classes.map(Some).ok_or_else(|| {
            Error::new(ErrorKind::Mismatch, "teacher", "it has no classes that could be learned")
                .with_hint("give a classification module, or let the labels count")
        })
    }

    /// `teacher` as one of a network with `classes` classes, with a background class in front or not.
    ///
    /// # Errors
    /// Those of [`Teacher::new`].
    pub fn teacher(&self, teacher: Variables, (classes, background): (usize, bool)) -> Result<Teacher> {
        let own = teacher.network.classes.map(|own| own + usize::from(background));
        let options = TeacherOptions {
            temperature: self.temperature,
            soft_weight: self.soft_weight.unwrap_or(if own == Some(classes) { 1.0 } else { 0.0 }),
            feature_weight: self.feature_weight,
            label_weight: self.label_weight,
            background,
        };
        Teacher::new(FeatureExtractor::new(teacher, &RunOptions::default())?, options, classes)
    }

    /// The variables to begin with, for `classes` classes.
    ///
    /// # Errors
    /// Those of [`Module::load`] and [`Variables::begin_from`].
    pub fn variables(&self, classes: usize, seed: u64, talk: &Talk) -> Result<Variables> {
        let network = |variant| Network { variant, classes: Some(classes) };
        let Some(handle) = &self.module else {
            return Ok(Variables::random(network(Variant::Slim), seed));
        };
        let options = BeginFrom {
            exclude: self.checkpoint_exclude_scopes.clone(),
            ignore_missing: self.ignore_missing_vars,
        };
        // A checkpoint need not be a whole network.
        let checkpoint = match Handle::parse(handle)?.path() {
            None => None,
            Some(path) => match source::open(path, &self.fetch.limits())? {
                Source::Checkpoint(checkpoint) => Some(checkpoint),
                _ => None,
            },
        };
        let (variables, kept) = match checkpoint {
            Some(checkpoint) => {
                let mut variables = Variables::random(network(Variant::Slim), seed);
                let kept = variables.begin_from(Trained::Checkpoint(&checkpoint), &options);
                (variables, kept.map_err(|error| error.within(handle))?)
            }
            None => {
                let module = self.load(handle, talk)?;
                let trained = module.variables();
                let mut variables = Variables::random(network(trained.network.variant), seed);
                (variables.affine, variables.epsilon) = (trained.affine, trained.epsilon);
                let kept = variables.begin_from(Trained::Variables(trained), &options);
                (variables, kept.map_err(|error| error.within(handle))?)
            }
        };
        if !kept.is_empty() {
            let some = kept.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
            let more = if kept.len() > 3 { format!(" and {} more", kept.len() - 3) } else { String::new() };
            talk.note(format_args!("begun with new numbers: {some}{more}"));
        }
        Ok(variables)
    }

    /// The names of variables that are not trained.
    ///
    /// # Errors
    /// A scope that no variable is in.
    pub fn frozen(&self, variables: &Variables) -> Result<Vec<String>> {
        frozen_but(variables, &self.trainable_scopes)
    }

    fn load(&self, handle: &str, talk: &Talk) -> Result<Module> {
        LoadArgs::inference(self.fetch.clone()).load(handle, (Precision::F32, true), talk)
    }
}
