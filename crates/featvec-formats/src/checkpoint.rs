//! Checkpoints of any format: named tensors.

use std::borrow::Cow;

use crate::bundle::Bundle;
use crate::compact::Compact;
use crate::files::Files;
use crate::safetensors::Safetensors;
use crate::v1_checkpoint::V1Checkpoint;
use crate::{DataType, Error, ErrorKind, Limits, Result, Tensor};

/// What a checkpoint says of a tensor without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The variable's name, such as `InceptionV1/Conv2d_1a_7x7/weights`.
    pub name: String,
    /// The elements' type.
    pub dtype: DataType,
    /// The sizes of the dimensions; of the whole, if the variable is partitioned.
    pub shape: Vec<usize>,
}

/// Which of the formats of named tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointFormat {
    /// One file, as TF-Slim's networks of 2016 are.
    V1,
    /// An index and shards, as in a Hub module's `variables` folder.
    V2,
    /// One file of Hugging Face's format.
    Safetensors,
    /// One file of featvec's own format.
    Compact,
}

/// An opened checkpoint.
///
/// Opening checks that the list of tensors is sound and fits the files; the numbers themselves are read, and their
/// checksums verified, one tensor at a time. Partitioned variables appear whole.
#[derive(Clone, Debug)]
pub struct Checkpoint(Reader);

#[derive(Clone, Debug)]
enum Reader {
    V1(V1Checkpoint),
    V2(Bundle),
    Safetensors(Safetensors),
    Compact(Compact),
}

impl Checkpoint {
    /// Opens the V1 checkpoint `file`, which errors call `place`.
    ///
    /// # Errors
    /// Anything that the format forbids in any of the file's blocks.
    pub fn from_v1(place: impl Into<String>, file: Vec<u8>, limits: &Limits) -> Result<Checkpoint> {
        V1Checkpoint::open(place.into(), file, limits)
            .map(|checkpoint| Checkpoint(Reader::V1(checkpoint)))
            .map_err(Error::of_a_file)
    }

    /// Opens the safetensors file `file`, which errors call `place`.
    ///
    /// # Errors
    /// A header that is no list of tensors, bytes of no tensor or of two, a type that featvec does not read.
    pub fn from_safetensors(place: impl Into<String>, file: Vec<u8>, limits: &Limits) -> Result<Checkpoint> {
        Safetensors::open(place.into(), file, limits)
            .map(|tensors| Checkpoint(Reader::Safetensors(tensors)))
            .map_err(Error::of_a_file)
    }

    /// Opens the compact file `file`, which errors call `place`.
    ///
    /// # Errors
    /// Another version of the format, a wrong checksum, a header that is no list of tensors, bytes of no tensor or too
    /// few.
    pub fn from_compact(
        place: impl Into<String>,
        file: impl Into<Cow<'static, [u8]>>,
        limits: &Limits,
    ) -> Result<Checkpoint> {
        Compact::open(place.into(), file.into(), limits)
            .map(|compact| Checkpoint(Reader::Compact(compact)))
            .map_err(Error::of_a_file)
    }

    pub(crate) fn open_v2(files: Files, prefix: &str, limits: &Limits) -> Result<Checkpoint> {
        Bundle::open(files, prefix, limits)
            .map(|bundle| Checkpoint(Reader::V2(bundle)))
            .map_err(Error::of_a_file)
    }

    /// Which format the files are in.
    pub fn format(&self) -> CheckpointFormat {
        match &self.0 {
            Reader::V1(_) => CheckpointFormat::V1,
            Reader::V2(_) => CheckpointFormat::V2,
            Reader::Safetensors(_) => CheckpointFormat::Safetensors,
            Reader::Compact(_) => CheckpointFormat::Compact,
        }
    }

    /// What the file says of itself; only compact files say anything.
    pub fn about(&self) -> &[(String, String)] {
        match &self.0 {
            Reader::Compact(compact) => compact.about(),
            _ => &[],
        }
    }

    /// The file that lists the tensors, as errors name it.
    pub fn place(&self) -> String {
        match &self.0 {
            Reader::V1(checkpoint) => checkpoint.place().to_owned(),
            Reader::V2(bundle) => bundle.place(),
            Reader::Safetensors(tensors) => tensors.place().to_owned(),
            Reader::Compact(compact) => compact.place().to_owned(),
        }
    }

    /// All tensors, sorted by name.
    pub fn entries(&self) -> Box<dyn Iterator<Item = &Entry> + '_> {
        match &self.0 {
            Reader::V1(checkpoint) => Box::new(checkpoint.tensors().entries()),
            Reader::V2(bundle) => Box::new(bundle.tensors().entries()),
            Reader::Safetensors(tensors) => Box::new(tensors.tensors().entries()),
            Reader::Compact(compact) => Box::new(compact.tensors().entries()),
        }
    }

    /// The tensor `name`, unread.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        match &self.0 {
            Reader::V1(checkpoint) => checkpoint.tensors().entry(name),
            Reader::V2(bundle) => bundle.tensors().entry(name),
            Reader::Safetensors(tensors) => tensors.tensors().entry(name),
            Reader::Compact(compact) => compact.tensors().entry(name),
        }
    }

    /// Reads the tensor `name`.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] if there is none; damage, such as a wrong checksum; a type that featvec does not read.
    pub fn read(&self, name: &str) -> Result<Tensor> {
        let tensor = match &self.0 {
            Reader::V1(checkpoint) => checkpoint.read(name),
            Reader::V2(bundle) => bundle.read(name),
            Reader::Safetensors(tensors) => tensors.read(name),
            Reader::Compact(compact) => compact.read(name),
        };
        tensor
            .unwrap_or_else(|| {
                Err(Error::new(ErrorKind::Mismatch, "", format!("there is no tensor {name:?}")))
            })
            .map_err(|error| error.within(&self.place()).of_a_file())
    }

    /// Reads every tensor once, for its checksum's sake.
    ///
    /// # Errors
    /// Those of [`read`](Self::read). A type that featvec does not read is none here.
    pub fn verify(&self) -> Result<()> {
        for entry in self.entries() {
            match self.read(&entry.name) {
                Err(error) if error.kind() != ErrorKind::Unsupported => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}
