//! How fast a network runs, in units of what the processor can do at all.
//!
//! Milliseconds compare nothing on machines that are shared: clock and caches are somebody else's too. So runs of the
//! network take turns with a loop of multiply-adds on the same threads, and what counts is the ratio of both rates.

mod dispatch;
mod random;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::thread;
use std::time::{Duration, Instant};

use featvec_kernels::StepInfo;

use crate::extractor::FeatureExtractor;
use crate::network::Network;
use crate::plan::{Mode, Value};
use crate::{Error, ErrorKind, Result};

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

/// How fast it ran: medians over alternations of the network and the peak.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
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
    /// Alternations that the medians are of.
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
    /// How long a case is measured at least; never fewer than 15 alternations.
    duration: Duration,
    /// Is told when a measurement is repeated, and why.
    tell: &'a mut dyn FnMut(String),
    /// The best peak seen, by instruction set and number of threads.
    best: HashMap<(&'static str, usize), f64>,
}

/// How long the peak is measured between two runs.
const SLICE: Duration = Duration::from_millis(3);
/// So many alternations at least.
const ALTERNATIONS: usize = 15;
/// So often a disturbed measurement is made.
const ATTEMPTS: usize = 4;
/// Disturbances last seconds.
const PAUSE: Duration = Duration::from_secs(1);
/// Below this part of the best peak seen, somebody else is at work.
const UNDISTURBED: f64 = 0.9;

/// One turn of the network and the peak.
struct Sample {
    seconds: f64,
    peak: f64,
}

