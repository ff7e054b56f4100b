//! Making a TF-Slim network that computes what the paper's network does, from photographs without labels and without a
//! gradient step.
//!
//! The *teacher* is the paper's network with its trained numbers; the *student* is TF-Slim's, which has the same widths but
//! no local response normalisation, 3x3 where the paper has 5x5, and other paddings. Both see the same photographs, and
//! layer by layer each convolution of the student is fitted by least squares, on the student's own inputs, to what the
//! teacher computes at the same place, so that it makes up for what the layers before it lack.

mod agreement;
mod checkpoint;
mod cholesky;
mod fit;
mod layers;
mod parallel;
mod progress;
mod refine;
mod student;
mod views;
mod worker;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use ndarray::{Array2, Axis};

pub use agreement::{Agreement, measure};
pub use progress::{Fail, Progress, Watch};
pub use refine::{RefineOptions, refine};

use crate::network::{Body, Conv, Mixed, Network, Variant};
use crate::random::Random;
use crate::variables::Variables;
use crate::{Error, ErrorKind, Result};
use fit::{Fitted, Samples};
use layers::{Filter, Layers, Map, stacked};
use worker::Worker;

/// How a student is made.
#[derive(Clone, Debug, PartialEq)]
pub struct DistillOptions {
    /// Views of each photograph: the whole, and parts of it, mirrored or not.
    pub views: NonZeroUsize,
    /// Pixels of each view's maps that filters are fitted at.
    pub pixels: NonZeroUsize,
    /// How strongly filters are drawn to the teacher's, against the variance of their inputs.
    pub ridge: f64,
    /// Times that the targets of outputs which the ReLU cuts are renewed.
    pub passes: NonZeroUsize,
    /// What the mean over all pixels of the last maps, which is the feature vector, counts for against each pixel.
    pub pooled: f32,
    /// What views and pixels depend on.
    pub seed: u64,
    /// Threads; the student does not depend on it.
    pub threads: NonZeroUsize,
    /// A file that holds the layers done so far after each stage, so that another run with the same teacher, photographs and
    /// options goes on from there; none keeps nothing.
    pub checkpoint: Option<PathBuf>,
}

impl Default for DistillOptions {
    fn default() -> DistillOptions {
        DistillOptions {
            views: NonZeroUsize::new(2).unwrap(),
            pixels: NonZeroUsize::new(96).unwrap(),
            ridge: 1e-3,
            passes: NonZeroUsize::new(5).unwrap(),
            pooled: 0.0,
            seed: 0,
            threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            checkpoint: None,
        }
    }
}

/// The maps of both networks for one view, at the same stage. Caffe pads the first convolution by three pixels on each
/// side, TF-Slim by two before and three after; so the teacher sees the view without its first row and column and the student
/// without its last, and all their maps lie above each other.
struct Twins {
    teacher: Map,
    student: Map,
}

/// A student and how it compares with its teacher.
#[derive(Clone, Debug)]
pub struct Student {
    /// Its numbers.
    pub variables: Variables,
    /// For each stage, what its channels are to be multiplied by to be those of the teacher.
    pub scales: Vec<Vec<f64>>,
}

