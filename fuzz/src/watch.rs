//! Runs one target in a process of its own, and saves its inputs if that dies.

use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use crate::hunt;
use crate::options::Options;

/// How much longer than it was told to a target may run: it finishes the input that it is at.
const GRACE: Duration = Duration::from_secs(60);

/// Runs `target`; false if there were findings.
pub fn run(target: &str, options: &Options) -> bool {
    try_run(target, options).unwrap_or_else(|error| {
        eprintln!("{target}: could not be run: {error}");
        false
    })
}

fn try_run(target: &str, options: &Options) -> io::Result<bool> {
    let folder = tempfile::tempdir()?;
    let child = Command::new(std::env::current_exe()?)
        .args(["--seconds", &options.seconds.to_string(), "--seed", &options.seed.to_string()])
        .arg("--child")
        .arg(folder.path())
        .arg(target)
        .spawn()?;
    let status = wait(child, Duration::from_secs(options.seconds) + GRACE)?;
    let has_ended = status.and_then(|status| status.code());
    if let Some(code @ (0 | 1)) = has_ended {
        return Ok(code == 0);
    }
    let what = status.map_or("it did not end".to_owned(), |status| format!("it died: {status}"));
    println!("{target}: {what}; one of these was being read:");
    save_running(target, folder.path())?;
    Ok(false)
}

/// Waits for `child`; kills it after `most`, and then there is no status.
fn wait(mut child: Child, most: Duration) -> io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    while start.elapsed() < most {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(Duration::from_millis(50));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

fn save_running(target: &str, folder: &Path) -> io::Result<()> {
    for thread in 0..hunt::THREADS {
        if let Ok(input) = fs::read(hunt::running_input(folder, thread)) {
            println!("  {}", hunt::save(target, &input)?.display());
        }
    }
    Ok(())
}
