//! How fast a network runs, in units of what the processor can do at all.
//!
//! Milliseconds compare nothing on machines that are shared: clock and caches are somebody else's too. So runs of the
//! network take turns with a loop of multiply-adds on the same threads, and what counts is the ratio of both rates.

mod dispatch;
mod random;
mod training;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use featvec_kernels::StepInfo;

use crate::Result;
use crate::extractor::FeatureExtractor;
use crate::network::Network;
use crate::plan::{Mode, Precision, Value};

pub use dispatch::{Contest, contest};
pub use random::{random_images, random_variables};

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// Pictures at once.
    pub batch: NonZeroUsize,
    /// Their height and width.
    pub size: [usize; 2],
    /// Whether the steps of the network are timed one by one.
    pub layers: bool,
}

/// How fast it ran: medians over turns of the network and the peak.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// What the network computed in; the peak is that of `f32` in any case.
    pub precision: Precision,
    /// The instruction set.
    pub isa: &'static str,
    /// Threads.
    pub threads: usize,
    /// Seconds that a picture takes.
    pub seconds_per_image: f64,
    /// Operations a second of the loop that does nothing but multiply and add, on all threads together.
    pub peak_flops: f64,
    /// The network's operations a second, counted as direct convolution, in units of the peak beside it. Algorithms
    /// that multiply less can go beyond 1.
    pub peak_ratio: f64,
    /// The interquartile range of that ratio, in units of the ratio.
    pub spread: f64,
    /// Turns that the medians are of.
    pub alternations: usize,
    /// The steps of the network, where they were asked for.
    pub layers: Vec<Layer>,
}

/// A step of the network and its time.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Which step.
    pub step: StepInfo,
    /// Seconds that it takes of those of a picture.
    pub seconds_per_image: f64,
    /// Its share of the time of all steps.
    pub share: f64,
    /// Operations a second, counted as direct convolution.
    pub flops: f64,
    /// The same in units of the peak.
    pub peak_ratio: f64,
}

/// Measures, and knows how fast the processor has been since the first measurement.
pub struct Bench<'a> {
    /// How long a case is measured at least.
    duration: Duration,
    /// Is told when a measurement takes longer than planned, and why.
    tell: &'a mut dyn FnMut(String),
    /// The best peak that lasted from one slice to the next, by instruction set and number of threads.
    best: HashMap<(&'static str, usize), f64>,
}

/// How long the peak is measured between two runs.
const SLICE: Duration = Duration::from_millis(3);
/// So many turns of network and peak at least.
const TURNS: usize = 15;
/// So many times longer than planned a measurement may go on in search of undisturbed turns.
const PATIENCE: u32 = 4;
/// Below this part of the best peak seen, somebody else is at work.
const UNDISTURBED: f64 = 0.9;

/// One turn of the network.
struct Turn {
    /// For the whole batch.
    seconds: f64,
    /// The peak before and after it.
    peaks: [f64; 2],
    /// Seconds of each step, where they are wanted.
    steps: Vec<f64>,
}

impl Turn {
    fn peak(&self) -> f64 {
        (self.peaks[0] + self.peaks[1]) / 2.0
    }

    /// The peak that lasted.
    fn lasting_peak(&self) -> f64 {
        self.peaks[0].min(self.peaks[1])
    }
}

