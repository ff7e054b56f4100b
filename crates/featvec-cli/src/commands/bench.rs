//! `featvec bench`: how fast the network runs and trains here, whether the fastest kernels run it, and how exact they are.

mod machine;
mod report;

use std::io::{Write, stdout};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::Duration;

use clap::Args;
use featvec::accuracy;
use featvec::bench::{Bench as Measuring, Case, contest, random_variables};
use featvec::calibration::Calibration;
use featvec::extractor::{FeatureExtractor, RunOptions};
use featvec::network::{DEFAULT_SIZE, Network, Variant};
use featvec::pictures::{Found, Preparation};
use featvec::train::{Optimizer, TrainOptions, Trainer};
use featvec::variables::Variables;
use featvec::{Error, Precision, Preset};
use serde_json::{Value, json};

use crate::inputs;
use crate::line;
use crate::options::{FetchArgs, LoadArgs, PrecisionChoice, Size, or_builtin, some_pictures};
use crate::stop::{Outcome, Stop};
use crate::talk::Talk;
use report::{Row, print_accuracy, print_contests, print_rows, print_steps};

/// Measure how fast the network runs on this machine
#[derive(Args)]
#[command(after_help = "\
Examples:
  featvec bench
  featvec bench --threads 1 --batch 1 --layers
  featvec bench --isa avx2 --seconds 10 --json
  featvec bench --assert
  featvec bench --precision f32,int8 --batch 32
  featvec bench --train
  featvec bench --accuracy photos/

Runs of the network take turns with a loop of multiply-adds on the same threads. % of peak is the
rate of the first, counted as direct convolution, in units of the second; spread is the
interquartile range of that ratio. All figures are medians, of 15 turns at least. Turns beside
which the peak falls below 90 % of the best seen do not count, as somebody else uses the machine;
others are taken instead, and the case is marked `disturbed` if there are not enough of them.

With --train, steps of training are measured instead: forward with the statistics of the batch,
back to every variable, and the update; memory is the most that this process has held until then.

In JSON, peak_ratio and spread are fractions: 0.9 is 90 %.")]
pub struct Bench {
    /// Take the weights of this module [default: random ones, which take the same time; with
    /// --accuracy builtin]
    #[arg(long, value_name = "HANDLE", env = "FEATVEC_MODULE", hide_env_values = true)]
    module: Option<String>,

    /// Measure steps of training, not passes of inference
    #[arg(long, conflicts_with_all = ["precision", "isa", "layers", "assert", "accuracy"])]
    train: bool,

    /// Pictures at once [default: 1 and 32; with --train 32]
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    batch: Vec<NonZeroUsize>,

    /// Threads [default: 1, and as many as this process may run at once; with --train the latter]
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    threads: Vec<NonZeroUsize>,

    /// What to compute in [default: f32; with --accuracy int8]
    #[arg(long, value_enum, value_name = "NAME,..", value_delimiter = ',')]
    precision: Vec<PrecisionChoice>,

    /// Instruction set, as `featvec inspect --cpu` lists them [default: the fastest]
    #[arg(long, value_name = "NAME")]
    isa: Option<String>,

    /// Height and width of the pictures [default: the module's, or 224x224]
    #[arg(long, value_name = "HxW")]
    size: Option<Size>,

    /// How long each case is measured at least
    #[arg(long, value_name = "S", default_value = "3", value_parser = parse_seconds)]
    seconds: Duration,

    /// Tell the time of each step of the network too
    #[arg(long)]
    layers: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    /// Check instead that no convolution is more than 15 % slower than on another instruction set that is present;
    /// exit code 1 if one is
    #[arg(long, conflicts_with_all = ["layers", "accuracy"])]
    assert: bool,

    /// Tell instead how near the vectors of these pictures are to those in f32; int8 is fitted to 32 of them
    #[arg(long, value_name = "FOLDER", conflicts_with = "layers", help_heading = "Accuracy")]
    accuracy: Option<PathBuf>,

    /// The instruction set whose vectors in f32 count as right [default: the same]
    #[arg(long, value_name = "NAME", requires = "accuracy", help_heading = "Accuracy")]
    against: Option<String>,

    /// How the pictures are prepared: see `featvec presets` [default: tf1-retrain]
    #[arg(long, value_name = "NAME", requires = "accuracy", help_heading = "Accuracy",
          value_parser = clap::builder::PossibleValuesParser::new(Preset::ALL.map(Preset::name)))]
    preset: Option<String>,

    #[command(flatten)]
    fetch: FetchArgs,
}

/// How much slower than the best a kernel may be that dispatch picks.
const TOLERATED: f64 = 0.15;

impl Bench {
    pub fn run(mut self, talk: &Talk) -> Result<Outcome, Stop> {
        let (variables, size) = self.subject(talk)?;
        if let Some(folder) = self.accuracy.take() {
            return self.compare(folder, (variables, size), talk);
        }
        if self.train {
            self.measure_training(variables, size, talk)
        } else if self.assert {
            self.check_dispatch(variables, size)
        } else {
            self.measure(variables, size, talk)
        }
    }

