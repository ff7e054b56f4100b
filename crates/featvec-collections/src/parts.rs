//! Rows on the disk, committed in parts, so that a run that was killed goes on where it was.
//!
//! Beside `OUTPUT` lies the folder `OUTPUT.parts` until the output is complete:
//!
//! ```text
//! OUTPUT.parts/lock                      locked by the process that writes here
//! OUTPUT.parts/part-00000.HASH.arrow     an Arrow IPC file of rows; HASH is that of its bytes
//! OUTPUT.parts/…part                     half-written files; they are removed when the folder is opened
//! ```
//!
//! A part is written under another name, synced to the disk, renamed, and then the folder is synced: it is there whole or
//! not at all. A row has an ordinal, its place in the output; a row that is retried keeps the one that it had.
//!
//! Memory: 47 to 94 bytes a row for the index, 94 MB for a million; rows that are not committed yet, as [`CommitEvery`]
//! bounds them; a few record batches of about 1 MB.

mod index;
mod part;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{RecordBatch, UInt32Array};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use featvec::{Error, ErrorKind, Result};

pub(crate) use index::key_hash;
pub(crate) use part::{UNFINISHED, sync_folder, write_error};

use crate::layout::{Columns, Layout, ORDINAL, held_bytes, identity_of, internal, listed};
use crate::output::{Output, columns, folder_of, real};
use crate::verify::refuse_damage;
use crate::{Identity, Manifest, Row, Status};
use index::{Index, Place, Refusal};
use part::{Content, Part, PartReader};

/// When rows are committed: whichever comes first.
#[derive(Clone, Copy, Debug)]
pub struct CommitEvery {
    /// So many rows; at most 65 535 count.
    pub rows: usize,
    /// So many bytes of vectors, as 32-bit floats, and of carried columns.
    pub bytes: usize,
    /// So long after the last commit, once the next row comes.
    pub time: Duration,
}

impl Default for CommitEvery {
    fn default() -> CommitEvery {
        CommitEvery { rows: 1024, bytes: 32 << 20, time: Duration::from_secs(10) }
    }
}

/// The file that is locked.
const LOCK: &str = "lock";
/// What to do about parts that were made otherwise.
const OTHERWISE: &str = "begin anew with --restart, or name another output";

/// The rows of an output that is being made.
#[derive(Debug)]
pub struct Parts {
    folder: PathBuf,
    /// Locked for as long as it is open.
    lock: File,
    identity: Identity,
    layout: Layout,
    /// The layout's, and before it the ordinal.
    schema: SchemaRef,
    every: CommitEvery,
    parts: Vec<Part>,
    index: Index,
    /// Rows that are not committed, with their ordinals.
    pending: Vec<(u32, Row)>,
    pending_bytes: usize,
    committed: Instant,
    seconds: f64,
    readers: Readers,
}

/// What was computed before of a picture with the same bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// Width and height of the picture in pixels.
    pub size: Option<[u32; 2]>,
    /// Its vector.
    pub vector: Vec<f32>,
}

impl Parts {
    /// The folder of the parts of `output`. Where `output` is a symbolic link, it lies beside what that points to.
    pub fn folder_of(output: &Path) -> PathBuf {
        beside(output, "parts")
    }

