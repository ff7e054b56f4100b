//! Whether an output is what its manifest says, and its vectors are sane.

use std::collections::HashSet;
use std::path::Path;

use featvec::{Error, ErrorKind, Result};

use crate::hashing::{hash_file, hex};
use crate::manifest::Manifest;
use crate::output::{Output, columns, folder_of, real};
use crate::parts::key_hash;
use crate::{Dtype, Identity, Status};

/// Most problems that are told one by one.
const MOST_TOLD: u64 = 20;

/// What came of a verification.
#[derive(Clone, Debug, Default)]
pub struct Verification {
    /// How many rows were read.
    pub rows: u64,
    /// The first problems, a sentence each.
    pub problems: Vec<String>,
    /// How many problems there are in all.
    pub count: u64,
}

impl Verification {
    fn problem(&mut self, text: impl FnOnce() -> String) {
        self.count += 1;
        if self.count <= MOST_TOLD {
            self.problems.push(text());
        }
    }
}

/// Verifies `output`: bytes and SHA-256 of each file, counts by status, that keys are unique, and that each vector is
/// finite, of the right length, and of length 1 if it is said to be. Rows of damaged files are not read. It takes about 20 to
/// 39 bytes a row.
///
/// # Errors
/// An output without a manifest; a file that cannot be read. What is wrong with a file that can be is no error but a problem.
pub fn verify(output: &Path) -> Result<Verification> {
    let output = real(output);
    let manifest = needed_manifest(&output)?;
    let mut verification = Verification::default();
    for damage in damaged_files(&output, &manifest)? {
        verification.problem(|| damage.clone());
    }
    if verification.count > 0 {
        return Ok(verification);
    }
    let opened = Output::open(&output)?;
    let identity = &manifest.identity;
    if (opened.values(), opened.dtype()) != (identity.values(), identity.dtype) {
        verification.problem(|| {
            format!(
                "vectors of {} numbers, {}; the manifest says {:?}, {}",
                opened.values(),
                opened.dtype(),
                identity.shape,
                identity.dtype
            )
        });
        return Ok(verification);
    }
    let mut keys = HashSet::new();
    let mut counts = [0; Status::ALL.len()];
    for batch in opened.table().rows {
        let batch = batch?;
        let columns = columns(&batch, &output)?;
        for row in 0..batch.num_rows() {
            let key = columns.keys.value(row);
            verification.rows += 1;
            if !keys.insert(key_hash(key)) {
                verification.problem(|| format!("{key}: its key is there twice"));
            }
            let Some(status) = columns.status(row) else {
                verification.problem(|| format!("{key}: an unknown status"));
                continue;
            };
            counts[status as usize] += 1;
            match (status, columns.vector(row)) {
                (Status::Ok, Some(vector)) => {
                    if let Some(problem) = check_vector(&vector, identity) {
                        verification.problem(|| format!("{key}: {problem}"));
                    }
                }
                (Status::Ok, None) => {
                    verification.problem(|| format!("{key}: its status is ok, and it has no vector"))
                }
                (_, Some(_)) => verification.problem(|| format!("{key}: it failed, and has a vector")),
                (_, None) => {}
            }
        }
    }
    for (status, found) in Status::ALL.into_iter().zip(counts) {
        let promised = manifest.count(status);
        if found != promised {
            verification
                .problem(|| format!("{found} rows are {}; the manifest says {promised}", status.name()));
        }
    }
    Ok(verification)
}

fn check_vector(vector: &[f32], identity: &Identity) -> Option<String> {
    if let Some(i) = vector.iter().position(|value| !value.is_finite()) {
        return Some(format!("number {i} of its vector is {}", vector[i]));
    }
    let norm = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    // Rounding errors of single numbers, all in one direction at worst. Vectors of zeros cannot be scaled.
    let tolerance = match identity.dtype {
        Dtype::F32 => 1e-6,
        Dtype::F16 => 1e-3,
    };
    let scaled = norm == 0.0 || (norm - 1.0).abs() <= tolerance;
    (identity.normalize && !scaled).then(|| format!("its vector is to have length 1, and has {norm}"))
}

/// The manifest of `output`, without which nobody can tell how it was made.
pub(crate) fn needed_manifest(output: &Path) -> Result<Manifest> {
    Manifest::read(output)?.ok_or_else(|| {
        let message = "no manifest is there, which featvec embed writes beside its output";
        Error::new(ErrorKind::Argument, Manifest::path_of(output).display().to_string(), message)
            .with_hint("copy it together with the output, or make the output again")
    })
}

/// What is wrong with the bytes of the files of `output`, a sentence each.
pub(crate) fn damaged_files(output: &Path, manifest: &Manifest) -> Result<Vec<String>> {
    let mut damages = Vec::new();
    for record in &manifest.files {
        // A manifest names files beside it; whoever writes others into it learns nothing of them.
        let name = Path::new(&record.name).file_name().unwrap_or_default();
        let path = folder_of(output).join(name);
        match hash_file(&path) {
            Ok((bytes, _)) if bytes != record.bytes => {
                damages.push(format!("{}: {bytes} bytes, {} were written", path.display(), record.bytes));
            }
            Ok((_, hash)) if hex(&hash) != record.sha256 => {
                damages.push(format!("{}: other bytes than were written", path.display()));
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                damages.push(format!("{}: not there", path.display()));
            }
            Err(error) => return Err(Error::io(path.display().to_string(), error)),
        }
    }
    let table = output.file_name().map(|name| name.to_string_lossy().into_owned());
    if !manifest.files.iter().any(|record| Some(&record.name) == table.as_ref()) {
        damages.push(format!("{}: its manifest is that of another file", output.display()));
    }
    Ok(damages)
}

/// Refuses an output whose files are not as they were written.
pub(crate) fn refuse_damage(output: &Path, manifest: &Manifest) -> Result<()> {
    match damaged_files(output, manifest)?.into_iter().next() {
        Some(damage) => {
            Err(Error::new(ErrorKind::Corrupt, "", damage)
                .with_hint("copy the output again, or make it again"))
        }
        None => Ok(()),
    }
}
