//! Complete outputs: tables of vectors, written whole and read back.
//!
//! The bytes of an output depend on its rows and its format alone, not on how often the run was killed. Whatever its size,
//! writing it takes the memory of a few record batches of about 2 MB, or of one row if that is longer; Parquet holds a row
//! group of 16 MB more.

mod arrow;
mod even;
mod failures;
mod format;
pub mod lines;
mod numbers;
mod parquet;
mod staged;
mod taken;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};

use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use featvec::{Error, Result};

pub use format::Format;
pub(crate) use staged::folder_of;
pub use taken::{files_of, refuse_overwriting};

use crate::guard::guarded;
use crate::layout::{Columns, Layout, internal};
use crate::line;
use crate::manifest::{Manifest, Provenance};
use crate::parts::{Parts, beside};
use crate::{Dtype, Row, Status};
use even::Even;
use failures::{Failures, WithFailures};
use staged::Staged;

/// Record batches one after the other.
pub(crate) type Batches<'a> = dyn Iterator<Item = Result<RecordBatch>> + 'a;

/// What to do about a file that cannot be read.
const DAMAGED: &str = "the file is damaged; make it or copy it again";

/// Rows, and their columns.
pub(crate) struct Table {
    pub layout: Layout,
    pub rows: Box<Batches<'static>>,
}

/// Makes of all rows in `parts` the output `target`, and beside it its manifest, which is given back. The parts are left;
/// [`Parts::discard`] removes them.
///
/// # Errors
/// A full disk, a place that cannot be written to; `target` is then as it was. Parts that cannot be read any more.
pub fn assemble(
    parts: &mut Parts,
    target: &Path,
    format: Format,
    mut provenance: Provenance,
) -> Result<Manifest> {
    parts.commit()?;
    provenance.seconds = parts.seconds();
    let manifest = Manifest::new(parts.identity().clone(), provenance, |status| parts.count(status));
    let (layout, scratch) = (parts.layout().clone(), parts.folder().to_owned());
    write(&mut parts.rows(), &layout, manifest, &Place { target: &real(target), format, scratch: &scratch })
}

/// Where an output is to be, and how.
pub(crate) struct Place<'a> {
    pub target: &'a Path,
    pub format: Format,
    /// A folder on the same file system for what is not complete.
    pub scratch: &'a Path,
}

/// Writes `rows`, of which there are as many as `manifest` tells, with the manifest beside them.
pub(crate) fn write(
    rows: &mut Batches<'_>,
    layout: &Layout,
    mut manifest: Manifest,
    place: &Place<'_>,
) -> Result<Manifest> {
    let &Place { target, format, scratch } = place;
    manifest.format = Some(format);
    let create = |target: &Path| Staged::create(scratch, target);
    let mut rows = Even::new(rows, layout);
    let mut files = match format {
        Format::Parquet => vec![parquet::write(&mut rows, layout, create(target)?)?],
        Format::Arrow => vec![arrow::write(&mut rows, layout, create(target)?)?],
        _ => {
            let list = create(&companion(target, "failed"))?;
            let (places, keys) = (&mut manifest.failed, &mut manifest.keys);
            let mut failed = Failed { list, format, places, keys, row: 0 };
            let mut good = rows.map(|batch| failed.take(batch?));
            let mut files = if format.has_paths() {
                let mut shape = manifest.identity.shape.clone();
                shape.insert(0, manifest.rows[Status::Ok.name()] as usize);
                let files = [create(target)?, create(&companion(target, "paths"))?];
                let [array, paths] = numbers::write(&mut good, (format, layout.dtype), &shape, files)?;
                vec![paths, array]
            } else {
                let shape = (layout.values, &manifest.identity.shape[..]);
                vec![write_lines(&mut good, format, shape, create(target)?)?]
            };
            files.insert(0, failed.list);
            files
        }
    };
    let none_failed = !format.has_failed_rows() && manifest.failed.is_empty();
    // The list of an earlier run must go then.
    let old_list = none_failed.then(|| files.remove(0));
    let mut complete = Vec::new();
    for file in files {
        let (file, record) = file.complete()?;
        complete.push(file);
        manifest.files.push(record);
    }
    let mut file = create(&Manifest::path_of(target))?;
    file.write_all(&manifest.to_json()).map_err(|error| file.error(error))?;
    complete.push(file.complete()?.0);
    Staged::commit(complete)?;
    match old_list.map(|list| (fs::remove_file(list.target()), list)) {
        Some((Err(error), list)) if error.kind() != io::ErrorKind::NotFound => Err(list.error(error)),
        _ => Ok(manifest),
    }
}