    /// Opens the parts in `folder`, or begins them: rows as `identity` says, with the other columns `carried`. What is
    /// committed is verified, byte by byte; what is not complete is removed.
    ///
    /// # Errors
    /// A folder in which another process writes; parts that were made otherwise, with what differs; a damaged part, by its
    /// name; a disk that fails.
    pub fn open(folder: &Path, identity: &Identity, carried: &Schema, every: CommitEvery) -> Result<Parts> {
        let layout = Layout::new(identity, carried)?;
        let at = |error| Error::io(folder.display().to_string(), error);
        let _ = fs::remove_dir_all(discarded(folder));
        fs::create_dir_all(folder).and_then(|()| sync_folder(folder_of(folder))).map_err(at)?;
        let lock = lock(folder)?;
        let mut parts = Vec::new();
        for path in entries(folder)? {
            if path.extension().is_some_and(|extension| extension == UNFINISHED) {
                fs::remove_file(&path).map_err(at)?;
            }
            parts.extend(Part::named(path));
        }
        parts.sort_by_key(|part| part.number);

        let ordinal = Arc::new(Field::new(ORDINAL, DataType::UInt32, false));
        let fields = [ordinal].into_iter().chain(layout.schema.fields().iter().cloned()).collect::<Vec<_>>();
        let schema = Arc::new(Schema::new_with_metadata(fields, layout.schema.metadata().clone()));
        let every = CommitEvery { rows: every.rows.clamp(1, u16::MAX.into()), ..every };
        let mut opened = Parts {
            folder: folder.to_owned(),
            lock,
            identity: identity.clone(),
            layout,
            schema,
            every,
            parts: Vec::new(),
            index: Index::default(),
            pending: Vec::new(),
            pending_bytes: 0,
            committed: Instant::now(),
            seconds: 0.0,
            readers: Readers::default(),
        };
        for part in parts {
            opened.enlist(part)?;
        }
        opened.committed = Instant::now();
        Ok(opened)
    }

    /// Whether any rows are committed in `folder`.
    pub fn are_in(folder: &Path) -> bool {
        fs::read_dir(folder)
            .is_ok_and(|entries| entries.flatten().any(|entry| Part::named(entry.path()).is_some()))
    }

    /// Removes `folder` and the parts in it, if there is one.
    ///
    /// # Errors
    /// A folder in which another process writes, or that cannot be removed.
    pub fn remove(folder: &Path) -> Result<()> {
        if !folder.exists() {
            return Ok(());
        }
        let lock = lock(folder)?;
        entries(folder)?;
        fs::remove_dir_all(folder).map_err(|error| Error::io(folder.display().to_string(), error))?;
        drop(lock);
        Ok(())
    }

    /// Opens the parts of `output`. Where there are none and `output` is complete, its rows are made parts first: pictures
    /// that failed can then be retried, and new ones added. It is left as it is.
    ///
    /// # Errors
    /// As of [`Parts::open`]; an output that is damaged, has no manifest, or was made otherwise.
    pub fn adopt(output: &Path, identity: &Identity, carried: &Schema, every: CommitEvery) -> Result<Parts> {
        let (output, folder) = (real(output), Parts::folder_of(output));
        if !Parts::are_in(&folder) && output.exists() {
            let unknown = || {
                let message = "it has no manifest that tells how it was made";
                Error::new(ErrorKind::Argument, output.display().to_string(), message).with_hint(OTHERWISE)
            };
            let manifest = Manifest::read(&output)?.ok_or_else(unknown)?;
            refuse_damage(&output, &manifest)?;
            // Whoever is killed here leaves no parts, and the next one begins again.
            let made = beside(&folder, UNFINISHED);
            Parts::remove(&made)?;
            let mut parts = Parts::open(&made, identity, carried, every)?;
            parts.refuse_other(&output, &manifest.identity, None)?;
            let opened = Output::open(&output)?;
            if opened.format().has_failed_rows() {
                parts.refuse_other(&output, &manifest.identity, Some(opened.layout().schema.fields()))?;
            }
            parts.committed = Instant::now();
            for batch in opened.table().rows {
                let batch = batch?;
                columns(&batch, &output)?.rows(&batch).try_for_each(|row| parts.append(row?))?;
            }
            parts.commit()?;
            Parts::remove(&folder)?;
            fs::rename(&made, &folder)
                .and_then(|()| sync_folder(folder_of(&folder)))
                .map_err(|error| Error::io(folder.display().to_string(), error))?;
        }
        Parts::open(&folder, identity, carried, every)
    }

