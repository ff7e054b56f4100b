//! What lies beside an output and tells how it was made: `OUTPUT.manifest.json`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use featvec::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::parts::beside;
use crate::{Format, Identity, Status};

/// The version of the manifest's own form.
const FORM: u32 = 1;
/// Most bytes of a manifest that is read: failed rows take up to 11 each.
const MOST_BYTES: u64 = 256 << 20;

/// How an output was made, and what it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    form: u32,
    /// What its vectors depend on.
    pub identity: Identity,
    /// The inputs as the user gave them.
    pub inputs: Vec<String>,
    /// Which part of the inputs it holds, as `2/8`; nothing if all.
    pub shard: Option<String>,
    /// How many rows have which status, by its name.
    pub rows: BTreeMap<String, u64>,
    /// Where among all rows those are that failed, by status: the table itself has none for them. Empty where it has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failed: BTreeMap<String, Vec<u32>>,
    /// The keys of rows that are written with escapes, as they are without, by their places among all rows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub keys: BTreeMap<u32, String>,
    /// How the table is written; nothing if its name tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// How long it took, all runs together.
    pub seconds: f64,
    /// The files: the table, and what belongs to it.
    pub files: Vec<FileRecord>,
}

/// A file of an output as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its name, in the folder of the manifest.
    pub name: String,
    /// How long it is.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: String,
}

/// Where an output comes from, which its manifest tells.
#[derive(Clone, Debug, Default)]
pub struct Provenance {
    /// The inputs as the user gave them.
    pub inputs: Vec<String>,
    /// Which part of them, as `2/8`; nothing if all.
    pub shard: Option<String>,
    /// How long it took.
    pub seconds: f64,
}

impl Manifest {
    /// The manifest of vectors of `identity`, of which `count` rows have each status.
    pub(crate) fn new(identity: Identity, provenance: Provenance, count: impl Fn(Status) -> u64) -> Manifest {
        let Provenance { inputs, shard, seconds } = provenance;
        Manifest {
            form: FORM,
            identity,
            inputs,
            shard,
            rows: Status::ALL.map(|status| (status.name().to_string(), count(status))).into(),
            failed: BTreeMap::new(),
            keys: BTreeMap::new(),
            format: None,
            seconds,
            files: Vec::new(),
        }
    }

    /// Where the manifest of `output` lies.
    pub fn path_of(output: &Path) -> PathBuf {
        beside(output, "manifest.json")
    }

    /// The manifest of `output`; nothing if there is none.
    ///
    /// # Errors
    /// A file that cannot be read or is no manifest.
    pub fn read(output: &Path) -> Result<Option<Manifest>> {
        let path = Manifest::path_of(output);
        let place = path.display().to_string();
        let at = |error| Error::io(&place, error);
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            // Whoever reads those may wait for ever.
            Ok(meta) if !meta.is_file() => {
                return Err(Error::new(ErrorKind::Argument, place, "not a plain file"));
            }
            _ => {}
        }
        let mut bytes = Vec::new();
        // Some systems have files that are longer than they say.
        File::open(&path).map_err(at)?.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(at)?;
        if bytes.len() as u64 > MOST_BYTES {
            return Err(Error::new(ErrorKind::Limit, place, "longer than any manifest"));
        }
        let manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|error| Error::corrupt(&place, format!("no manifest: {error}")))?;
        if manifest.form != FORM {
            let message = format!("a manifest of form {}; this featvec knows form {FORM}", manifest.form);
            return Err(
                Error::unsupported(place, message).with_hint("use the featvec that wrote it, or a newer one")
            );
        }
        Ok(Some(manifest))
    }

    /// How many rows have `status`.
    pub fn count(&self, status: Status) -> u64 {
        self.rows.get(status.name()).copied().unwrap_or(0)
    }

    /// As JSON, with a line for each field.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("texts and numbers can be written as JSON");
        json.push(b'\n');
        json
    }
}
