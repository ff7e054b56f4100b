//! Vectors as lines on stdout, as they come.

use std::io::{self, BufWriter, Stdout, Write};

use featvec_collections::output::lines::{write_header, write_row};
use featvec_collections::run::Sink;
use featvec_collections::sources::Collection;
use featvec_collections::{Format, Row};

use super::{Embed, Task};
use crate::interrupt;
use crate::line::shown;
use crate::stop::{Outcome, Stop};
use crate::watch::Watch;

/// Lines on stdout.
struct Lines<'a> {
    format: Format,
    row_shape: &'a [usize],
    stdout: BufWriter<Stdout>,
}

impl Sink for Lines<'_> {
    type Error = Stop;

    fn write(&mut self, row: Row) -> Result<(), Stop> {
        let Some(vector) = &row.vector else { return Ok(()) };
        write_row(self.format, &mut self.stdout, &row.key, (vector, self.row_shape))
            .and_then(|()| self.stdout.flush())
            .map_err(Stop::from_stdout)
    }
}

impl Embed {
    /// Writes vectors to stdout.
    pub(super) fn print(&self, task: &Task<'_>) -> Result<Outcome, Stop> {
        let mut collection = task.open()?;
        if self.dry_run {
            return list(&mut collection, &mut |_| true);
        }
        let mut stdout = BufWriter::new(io::stdout());
        write_header(task.format, &mut stdout, task.row_shape.iter().product()).map_err(Stop::from_stdout)?;
        let mut sink = Lines { format: task.format, row_shape: &task.row_shape, stdout };
        let mut watch = Watch::new(task.talk, task.pipeline.preparation.decode.exif, 0);
        watch.count(&task.inputs, &task.options, collection.expected);
        let run =
            task.pipeline.run(&mut collection, &mut sink, interrupt::flag(), &mut |event| watch.row(event));
        let summary = run.inspect_err(|_| task.talk.end())?;
        sink.stdout.flush().map_err(Stop::from_stdout)?;
        watch.end(&summary);
        Ok(Outcome::of(usize::try_from(summary.failed()).unwrap_or(usize::MAX)))
    }
}

/// Lists the keys that are `wanted` on stdout.
pub(super) fn list(
    collection: &mut Collection,
    wanted: &mut dyn FnMut(&str) -> bool,
) -> Result<Outcome, Stop> {
    let mut stdout = BufWriter::new(io::stdout());
    let mut listed = Ok(());
    // The first item that is taken would be the one at which nobody reads any more.
    collection.next(&mut |key| {
        if wanted(key) {
            listed = writeln!(stdout, "{}", shown(key));
        }
        listed.is_err()
    });
    listed.and_then(|()| stdout.flush()).map_err(Stop::from_stdout)?;
    Ok(Outcome::Done)
}
