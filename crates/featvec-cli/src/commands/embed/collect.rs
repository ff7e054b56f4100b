//! Vectors into a file, by way of committed parts.

use std::path::{MAIN_SEPARATOR, Path};

use featvec::image::ExifPolicy;
use featvec::plan::Mode;
use featvec::{Error, ErrorKind, Precision};
use featvec_collections::run::{Resumed, Sink, Summary};
use featvec_collections::sources::Collection;
use featvec_collections::{CommitEvery, Dtype, Identity, Manifest, Parts, Provenance, Status, assemble, hex};

use super::lines::list;
use super::{DtypeChoice, Embed, Task};
use crate::interrupt;
use crate::line::shown;
use crate::stop::{Outcome, Stop, wrong_usage};
use crate::watch::Watch;

impl From<DtypeChoice> for Dtype {
    fn from(choice: DtypeChoice) -> Dtype {
        match choice {
            DtypeChoice::F32 => Dtype::F32,
            DtypeChoice::F16 => Dtype::F16,
        }
    }
}

impl Embed {
    /// Writes vectors to the file `output`: goes on where an earlier run was left.
    pub(super) fn collect(&self, task: &Task<'_>, output: &Path) -> Result<Outcome, Stop> {
        let folder = Parts::folder_of(output);
        // With the statistics of the batch, vectors would depend on where the run was left.
        let goes_on = task.pipeline.module.mode() == Mode::Inference;
        if self.retry_failed && !goes_on {
            let message =
                "--retry-failed and --tags train contradict each other: vectors depend on their whole batch";
            return Err(wrong_usage(message).into());
        }
        let anew = self.restart || !goes_on;
        let is_begun = Parts::are_in(&folder) && !anew;
        if self.dry_run && !is_begun && !(self.retry_failed && output.exists()) {
            return self.print(task);
        }
        refuse_no_file(output)?;
        let mut collection = task.open()?;
        if anew {
            Parts::remove(&folder)?;
        }
        let (identity, every) = (self.identity(task), self.commit_every());
        if let (false, Some(there)) = (self.retry_failed, Manifest::read(output).ok().flatten()) {
            let differences = identity.differences(&there.identity);
            if !differences.is_empty() {
                let (place, differences) = (shown(output), differences.join("; "));
                task.talk
                    .note(format_args!("{place} was made otherwise and will be replaced: {differences}"));
            }
        }
        let mut parts = if self.retry_failed {
            Parts::adopt(output, &identity, &collection.columns, every)?
        } else {
            Parts::open(&folder, &identity, &collection.columns, every)?
        };
        let run = self.resume(task, (&mut collection, &mut parts), output);
        if let Err(Stop::Error(_)) | Ok(Outcome::Interrupted) = run {
            // What was not committed is not lost either, unless the disk is full.
            let _ = parts.commit();
            if goes_on && parts.count(Status::Ok) > 0 && Parts::are_in(&folder) {
                task.talk.failure(format_args!(
                    "what was computed is kept in {}: the same command goes on from there",
                    shown(&folder)
                ));
            } else {
                // Nothing is lost if that fails.
                let _ = parts.discard();
            }
        } else if !(self.dry_run && is_begun) {
            parts.discard()?;
        }
        run
    }

