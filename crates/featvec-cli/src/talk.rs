//! What is said on stderr: messages, and progress where a person watches.

use std::cell::RefCell;
use std::fmt::Display;
use std::io::Write;

use featvec::Error;
use featvec::fetch::Progress;
use indicatif::{ProgressBar, ProgressStyle};

/// Prints `error` with its causes. That stderr is closed is nothing that could be reported.
pub fn report(error: &Error) {
    let mut text = format!("featvec: error: {error}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        // Errors of the operating system are in the message already.
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(&format!("\n  caused by: {cause_text}"));
        }
        source = cause.source();
    }
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Messages that do not tear the progress bar. Bars are drawn on terminals only.
pub struct Talk {
    quiet: bool,
    bar: RefCell<ProgressBar>,
    /// What is being downloaded.
    url: RefCell<String>,
    /// What was told last about a wait.
    wait: RefCell<String>,
}

impl Talk {
    /// With `quiet` only failures are told.
    pub fn new(quiet: bool) -> Talk {
        Talk {
            quiet,
            bar: RefCell::new(ProgressBar::hidden()),
            url: RefCell::default(),
            wait: RefCell::default(),
        }
    }

    /// Tells that something failed.
    pub fn failure(&self, message: impl Display) {
        self.bar.borrow().suspend(|| {
            let _ = writeln!(std::io::stderr(), "featvec: {message}");
        });
    }

    /// Tells something worth knowing.
    pub fn note(&self, message: impl Display) {
        if !self.quiet {
            self.failure(message);
        }
    }

    /// Shows a bar for `total` inputs.
    pub fn begin(&self, total: usize) {
        self.show(total as u64, "{bar:40} {pos}/{len} {per_sec} {eta} {msg}");
    }

    /// Shows steps as they come, of which nobody knows how many there will be.
    pub fn begin_steps(&self) {
        self.show(0, "{spinner} {elapsed} {msg}");
    }

    /// Tells what the step just done came to.
    pub fn advance_to(&self, message: impl Display) {
        self.advance(1);
        self.describe(message);
    }

    /// Tells beside the bar how things stand.
    pub fn describe(&self, message: impl Display) {
        self.bar.borrow().set_message(message.to_string());
    }

    /// Moves the bar on by `count` inputs.
    pub fn advance(&self, count: usize) {
        self.bar.borrow().inc(count as u64);
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.bar.replace(ProgressBar::hidden()).finish_and_clear();
        self.wait.take();
    }

    /// Tells how a download goes on.
    pub fn download(&self, progress: Progress<'_>) {
        match progress {
            Progress::Downloading { url, downloaded, total } => {
                if *self.url.borrow() != url {
                    self.url.replace(url.to_string());
                    self.note(format_args!("fetching {url}"));
                    self.show(total.unwrap_or(0), "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
                }
                if let Some(total) = total {
                    self.bar.borrow().set_length(total);
                }
                self.bar.borrow().set_position(downloaded);
            }
            Progress::Waiting { owner } => self.wait_for(owner),
            Progress::Repairing { reason } => {
                self.note(format_args!("repairing the cached module: {reason}"))
            }
            Progress::Retrying { url, reason } => self.note(format_args!("trying {url} again: {reason}")),
            _ => {}
        }
    }

    /// Tells once that `owner` is being waited for, which is heard again and again for as long as it takes.
    fn wait_for(&self, owner: &str) {
        let text = match owner {
            "" => "waiting for another process that looks after the module".to_string(),
            owner => format!("waiting for {owner}, which fetches the module"),
        };
        if *self.wait.borrow() != text {
            self.note(&text);
            self.wait.replace(text);
        }
    }

    fn show(&self, len: u64, template: &str) {
        if self.quiet {
            return;
        }
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        self.bar.replace(ProgressBar::new(len).with_style(style)).finish_and_clear();
    }
}