    /// Verifies `part`, and adds its rows to the index.
    fn enlist(&mut self, part: Part) -> Result<()> {
        part.verify()?;
        let mut reader = part.open()?;
        let schema = reader.schema();
        let theirs = identity_of(&schema).ok_or_else(|| part.damaged("it does not tell how it was made"))?;
        let fields = schema.fields().iter().skip(1).cloned().collect();
        self.refuse_other(&self.folder, &theirs, Some(&fields))?;
        let mut row = 0;
        for i in 0..reader.batches() {
            let batch = reader.batch(i)?;
            let (rows, expected) = (batch.num_rows(), self.layout.batch_rows());
            if rows > expected || rows < expected && i + 1 < reader.batches() {
                return Err(part.damaged(format!("record batch {i} has {rows} rows, not {expected}")));
            }
            let (Some(columns), Some(ordinals)) = (Columns::of(&batch), ordinals(&batch)) else {
                return Err(part.damaged("other columns than parts have"));
            };
            for (i, ordinal) in ordinals.values().iter().enumerate() {
                let status = columns.status(i).ok_or_else(|| part.damaged("an unknown status"))?;
                // Rows have the first place that is free.
                if u64::from(*ordinal) > (u64::from(part.number) + 1) << 16 {
                    return Err(part.damaged(format!("{ordinal} as the place of a row")));
                }
                let place = Place { part: self.parts.len() as u32, row, status };
                let key = columns.keys.value(i);
                self.index.insert(key, columns.content_hash(i), (*ordinal, place)).map_err(|refusal| {
                    match refusal {
                        Refusal::Done => part.damaged(format!("{key} is in another part too")),
                        Refusal::Taken | Refusal::Full => {
                            part.damaged(format!("the place of {key} is taken"))
                        }
                    }
                })?;
                row = row.checked_add(1).ok_or_else(|| part.damaged("more rows than parts have"))?;
            }
        }
        self.seconds += reader.seconds();
        self.parts.push(part);
        Ok(())
    }

    /// Refuses rows at `place` that were made otherwise, or have other columns.
    fn refuse_other(&self, place: &Path, identity: &Identity, fields: Option<&Fields>) -> Result<()> {
        let mut differences = identity.differences(&self.identity);
        let ours = self.layout.schema.fields();
        if let Some(fields) = fields.filter(|fields| differences.is_empty() && *fields != ours) {
            differences.push(format!("columns [{}], not [{}]", listed(fields), listed(ours)));
        }
        if differences.is_empty() {
            return Ok(());
        }
        let message = format!("its vectors were made otherwise: {}", differences.join("; "));
        Err(Error::new(ErrorKind::Mismatch, place.display().to_string(), message).with_hint(OTHERWISE))
    }

    /// What became of `key`; nothing if it has no row yet.
    pub fn status(&self, key: &str) -> Option<Status> {
        self.status_of(&key_hash(key))
    }

    /// What became of the key of this [hash](key_hash).
    pub(crate) fn status_of(&self, key_hash: &[u8; 16]) -> Option<Status> {
        self.index.status(key_hash)
    }

    /// How many rows there are.
    pub fn rows_count(&self) -> u64 {
        Status::ALL.into_iter().map(|status| self.count(status)).sum()
    }

    /// How many rows have no vector.
    pub(crate) fn failed(&self) -> u64 {
        self.rows_count() - self.count(Status::Ok)
    }

    /// Leaves the row of the key of this [hash](key_hash) out of the output.
    pub(crate) fn forget(&mut self, key_hash: &[u8; 16]) {
        self.index.remove(key_hash);
    }

    /// How many rows have `status`.
    pub fn count(&self, status: Status) -> u64 {
        self.index.count(status)
    }

