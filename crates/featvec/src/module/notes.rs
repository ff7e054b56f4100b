//! What the folder of a retrained module says beside TF-Hub's format: how pictures were prepared for it.

use std::fs;
use std::path::Path;

use crate::image::{ExifPolicy, Fidelity};
use crate::{Error, ErrorKind, Module, Preset, Result};

/// How pictures were prepared when a module was trained, which is how they are to be prepared for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notes {
    /// How they were resized and scaled.
    pub preset: Preset,
    /// What was done about their orientation.
    pub exif: ExifPolicy,
    /// How exactly they were decoded.
    pub fidelity: Fidelity,
}

/// The file, in the module's folder.
const FILE: &str = "featvec.json";

/// More than any version writes.
const MAX_BYTES: u64 = 64 << 10;

#[derive(serde::Serialize, serde::Deserialize)]
struct Json {
    preset: String,
    exif: String,
    /// Absent from notes of before there was a choice.
    decode: Option<String>,
}

const APPLY: &str = "apply";
const IGNORE: &str = "ignore";

impl Notes {
    /// Whether `folder` has notes, so that it is one that featvec has written.
    pub fn are_in(folder: &Path) -> bool {
        folder.join(FILE).is_file()
    }

    /// The notes in the folder of `module`, if there are any.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for notes that are not what [`write`](Notes::write) writes.
    pub fn beside(module: &Module) -> Result<Option<Notes>> {
        match module.folder().filter(|folder| Notes::are_in(folder)) {
            Some(folder) => Notes::read(&folder.join(FILE)).map(Some),
            None => Ok(None),
        }
    }

    fn read(file: &Path) -> Result<Notes> {
        let place = file.display().to_string();
        let bytes = fs::metadata(file).map_err(|error| Error::io(&place, error))?.len();
        if bytes > MAX_BYTES {
            return Err(Error::new(
                ErrorKind::Limit,
                place,
                format!("{bytes} bytes are more than notes have"),
            ));
        }
        let text = fs::read(file).map_err(|error| Error::io(&place, error))?;
        let wrong = |message: String| {
            let hint = "remove the file, and name the preset with --preset";
            Error::corrupt(&place, message).with_hint(hint)
        };
        let json: Json = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        let exif = match &json.exif[..] {
            APPLY => ExifPolicy::Apply,
            IGNORE => ExifPolicy::Ignore,
            other => return Err(wrong(format!("exif is {other:?}, neither {APPLY:?} nor {IGNORE:?}"))),
        };
        let unknown = |error: Error| wrong(error.to_string());
        let fidelity = json.decode.map_or(Ok(Fidelity::Exact), |name| name.parse()).map_err(unknown)?;
        Ok(Notes { preset: json.preset.parse().map_err(unknown)?, exif, fidelity })
    }

    /// Writes the notes into `folder`.
    ///
    /// # Errors
    /// A full disk.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let exif = if self.exif == ExifPolicy::Apply { APPLY } else { IGNORE }.to_string();
        let decode = Some(self.fidelity.name().to_string());
        let json = Json { preset: self.preset.name().to_string(), exif, decode };
        let text = serde_json::to_string_pretty(&json).expect("strings are JSON");
        let file = folder.join(FILE);
        fs::write(&file, text + "\n").map_err(|error| Error::io(file.display().to_string(), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        for preset in Preset::ALL {
            for exif in [ExifPolicy::Apply, ExifPolicy::Ignore] {
                for fidelity in Fidelity::ALL {
                    let notes = Notes { preset, exif, fidelity };
                    notes.write(folder.path()).unwrap();
                    assert_eq!(Notes::read(&folder.path().join(FILE)).unwrap(), notes);
                }
            }
        }
    }

    #[test]
    fn notes_without_a_word_on_decoding_mean_exact_decoding() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        fs::write(&file, r#"{"preset": "tf2", "exif": "ignore"}"#).unwrap();
        assert_eq!(Notes::read(&file).unwrap().fidelity, Fidelity::Exact);
    }

    #[test]
    fn damaged_notes_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        let long = " ".repeat(1 << 17);
        for (text, reason) in [
            ("{", "EOF"),
            (r#"{"preset": "tf3", "exif": "ignore"}"#, "tf3"),
            (r#"{"preset": "tf2", "exif": "maybe"}"#, "maybe"),
            (r#"{"preset": "tf2", "exif": "ignore", "decode": "sloppy"}"#, "sloppy"),
            (&long, "bytes"),
        ] {
            fs::write(&file, text).unwrap();
            let error = Notes::read(&file).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(FILE), "{error}");
        }
    }
}
