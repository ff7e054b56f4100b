//! What was measured, as tables and as JSON.

use std::io::{self, Write};
use std::num::NonZeroUsize;

use featvec::accuracy::Accuracy;
use featvec::bench::{Contest, Layer, Measurement};
use serde_json::{Value, json};

use crate::line;

/// A case and its figures.
pub struct Row {
    pub batch: NonZeroUsize,
    pub measurement: Measurement,
    /// Whether somebody else used the machine.
    pub disturbed: bool,
}

impl Row {
    pub fn to_json(&self) -> Value {
        let Measurement {
            precision,
            threads,
            seconds_per_image,
            peak_flops,
            peak_ratio,
            spread,
            alternations,
            ..
        } = self.measurement;
        let mut case = json!({
            "precision": precision.to_string(),
            "threads": threads,
            "batch": self.batch,
            "ms_per_image": seconds_per_image * 1e3,
            "images_per_second": 1.0 / seconds_per_image,
            "peak_gflops": peak_flops / 1e9,
            "peak_ratio": peak_ratio,
            "spread": spread,
            "alternations": alternations,
            "disturbed": self.disturbed,
        });
        if !self.measurement.layers.is_empty() {
            case["layers"] = self.measurement.layers.iter().map(layer_to_json).collect();
        }
        case
    }
}

impl Row {
    /// As [`to_json`](Row::to_json), of a step of training.
    pub fn to_json_of_step(&self, peak_memory_bytes: Option<u64>) -> Value {
        let mut case = self.to_json();
        case["ms_per_step"] = json!(self.measurement.seconds_per_image * self.batch.get() as f64 * 1e3);
        case["peak_memory_bytes"] = json!(peak_memory_bytes);
        case
    }
}

/// Steps of training, with the memory that the process had taken at most by then.
pub fn print_steps(out: &mut impl Write, rows: &[(Row, Option<u64>)]) -> io::Result<()> {
    writeln!(out, "threads  batch  ms/step  images/s  peak GFLOP/s  % of peak  spread  memory MB")?;
    for (Row { batch, measurement, disturbed }, memory_bytes) in rows {
        let Measurement { threads, seconds_per_image, peak_flops, peak_ratio, spread, .. } = measurement;
        writeln!(
            out,
            "{threads:7}  {batch:5}  {:7.0}  {:8.1}  {:12.1}  {:9.1}  {:4.1} %  {:>9}{}",
            seconds_per_image * batch.get() as f64 * 1e3,
            1.0 / seconds_per_image,
            peak_flops / 1e9,
            peak_ratio * 100.0,
            spread * 100.0,
            memory_bytes.map_or("-".to_string(), |bytes| (bytes / 1_000_000).to_string()),
            if *disturbed { "  disturbed" } else { "" },
        )?;
    }
    Ok(())
}

fn layer_to_json(layer: &Layer) -> Value {
    json!({
        "phase": layer.step.phase,
        "problem": layer.step.problem,
        "kernel": layer.step.kernel,
        "multiply_adds": layer.step.multiply_adds,
        "ms_per_image": layer.seconds_per_image * 1e3,
        "share": layer.share,
        "gflops": layer.flops / 1e9,
        "peak_ratio": layer.peak_ratio,
    })
}

pub fn print_rows(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    writeln!(out, "precision  threads  batch  ms/image  images/s  peak GFLOP/s  % of peak  spread")?;
    for Row { batch, measurement, disturbed } in rows {
        let Measurement { precision, threads, seconds_per_image, peak_flops, peak_ratio, spread, .. } =
            measurement;
        writeln!(
            out,
            "{precision:9}  {threads:7}  {batch:5}  {:8.2}  {:8.1}  {:12.1}  {:9.1}  {:4.1} %{}",
            seconds_per_image * 1e3,
            1.0 / seconds_per_image,
            peak_flops / 1e9,
            peak_ratio * 100.0,
            spread * 100.0,
            if *disturbed { "  disturbed" } else { "" },
        )?;
    }
    for Row { batch, measurement, .. } in rows.iter().filter(|row| !row.measurement.layers.is_empty()) {
        writeln!(out, "\n{}, threads {}, batch {batch}", measurement.precision, measurement.threads)?;
        writeln!(out, "ms/image   share  GFLOP/s  % of peak  {:22}  problem", "kernel")?;
        measurement.layers.iter().try_for_each(|layer| print_layer(out, layer))?;
    }
    Ok(())
}