fn write_lines(
    batches: &mut Batches<'_>,
    format: Format,
    (values, shape): (usize, &[usize]),
    mut file: Staged,
) -> Result<Staged> {
    lines::write_header(format, &mut file, values).map_err(|error| file.error(error))?;
    for batch in batches {
        let batch = batch?;
        let columns = columns(&batch, file.target())?;
        for row in 0..batch.num_rows() {
            let vector = columns.vector(row).unwrap_or_default();
            lines::write_row(format, &mut file, columns.keys.value(row), (&vector, shape))
                .map_err(|error| file.error(error))?;
        }
    }
    Ok(file)
}

/// Takes the rows that failed out of a table that has no place for them, and notes the keys that no line can hold.
struct Failed<'a> {
    /// For people: key, tab, reason.
    list: Staged,
    /// That of the table.
    format: Format,
    /// By status.
    places: &'a mut BTreeMap<String, Vec<u32>>,
    /// Keys that are written otherwise than they are, by their rows.
    keys: &'a mut BTreeMap<u32, String>,
    row: u32,
}

impl Failed<'_> {
    fn take(&mut self, batch: RecordBatch) -> Result<RecordBatch> {
        let columns = columns(&batch, self.list.target())?;
        let good: Vec<bool> =
            (0..batch.num_rows()).map(|row| columns.status(row) == Some(Status::Ok)).collect();
        for (i, good) in good.iter().enumerate() {
            let (row, key) = (self.row + i as u32, columns.keys.value(i));
            let field = line::field(key.as_ref());
            if field != key.as_bytes() && !(*good && self.format.holds_any_key()) {
                self.keys.insert(row, key.to_string());
            }
            if !good {
                let reason = columns.error(i).unwrap_or_default();
                let line = [&field[..], b"\t", &line::field(reason.as_ref()), b"\n"].concat();
                self.list.write_all(&line).map_err(|error| self.list.error(error))?;
                self.places.entry(columns.statuses.value(i).to_string()).or_default().push(row);
            }
        }
        self.row += good.len() as u32;
        filter_record_batch(&batch, &BooleanArray::from(good)).map_err(internal)
    }
}

/// An output that is there.
pub struct Output {
    format: Format,
    table: Table,
}

impl Output {
    /// Opens the output `path`, in the format that its manifest tells, or else that its name ends in. Rows are read when
    /// they are asked for.
    ///
    /// # Errors
    /// A file that is not there, is damaged, or holds something else.
    pub fn open(path: &Path) -> Result<Output> {
        let (named, path) = (path, real(path));
        let manifest = Manifest::read(&path)?;
        let told = manifest.as_ref().and_then(|manifest| manifest.format);
        let format = told.map_or_else(|| Format::needed(named), Ok)?;
        let place = path.display().to_string();
        let file = File::open(&path).map_err(|error| Error::io(&place, error))?;
        let table = match format {
            Format::Parquet => guarded(|| parquet::read(file, place.clone())),
            Format::Arrow => guarded(|| arrow::read(file, place.clone())),
            _ => plain(&path, format, file, manifest),
        };
        Ok(Output { format, table: table.map_err(|error| error.within(&place))? })
    }

    /// How many numbers a vector has.
    pub fn values(&self) -> usize {
        self.table.layout.values
    }

    /// The numbers of its vectors.
    pub fn dtype(&self) -> Dtype {
        self.table.layout.dtype
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.table.layout
    }

