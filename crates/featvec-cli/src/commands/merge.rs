//! `featvec merge`: several outputs of `embed` to one.

use std::io::{Write, stdout};
use std::path::PathBuf;

use clap::Args;
use featvec_collections::{Format, Status, merge};
use serde_json::json;

use crate::line;
use crate::staged::StagedFolder;
use crate::stop::{Outcome, Stop, wrong_usage};
use crate::talk::Talk;

/// Make one output of several, such as those of the shards of a collection
#[derive(Args)]
#[command(after_help = "\
Examples:
  featvec merge -o all.parquet shard-*.parquet
  featvec merge -o all.npy a.parquet b.csv

The rows of one output come after those of the other, in the order given. Each output needs the
manifest that embed wrote beside it. Refused are outputs that are damaged, outputs made with
different modules or options, and a picture that has a different row in two of them; a row that
is the same in several is taken once. Pictures that failed are rows in .parquet and .arrow; of
the other formats they are in a list beside it.

Exit codes: 0 merged, 1 merged and a shard is missing, 2 refused.")]
pub struct Merge {
    /// Outputs of `featvec embed`
    #[arg(required = true, value_name = "OUTPUT")]
    outputs: Vec<PathBuf>,

    /// The file to write: x.parquet, .arrow, .npy, .safetensors, .csv, .jsonl or .txt
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Print what was merged as JSON
    #[arg(long)]
    json: bool,
}

impl Merge {
    pub fn run(self, talk: &Talk) -> Result<Outcome, Stop> {
        let format = Format::of(&self.output).ok_or_else(|| {
            wrong_usage(format!("the name {} does not say which format is meant", line::shown(&self.output)))
                .with_hint("let it end in .parquet, .arrow, .npy, .safetensors, .csv, .jsonl or .txt")
        })?;
        let target = self.output.canonicalize().unwrap_or_else(|_| self.output.clone());
        let scratch = StagedFolder::beside(&target)?;
        let merged = merge(&self.outputs, &target, format, scratch.folder())?;
        for shard in &merged.missing {
            talk.failure(format_args!("shard {shard} is not among the outputs"));
        }
        let count = |status| merged.manifest.count(status);
        let failed = count(Status::Unreadable) + count(Status::Undecodable);
        let print = if self.json {
            let line = json!({
                "output": self.output.to_string_lossy(),
                "rows": merged.manifest.rows,
                "repeated": merged.repeated,
                "missing_shards": merged.missing,
            });
            writeln!(stdout(), "{line}")
        } else {
            writeln!(
                stdout(),
                "{}: {} vectors, {failed} failed; {} repeated",
                line::shown(&self.output),
                count(Status::Ok),
                merged.repeated
            )
        };
        print.map_err(Stop::from_stdout)?;
        Ok(Outcome::of(merged.missing.len()))
    }
}
