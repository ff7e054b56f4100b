//! Several outputs to one, such as those of the shards of a collection.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use arrow_array::{Array, BooleanArray, RecordBatch, UInt32Array};
use arrow_data::ArrayData;
use arrow_schema::Schema;
use arrow_select::filter::filter_record_batch;
use arrow_select::take::take;
use featvec::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};

use crate::layout::{Columns, Layout, VECTOR_COLUMN, internal, listed};
use crate::manifest::{Manifest, Provenance};
use crate::output::{Format, Output, Place, columns, real, refuse_overwriting, write};
use crate::parts::key_hash;
use crate::sources::Shard;
use crate::verify::{needed_manifest, refuse_damage};
use crate::{Identity, Status};

/// What stands between the shards of an output that was merged of some of them.
const BETWEEN_SHARDS: &str = ", ";
/// Most shards that are looked for.
const MOST_SHARDS: u64 = 100_000;

/// What was merged.
#[derive(Clone, Debug)]
pub struct Merged {
    /// The manifest of the result.
    pub manifest: Manifest,
    /// How many rows were in several outputs, the same in each.
    pub repeated: u64,
    /// Shards that are not among the outputs, as `3/8`.
    pub missing: Vec<String>,
}

/// Writes the rows of `outputs`, one output after the other, to `target` in `format`. What is not complete lies in the folder
/// `scratch`, which must be on the same file system. The outputs are read twice, and it takes about 42 to 85 bytes a row.
///
/// # Errors
/// Outputs without manifests, damaged ones, or ones that were made otherwise than the first, with what differs; a key with
/// two different rows; a `target` that would replace a file of the outputs; a full disk.
pub fn merge(outputs: &[PathBuf], target: &Path, format: Format, scratch: &Path) -> Result<Merged> {
    let target = real(target);
    let outputs: Vec<PathBuf> = outputs.iter().map(|output| real(output)).collect();
    let manifests = outputs.iter().map(|output| needed_manifest(output)).collect::<Result<Vec<_>>>()?;
    let files: Vec<PathBuf> = outputs
        .iter()
        .zip(&manifests)
        .flat_map(|(output, manifest)| {
            let files = manifest.files.iter().map(|record| output.with_file_name(&record.name));
            files.chain([output.clone(), Manifest::path_of(output)])
        })
        .collect();
    refuse_overwriting(&target, format, files.iter().map(PathBuf::as_path))?;
    let Some(first) = manifests.first() else {
        return Err(Error::new(ErrorKind::Argument, "", "nothing to merge"));
    };
    let layout = common_layout(&outputs, &manifests)?;
    let found = find_rows(&outputs)?;

    let (shard, missing) = shards(&manifests);
    let named = manifests.iter().flat_map(|manifest| &manifest.inputs);
    let mut seen = HashSet::new();
    let inputs = named.filter(|input| seen.insert(*input)).cloned().collect();
    let seconds = manifests.iter().map(|manifest| manifest.seconds).sum();
    let provenance = Provenance { inputs, shard, seconds };
    let manifest = Manifest::new(first.identity.clone(), provenance, |status| found.counts[status as usize]);

    let mut rows = outputs.iter().enumerate().flat_map(|(i, output)| {
        let (layout, repeated) = (&layout, &found.repeated[i]);
        let rows: Box<dyn Iterator<Item = Result<RecordBatch>>> = match Output::open(output) {
            Ok(output) => output.table().rows,
            Err(error) => Box::new(std::iter::once(Err(error))),
        };
        let mut row = 0;
        rows.map(move |batch| {
            let batch = batch?;
            let batch =
                RecordBatch::try_new(layout.schema.clone(), batch.columns().to_vec()).map_err(internal)?;
            let first = row;
            row += batch.num_rows() as u32;
            let kept: Vec<bool> = (first..row).map(|row| repeated.binary_search(&row).is_err()).collect();
            filter_record_batch(&batch, &BooleanArray::from(kept)).map_err(internal)
        })
    });
    let place = Place { target: &target, format, scratch };
    let manifest = write(&mut rows, &layout, manifest, &place)?;
    let repeated = found.repeated.iter().map(|rows| rows.len() as u64).sum();
    Ok(Merged { manifest, repeated, missing })
}

/// The columns that all outputs have; refuses those that are damaged or were made otherwise.
fn common_layout(outputs: &[PathBuf], manifests: &[Manifest]) -> Result<Layout> {
    let mut common: Option<(Layout, &Identity)> = None;
    for (output, manifest) in outputs.iter().zip(manifests) {
        refuse_damage(output, manifest)?;
        let layout = Output::open(output)?.layout().clone();
        let ours = match &common {
            None => {
                let carried =
                    layout.schema.fields().iter().skip(VECTOR_COLUMN + 1).cloned().collect::<Vec<_>>();
                let ours = Layout::new(&manifest.identity, &Schema::new(carried))?;
                common.insert((ours, &manifest.identity))
            }
            Some(common) => common,
        };
        let mut differences = manifest.identity.differences(ours.1);
        if differences.is_empty() && layout.schema.fields() != ours.0.schema.fields() {
            let fields = [&layout, &ours.0].map(|layout| listed(layout.schema.fields()));
            differences.push(format!("columns [{}], not [{}]", fields[0], fields[1]));
        }
        if !differences.is_empty() {
            let message = format!("made otherwise than {}: {}", outputs[0].display(), differences.join("; "));
            return Err(Error::new(ErrorKind::Mismatch, output.display().to_string(), message)
                .with_hint("merge what was made with one module and the same options"));
        }
    }
    common.map(|(layout, _)| layout).ok_or_else(|| Error::new(ErrorKind::Argument, "", "nothing to merge"))
}

