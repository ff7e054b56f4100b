//! One part: an Arrow IPC file that bears the hash of its bytes in its name.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_ipc::reader::FileReader;
use arrow_ipc::writer::FileWriter;
use arrow_schema::{ArrowError, Schema, SchemaRef};
use featvec::{Error, Result};

use crate::guard::guarded;
use crate::hashing::{Hashing, hash_file, hex};

/// What a file is called that is not complete.
pub(crate) const UNFINISHED: &str = "part";
/// As many parts as rows, of one row each, would be fewer.
const MOST_PARTS: u32 = 1 << 31;
/// Digits of a part's hash in its name.
const HASH_DIGITS: usize = 32;
/// Where a part tells how long its rows took.
const SECONDS: &str = "featvec.seconds";

const REMEDY: &str = "remove this file and run the same command again; its pictures are then computed again";

/// A file `part-00042.HASH.arrow` in the folder of parts.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub path: PathBuf,
    pub number: u32,
    hash: String,
}

impl Part {
    /// The part that the file `path` is by its name; nothing if it is none.
    pub fn named(path: PathBuf) -> Option<Part> {
        let mut pieces = path.file_name()?.to_str()?.split('.');
        let (number, hash) = (pieces.next()?.strip_prefix("part-")?, pieces.next()?.to_string());
        let complete = pieces.next() == Some("arrow") && pieces.next().is_none();
        let number = number.parse().ok().filter(|number| complete && *number < MOST_PARTS)?;
        Some(Part { path, number, hash })
    }

    /// Writes `batches` as the part `number` of `folder`. It is there, whole and on the disk, or it is not.
    pub fn write(folder: &Path, number: u32, content: Content<'_>) -> Result<Part> {
        let temporary = folder.join(format!("part-{number:05}.{UNFINISHED}"));
        let written = File::create(&temporary).map_err(ArrowError::from).and_then(|file| {
            let (file, _, hash) = content.write(Hashing::new(file))?.finish();
            file.sync_all()?;
            let hash = hex(&hash)[..HASH_DIGITS].to_string();
            let path = folder.join(format!("part-{number:05}.{hash}.arrow"));
            fs::rename(&temporary, &path)?;
            sync_folder(folder)?;
            Ok(Part { path, number, hash })
        });
        written.map_err(|error| {
            // If that fails too, the next who opens the folder removes it.
            let _ = fs::remove_file(&temporary);
            write_error(folder, error)
        })
    }

    /// Compares the bytes with the hash in the name.
    pub fn verify(&self) -> Result<()> {
        let (_, hash) = hash_file(&self.path).map_err(|error| Error::io(self.place(), error))?;
        if hex(&hash)[..HASH_DIGITS] == self.hash {
            Ok(())
        } else {
            Err(self.damaged("other bytes than were written"))
        }
    }

    pub fn open(&self) -> Result<PartReader> {
        let file = File::open(&self.path).map_err(|error| Error::io(self.place(), error))?;
        let reader = self.guarded(|| FileReader::try_new(BufReader::new(file), None))?;
        Ok(PartReader { part: self.clone(), reader, current: None })
    }

    /// What is wrong with it, and what to do.
    pub fn damaged(&self, message: impl Into<String>) -> Error {
        Error::corrupt(self.place(), message).with_hint(REMEDY)
    }

    /// Reads what may be damaged in spite of its hash: anybody can compute that.
    fn guarded<T>(&self, read: impl FnOnce() -> std::result::Result<T, ArrowError>) -> Result<T> {
        let explain = |error| match error {
            ArrowError::IoError(_, error) => Error::io("", error),
            error => Error::corrupt("", error.to_string()).with_hint(REMEDY),
        };
        guarded(|| read().map_err(explain)).map_err(|error| error.within(&self.place()))
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }
}

/// What a part is to hold.
pub(super) struct Content<'a> {
    pub schema: &'a Schema,
    pub batches: &'a mut dyn Iterator<Item = Result<RecordBatch>>,
    pub seconds: f64,
}

impl Content<'_> {
    fn write<W: Write>(self, stream: W) -> std::result::Result<W, ArrowError> {
        let mut writer = FileWriter::try_new(BufWriter::new(stream), self.schema)?;
        for batch in self.batches {
            writer.write(&batch.map_err(|error| ArrowError::from_external_error(Box::new(error)))?)?;
        }
        writer.write_metadata(SECONDS, self.seconds.to_string());
        Ok(writer.into_inner()?.into_inner().map_err(|error| error.into_error())?)
    }
}

/// Reads rows of a part. One record batch is in memory.
pub(super) struct PartReader {
    part: Part,
    reader: FileReader<BufReader<File>>,
    current: Option<(usize, RecordBatch)>,
}

impl PartReader {
    pub fn schema(&self) -> SchemaRef {
        self.reader.schema()
    }

    pub fn batches(&self) -> usize {
        self.reader.num_batches()
    }

    /// How long the rows took.
    pub fn seconds(&self) -> f64 {
        let text = self.reader.custom_metadata().get(SECONDS);
        text.and_then(|text| text.parse().ok()).filter(|seconds: &f64| seconds.is_finite()).unwrap_or(0.0)
    }

    /// The record batch `index`.
    pub fn batch(&mut self, index: usize) -> Result<RecordBatch> {
        if let Some((current, batch)) = &self.current
            && *current == index
        {
            return Ok(batch.clone());
        }
        let reader = &mut self.reader;
        let batch = self.part.guarded(|| reader.set_index(index).and_then(|()| reader.next().transpose()))?;
        let batch = batch.ok_or_else(|| self.part.damaged(format!("no record batch {index}")))?;
        self.current = Some((index, batch.clone()));
        Ok(batch)
    }
}

/// What a failed write to `place` means.
pub(crate) fn write_error(place: &Path, error: ArrowError) -> Error {
    let place = place.display().to_string();
    match error {
        ArrowError::IoError(_, error) => Error::io(place, error),
        ArrowError::ExternalError(error) => match error.downcast::<Error>() {
            Ok(error) => *error,
            Err(error) => Error::new(featvec::ErrorKind::Io, place, error.to_string()),
        },
        error => Error::unsupported(place, error.to_string()).with_source(error),
    }
}

/// Has the names of the files in `folder` on the disk: what was renamed before stays so after a power cut.
pub(crate) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    // Windows opens no folders, and needs none of this.
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}