    /// The weights to run with, and the size of pictures.
    fn subject(&mut self, talk: &Talk) -> Result<(Variables, [usize; 2]), Error> {
        self.module = self.module.take().filter(|handle| !handle.is_empty());
        if self.accuracy.is_some() {
            self.module = Some(or_builtin(self.module.as_deref(), talk).to_string());
        }
        let (variables, size) = if let Some(handle) = &self.module {
            let load = LoadArgs::inference(std::mem::take(&mut self.fetch));
            let module = load.load(handle, (Precision::F32, true), talk)?;
            (module.variables().clone(), module.expected_image_size().unwrap_or(DEFAULT_SIZE))
        } else if self.train {
            (Variables::random(Network { variant: Variant::Slim, classes: None }, 0), DEFAULT_SIZE)
        } else {
            (random_variables(), DEFAULT_SIZE)
        };
        Ok((variables, self.size.map_or(size, |Size(size)| size)))
    }

    fn extractor(
        &self,
        variables: Variables,
        threads: NonZeroUsize,
        (precision, isa): (Precision, Option<&str>),
    ) -> Result<FeatureExtractor, Error> {
        let isa = isa.or(self.isa.as_deref()).map(String::from);
        FeatureExtractor::new(variables, &RunOptions { threads: Some(threads), isa, precision })
    }

    /// What to compute in, one after the other.
    fn precisions(&self, default: Precision) -> Vec<Precision> {
        if self.precision.is_empty() {
            return vec![default];
        }
        self.precision.iter().map(|choice| (*choice).into()).collect()
    }

    /// The numbers of threads to measure with.
    fn threads(&self) -> Vec<NonZeroUsize> {
        if !self.threads.is_empty() {
            return self.threads.clone();
        }
        let all = available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let mut threads = if self.train { vec![all] } else { vec![NonZeroUsize::MIN, all] };
        threads.dedup();
        threads
    }

    /// The numbers of pictures to measure with.
    fn batches(&self) -> Vec<NonZeroUsize> {
        const DEFAULTS: [NonZeroUsize; 2] = [NonZeroUsize::MIN, NonZeroUsize::new(32).unwrap()];
        match (&self.batch[..], self.train) {
            ([], true) => DEFAULTS[1..].to_vec(),
            ([], false) => DEFAULTS.to_vec(),
            (given, _) => given.to_vec(),
        }
    }

    fn measure_training(&self, variables: Variables, size: [usize; 2], talk: &Talk) -> Result<Outcome, Stop> {
        let (threads, batches) = (self.threads(), self.batches());
        let mut tell = |message| talk.note(message);
        let mut measuring = Measuring::new(self.seconds, &mut tell);
        let mut measured = Vec::new();
        let mut names = ("", "");
        talk.begin(threads.len() * batches.len());
        for &threads in &threads {
            let options = TrainOptions { optimizer: Optimizer::Sgd, size, ..TrainOptions::default() };
            let mut trainer = Trainer::new(variables.clone(), options, threads)?;
            names = (trainer.kernels().name(), trainer.kernels().tile_name());
            for &batch in &batches {
                let measurement = measuring.measure_training(&mut trainer, batch)?;
                measured.push((batch, measurement, machine::peak_memory_bytes()));
                talk.advance(1);
            }
        }
        talk.end();
        let rows = measured.into_iter().map(|(batch, measurement, memory_bytes)| {
            let disturbed = measuring.is_disturbed(&measurement);
            (Row { batch, disturbed, measurement }, memory_bytes)
        });
        let rows: Vec<(Row, Option<u64>)> = rows.collect();
        if self.json {
            let cases: Vec<_> = rows.iter().map(|(row, memory)| row.to_json_of_step(*memory)).collect();
            self.print_json(names, ("training", json!(cases)), size)?;
        } else {
            let mut out = stdout().lock();
            self.print_header(&mut out, names.1, size)
                .and_then(|()| print_steps(&mut out, &rows))
                .map_err(Stop::from_stdout)?;
        }
        Ok(Outcome::Done)
    }

    fn measure(&self, variables: Variables, size: [usize; 2], talk: &Talk) -> Result<Outcome, Stop> {
        let threads = self.threads();
        let mut tell = |message| talk.note(message);
        let mut measuring = Measuring::new(self.seconds, &mut tell);
        let mut measured = Vec::new();
        let mut names = ("", "");
        let precisions = self.precisions(Precision::F32);
        let batches = self.batches();
        talk.begin(precisions.len() * threads.len() * batches.len());
        for precision in precisions {
            for &threads in &threads {
                let extractor = self.extractor(variables.clone(), threads, (precision, None))?;
                names = (extractor.kernels().name(), extractor.tile_name());
                for &batch in &batches {
                    let case = Case { batch, size, layers: self.layers };
                    measured.push((batch, measuring.measure(&extractor, &case)?));
                    talk.advance(1);
                }
            }
        }
        talk.end();
        // Only now it is known how fast the machine can be.
        let rows = measured.into_iter().map(|(batch, measurement)| Row {
            batch,
            disturbed: measuring.is_disturbed(&measurement),
            measurement,
        });
        let rows: Vec<Row> = rows.collect();
        let disturbed = rows.iter().filter(|row| row.disturbed).count();
        if disturbed > 0 {
            talk.note(format_args!("{disturbed} of {} figures remained disturbed", rows.len()));
        }
        if self.json {
            self.print_json(
                names,
                ("cases", json!(rows.iter().map(Row::to_json).collect::<Vec<_>>())),
                size,
            )?;
        } else {
            let mut out = stdout().lock();
            self.print_header(&mut out, names.1, size)
                .and_then(|()| print_rows(&mut out, &rows))
                .map_err(Stop::from_stdout)?;
        }
        Ok(Outcome::Done)
    }

