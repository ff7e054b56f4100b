//! `featvec compare`: whether two files of vectors are equal, and if not, why.

mod experiment;

use std::fs::File;
use std::io::{self, BufReader, Write, stdout};
use std::path::{Path, PathBuf};

use clap::Args;
use featvec::compare::{Cause, Comparison, compare};
use featvec::{Error, Limits, Tensor, npy};
use serde_json::{Value, json};

use crate::options::{ModuleArgs, TextOrJson};
use crate::stop::{Outcome, Stop};
use crate::talk::Talk;
use experiment::{Finding, experiment};

/// Vectors of length 1 that are further apart were not made in one way.
const FAR: f64 = 0.01;

/// Compare two .npy files of vectors (or of images) and say why they differ
#[derive(Args)]
#[command(after_help = "\
Examples:
  featvec compare ours.npy python.npy
  featvec compare ours.npy python.npy --module module/ --images photos/
  featvec compare ours.npy python.npy --module module/ --images - < ours.paths.txt

With --images the first pictures are run through the module under every preset,
channel order and range, to say which of them made A and which made B. Row i must be picture i.

The exit code is 0 if they are equal within the tolerance, and 1 if not.")]
pub struct Compare {
    /// Vectors to judge
    #[arg(value_name = "A.npy")]
    a: PathBuf,

    /// Vectors to judge them by; errors are relative to these
    #[arg(value_name = "B.npy")]
    b: PathBuf,

    /// The largest relative L2 error that passes as equal
    #[arg(long, value_name = "ERROR", default_value = "1e-5", value_parser = parse_tolerance)]
    tolerance: f64,

    /// As text or as one JSON object
    #[arg(long, value_enum, default_value_t)]
    format: TextOrJson,

    /// The pictures of the rows, in their order: files, folders, or - for a list on stdin
    #[arg(long, value_name = "PATH", num_args = 1..)]
    images: Vec<PathBuf>,

    #[command(flatten)]
    module: ModuleArgs,
}

impl Compare {
    pub fn run(self, talk: &Talk) -> Result<Outcome, Stop> {
        let limits = self.module.load.fetch.limits();
        let (a, b) = (read(&self.a, &limits)?, read(&self.b, &limits)?);
        let comparison = compare(&a, &b)?;
        // Images in two forms may be equal number by number, and are still not to be mixed.
        let same_form = !matches!(comparison.cause, Cause::Images(_));
        let equal = same_form && comparison.relative_l2 <= self.tolerance;
        let findings = if is_open(&comparison.cause) && !equal && !self.images.is_empty() {
            experiment(&self.module.load(false, talk)?, &self.images, [&a, &b])?
        } else {
            Vec::new()
        };
        let mut out = stdout().lock();
        match self.format {
            TextOrJson::Text => print_text(&mut out, &comparison, equal, &findings),
            TextOrJson::Json => writeln!(out, "{}", to_json(&comparison, equal, &findings)),
        }
        .map_err(Stop::from_stdout)?;
        Ok(Outcome::of(usize::from(!equal)))
    }
}

/// Whether the numbers alone leave open how they came to differ, so that trying the ways of preparing pictures helps.
fn is_open(cause: &Cause) -> bool {
    matches!(cause, Cause::Preparation | Cause::Unknown)
}

/// What the experiment found, where it found two different ways; else what the numbers alone show.
fn likely_cause(comparison: &Comparison, findings: &[Finding]) -> String {
    match findings {
        [a, b] if a.made_by != b.made_by && a.distance.max(b.distance) <= FAR => {
            format!("A was made by {}, B by {}", a.made_by, b.made_by)
        }
        _ => comparison.cause.to_string(),
    }
}

fn parse_tolerance(text: &str) -> Result<f64, &'static str> {
    text.parse().ok().filter(|error| *error >= 0.0).ok_or("write a number from 0 on, like 1e-5")
}

/// An array of numbers; integers become floats.
fn read(path: &Path, limits: &Limits) -> Result<Tensor, Error> {
    let place = path.display().to_string();
    let read = || {
        let file = File::open(path).map_err(|error| Error::io("", error))?;
        let array = npy::read(BufReader::new(file), limits)?;
        let shape = array.shape().to_vec();
        let values = match array.to_i64() {
            Ok(integers) => integers.into_iter().map(|integer| integer as f32).collect(),
            Err(_) => array.into_f32()?,
        };
        Tensor::new(shape, values)
    };
    read().map_err(|error| error.within(&place))
}

/// Row and value of the smallest cosines, the smallest first.
fn worst_rows(comparison: &Comparison) -> Vec<(usize, f64)> {
    let mut rows: Vec<_> = comparison.cosines.iter().copied().enumerate().collect();
    rows.sort_by(|a, b| a.1.total_cmp(&b.1));
    rows
}

fn print_text(
    out: &mut impl Write,
    comparison: &Comparison,
    equal: bool,
    findings: &[Finding],
) -> io::Result<()> {
    let Comparison { max_error, max_error_row, max_error_of_largest, relative_l2, cause, .. } = comparison;
    writeln!(
        out,
        "largest error  {max_error:.3e} in row {max_error_row}, {max_error_of_largest:.3e} of the largest value"
    )?;
    writeln!(out, "relative L2    {relative_l2:.3e}")?;
    let rows = worst_rows(comparison);
    if let (Some((row, min)), Some((_, median))) = (rows.first(), rows.get(rows.len() / 2)) {
        writeln!(out, "cosine         smallest {min:.7} in row {row}, median {median:.7}")?;
    }
    if !equal && rows.len() > 1 {
        let worst: Vec<_> = rows.iter().take(5).map(|(row, cosine)| format!("{row} ({cosine:.4})")).collect();
        writeln!(out, "worst rows     {}", worst.join(", "))?;
    }
    writeln!(out, "verdict        {}", if equal { "equal" } else { "different" })?;
    writeln!(out, "likely cause   {}", likely_cause(comparison, findings))?;
    for Finding { array, made_by, distance } in findings {
        let doubt = if *distance > FAR {
            "; nothing that was tried is nearer, so something else differs"
        } else {
            ""
        };
        writeln!(out, "{array} made by      {made_by} (distance {distance:.1e}{doubt})")?;
    }
    if findings.is_empty() && is_open(cause) {
        writeln!(
            out,
            "to find out    give --module and --images: the ways to prepare pictures are then tried"
        )?;
    }
    Ok(())
}

fn to_json(comparison: &Comparison, equal: bool, findings: &[Finding]) -> Value {
    let rows = worst_rows(comparison);
    let tried: Vec<_> = findings
        .iter()
        .map(|Finding { array, made_by, distance }| {
            json!({ "array": array, "made_by": made_by, "distance": distance })
        })
        .collect();
    json!({
        "equal": equal,
        "rows": comparison.cosines.len(),
        "max_error": comparison.max_error,
        "max_error_row": comparison.max_error_row,
        "max_error_of_largest": comparison.max_error_of_largest,
        "relative_l2": comparison.relative_l2,
        "cosine_min": rows.first().map(|(_, cosine)| cosine),
        "cosine_median": rows.get(rows.len() / 2).map(|(_, cosine)| cosine),
        "worst_rows": rows.iter().take(5).map(|(row, _)| row).collect::<Vec<_>>(),
        "cause": likely_cause(comparison, findings),
        "findings": tried,
    })
}