/// The rows of several outputs.
#[derive(Default)]
struct Found {
    counts: [u64; Status::ALL.len()],
    /// For each output, the rows that an earlier one has, ascending.
    repeated: Vec<Vec<u32>>,
}

fn find_rows(outputs: &[PathBuf]) -> Result<Found> {
    let mut found = Found::default();
    let mut known: HashMap<[u8; 16], ([u8; 16], u32)> = HashMap::new();
    for (i, path) in outputs.iter().enumerate() {
        let mut repeated = Vec::new();
        let mut next = 0;
        for batch in Output::open(path)?.table().rows {
            let batch = batch?;
            let columns = columns(&batch, path)?;
            for row in 0..batch.num_rows() {
                let key = columns.keys.value(row);
                let at =
                    |message: String| Error::new(ErrorKind::Mismatch, path.display().to_string(), message);
                let status = columns.status(row).ok_or_else(|| at(format!("{key} has an unknown status")))?;
                let digest = digest(&batch, &columns, row)?;
                match known.entry(key_hash(key)) {
                    Entry::Vacant(vacant) => {
                        vacant.insert((digest, i as u32));
                        found.counts[status as usize] += 1;
                    }
                    Entry::Occupied(other) if other.get().0 == digest => repeated.push(next),
                    Entry::Occupied(other) => {
                        let other = outputs[other.get().1 as usize].display();
                        return Err(at(format!("{key} has another row in {other}"))
                            .with_hint("make one of the two outputs again, or leave it out"));
                    }
                }
                next += 1;
            }
        }
        found.repeated.push(repeated);
    }
    Ok(found)
}

/// Half of a SHA-256 of all that a row holds.
fn digest(batch: &RecordBatch, columns: &Columns<'_>, row: usize) -> Result<[u8; 16]> {
    let mut hash = Sha256::new();
    let scalars = (columns.content_hash(row), columns.size(row), columns.status(row), columns.error(row));
    hash.update(format!("{scalars:?}\n"));
    if columns.status(row) == Some(Status::Ok) {
        let mut bytes = Vec::new();
        columns.vector_bytes(row, &mut bytes);
        hash.update(&bytes);
    }
    for column in batch.columns().iter().skip(VECTOR_COLUMN + 1) {
        // A copy, in which nothing of the other rows is left.
        let value = take(column, &UInt32Array::from(vec![row as u32]), None).map_err(internal)?;
        hash_data(&value.to_data(), &mut hash);
    }
    let hash: [u8; 32] = hash.finalize().into();
    Ok(hash.first_chunk().copied().unwrap_or_default())
}

fn hash_data(data: &ArrayData, hash: &mut Sha256) {
    hash.update(format!("{} {} {}\n", data.data_type(), data.len(), data.null_count()));
    data.buffers().iter().for_each(|buffer| hash.update(buffer.as_slice()));
    data.child_data().iter().for_each(|child| hash_data(child, hash));
}

/// Which shards the result holds, nothing if all, and which are missing.
fn shards(manifests: &[Manifest]) -> (Option<String>, Vec<String>) {
    let parsed = |text: &str| text.split(BETWEEN_SHARDS).map(|shard| shard.parse::<Shard>().ok()).collect();
    let held = manifests.iter().map(|manifest| manifest.shard.as_deref().and_then(parsed));
    // One that holds all, or of which nobody knows what it holds.
    let Some(held) = held.collect::<Option<Vec<Vec<Shard>>>>() else {
        return (None, Vec::new());
    };
    let mut known = HashSet::new();
    let held: Vec<Shard> = held.into_iter().flatten().filter(|shard| known.insert(*shard)).collect();
    let all = held.first().filter(|first| {
        first.count() <= MOST_SHARDS && held.iter().all(|shard| shard.count() == first.count())
    });
    let missing: Option<Vec<String>> = all.map(|first| {
        first.all().filter(|shard| !known.contains(shard)).map(|shard| shard.to_string()).collect()
    });
    // Of divisions into different numbers of shards nobody can tell what is missing, but all of them are named.
    let names = || held.iter().map(Shard::to_string).collect::<Vec<_>>().join(BETWEEN_SHARDS);
    match missing {
        Some(missing) if missing.is_empty() => (None, missing),
        missing => (Some(names()), missing.unwrap_or_default()),
    }
}