impl<'a> Bench<'a> {
    /// Measures each case for `duration`; `tell` is told about disturbances.
    pub fn new(duration: Duration, tell: &'a mut dyn FnMut(String)) -> Bench<'a> {
        Bench { duration, tell, best: HashMap::new() }
    }

    /// Runs `case` in turns with the peak. A measurement that was disturbed is repeated, a few times at most; the least
    /// disturbed is returned.
    ///
    /// # Errors
    /// Those of [`FeatureExtractor::run`].
    pub fn measure(&mut self, extractor: &FeatureExtractor, case: &Case) -> Result<Measurement> {
        let mut kept: Option<Measurement> = None;
        for attempt in 1..=ATTEMPTS {
            let measurement = self.attempt(extractor, case)?;
            if kept.as_ref().is_none_or(|kept| kept.peak_flops < measurement.peak_flops) {
                kept = Some(measurement);
            }
            let Some(kept) = kept.as_ref().filter(|kept| self.is_disturbed(kept)) else { break };
            if attempt < ATTEMPTS {
                let [now, best] = [kept.peak_flops, self.best_peak(kept)].map(|flops| flops / 1e9);
                (self.tell)(format!(
                    "the machine is disturbed: its peak is {now:.0} GFLOP/s and was {best:.0} before; measuring again"
                ));
                thread::sleep(PAUSE);
            }
        }
        kept.ok_or_else(|| Error::new(ErrorKind::Limit, "", "nothing was measured"))
    }

    /// Whether the peak during `measurement` was far below the best seen until now.
    pub fn is_disturbed(&self, measurement: &Measurement) -> bool {
        measurement.peak_flops < UNDISTURBED * self.best_peak(measurement)
    }

    /// The best peak on the same threads and instruction set.
    fn best_peak(&self, measurement: &Measurement) -> f64 {
        self.best.get(&(measurement.isa, measurement.threads)).copied().unwrap_or(0.0)
    }

    fn peak(&mut self, extractor: &FeatureExtractor) -> f64 {
        let peak = extractor.peak_flops(SLICE);
        let best = self.best.entry((extractor.kernels().name(), extractor.threads())).or_default();
        *best = best.max(peak);
        peak
    }

    fn attempt(&mut self, extractor: &FeatureExtractor, case: &Case) -> Result<Measurement> {
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
        let mut steps: Vec<(StepInfo, Vec<f64>)> =
            run()?.into_iter().map(|(step, _)| (step, Vec::new())).collect();
        // Of small pictures several passes take a turn together.
        let passes = SLICE.div_duration_f64(start.elapsed()).ceil().clamp(1.0, 1e6);

        let begun = Instant::now();
        let mut samples = Vec::new();
        let mut before = self.peak(extractor);
        while samples.len() < ALTERNATIONS || begun.elapsed() < self.duration {
            let start = Instant::now();
            for _ in 0..passes as usize {
                for ((_, times), (_, time)) in steps.iter_mut().zip(run()?) {
                    times.push(time.as_secs_f64());
                }
            }
            let seconds = start.elapsed().as_secs_f64() / passes;
            let after = self.peak(extractor);
            samples.push(Sample { seconds, peak: (before + after) / 2.0 });
            before = after;
        }
        Ok(Measurement::of(&samples, steps, (extractor, case)))
    }
}

impl Measurement {
    fn of(
        samples: &[Sample],
        steps: Vec<(StepInfo, Vec<f64>)>,
        (extractor, case): (&FeatureExtractor, &Case),
    ) -> Measurement {
        let batch = case.batch.get() as f64;
        // Vectors are computed, not logits.
        let network = Network { classes: None, ..extractor.variables().network };
        let multiply_adds = network.multiply_adds(case.size);
        let operations = 2.0 * multiply_adds as f64 * batch;
        let ratios = sorted(samples.iter().map(|sample| operations / sample.seconds / sample.peak));
        let peak_ratio = quantile(&ratios, 0.5);
        let peak_flops = median(samples.iter().map(|sample| sample.peak));
        let steps: Vec<_> = steps.into_iter().map(|(step, times)| (step, median(times) / batch)).collect();
        let total: f64 = steps.iter().map(|(_, seconds)| seconds).sum();
        let layer = |(step, seconds_per_image): (StepInfo, f64)| {
            let flops = 2.0 * step.multiply_adds as f64 / seconds_per_image;
            Layer {
                step,
                seconds_per_image,
                share: seconds_per_image / total,
                flops,
                peak_ratio: flops / peak_flops,
            }
        };
        Measurement {
            isa: extractor.kernels().name(),
            threads: extractor.threads(),
            seconds_per_image: median(samples.iter().map(|sample| sample.seconds)) / batch,
            peak_flops,
            peak_ratio,
            spread: (quantile(&ratios, 0.75) - quantile(&ratios, 0.25)) / peak_ratio,
            alternations: samples.len(),
            layers: steps.into_iter().map(layer).collect(),
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
    use crate::network::DEFAULT_SIZE;

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
        let case = Case { batch: NonZeroUsize::new(2).unwrap(), size: DEFAULT_SIZE, layers: true };
        let extractor = extractor();
        let operations = 4.0 * extractor.variables().network.multiply_adds(DEFAULT_SIZE) as f64;
        // Twice as slow beside half the peak is the same ratio.
        let samples = [(1.0, 1.0), (2.0, 0.5), (1.0, 1.0), (4.0, 0.5), (1.0, 1.0)];
        let samples = samples.map(|(seconds, peak)| Sample { seconds, peak: peak * 2.0 * operations });
        let step = StepInfo { phase: 0, problem: String::new(), kernel: "", multiply_adds: 1000 };
        let steps = vec![(step.clone(), vec![3.0, 100.0, 2.0]), (step, vec![1.0; 3])];
        let measurement = Measurement::of(&samples, steps, (&extractor, &case));
        assert_eq!((measurement.seconds_per_image, measurement.peak_ratio), (0.5, 0.5));
        assert_eq!((measurement.peak_flops, measurement.spread), (2.0 * operations, 0.0));
        let [slow, fast] = &measurement.layers[..] else { panic!("{measurement:?}") };
        assert_eq!((slow.seconds_per_image, slow.share), (1.5, 0.75));
        assert_eq!((fast.flops, fast.peak_ratio), (4000.0, 4000.0 / (2.0 * operations)));
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
        assert!(measurement.alternations >= ALTERNATIONS && measurement.peak_ratio > 0.0);
        let slower =
            |part| Measurement { peak_flops: part * bench.best_peak(&measurement), ..measurement.clone() };
        assert!(bench.is_disturbed(&slower(0.8)) && !bench.is_disturbed(&slower(0.95)));
        assert!(!bench.is_disturbed(&Measurement { threads: 2, ..slower(0.8) }));
    }
}
