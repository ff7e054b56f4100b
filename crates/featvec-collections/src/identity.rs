//! What vectors depend on: those that agree in it may stand in one table.

use std::fmt;

use half::f16;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The numbers of a vector, as outputs hold them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// 32-bit floats, as the network computes them.
    #[default]
    F32,
    /// 16-bit floats: half the bytes, 11 bits of precision, nothing above 65 504.
    F16,
}

impl Dtype {
    /// Its name: `f32` or `f16`.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "f32",
            Dtype::F16 => "f16",
        }
    }

    /// Bytes of one number.
    pub fn bytes(self) -> usize {
        match self {
            Dtype::F32 => 4,
            Dtype::F16 => 2,
        }
    }

    /// The numbers in `bytes`, little-endian.
    pub(crate) fn numbers(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Dtype::F32 => bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            Dtype::F16 => {
                bytes.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect()
            }
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How vectors were made. Parts and outputs carry it, so that vectors made in two ways never mix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The module as the user named it; for people only.
    pub module: String,
    /// SHA-256 of what the module computes with, in hexadecimal digits.
    pub module_sha256: String,
    /// The network: TF-Slim's Inception V1, or the paper's.
    pub network: String,
    /// The module's tags, sorted.
    pub tags: Vec<String>,
    /// The signature.
    pub signature: String,
    /// The output of the signature.
    pub endpoint: String,
    /// The sizes of that output for one picture: `[1024]` for feature vectors.
    pub shape: Vec<usize>,
    /// What the network computes in: `f32` or `int8`.
    pub precision: String,
    /// How pictures are resized and scaled.
    pub preset: String,
    /// How JPEGs are decoded.
    pub decode: String,
    /// What is done about a picture's EXIF orientation.
    pub exif: String,
    /// Height and width that pictures are resized to.
    pub size: [usize; 2],
    /// Whether vectors are scaled to length 1.
    pub normalize: bool,
    /// The numbers of a vector.
    pub dtype: Dtype,
    /// The version of featvec; for people only.
    pub version: String,
}

/// Fields that say nothing about the numbers.
const FOR_PEOPLE: [&str; 2] = ["module", "version"];

impl Identity {
    /// How many numbers a vector has; as many as there can be if its sizes are absurd.
    pub fn values(&self) -> usize {
        self.shape.iter().fold(1, |values: usize, size| values.saturating_mul(*size))
    }

    /// In what this differs from `other`, a clause each (`preset keras-pil, not tf2`); nothing if vectors of both may
    /// stand in one table.
    pub fn differences(&self, other: &Identity) -> Vec<String> {
        let (Value::Object(ours), Value::Object(theirs)) = (self.to_value(), other.to_value()) else {
            return Vec::new();
        };
        let differ = |name: &&String| !FOR_PEOPLE.contains(&name.as_str()) && ours[*name] != theirs[*name];
        let clause = |name: &String| format!("{name} {}, not {}", shown(&ours[name]), shown(&theirs[name]));
        ours.keys().filter(differ).map(clause).collect()
    }

    /// As JSON, on one line.
    pub(crate) fn to_json(&self) -> String {
        self.to_value().to_string()
    }

    fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("texts, numbers and lists can be written as JSON")
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Vectors of `values` numbers, for tests.
    pub(crate) fn identity(values: usize) -> Identity {
        Identity {
            module: "module.tar.gz".into(),
            module_sha256: "00".repeat(32),
            network: "inception_v1".into(),
            tags: Vec::new(),
            signature: "image_feature_vector".into(),
            endpoint: "default".into(),
            shape: vec![values],
            precision: "f32".into(),
            preset: "tf1-retrain".into(),
            decode: "exact".into(),
            exif: "ignore".into(),
            size: [224, 224],
            normalize: false,
            dtype: Dtype::F32,
            version: "0.1.0".into(),
        }
    }

    #[test]
    fn what_differs_is_told_and_names_do_not_count() {
        let ours = identity(4);
        assert!(
            ours.differences(&Identity { module: "copy/".into(), version: "9".into(), ..ours.clone() })
                .is_empty()
        );
        let theirs = Identity { preset: "tf2".into(), normalize: true, size: [224, 320], ..ours.clone() };
        assert_eq!(
            ours.differences(&theirs),
            ["normalize false, not true", "preset tf1-retrain, not tf2", "size [224,224], not [224,320]"]
        );
    }

    #[test]
    fn absurd_sizes_do_not_overflow() {
        let of = |shape: &[usize]| Identity { shape: shape.to_vec(), ..identity(4) }.values();
        assert_eq!([of(&[2, 3]), of(&[1 << 40, 1 << 40])], [6, usize::MAX]);
    }

    #[test]
    fn it_comes_back_from_json() {
        let ours = Identity { dtype: Dtype::F16, tags: vec!["train".into()], ..identity(4) };
        assert_eq!(serde_json::from_str::<Identity>(&ours.to_json()).unwrap(), ours);
    }
}