fn print_layer(out: &mut impl Write, layer: &Layer) -> io::Result<()> {
    // Steps that multiply nothing have no rate.
    let rates = match layer.step.multiply_adds {
        0 => format!("{:7}  {:9}", "", ""),
        _ => format!("{:7.1}  {:9.1}", layer.flops / 1e9, layer.peak_ratio * 100.0),
    };
    writeln!(
        out,
        "{:8.3}  {:4.1} %  {rates}  {:22}  {}",
        layer.seconds_per_image * 1e3,
        layer.share * 100.0,
        layer.step.kernel,
        layer.step.problem,
    )
}

pub fn contests_to_json(contests: &[Contest], (tolerated, passed): (f64, bool)) -> Value {
    let convolutions = contests.iter().map(|contest| {
        json!({
            "problem": contest.chosen.problem,
            "kernel": contest.chosen.kernel,
            "ms": contest.chosen_seconds * 1e3,
            "rival": contest.rival,
            "rival_ms": contest.rival_seconds * 1e3,
            "slowdown": contest.slowdown(),
        })
    });
    json!({ "passed": passed, "tolerated": tolerated, "convolutions": convolutions.collect::<Vec<_>>() })
}

pub fn print_contests(
    out: &mut impl Write,
    offenders: &[&Contest],
    (count, isa, tolerated): (usize, &str, f64),
) -> io::Result<()> {
    let tolerated = tolerated * 100.0;
    match offenders.len() {
        0 => writeln!(out, "{count} convolutions: none is more than {tolerated:.0} % slower on {isa}")?,
        slow => {
            writeln!(out, "{slow} of {count} convolutions are more than {tolerated:.0} % slower on {isa}")?
        }
    }
    for contest in offenders {
        writeln!(
            out,
            "{:36} {} {:.3} ms, {} {:.3} ms: {:.0} % slower",
            contest.chosen.problem,
            contest.chosen.kernel,
            contest.chosen_seconds * 1e3,
            contest.rival,
            contest.rival_seconds * 1e3,
            contest.slowdown() * 100.0,
        )?;
    }
    Ok(())
}

pub fn accuracy_to_json(accuracy: &Accuracy, [reference, candidate]: &[String; 2]) -> Value {
    json!({
        "candidate": candidate,
        "reference": reference,
        "pictures": accuracy.pictures,
        "failed": accuracy.failed,
        "mean_cosine": accuracy.mean_cosine,
        "worst_cosine": accuracy.worst_cosine,
        "worst_picture": accuracy.worst_picture.to_string_lossy(),
        "top1_agreement": accuracy.top1_agreement,
    })
}

pub fn print_accuracy(
    out: &mut impl Write,
    accuracy: &Accuracy,
    [reference, candidate]: &[String; 2],
) -> io::Result<()> {
    writeln!(out, "{candidate} against {reference}, {} pictures", accuracy.pictures)?;
    writeln!(out, "mean cosine     {:.7}", accuracy.mean_cosine)?;
    let worst = line::shown(&accuracy.worst_picture);
    writeln!(out, "worst cosine    {:.7}, {worst}", accuracy.worst_cosine)?;
    match accuracy.top1_agreement {
        Some(share) => writeln!(out, "same top class  {:.1} %", share * 100.0),
        None => Ok(()),
    }
}
