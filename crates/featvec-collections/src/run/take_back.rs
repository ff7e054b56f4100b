//! The rows of an output that is complete, to try again what failed.

use featvec::{Error, ErrorKind, Result};

use crate::layout::{Columns, VECTOR_COLUMN, internal};
use crate::output::Output;
use crate::{Parts, Row};

/// Gives the rows of `output` to `parts`, which have none.
///
/// # Errors
/// An output that was made otherwise or cannot be read; those of [`Parts::append`].
pub fn take_back(parts: &mut Parts, output: Output) -> Result<()> {
    let place = output.path().display().to_string();
    let Some(manifest) = &output.manifest else {
        let message = "it has no manifest that tells how it was made";
        return Err(Error::new(ErrorKind::Argument, place, message).with_hint("begin anew with --restart"));
    };
    let differences = manifest.identity.differences(parts.identity());
    if !differences.is_empty() {
        let message = format!("its vectors were made otherwise: {}", differences.join("; "));
        return Err(Error::new(ErrorKind::Mismatch, place, message)
            .with_hint("begin anew with --restart, or name another output"));
    }
    for batch in output.table().rows {
        let batch = batch?;
        let damaged = || Error::corrupt(&place, "other columns than outputs have");
        let columns = Columns::of(&batch).ok_or_else(damaged)?;
        let carried: Vec<usize> = (VECTOR_COLUMN + 1..batch.num_columns()).collect();
        let others = batch.project(&carried).map_err(internal)?;
        for i in 0..batch.num_rows() {
            parts.append(Row {
                key: columns.keys.value(i).to_string(),
                content_hash: columns.content_hash(i),
                size: columns.size(i),
                status: columns.status(i).ok_or_else(damaged)?,
                error: columns.error(i).map(String::from),
                vector: columns.vector(i),
                columns: (!carried.is_empty()).then(|| others.slice(i, 1)),
            })?;
        }
    }
    Ok(())
}