/// Makes the student of `teacher` from the photographs `paths`.
///
/// # Errors
/// [`ErrorKind::Argument`] for a teacher of another variant or without classes, or where no photograph can be read;
/// `fail` is told which could not be read, and why. [`ErrorKind::Mismatch`] for a checkpoint of another run; one that cannot
/// be read or written.
pub fn distill(
    teacher: &Variables,
    paths: &[PathBuf],
    options: &DistillOptions,
    (progress, fail): (Watch<'_>, Fail<'_>),
) -> Result<Student> {
    let classes = match teacher.network {
        Network { variant: Variant::Paper, classes: Some(classes) } => classes,
        Network { variant: Variant::Paper, classes: None } => {
            return Err(Error::new(ErrorKind::Argument, "teacher", "it has no classes"));
        }
        Network { variant: Variant::Slim, .. } => {
            let message = "the teacher must be the paper's network, and this is TF-Slim's already";
            return Err(Error::new(ErrorKind::Argument, "teacher", message)
                .with_hint("give BVLC GoogLeNet's caffemodel"));
        }
    };
    teacher.check()?;
    let network = Network { variant: Variant::Slim, classes: Some(classes + 1) };
    let identity = checkpoint::identity(teacher, paths, options);
    let fitted = match &options.checkpoint {
        Some(file) => checkpoint::read(file, &identity, &network)?,
        None => BTreeMap::new(),
    };
    let mut course = Course {
        teacher: Layers::of(teacher),
        student: student::untaught(network, teacher),
        fitted,
        twins: Vec::new(),
        options,
        workers: (0..options.threads.get()).map(|_| Worker::new()).collect::<Result<_>>()?,
        progress,
    };
    for (conv, fitted) in &course.fitted {
        course.student.set_filter(*conv, fitted.filter.clone());
        (course.progress)(Progress::Fitted { conv: *conv, error: fitted.error });
    }
    let stages = course.student.stages.len();
    if course.fitted.len() < course.student.first_conv(stages) {
        course.first_stage(teacher, paths, fail)?;
        for stage in 1..stages {
            let before = course.fitted.len();
            course.stage(stage)?;
            if let Some(file) = options.checkpoint.as_ref().filter(|_| course.fitted.len() > before) {
                checkpoint::write(file, &identity, &course.fitted)?;
            }
        }
    }
    let fitted: Vec<Fitted> = course.fitted.into_values().collect();
    let (variables, scales) = student::with_statistics(network, teacher, &fitted);
    Ok(Student { variables, scales })
}

/// Parts the photographs `paths` into those that are held out, a share of them, and those to learn from; which is which
/// depends on `seed` and on their number.
pub fn hold_out(paths: &[PathBuf], share: f64, seed: u64) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let count = (paths.len() as f64 * share).round() as usize;
    let chosen = choose(Random::new(seed, 0), count, paths.len());
    let (mut held_out, mut others) = (Vec::new(), Vec::new());
    for (index, path) in paths.iter().enumerate() {
        let to = if chosen.binary_search(&index).is_ok() { &mut held_out } else { &mut others };
        to.push(path.clone());
    }
    (held_out, others)
}

/// Both networks on their way through the stages.
struct Course<'a> {
    teacher: Layers,
    student: Layers,
    /// What is known of the student's convolutions so far.
    fitted: BTreeMap<usize, Fitted>,
    twins: Vec<Twins>,
    options: &'a DistillOptions,
    workers: Vec<Worker>,
    progress: Watch<'a>,
}

