//! The program `featvec`: images to feature vectors with Inception V1.
//!
//! Results go to stdout, talk to stderr. The exit code is 0 if all was done, 1 if some inputs failed, and 2 if it
//! could not start; a reader who has seen enough (a closed pipe) is no failure.
#![forbid(unsafe_code)]

mod cli;
mod commands;
mod inputs;
mod interrupt;
mod line;
mod options;
mod staged;
mod stop;
mod talk;
mod watch;

use std::panic;
use std::process::ExitCode;

use clap::Parser;
use featvec_collections::is_guarded;

use cli::Cli;
use stop::{Outcome, Stop};

fn main() -> ExitCode {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !is_guarded() {
            report(panic);
        }
    }));
    let end = match Cli::try_parse() {
        Ok(cli) => cli.run(),
        Err(error) if error.use_stderr() => {
            // That stderr is closed is nothing that could be reported.
            let _ = error.print();
            return ExitCode::from(2);
        }
        Err(help) => help.print().map(|()| Outcome::Done).map_err(Stop::from_stdout),
    };
    match end {
        Ok(Outcome::Done) | Err(Stop::BrokenPipe) => ExitCode::SUCCESS,
        Ok(Outcome::SomeFailed) => ExitCode::from(1),
        Ok(Outcome::Interrupted) => ExitCode::from(stop::INTERRUPTED),
        Err(Stop::Error(error)) => {
            talk::report(&error);
            ExitCode::from(2)
        }
    }
}
