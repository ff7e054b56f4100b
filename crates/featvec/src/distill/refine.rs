//! End to end: a student that has been fitted layer by layer learns, by gradients through the whole network, to have its
//! teacher's maps, feature vectors and probabilities.

use std::collections::BTreeSet;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use crate::ahead::Ahead;
use crate::checkpoints::Checkpoints;
use crate::extractor::FeatureExtractor;
use crate::network::{Body, DEFAULT_SIZE, Network};
use crate::plan::{Mode, Value};
use crate::random::Random;
use crate::teacher::with_background;
use crate::tensor::Tensor;
use crate::train::loss::soft_targets;
use crate::train::{BatchNorm, LearningRate, Optimizer, TrainOptions, Trainer};
use crate::{Error, ErrorKind, Result};

use super::{Fail, Progress, Student, Watch, checkpoint, views};

/// How a student is refined.
#[derive(Clone, Debug, PartialEq)]
pub struct RefineOptions {
    /// Steps; none leaves the student as it is.
    pub steps: u64,
    /// Views in a step.
    pub batch: NonZeroUsize,
    /// The learning rate of the first step, from which it falls along half a cosine wave to nothing.
    pub learning_rate: f32,
    /// What views depend on.
    pub seed: u64,
    /// Threads; the student does not depend on it.
    pub threads: NonZeroUsize,
    /// A folder for checkpoints, so that another run with the same student, photographs and options goes on from the last
    /// one; none keeps nothing.
    pub checkpoints: Option<PathBuf>,
    /// Steps from one checkpoint to the next.
    pub checkpoint_every: NonZeroU64,
}

impl Default for RefineOptions {
    fn default() -> RefineOptions {
        RefineOptions {
            steps: 0,
            batch: NonZeroUsize::new(32).expect("32 is not 0"),
            learning_rate: 4e-5,
            seed: 0,
            threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            checkpoints: None,
            checkpoint_every: NonZeroU64::new(50).expect("50 is not 0"),
        }
    }
}

/// What the parts of the loss count: the maps of each stage, the feature vectors, the probabilities.
const MAPS: f64 = 1.0;
const FEATURES: f64 = 4.0;
const PROBABILITIES: f64 = 1.0;

/// Teaches `student` for as many steps as `options` say what `teacher` makes of views of the photographs `paths`. Batch
/// normalisation and the classifying layer stay as they are.
///
/// # Errors
/// A batch none of whose photographs can be read; a loss that is no number; checkpoints that cannot be written or read.
pub fn refine(
    teacher: &FeatureExtractor,
    student: Student,
    paths: &[PathBuf],
    options: &RefineOptions,
    (progress, fail): (Watch<'_>, Fail<'_>),
) -> Result<Student> {
    if options.steps == 0 {
        return Ok(student);
    }
    let Student { variables, scales } = student;
    let network = variables.network;
    let train = TrainOptions {
        optimizer: Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
        weight_decay: 0.0,
        batch_norm: BatchNorm::Frozen,
        dropout_keep: 1.0,
        frozen: network.logits().map(|logits| logits.name).into_iter().collect(),
        ..TrainOptions::default()
    };
    let name = checkpoint::refining_identity(teacher.variables(), &variables, paths, options);
    let mut trainer = Trainer::new(variables, train, options.threads)?;
    let folder = options.checkpoints.as_ref().map(|folder| folder.join(name));
    let mut checkpoints = folder.map(|folder| Checkpoints::open(&folder, 2)).transpose()?;
    if let Some(state) = checkpoints.as_ref().map(Checkpoints::read_latest).transpose()?.flatten() {
        trainer.restore(&state)?;
    }
    let matched = Matched::all(teacher, &network, &scales);
    let asked = |pick: fn(&Matched) -> Value| matched.iter().map(pick).chain([Value::Logits]).collect();
    let (students, teachers): (Vec<Value>, Vec<Value>) =
        (asked(|matched| matched.student), asked(|matched| matched.teacher));

    let schedule = LearningRate::Cosine { end: 0.0, decay_steps: options.steps };
    let maker = (paths.to_vec(), options.batch.get(), options.seed);
    let batches = Ahead::new(trainer.global_step()..options.steps, options.threads, move |step| {
        batch((&maker.0, maker.1, maker.2), step)
    })?;
    let mut told = BTreeSet::new();
    for pictures in batches {
        let Batch { taught, taken, unreadable } = pictures?;
        for (index, error) in unreadable {
            if told.insert(index) {
                fail(&paths[index], &error);
            }
        }
        let mut wanted = teacher.run(&taught, Mode::Inference, &teachers)?;
        let mut given = trainer.forward(&taken, &students)?;
        let (wanted_logits, given_logits) =
            (with_background(&wanted.pop().expect("logits"))?, given.pop().expect("logits"));
        let probabilities = soft_targets(&given_logits, &wanted_logits, 1.0)?;
        let mut loss = PROBABILITIES * probabilities.value;
        let mut gradients = vec![(Value::Logits, scaled(probabilities.gradient, PROBABILITIES as f32)?)];
        for ((matched, wanted), given) in matched.iter().zip(wanted).zip(given) {
            let weight = if matched.student == Value::Features { FEATURES } else { MAPS };
            let (error, gradient) = map_loss(&given, &wanted, &matched.scales, weight)?;
            loss += weight * error;
            gradients.push((matched.student, gradient));
        }
        if !loss.is_finite() {
            let message = format!("the loss of step {} is {loss}", trainer.global_step());
            return Err(Error::new(ErrorKind::Argument, "", message).with_hint("use a lower learning rate"));
        }
        trainer.backward(&gradients)?;
        trainer.update(schedule.at(options.learning_rate, trainer.global_step()))?;
        let step = trainer.global_step();
        progress(Progress::Step { step, loss });
        if let Some(checkpoints) =
            checkpoints.as_mut().filter(|_| step % options.checkpoint_every == 0 || step == options.steps)
        {
            checkpoints.save(step, &trainer.state())?;
        }
    }
    Ok(Student { variables: trainer.variables().clone(), scales })
}

