//! `featvec verify`: whether outputs are what their manifests say.

use std::io::{Write, stdout};
use std::path::PathBuf;

use clap::Args;
use featvec::Error;
use featvec_collections::verify;
use serde_json::json;

use crate::line;
use crate::stop::{Outcome, Stop};
use crate::talk::report;

/// Verify outputs of embed against their manifests, and their vectors
#[derive(Args)]
#[command(after_help = "\
Examples:
  featvec verify vectors.parquet
  featvec verify --json shard-*.parquet

Verified are the bytes and SHA-256 of each file, the counts of rows, that no picture is there
twice, and that each vector is finite, of the right length, and of length 1 where embed was told
to normalize.

An output that cannot be verified does not keep the others from it.

Exit codes: 0 all sound, 1 some are not, 2 an output could not be verified.")]
pub struct Verify {
    /// Outputs of `featvec embed`
    #[arg(required = true, value_name = "OUTPUT")]
    outputs: Vec<PathBuf>,

    /// Print a JSON object for each output
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub fn run(self) -> Result<Outcome, Stop> {
        let mut unsound = 0;
        let mut untold: Option<Error> = None;
        for output in &self.outputs {
            let found = match verify(output) {
                Ok(found) => found,
                Err(error) => {
                    // The last one is reported by whoever called.
                    untold.replace(error).iter().for_each(report);
                    continue;
                }
            };
            unsound += usize::from(found.count > 0);
            let mut text = String::new();
            if self.json {
                text = json!({
                    "output": output.to_string_lossy(),
                    "sound": found.count == 0,
                    "rows": found.rows,
                    "problems": found.problems,
                    "problem_count": found.count,
                })
                .to_string();
            } else if found.count == 0 {
                text = format!("sound    {}, {} rows", line::shown(output), found.rows);
            } else {
                text.push_str(&format!("unsound  {}", line::shown(output)));
                found
                    .problems
                    .iter()
                    .for_each(|problem| text.push_str(&format!("\n  {}", line::shown(problem))));
                let more = found.count - found.problems.len() as u64;
                if more > 0 {
                    text.push_str(&format!("\n  and {more} more"));
                }
            }
            writeln!(stdout(), "{text}").map_err(Stop::from_stdout)?;
        }
        match untold {
            Some(error) => Err(error.into()),
            None => Ok(Outcome::of(unsound)),
        }
    }
}