    fn check_dispatch(&self, variables: Variables, size: [usize; 2]) -> Result<Outcome, Stop> {
        let network = variables.network;
        let kernels = self.extractor(variables, NonZeroUsize::MIN, (Precision::F32, None))?.kernels();
        let contests = contest(network, (size, TOLERATED), kernels)?;
        let offenders: Vec<_> = contests.iter().filter(|contest| contest.slowdown() > TOLERATED).collect();
        if self.json {
            let value = report::contests_to_json(&contests, (TOLERATED, offenders.is_empty()));
            self.print_json((kernels.name(), kernels.tile_name()), ("assert", value), size)?;
        } else {
            print_contests(&mut stdout().lock(), &offenders, (contests.len(), kernels.name(), TOLERATED))
                .map_err(Stop::from_stdout)?;
        }
        Ok(Outcome::of(offenders.len()))
    }

    fn compare(
        &self,
        folder: PathBuf,
        (variables, size): (Variables, [usize; 2]),
        talk: &Talk,
    ) -> Result<Outcome, Stop> {
        let mut paths = Vec::new();
        let all = inputs::expand(&[folder])?;
        let preset = self.preset.as_deref().map_or(Ok(Preset::default()), str::parse)?;
        let preparation = Preparation::new(preset, size);
        let images = some_pictures(&all, &preparation)?;
        for found in all {
            match found {
                Found::Picture(path) => paths.push(path),
                Found::Array(path) => {
                    talk.note(format_args!("{}: left out, as it is no picture", line::shown(path)))
                }
                Found::Failed(path, error) => {
                    return Err(error.within(&path.display().to_string()).into());
                }
            }
        }
        let batch = self.batches().into_iter().max().unwrap_or(NonZeroUsize::MIN);
        let threads = self.threads().into_iter().max().unwrap_or(NonZeroUsize::MIN);
        let against = (Precision::F32, self.against.as_deref());
        let reference = self.extractor(variables.clone(), threads, against)?;
        let precision = self.precisions(Precision::Int8)[0];
        let candidate = self.extractor(variables, threads, (precision, None))?;
        if let (Precision::Int8, Some(images)) = (precision, images) {
            candidate.calibrate(Calibration::measure(&candidate, &images)?);
        }
        let fail = &mut |path: &std::path::Path, error: &Error| {
            talk.failure(format_args!("{}: {error}", line::shown(path)));
        };
        let accuracy = accuracy::compare([&reference, &candidate], &paths, (&preparation, batch), fail)?;
        let names = [&reference, &candidate]
            .map(|extractor| format!("{} on {}", extractor.precision(), extractor.kernels().name()));
        if self.json {
            let value = report::accuracy_to_json(&accuracy, &names);
            self.print_json((candidate.kernels().name(), candidate.tile_name()), ("accuracy", value), size)?;
        } else {
            print_accuracy(&mut stdout().lock(), &accuracy, &names).map_err(Stop::from_stdout)?;
        }
        Ok(Outcome::of(accuracy.failed))
    }

    /// What the figures below it are of.
    fn print_header(&self, out: &mut impl Write, tile: &str, [h, w]: [usize; 2]) -> std::io::Result<()> {
        let weights = self.module.as_deref().map_or("random weights".to_string(), line::shown);
        let cpu = machine::cpu().unwrap_or_else(|| "an unknown processor".to_string());
        writeln!(out, "featvec {} on {cpu}", env!("CARGO_PKG_VERSION"))?;
        writeln!(out, "{tile}, {h}x{w}, {weights}\n")
    }

    fn print_json(
        &self,
        (isa, tile): (&str, &str),
        (key, value): (&str, Value),
        size: [usize; 2],
    ) -> Result<(), Stop> {
        let mut object = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "machine": {
                "cpu": machine::cpu(),
                "cores": available_parallelism().map_or(1, NonZeroUsize::get),
                "isa": isa,
                "tile": tile,
            },
            "module": self.module,
            "size": size,
        });
        object[key] = value;
        writeln!(stdout(), "{object:#}").map_err(Stop::from_stdout)
    }
}

fn parse_seconds(text: &str) -> Result<Duration, &'static str> {
    const DAY: f64 = 86400.0;
    let seconds = text.parse().ok().filter(|seconds| (0.0..=DAY).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or("write a number of seconds, like 0.5 or 10")
}