    fn resume(
        &self,
        task: &Task<'_>,
        (collection, parts): (&mut Collection, &mut Parts),
        output: &Path,
    ) -> Result<Outcome, Stop> {
        let talk = task.talk;
        let before = parts.rows_count();
        if before > 0 {
            talk.note(format_args!("going on: {before} pictures have rows already"));
        }
        let mut sink = Resumed::new(parts, self.retry_failed);
        if self.dry_run {
            return list(collection, &mut |key| sink.wants(key));
        }

        interrupt::watch();
        let mut watch = Watch::new(talk, task.pipeline.preparation.decode.exif, before);
        watch.count(&task.inputs, &task.options, collection.expected);
        let run = task.pipeline.run(collection, &mut sink, interrupt::flag(), &mut |event| watch.row(event));
        let summary = run.inspect_err(|_| talk.end())?;
        if summary.stopped {
            talk.end();
            return Ok(Outcome::Interrupted);
        }
        let gone = sink.forget_healed(&task.inputs);
        if gone > 0 {
            talk.note(format_args!(
                "{gone} rows of an earlier run are not among the inputs any more; --restart leaves them out"
            ));
        }
        if parts.count(Status::Ok) == 0 && parts.rows_count() > 0 && !self.restart && has_vectors(output) {
            talk.end();
            talk.failure(format_args!(
                "{}: left as it was, because no picture could be embedded (--restart replaces it)",
                shown(output)
            ));
            return Ok(Outcome::SomeFailed);
        }
        let provenance = Provenance {
            inputs: self.pictures.paths.iter().map(|path| path.to_string_lossy().into_owned()).collect(),
            shard: self.shard.map(|shard| shard.to_string()),
            ..Provenance::default()
        };
        let manifest = assemble(parts, output, task.format, provenance)?;
        let [done, unreadable, undecodable] =
            [Status::Ok, Status::Unreadable, Status::Undecodable].map(|status| manifest.count(status));
        let failed = unreadable + undecodable;
        watch.end(&Summary { ok: done, unreadable, undecodable, ..summary });
        Ok(Outcome::of(usize::try_from(failed).unwrap_or(usize::MAX)))
    }

    fn commit_every(&self) -> CommitEvery {
        let every = CommitEvery::default();
        CommitEvery { rows: self.commit_every.map_or(every.rows, |rows| rows.get()), ..every }
    }

    /// All that the vectors depend on.
    fn identity(&self, task: &Task<'_>) -> Identity {
        let (module, preparation) = (task.pipeline.module, task.pipeline.preparation);
        let extractor = module.extractor();
        let precision = match (extractor.precision(), extractor.calibration()) {
            (Precision::Int8, Some(calibration)) => {
                format!("int8 fitted as {}", &hex(&calibration.sha256())[..8])
            }
            (precision, _) => precision.to_string(),
        };
        let exif = match preparation.decode.exif {
            ExifPolicy::Ignore => "ignore",
            ExifPolicy::Apply => "apply",
        };
        Identity {
            module: module.handle().to_string(),
            module_sha256: hex(&module.variables().sha256()),
            network: module.variables().network.variant.scope().to_string(),
            tags: module.tags().iter().cloned().collect(),
            signature: task.pipeline.signature.to_string(),
            endpoint: task.pipeline.output.to_string(),
            shape: task.row_shape.clone(),
            precision,
            preset: preparation.preset.to_string(),
            decode: preparation.decode.fidelity.to_string(),
            exif: exif.to_string(),
            size: preparation.size,
            normalize: self.normalize,
            dtype: self.dtype.into(),
            version: env!("CARGO_PKG_VERSION").to_string(),
        }
    }
}

/// Whether `output` is one that is complete and has vectors.
fn has_vectors(output: &Path) -> bool {
    let manifest = Manifest::read(output).ok().flatten();
    output.exists() && manifest.is_some_and(|manifest| manifest.count(Status::Ok) > 0)
}

/// Refuses an output that cannot be written before hours are spent on it.
fn refuse_no_file(output: &Path) -> Result<(), Error> {
    let place = output.display().to_string();
    if output.exists() && !output.is_file() || place.ends_with(['/', MAIN_SEPARATOR]) {
        let message = "not a plain file, so it cannot be replaced by one";
        return Err(Error::new(ErrorKind::Argument, place, message));
    }
    match output.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            let message = format!("{} is no folder", folder.display());
            Err(Error::new(ErrorKind::Argument, place, message).with_hint("make it first"))
        }
        _ => Ok(()),
    }
}
