//! Reads mutated files for a while with every reader of featvec, and says which of them misbehave.
//!
//! Each target runs in a process of its own, so that even a stack overflow or an impossible allocation leaves its
//! input behind.

mod corpus;
mod hunt;
mod mutate;
mod options;
mod rng;
mod targets;
mod watch;

use std::process::ExitCode;

use options::{Options, USAGE};

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut targets = targets::all();
    if let Some(unknown) =
        options.targets.iter().find(|name| targets.iter().all(|target| target.name() != **name))
    {
        let names: Vec<_> = targets.iter().map(|target| target.name()).collect();
        eprintln!("there is no target {unknown:?}; there are {}", names.join(", "));
        return ExitCode::from(2);
    }
    targets.retain(|target| {
        options.targets.is_empty() || options.targets.iter().any(|name| target.name() == name)
    });
    let is_clean = match &options.child {
        Some(folder) => targets.iter().all(|target| hunt::run(&**target, &options, folder)),
        // Every target has its turn, whatever the others found.
        None => targets.iter().filter(|target| !watch::run(target.name(), &options)).count() == 0,
    };
    if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