    pub(crate) fn table(self) -> Table {
        self.table
    }
}

/// Reads a format that has keys and vectors, and no rows for what failed: those come from the list beside it.
fn plain(path: &Path, format: Format, file: File, manifest: Option<Manifest>) -> Result<Table> {
    let identity = manifest.as_ref().map(|manifest| &manifest.identity);
    let (rows, values, dtype) = if format.has_paths() {
        let mut vectors = numbers::Vectors::open(format, file, &companion(path, "paths"))?;
        let (values, dtype) = (vectors.values, vectors.dtype);
        (
            Box::new(std::iter::from_fn(move || vectors.next().transpose())) as Box<dyn Iterator<Item = _>>,
            values,
            dtype,
        )
    } else {
        let mut lines = lines::Lines::new(format, BufReader::new(file))?;
        let first = lines.next().transpose();
        let values = match (&first, identity) {
            (Some(row), _) => row.as_ref().map_or(1, |(_, vector)| vector.len()),
            (None, identity) => identity.map_or(1, |identity| identity.values()),
        };
        let rows = first.into_iter().chain(std::iter::from_fn(move || lines.next().transpose()));
        (
            Box::new(rows) as Box<dyn Iterator<Item = _>>,
            values,
            identity.map_or(Dtype::F32, |identity| identity.dtype),
        )
    };
    let layout = Layout::of((values, dtype), &arrow_schema::Schema::empty(), identity)?;
    let failures = Failures::open(companion(path, "failed"), manifest.as_ref())?;
    let keys = manifest.map(|manifest| manifest.keys).unwrap_or_default();
    let rows = WithFailures::new(rows, failures, keys);
    let rows = failures::batches(rows, layout.clone(), path.display().to_string());
    Ok(Table { layout, rows: Box::new(rows) })
}

/// A row of an output that has keys and vectors only.
fn good_row((key, vector): (String, Vec<f32>)) -> Row {
    Row {
        key,
        content_hash: None,
        size: None,
        status: Status::Ok,
        error: None,
        vector: Some(vector),
        columns: None,
    }
}

/// A row of a picture that failed, of which only the reason is known.
fn failed_row(key: &str, status: Status, reason: &str) -> Row {
    let (key, error) = (key.to_string(), Some(reason.to_string()));
    Row { key, content_hash: None, size: None, status, error, vector: None, columns: None }
}

/// The list of `what` (`paths`, `failed`) beside an output: `x.paths.txt` of `x.npy`, `x.csv.failed.txt` of `x.csv`, so that
/// outputs of several formats may lie beside each other.
pub(crate) fn companion(target: &Path, what: &str) -> PathBuf {
    let list = format!("{what}.txt");
    if target.extension().is_some_and(|extension| extension == "npy") {
        target.with_extension(list)
    } else {
        beside(target, &list)
    }
}

/// `path`, or what it points to if it is a symbolic link: links stay links.
pub(crate) fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// The columns of a batch that comes from `place`.
pub(crate) fn columns<'a>(batch: &'a RecordBatch, place: &Path) -> Result<Columns<'a>> {
    Columns::of(batch).ok_or_else(|| foreign().within(&place.display().to_string()))
}

/// The record batches that another library reads from `place`.
fn read_all<E: std::error::Error + Send + Sync + 'static>(
    mut reader: impl Iterator<Item = std::result::Result<RecordBatch, E>>,
    place: String,
) -> impl Iterator<Item = Result<RecordBatch>> {
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed {
            return None;
        }
        let batch = guarded(|| reader.next().transpose().map_err(damaged)).transpose();
        failed = matches!(batch, Some(Err(_)));
        batch.map(|batch| batch.map_err(|error| error.within(&place)))
    })
}

fn foreign() -> Error {
    Error::unsupported("", "not a table that featvec embed writes: its columns are others")
}

/// What it means that another library cannot read a file.
fn damaged(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::corrupt("", error.to_string()).with_hint(DAMAGED)
}