/// A value of the student that is to be one of the teacher's, once its channels are multiplied by `scales`.
struct Matched {
    student: Value,
    teacher: Value,
    scales: Vec<f32>,
}

impl Matched {
    /// The maps of the stages that count, and the feature vectors.
    fn all(teacher: &FeatureExtractor, network: &Network, scales: &[Vec<f64>]) -> Vec<Matched> {
        let single = |scales: &Vec<f64>| scales.iter().map(|scale| *scale as f32).collect();
        let stages = network.stages().into_iter().zip(teacher.variables().network.stages()).zip(scales);
        let mut all: Vec<Matched> = stages
            .enumerate()
            .filter(|(_, ((stage, _), _))| counts(&stage.body))
            .map(|(index, ((_, teachers), scales))| {
                let student = Value::Stage(index);
                let teacher = if teachers.norm.is_some() { Value::Normed(index) } else { student };
                Matched { student, teacher, scales: single(scales) }
            })
            .collect();
        let (student, teacher) = (Value::Features, Value::Features);
        all.extend(scales.last().map(|scales| Matched { student, teacher, scales: single(scales) }));
        all
    }
}

/// Whether the maps behind a stage count. Those of pools say nothing new; those of the first convolution are right; and those
/// of a 1x1 convolution, which prepares a larger one, may become whatever serves that best.
fn counts(body: &Body) -> bool {
    match body {
        Body::MaxPool(_) => false,
        Body::Conv(conv) => conv.stride == 1 && conv.shape[0] > 1,
        Body::Mixed(_) => true,
    }
}

/// A part of the random numbers; those before it are of epochs.
const VIEWS: u64 = 1 << 32;

/// What a step learns from: the same views, one pixel apart (see [`super::Twins`]).
struct Batch {
    taught: Tensor,
    taken: Tensor,
    unreadable: Vec<(usize, Error)>,
}

/// The views of a step. Into every second one a part of the one before is set, which makes pictures that nobody has taken:
/// a student that has the teacher's maps there too has understood more of it.
fn batch((paths, count, seed): (&[PathBuf], usize, u64), step: u64) -> Result<Batch> {
    let mut unreadable = Vec::new();
    let mut made: Vec<Vec<f32>> = Vec::with_capacity(count);
    let mut order: Option<(u64, Vec<u32>)> = None;
    for index in 0..count {
        let place = step * count as u64 + index as u64;
        let (epoch, at) = (place / paths.len() as u64, (place % paths.len() as u64) as usize);
        let order = match order.take_if(|order| order.0 == epoch) {
            Some(same) => order.insert(same),
            None => order.insert((epoch, Random::new(seed, epoch).permutation(paths.len() as u32))),
        };
        let picture = order.1[at] as usize;
        let random = Random::new(seed, VIEWS).stream(place);
        match views::varied(&paths[picture], random) {
            Ok(mut view) => {
                if let Some(before) = made.last().filter(|_| index % 2 == 1) {
                    views::set_in(&mut view, before, random.stream(1));
                }
                made.push(view);
            }
            Err(error) => unreadable.push((picture, error)),
        }
    }
    if made.is_empty() {
        return Err(Error::new(ErrorKind::Argument, "", "none of the photographs of a step can be read"));
    }
    let [h, w] = DEFAULT_SIZE;
    let cut = |skipped| {
        let data = made.iter().flat_map(|view| views::cut(view, skipped)).collect();
        Tensor::new([made.len(), h, w, 3], data)
    };
    Ok(Batch { taught: cut(1)?, taken: cut(0)?, unreadable })
}

/// The squared error of `given`, whose channels are multiplied by `scales`, as a part of the squares of `wanted`; and `weight`
/// times its gradient.
fn map_loss(given: &Tensor, wanted: &Tensor, scales: &[f32], weight: f64) -> Result<(f64, Tensor)> {
    let unit = wanted.data().iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().max(f64::MIN_POSITIVE);
    let factor = (2.0 * weight / unit) as f32;
    let mut error = 0.0;
    let mut gradient = Vec::with_capacity(given.data().len());
    for (given, wanted) in
        given.data().chunks_exact(scales.len()).zip(wanted.data().chunks_exact(scales.len()))
    {
        let mut sum = 0.0f32;
        for ((x, wanted), scale) in given.iter().zip(wanted).zip(scales) {
            let difference = x * scale - wanted;
            sum += difference * difference;
            gradient.push(factor * difference * scale);
        }
        error += f64::from(sum);
    }
    Ok((error / unit, Tensor::new(given.shape(), gradient)?))
}

fn scaled(tensor: Tensor, factor: f32) -> Result<Tensor> {
    let shape = tensor.shape().to_vec();
    Tensor::new(shape, tensor.into_data().into_iter().map(|x| x * factor).collect())
}