impl<'a> Bench<'a> {
    /// Measures each case for `duration`; `tell` is told about disturbances.
    pub fn new(duration: Duration, tell: &'a mut dyn FnMut(String)) -> Bench<'a> {
        Bench { duration, tell, best: HashMap::new() }
    }

    /// Runs `case` in turns with the peak. Turns beside which the peak was far below the best seen do not count, and
    /// others are taken instead, for a few times the planned time at most.
    ///
    /// # Errors
    /// Those of [`FeatureExtractor::run`].
    pub fn measure(&mut self, extractor: &FeatureExtractor, case: &Case) -> Result<Measurement> {
        let images = random_images(case.batch.get(), case.size);
        let outputs = [Value::Features];
        let run = || -> Result<Vec<(StepInfo, Duration)>> {
            if case.layers {
                return extractor.time_steps(&images, Mode::Inference, &outputs);
            }
            extractor.run(&images, Mode::Inference, &outputs).map(|_| Vec::new())
        };
        run()?; // makes the plan
        let start = Instant::now();
        let steps: Vec<StepInfo> = run()?.into_iter().map(|(step, _)| step).collect();
        // Of small pictures several passes take a turn together.
        let passes = SLICE.div_duration_f64(start.elapsed()).ceil().clamp(1.0, 1e6);
        let mut run = || {
            let mut times = vec![0.0; steps.len()];
            let start = Instant::now();
            for _ in 0..passes as usize {
                for (sum, (_, time)) in times.iter_mut().zip(run()?) {
                    *sum += time.as_secs_f64() / passes;
                }
            }
            Ok((start.elapsed().as_secs_f64() / passes, times))
        };
        let machine = (extractor.kernels().name(), extractor.threads());
        let turns = self.turns(machine, &mut run, &|| extractor.peak_flops(SLICE))?;
        // Vectors are computed, not logits.
        let network = Network { classes: None, ..extractor.variables().network };
        let operations = 2.0 * network.multiply_adds(case.size) as f64;
        let undisturbed = self.undisturbed(machine, &turns);
        Ok(Measurement::of(&undisturbed, &steps, (extractor.precision(), machine), (operations, case.batch)))
    }

    /// Has `run`, which gives its seconds and those of its steps, take turns with the peak of a `machine`, an instruction
    /// set and a number of threads.
    fn turns(
        &mut self,
        machine: (&'static str, usize),
        run: &mut dyn FnMut() -> Result<(f64, Vec<f64>)>,
        peak: &dyn Fn() -> f64,
    ) -> Result<Vec<Turn>> {
        let (start, mut planned) = (Instant::now(), self.duration);
        let (mut turns, mut told) = (Vec::new(), false);
        let mut before = peak();
        loop {
            let (seconds, times) = run()?;
            let after = peak();
            let turn = Turn { seconds, peaks: [before, after], steps: times };
            before = after;
            let best = self.best.entry(machine).or_default();
            *best = best.max(turn.lasting_peak());
            turns.push(turn);

            let elapsed = start.elapsed();
            if turns.len() <= TURNS {
                planned = planned.max(elapsed);
            }
            if turns.len() < TURNS || elapsed < planned {
                continue;
            }
            let best = *best;
            let undisturbed = |turn: &&Turn| turn.lasting_peak() >= UNDISTURBED * best;
            if turns.iter().filter(undisturbed).count() >= TURNS || elapsed >= planned * PATIENCE {
                return Ok(turns);
            }
            if !told {
                let [now, best] = [median(turns.iter().map(Turn::peak)), best].map(|flops| flops / 1e9);
                (self.tell)(format!(
                    "the machine is disturbed: its peak is {now:.0} GFLOP/s and was up to {best:.0}; measuring on"
                ));
                told = true;
            }
        }
    }

    /// The turns that count: those that nobody disturbed, or all, where these are too few.
    fn undisturbed<'t>(&self, machine: (&'static str, usize), turns: &'t [Turn]) -> Vec<&'t Turn> {
        let best = self.best.get(&machine).copied().unwrap_or(0.0);
        let undisturbed: Vec<&Turn> =
            turns.iter().filter(|turn| turn.lasting_peak() >= UNDISTURBED * best).collect();
        if undisturbed.len() >= TURNS { undisturbed } else { turns.iter().collect() }
    }

    /// Whether the peak during `measurement` was far below the best seen until now.
    pub fn is_disturbed(&self, measurement: &Measurement) -> bool {
        measurement.peak_flops < UNDISTURBED * self.best_peak(measurement)
    }

    /// The best peak on the same threads and instruction set.
    fn best_peak(&self, measurement: &Measurement) -> f64 {
        self.best.get(&(measurement.isa, measurement.threads)).copied().unwrap_or(0.0)
    }
}

impl Measurement {
    /// Of `turns`, each of a batch of pictures that take so many `operations`.
    fn of(
        turns: &[&Turn],
        steps: &[StepInfo],
        (precision, (isa, threads)): (Precision, (&'static str, usize)),
        (operations, batch): (f64, NonZeroUsize),
    ) -> Measurement {
        let batch = batch.get() as f64;
        let ratios = sorted(turns.iter().map(|turn| operations * batch / turn.seconds / turn.peak()));
        let peak_ratio = quantile(&ratios, 0.5);
        let peak_flops = median(turns.iter().map(|turn| turn.peak()));
        let seconds_of = |index: usize| median(turns.iter().map(|turn| turn.steps[index])) / batch;
        let total: f64 = (0..steps.len()).map(seconds_of).sum();
        let layer = |(index, step): (usize, &StepInfo)| {
            let seconds_per_image = seconds_of(index);
            let flops = 2.0 * step.multiply_adds as f64 / seconds_per_image;
            Layer {
                step: step.clone(),
                seconds_per_image,
                share: seconds_per_image / total,
                flops,
                peak_ratio: flops / peak_flops,
            }
        };
        Measurement {
            precision,
            isa,
            threads,
            seconds_per_image: median(turns.iter().map(|turn| turn.seconds)) / batch,
            peak_flops,
            peak_ratio,
            spread: (quantile(&ratios, 0.75) - quantile(&ratios, 0.25)) / peak_ratio,
            alternations: turns.len(),
            layers: steps.iter().enumerate().map(layer).collect(),
        }
    }
}

fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The value below which the part `q` of the `sorted` values lies.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let place = q * sorted.len().saturating_sub(1) as f64;
    let at = |index: f64| sorted.get(index as usize).copied().unwrap_or(f64::NAN);
    at(place.floor()) + (at(place.ceil()) - at(place.floor())) * place.fract()
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    quantile(&sorted(values), 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extractor::RunOptions;

    #[test]
    fn quantiles_lie_between_values() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        let values = [0.0, 10.0, 20.0, 30.0, 40.0];
        assert_eq!([0.0, 0.25, 0.9, 1.0].map(|q| quantile(&values, q)), [0.0, 10.0, 36.0, 40.0]);
    }

    fn extractor() -> FeatureExtractor {
        let options = RunOptions { threads: Some(NonZeroUsize::MIN), ..RunOptions::default() };
        FeatureExtractor::new(random_variables(), &options).unwrap()
    }

    #[test]
    fn a_measurement_is_of_medians() {
        let operations = 1000.0;
        // Twice as slow beside half the peak is the same ratio.
        let turns = [(1.0, 1.0), (2.0, 0.5), (1.0, 1.0), (4.0, 0.5), (1.0, 1.0)];
        let turns = turns.map(|(seconds, peak)| Turn {
            seconds,
            peaks: [1.5, 2.5].map(|part| part * peak * 2.0 * operations),
            steps: vec![3.0 * seconds, 1.0],
        });
        let step = StepInfo { phase: 0, problem: String::new(), kernel: "", multiply_adds: 1000 };
        let turns: Vec<&Turn> = turns.iter().collect();
        let (machine, batch) = ((Precision::F32, ("isa", 2)), NonZeroUsize::new(2).unwrap());
        let measurement = Measurement::of(&turns, &[step.clone(), step], machine, (operations, batch));
        assert_eq!((measurement.seconds_per_image, measurement.peak_ratio), (0.5, 0.5));
        assert_eq!((measurement.peak_flops, measurement.spread), (4.0 * operations, 0.0));
        let [slow, fast] = &measurement.layers[..] else { panic!("{measurement:?}") };
        assert_eq!((slow.seconds_per_image, slow.share), (1.5, 0.75));
        assert_eq!((fast.flops, fast.peak_ratio), (4000.0, 4000.0 / (4.0 * operations)));
    }

    #[test]
    fn layers_account_for_all_that_is_computed() {
        let size = [40, 56];
        let extractor = extractor();
        let outputs = [Value::Features];
        let steps = extractor.time_steps(&random_images(1, size), Mode::Inference, &outputs).unwrap();
        let multiply_adds: usize = steps.iter().map(|(step, _)| step.multiply_adds).sum();
        assert_eq!(multiply_adds, extractor.variables().network.multiply_adds(size));
        assert!(steps.iter().all(|(_, time)| !time.is_zero()), "{steps:?}");
    }

    #[test]
    fn a_measurement_far_below_the_best_peak_is_disturbed() {
        let mut tell = |_| {};
        let mut bench = Bench::new(Duration::ZERO, &mut tell);
        let case = Case { batch: NonZeroUsize::MIN, size: [32, 32], layers: false };
        let measurement = bench.measure(&extractor(), &case).unwrap();
        assert!(measurement.alternations >= TURNS && measurement.peak_ratio > 0.0);
        let slower =
            |part| Measurement { peak_flops: part * bench.best_peak(&measurement), ..measurement.clone() };
        assert!(bench.is_disturbed(&slower(0.8)) && !bench.is_disturbed(&slower(0.95)));
        assert!(!bench.is_disturbed(&Measurement { threads: 2, ..slower(0.8) }));
    }
}
