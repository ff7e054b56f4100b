//! How training went: what the report draws and TensorBoard shows.

use std::collections::BTreeMap;
use std::time::SystemTime;

use featvec::events::EventWriter;
use featvec::report::{Axis, Chart};

/// Values of the pictures that are trained with and of those for validation, by name, as they changed.
#[derive(Debug)]
pub struct History {
    /// What charts of new curves have from left to right.
    x: Axis,
    curves: BTreeMap<(&'static str, Pictures), (Axis, Vec<Point>)>,
}

/// Whose values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pictures {
    Training,
    Validation,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    /// TensorBoard's.
    step: i64,
    /// The charts'.
    x: f64,
    y: f64,
}

impl History {
    /// Nothing yet; charts will have `x` from left to right.
    pub fn new(x: &str, logarithmic: bool) -> History {
        History { x: Axis { name: x.to_string(), logarithmic }, curves: BTreeMap::new() }
    }

    /// Charts of curves that begin from now on will have `x` from left to right, in equal steps.
    pub fn continue_by(&mut self, x: &str) {
        self.x = Axis { name: x.to_string(), logarithmic: false };
    }

    /// Notes that `name` is `y` at `x`, which is step `step`.
    pub fn add(&mut self, (name, pictures): (&'static str, Pictures), (step, x): (usize, f64), y: f64) {
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        let (_, points) = self.curves.entry((name, pictures)).or_insert_with(|| (self.x.clone(), Vec::new()));
        points.push(Point { step, x, y });
    }

    /// A chart for each name.
    pub fn charts(&self) -> Vec<Chart> {
        let mut charts: BTreeMap<&str, Chart> = BTreeMap::new();
        for ((name, pictures), (axis, points)) in &self.curves {
            let chart = charts.entry(name).or_insert_with(|| Chart {
                title: name.replace('_', " "),
                x: axis.clone(),
                series: Vec::new(),
                y_range: None,
            });
            let series = if *pictures == Pictures::Training { "training" } else { "validation" };
            chart.series.push((series.to_string(), points.iter().map(|point| (point.x, point.y)).collect()));
        }
        charts.into_values().collect()
    }

    /// An event file for TensorBoard with the values of `pictures`, and `histograms` of what they ended in.
    pub fn events(&self, pictures: Pictures, histograms: &[(&str, &[f32])], now: SystemTime) -> Vec<u8> {
        let write = || -> std::io::Result<Vec<u8>> {
            let mut events = EventWriter::new(Vec::new(), now)?;
            let mut last = 0;
            for ((name, of), (_, points)) in &self.curves {
                for point in points.iter().filter(|_| *of == pictures) {
                    events.scalars(now, point.step, &[(name, point.y as f32)])?;
                    last = last.max(point.step);
                }
            }
            for histogram in histograms {
                events.histogram(now, last, *histogram)?;
            }
            Ok(std::mem::take(events.get_mut()))
        };
        write().expect("memory takes what is written")
    }
}