impl Course<'_> {
    /// Views of all photographs, and the first convolution, which is the teacher's but for how pictures are scaled, with
    /// the pools behind it.
    fn first_stage(&mut self, teacher: &Variables, paths: &[PathBuf], fail: Fail<'_>) -> Result<()> {
        let options = self.options;
        let DistillOptions { views, seed, .. } = *options;
        let Body::Conv(conv) = &self.student.stages[0].body else {
            unreachable!("the first stage is a convolution")
        };
        let scale = teacher.affine;
        let student_scale = self.student.network.variant.affine();
        let (teacher, student) = (&self.teacher, &self.student);
        let mut samples = Vec::new();
        for (first, chunk) in paths.chunks(PICTURES).enumerate() {
            let twins =
                parallel::map(&mut self.workers, chunk.iter().enumerate(), |worker, (index, path)| {
                    let picture = first * PICTURES + index;
                    let images = views::views(path, views.get(), (seed, picture))?;
                    let twins = images.iter().enumerate().map(|(view, image)| {
                        let input = views::crop(image, 1, &scale);
                        let mut teacher_map = teacher.stage(worker, 0, &input);
                        teacher_map = teacher.pools(worker, 1, teacher_map);
                        let input = views::crop(image, 0, &student_scale);
                        let mut student_map = student.stage(worker, 0, &input);
                        let windows = student.conv_windows(conv, &input);
                        let chosen = chosen(options, (0, picture * views.get() + view), &student_map);
                        let patches = windows.patches(&input, chosen.iter().copied());
                        let wanted = student_map.values.select(Axis(0), &chosen);
                        student_map = student.pools(worker, 1, student_map);
                        (Twins { teacher: teacher_map, student: student_map }, (patches, wanted))
                    });
                    Ok(twins.collect::<Vec<_>>())
                });
            for (path, twins) in chunk.iter().zip(twins) {
                match twins {
                    Ok(twins) => {
                        for (twins, sample) in twins {
                            self.twins.push(twins);
                            samples.push(sample);
                        }
                    }
                    Err(error) => fail(path, &error),
                }
            }
            (self.progress)(Progress::Pictures { done: paths.len().min((first + 1) * PICTURES) });
        }
        if self.twins.is_empty() {
            return Err(Error::new(ErrorKind::Argument, "", "there are no photographs that could be read")
                .with_hint("some hundreds are needed, of all kinds of things"));
        }
        let described = Samples::new(&mut self.workers, samples)
            .describe(&mut self.workers, vec![self.student.filter(0).clone()]);
        self.fitted.extend(described.into_iter().enumerate());
        Ok(())
    }

    /// Fits the stage `index`, unless a checkpoint has it, and takes the maps through it and the pools behind it.
    fn stage(&mut self, index: usize) -> Result<()> {
        let known = self.fitted.contains_key(&self.student.first_conv(index));
        match self.student.stages[index].body.clone() {
            Body::MaxPool(_) => return Ok(()), // taken together with the stage before
            _ if known => {
                let teacher = &self.teacher;
                parallel::map(&mut self.workers, self.twins.iter_mut(), |worker, twins| {
                    let map = teacher.stage(worker, index, &twins.teacher);
                    twins.teacher = teacher.pools(worker, index + 1, map);
                });
            }
            Body::Conv(conv) => self.conv_stage(index, &conv)?,
            Body::Mixed(mixed) => self.mixed_stage(index, &mixed)?,
        }
        let student = &self.student;
        parallel::map(&mut self.workers, self.twins.iter_mut(), |worker, twins| {
            let map = student.stage(worker, index, &twins.student);
            twins.student = student.pools(worker, index + 1, map);
        });
        Ok(())
    }

    fn conv_stage(&mut self, index: usize, conv: &Conv) -> Result<()> {
        let first = self.student.first_conv(index);
        let (teacher, student, options) = (&self.teacher, &self.student, self.options);
        let samples =
            parallel::map(&mut self.workers, self.twins.iter_mut().enumerate(), |worker, (view, twins)| {
                let map = teacher.stage(worker, index, &twins.teacher);
                let chosen = chosen(options, (index, view), &map);
                let windows = student.conv_windows(conv, &twins.student);
                let wanted = map.values.select(Axis(0), &chosen);
                twins.teacher = teacher.pools(worker, index + 1, map);
                (windows.patches(&twins.student, chosen.iter().copied()), wanted)
            });
        let samples = Samples::new(&mut self.workers, samples);
        self.fit(&[first], &samples, 0.0)
    }

    /// First what reads the module's input, then what reads a result of that.
    fn mixed_stage(&mut self, index: usize, mixed: &Mixed) -> Result<()> {
        let first = self.student.first_conv(index);
        let last = index + 1 == self.student.stages.len();
        let pooled = if last { self.options.pooled } else { 0.0 };
        let (teacher, student, options) = (&self.teacher, &self.student, self.options);
        let Body::Mixed(teachers) = &teacher.stages[index].body else {
            unreachable!("the variants have the same stages")
        };
        struct Picked {
            chosen: Vec<usize>,
            input: Array2<f32>,
            pooled: Array2<f32>,
            wanted: [Array2<f32>; 6],
        }
        let picked =
            parallel::map(&mut self.workers, self.twins.iter_mut().enumerate(), |worker, (view, twins)| {
                let maps = teacher.mixed(worker, (teachers, first), &twins.teacher);
                let all = maps.concatenated();
                let chosen = chosen(options, (index, view), &all);
                twins.teacher = teacher.pools(worker, index + 1, all);
                let pick = |map: &Map| map.values.select(Axis(0), &chosen);
                let [b0, b1, b2, b3] = &maps.branches;
                let [r1, r2] = &maps.reduced;
                Picked {
                    input: pick(&twins.student),
                    pooled: pick(&student.pool_windows(mixed.pool, &twins.student).max(&twins.student)),
                    wanted: [b0, r1, b1, r2, b2, b3].map(pick),
                    chosen,
                }
            });
        let wanted = |convs: &'static [usize]| {
            picked.iter().map(move |picked| {
                let wanted: Vec<_> = convs.iter().map(|conv| picked.wanted[*conv].view()).collect();
                stacked(Axis(1), &wanted)
            })
        };
        // Those that read the same map are fitted as one.
        let inputs = picked.iter().map(|picked| picked.input.clone());
        let samples = Samples::new(&mut self.workers, inputs.zip(wanted(&[0, 1, 3])).collect());
        self.fit(&[first, first + 1, first + 3], &samples, pooled)?;
        let inputs = picked.iter().map(|picked| picked.pooled.clone());
        let samples = Samples::new(&mut self.workers, inputs.zip(wanted(&[5])).collect());
        self.fit(&[first + 5], &samples, pooled)?;
        let branches: [(&[Conv; 2], &'static [usize]); 2] =
            [(&mixed.branch_1, &[2]), (&mixed.branch_2, &[4])];
        for (branch, conv) in branches {
            let student = &self.student;
            let jobs = self.twins.iter().zip(&picked);
            let patches = parallel::map(&mut self.workers, jobs, |worker, (twins, picked)| {
                let reduced = student.conv(worker, (&branch[0], first + conv[0] - 1), &twins.student);
                let windows = student.conv_windows(&branch[1], &reduced);
                windows.patches(&reduced, picked.chosen.iter().copied())
            });
            let samples = Samples::new(&mut self.workers, patches.into_iter().zip(wanted(conv)).collect());
            self.fit(&[first + conv[0]], &samples, pooled)?;
        }
        Ok(())
    }

    /// Fits the convolutions `convs`, which have the same inputs, around the teacher's filters or the centres of them.
    fn fit(&mut self, convs: &[usize], samples: &Samples, pooled: f32) -> Result<()> {
        let DistillOptions { ridge, passes, .. } = *self.options;
        let options = fit::Options { ridge, passes: passes.get(), pooled };
        let priors: Vec<&Filter> = convs.iter().map(|conv| self.student.filter(*conv)).collect();
        let fitted = samples.fit(&mut self.workers, &priors, &options).ok_or_else(|| {
            let message = format!(
                "convolution {} cannot be fitted: its inputs are not finite, or all the same",
                convs[0]
            );
            Error::new(ErrorKind::Argument, "", message).with_hint("give more and other photographs")
        })?;
        for (conv, fitted) in convs.iter().zip(fitted) {
            self.student.set_filter(*conv, fitted.filter.clone());
            (self.progress)(Progress::Fitted { conv: *conv, error: fitted.error });
            self.fitted.insert(*conv, fitted);
        }
        Ok(())
    }
}

/// Photographs that are decoded between two words of progress.
const PICTURES: usize = 32;

/// The pixels of a stage's maps at which a view counts.
fn chosen(options: &DistillOptions, (stage, view): (usize, usize), map: &Map) -> Vec<usize> {
    let random = Random::new(options.seed, stage as u64).stream(view as u64);
    choose(random, options.pixels.get(), map.values.nrows())
}

/// `count` of the numbers below `end`, or all where there are fewer, ascending.
fn choose(random: Random, count: usize, end: usize) -> Vec<usize> {
    let order = random.permutation(end as u32);
    let mut chosen: Vec<usize> = order.into_iter().take(count).map(|number| number as usize).collect();
    chosen.sort_unstable();
    chosen
}
