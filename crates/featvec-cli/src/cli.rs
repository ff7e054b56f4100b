//! The command line, described once: parser, help, completions and man pages come from here.

use clap::{Parser, Subcommand};

use crate::commands::{
    bench, cache, classify, compare, completions, distill, embed, eval, export, fetch, inspect, man, merge,
    presets, retrain, stats, train, verify,
};
use crate::stop::{Outcome, Stop};
use crate::talk::Talk;

/// Images to feature vectors with Inception V1, exactly as the TF-Hub module computes them.
#[derive(Parser)]
#[command(
    name = "featvec",
    version,
    arg_required_else_help = true,
    after_help = "\
Examples:
  featvec embed -o vectors.npy photos/
  featvec classify dog.jpg
  featvec inspect feature_vector.tar.gz

Exit codes: 0 all done, 1 some inputs failed, 2 could not start or go on, 130 interrupted."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Tell failures only: no warnings, no progress, no summary
    #[arg(short, long, global = true)]
    quiet: bool,
}

#[derive(Subcommand)]
enum Command {
    Embed(embed::Embed),
    Merge(merge::Merge),
    Verify(verify::Verify),
    Stats(stats::ShowStats),
    Classify(classify::Classify),
    Eval(eval::Eval),
    Train(Box<train::Train>),
    Inspect(inspect::Inspect),
    Compare(compare::Compare),
    Export(export::Export),
    Distill(distill::Distill),
    Retrain(Box<retrain::Retrain>),
    Bench(bench::Bench),
    Fetch(fetch::Fetch),
    Cache(cache::CacheCommand),
    Presets(presets::Presets),
    Completions(completions::Completions),
    Man(man::Man),
}

impl Cli {
    /// Does what the command line asks for.
    pub fn run(self) -> Result<Outcome, Stop> {
        let talk = Talk::new(self.quiet);
        match self.command {
            Command::Embed(embed) => embed.run(&talk),
            Command::Merge(merge) => merge.run(&talk),
            Command::Verify(verify) => verify.run(),
            Command::Stats(stats) => stats.run(),
            Command::Classify(classify) => classify.run(&talk),
            Command::Eval(eval) => eval.run(&talk),
            Command::Train(train) => train.run(&talk),
            Command::Inspect(inspect) => inspect.run(&talk),
            Command::Compare(compare) => compare.run(&talk),
            Command::Export(export) => export.run(&talk),
            Command::Distill(distill) => distill.run(&talk),
            Command::Retrain(retrain) => retrain.run(&talk),
            Command::Bench(bench) => bench.run(&talk),
            Command::Fetch(fetch) => fetch.run(&talk),
            Command::Cache(cache) => cache.run(&talk),
            Command::Presets(presets) => presets.run(),
            Command::Completions(completions) => completions.run(),
            Command::Man(man) => man.run(),
        }
    }
}