    /// Seconds that the rows took, those of earlier runs included.
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// How the vectors are made.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What was computed before of a picture whose bytes have this SHA-256.
    ///
    /// # Errors
    /// A part that cannot be read any more.
    pub fn known(&mut self, content_hash: &[u8; 32]) -> Result<Option<Known>> {
        let Some(place) = self.index.with_content(content_hash) else {
            return Ok(None);
        };
        if place.part as usize == self.parts.len() {
            let row = self.pending.get(usize::from(place.row)).map(|(_, row)| row);
            let row = row.filter(|row| row.content_hash.as_ref() == Some(content_hash));
            return Ok(row.and_then(|row| Some(Known { size: row.size, vector: row.vector.clone()? })));
        }
        let (batch, row) = self.locate(place);
        let batch = self.readers.batch(&self.parts, place.part, batch)?;
        let found =
            Columns::of(&batch).filter(|columns| columns.content_hash(row).as_ref() == Some(content_hash));
        Ok(found.and_then(|columns| Some(Known { size: columns.size(row), vector: columns.vector(row)? })))
    }

    /// The record batch of its part in which a committed row lies, and its row there.
    fn locate(&self, place: Place) -> (usize, usize) {
        let row = usize::from(place.row);
        (row / self.layout.batch_rows(), row % self.layout.batch_rows())
    }

    /// Adds a row, at the end, or in the place of the failed row of the same key; commits where it is time to.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a key that has a row which did not fail, or a row that does not fit the others; those of
    /// [`Parts::commit`].
    pub fn append(&mut self, row: Row) -> Result<()> {
        let row = self.layout.admit(row)?;
        let refused = |refusal| {
            let message = match refusal {
                Refusal::Done => "it has a row already",
                Refusal::Taken | Refusal::Full => "no output has more than 4 294 967 295 rows",
            };
            Error::new(ErrorKind::Argument, &row.key, message)
        };
        let ordinal = self.index.ordinal_for(&row.key).map_err(refused)?;
        // A part has no more rows than fit here; see below.
        let place =
            Place { part: self.parts.len() as u32, row: self.pending.len() as u16, status: row.status };
        self.index.insert(&row.key, row.content_hash, (ordinal, place)).map_err(refused)?;
        self.pending_bytes += held_bytes(&row);
        self.pending.push((ordinal, row));
        let CommitEvery { rows, bytes, time } = self.every;
        if self.pending.len() >= rows || self.pending_bytes >= bytes || self.committed.elapsed() >= time {
            self.commit()?;
        }
        Ok(())
    }

    /// Puts all rows on the disk. When it returns, they survive a power cut; when it fails, those committed before are as
    /// they were, and it can be called again.
    ///
    /// # Errors
    /// A full disk, a folder that somebody removed.
    pub fn commit(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let number = self.parts.last().map_or(0, |part| part.number + 1);
        let seconds = self.committed.elapsed().as_secs_f64();
        let mut batches = self.pending.chunks(self.layout.batch_rows()).map(|rows| self.batch(rows));
        let content = Content { schema: &self.schema, batches: &mut batches, seconds };
        let part = Part::write(&self.folder, number, content)?;
        self.parts.push(part);
        self.pending.clear();
        self.pending_bytes = 0;
        self.seconds += seconds;
        self.committed = Instant::now();
        Ok(())
    }

    fn batch(&self, rows: &[(u32, Row)]) -> Result<RecordBatch> {
        let ordinals = UInt32Array::from_iter_values(rows.iter().map(|(ordinal, _)| *ordinal));
        let table = self.layout.batch(&rows.iter().map(|(_, row)| row).collect::<Vec<_>>())?;
        let mut columns = table.columns().to_vec();
        columns.insert(0, Arc::new(ordinals));
        RecordBatch::try_new(self.schema.clone(), columns).map_err(internal)
    }

    /// The layout of the rows.
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// All committed rows in their order, without their ordinals, in batches of any size. A few record batches are in memory.
    pub(crate) fn rows(&mut self) -> Rows<'_> {
        Rows { parts: self, next: 0 }
    }

    /// Removes the parts, when the output is complete. Whoever kills it leaves all of them or none.
    ///
    /// # Errors
    /// A folder that cannot be renamed.
    pub fn discard(self) -> Result<()> {
        let discarded = discarded(&self.folder);
        fs::rename(&self.folder, &discarded)
            .and_then(|()| sync_folder(folder_of(&self.folder)))
            .and_then(|()| fs::remove_dir_all(&discarded))
            .map_err(|error| Error::io(self.folder.display().to_string(), error))?;
        drop(self.lock);
        Ok(())
    }
}

