//! Where vectors go: a table on stdout, or a file that appears when it is complete.

mod format;
mod rows;

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufWriter, Stdout, Write};
use std::path::{Path, PathBuf};

use featvec::npy::RowWriter;
use featvec::{Error, Tensor};

use crate::line;
use crate::pipeline::Tally;
use crate::staged::Staged;
use crate::stop::Stop;

pub use format::{Format, LineFormat};

/// An output being written.
pub enum Output {
    /// Lines on stdout.
    Stdout(LineFormat, BufWriter<Stdout>),
    /// Lines in a file.
    Lines(LineFormat, Staged, PathBuf),
    /// A numpy array, and beside it the names of its rows.
    Array { rows: RowWriter<Staged>, paths: Staged, target: PathBuf },
}

impl Output {
    /// Begins an output of rows of `row_shape`, in `format`, in the file `target` or on stdout.
    ///
    /// # Errors
    /// A format that does not go with the target; a file that cannot be written.
    pub fn begin(format: Option<Format>, target: Option<&Path>, row_shape: &[usize]) -> Result<Output, Stop> {
        let format = Format::choose(format, target)?;
        Ok(match (format.lines(), target) {
            (Some(lines), None) => {
                let mut stdout = BufWriter::new(io::stdout());
                lines.write_header(&mut stdout, row_shape).map_err(Stop::from_stdout)?;
                Output::Stdout(lines, stdout)
            }
            (Some(lines), Some(target)) => {
                let mut file = Staged::create(target)?;
                lines.write_header(&mut file, row_shape).map_err(|error| file.error(error))?;
                Output::Lines(lines, file, target.to_owned())
            }
            (None, target) => {
                let target = target.unwrap_or(Path::new("")).to_owned();
                let rows = RowWriter::new(Staged::create(&target)?, row_shape)?;
                Output::Array { rows, paths: Staged::create(&companion(&target, "paths"))?, target }
            }
        })
    }

    /// Appends the rows `values`, `[n, ...]`, with their names.
    ///
    /// # Errors
    /// A full disk; a reader of stdout who has seen enough.
    pub fn write(&mut self, names: &[OsString], values: &Tensor) -> Result<(), Stop> {
        match self {
            Output::Stdout(format, stdout) => {
                format.write(stdout, names, values).and_then(|()| stdout.flush()).map_err(Stop::from_stdout)
            }
            Output::Lines(format, file, _) => {
                format.write(file, names, values).map_err(|error| file.error(error).into())
            }
            Output::Array { rows, paths, target } => {
                rows.append(values.data()).map_err(|error| error.within(&target.display().to_string()))?;
                for name in names {
                    let mut line = line::field(name);
                    line.push(b'\n');
                    paths.write_all(&line).map_err(|error| paths.error(error))?;
                }
                Ok(())
            }
        }
    }

    /// Puts the files in their places, with a list of what failed beside them. Nothing is replaced before all is written.
    ///
    /// # Errors
    /// A full disk, or folders that are no longer there.
    pub fn finish(self, tally: &Tally) -> Result<(), Stop> {
        let (files, target) = match self {
            Output::Stdout(_, mut stdout) => return stdout.flush().map_err(Stop::from_stdout),
            Output::Lines(_, file, target) => (vec![file], target),
            Output::Array { rows, paths, target } => {
                let array = rows.finish().map_err(|error| error.within(&target.display().to_string()))?;
                (vec![paths, array], target)
            }
        };
        let list = companion(&target, "failed");
        if !tally.failures.is_empty() {
            let failed = write_failures(&list, tally)?;
            return Ok(Staged::commit_all([failed].into_iter().chain(files).collect())?);
        }
        Staged::commit_all(files)?;
        // That of an earlier run.
        match fs::remove_file(&list) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io(list.display().to_string(), error).into())
            }
            _ => Ok(()),
        }
    }
}

/// `x.npy` -> `x.paths.txt`.
fn companion(target: &Path, what: &str) -> PathBuf {
    target.with_extension(format!("{what}.txt"))
}

/// Writes the list of failed inputs that will be at `target`.
fn write_failures(target: &Path, tally: &Tally) -> Result<Staged, Error> {
    let mut file = Staged::create(target)?;
    for (path, reason) in &tally.failures {
        let line =
            [&line::field(path.as_os_str()), &b"\t"[..], &line::field(reason.as_ref()), b"\n"].concat();
        file.write_all(&line).map_err(|error| file.error(error))?;
    }
    Ok(file)
}
