//! `featvec stats`: whether the vectors of an output are sane.

use std::fmt::Write as _;
use std::io::{Write, stdout};
use std::path::PathBuf;

use clap::Args;
use featvec::Error;
use featvec_collections::{Stats, stats};

use crate::line;
use crate::stop::{Outcome, Stop};

/// Show figures of vectors: counts, lengths, dead dimensions, nearest pairs
#[derive(Args)]
#[command(after_help = "\
Examples:
  featvec stats vectors.parquet
  featvec stats --json vectors.npy

A dead dimension is 0 in every vector; a constant one has another value, the same in every
vector. Nearest are the pairs of different vectors with the largest cosine. All vectors are
compared with each other up to 20000 of them (128 MB), above a sample, the same one each time.
Any .npy of vectors will do; a manifest is not needed.

Exit codes: 0 sane, 1 a vector is not finite, 2 the output could not be read.")]
pub struct ShowStats {
    /// An output of `featvec embed`
    output: PathBuf,

    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

impl ShowStats {
    pub fn run(self) -> Result<Outcome, Stop> {
        let figures = stats(&self.output)?;
        let text = if self.json {
            let json = serde_json::to_string(&figures);
            json.map_err(|error| Error::io("stdout", error.into()))? + "\n"
        } else {
            table(&figures)
        };
        stdout().write_all(text.as_bytes()).map_err(Stop::from_stdout)?;
        Ok(Outcome::of(usize::from(figures.not_finite > 0)))
    }
}

fn table(stats: &Stats) -> String {
    let by_status = stats.by_status.iter().map(|(status, count)| format!("{count} {status}"));
    let mut lines = vec![
        ("rows", format!("{}: {}", stats.rows, by_status.collect::<Vec<_>>().join(", "))),
        ("numbers", format!("{} a vector", stats.values)),
    ];
    if let Some(norms) = stats.norms {
        let zeros = match stats.zero_vectors {
            0 => String::new(),
            zeros => format!("; {zeros} of zeros"),
        };
        let lengths = format!("{:.4} to {:.4}, median {:.4}{zeros}", norms.min, norms.max, norms.median);
        lines.push(("lengths", lengths));
    }
    if stats.not_finite > 0 {
        lines.push(("not finite", format!("{} vectors", stats.not_finite)));
    }
    lines.push(("dead", dimensions(&stats.dead)));
    lines.push(("constant", dimensions(&stats.constant)));
    lines
        .push(("repeated", format!("{} vectors, {} files", stats.repeated_vectors, stats.repeated_contents)));
    let compared = if stats.compared_all { "all compared" } else { "a sample compared" };
    lines.push(("different", format!("{} vectors, {compared}", stats.compared)));
    let mut text = String::new();
    for (name, figure) in lines {
        let _ = writeln!(text, "{name:<11}{figure}");
    }
    for (i, pair) in stats.nearest.iter().enumerate() {
        let name = if i == 0 { "nearest" } else { "" };
        let [a, b] = pair.keys.each_ref().map(line::shown);
        let _ = writeln!(text, "{name:<11}{:.5}  {a}  {b}", pair.cosine);
    }
    text
}

/// How many dimensions, and the first of them.
fn dimensions(dimensions: &[usize]) -> String {
    const SHOWN: usize = 10;
    let mut first = dimensions.iter().take(SHOWN).map(usize::to_string).collect::<Vec<_>>().join(" ");
    if dimensions.len() > SHOWN {
        first.push_str(" ...");
    }
    match dimensions.len() {
        0 => "no dimension".to_string(),
        1 => format!("1 dimension: {first}"),
        n => format!("{n} dimensions: {first}"),
    }
}