/// The files in a folder of parts.
///
/// # Errors
/// A folder that holds what is no part: it would be removed with the parts.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let at = |error| Error::io(folder.display().to_string(), error);
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(at)? {
        let path = entry.map_err(at)?.path();
        let is_unfinished = path.extension().is_some_and(|extension| extension == UNFINISHED);
        let is_ours =
            is_unfinished && path.is_file() || path.ends_with(LOCK) || Part::named(path.clone()).is_some();
        if !is_ours {
            let message =
                "neither a part nor anything that featvec has put here, where parts will be removed";
            return Err(Error::new(ErrorKind::Argument, path.display().to_string(), message)
                .with_hint("move it to another place"));
        }
        entries.push(path);
    }
    Ok(entries)
}

/// The ordinals of a batch of a part.
fn ordinals(batch: &RecordBatch) -> Option<&UInt32Array> {
    batch.column_by_name(ORDINAL)?.as_primitive_opt::<UInt32Type>()
}

/// Where `folder` is moved before it is removed.
fn discarded(folder: &Path) -> PathBuf {
    beside(folder, "discarded")
}

/// `path` with `.ending` after its name.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}

/// Makes sure that nobody else writes in `folder`. A process that ends, however it does, gives the lock back.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(LOCK);
    let at = |error| Error::io(path.display().to_string(), error);
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(at)?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            let message = "another process writes here";
            Err(Error::new(ErrorKind::Argument, folder.display().to_string(), message)
                .with_hint("wait for it, or name another output"))
        }
        // Not every network's file system has locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

/// The parts that are open, the one used last at the end.
#[derive(Default)]
struct Readers(Vec<(u32, PartReader)>);

/// How many parts are open at once: rows that were retried lie in other parts than their neighbours.
const MOST_OPEN: usize = 4;

impl Readers {
    fn batch(&mut self, parts: &[Part], part: u32, batch: usize) -> Result<RecordBatch> {
        let reader = match self.0.iter().position(|(open, _)| *open == part) {
            Some(i) => self.0.remove(i).1,
            None => parts[part as usize].open()?,
        };
        if self.0.len() == MOST_OPEN {
            self.0.remove(0);
        }
        self.0.push((part, reader));
        let last = self.0.len() - 1;
        self.0[last].1.batch(batch)
    }
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(part, _)| part)).finish()
    }
}

/// The rows of parts in their order.
pub(crate) struct Rows<'a> {
    parts: &'a mut Parts,
    next: u32,
}

impl Iterator for Rows<'_> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        let parts = &mut *self.parts;
        let end = parts.index.len();
        let committed = |place: &Place| (place.part as usize) < parts.parts.len();
        let (ordinal, first) =
            (self.next..end).find_map(|i| Some((i, parts.index.place(i).filter(committed)?)))?;
        let (batch, row) = parts.locate(first);
        // As far as the next rows lie behind this one.
        let follows = |i: &u32| {
            parts.index.place(ordinal + i).is_some_and(|place| {
                let (next_batch, next_row) = parts.locate(place);
                (place.part, next_batch, next_row) == (first.part, batch, row + *i as usize)
            })
        };
        let count = (1..end - ordinal).find(|i| !follows(i)).unwrap_or(end - ordinal);
        self.next = ordinal + count;
        let read = parts.readers.batch(&parts.parts, first.part, batch);
        Some(read.and_then(|batch| {
            let columns = (1..batch.num_columns()).collect::<Vec<_>>();
            let table = batch.project(&columns).map_err(internal)?;
            // The part may have been made by another version.
            let table = RecordBatch::try_new(parts.layout.schema.clone(), table.columns().to_vec())
                .map_err(internal)?;
            Ok(table.slice(row, count as usize))
        }))
    }
}
