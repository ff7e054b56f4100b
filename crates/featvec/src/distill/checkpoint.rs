//! The layers of a student that is not finished, in a file of their own.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use featvec_formats::{Checkpoint, Limits, Tensor, TensorData, safetensors, write_file};
use sha2::{Digest, Sha256};

use super::fit::Fitted;
use super::layers::Filter;
use super::{DistillOptions, RefineOptions};
use crate::handle::hex;
use crate::network::Network;
use crate::variables::Variables;
use crate::{Error, ErrorKind, Result};

/// The tensor that says which run the layers belong to.
const IDENTITY: &str = "identity";

/// A hash of all that the layers depend on.
pub(super) fn identity(teacher: &Variables, paths: &[PathBuf], options: &DistillOptions) -> Vec<u8> {
    let mut hash = hashed([teacher]);
    let DistillOptions { views, pixels, ridge, passes, pooled, seed, threads: _, checkpoint: _ } = options;
    let mut text = format!("{views} {pixels} {ridge} {passes} {pooled} {seed}");
    list(&mut text, paths);
    hash.update(text);
    hash.finalize().to_vec()
}

/// The name of a folder for the checkpoints of [`refine`](super::refine): a hash of all that they depend on.
pub(super) fn refining_identity(
    teacher: &Variables,
    student: &Variables,
    paths: &[PathBuf],
    options: &RefineOptions,
) -> String {
    let mut hash = hashed([teacher, student]);
    let RefineOptions { steps, batch, learning_rate, seed, .. } = options;
    let mut text = format!("{steps} {batch} {learning_rate} {seed}");
    list(&mut text, paths);
    hash.update(text);
    format!("steps-{}", hex(&hash.finalize()[..8]))
}

fn hashed<const N: usize>(networks: [&Variables; N]) -> Sha256 {
    let mut hash = Sha256::new();
    for (name, _, values) in networks.into_iter().flat_map(Variables::named) {
        hash.update(name);
        values.iter().for_each(|x| hash.update(x.to_le_bytes()));
    }
    hash
}

fn list(text: &mut String, paths: &[PathBuf]) {
    for path in paths {
        let bytes = path.metadata().map_or(0, |metadata| metadata.len());
        let _ = write!(text, "\n{bytes} {}", path.display());
    }
}

/// Writes the convolutions `fitted` so far, whole.
///
/// # Errors
/// A folder that is not there or cannot be written to, a full disk.
pub(super) fn write(file: &Path, identity: &[u8], fitted: &BTreeMap<usize, Fitted>) -> Result<()> {
    let mut tensors =
        vec![(IDENTITY.to_string(), Tensor::new(vec![identity.len()], TensorData::U8(identity.to_vec()))?)];
    for (conv, Fitted { filter, mean, variance, error }) in fitted {
        let numbers = filter.iter().copied().collect();
        let statistics = [&mean[..], variance, &[*error]].concat();
        tensors.push((
            format!("{conv}/filter"),
            Tensor::new(vec![filter.nrows(), filter.ncols()], TensorData::F32(numbers))?,
        ));
        tensors.push((
            format!("{conv}/statistics"),
            Tensor::new(vec![statistics.len()], TensorData::F64(statistics))?,
        ));
    }
    write_file(file, &safetensors(&tensors)?)
}

/// Reads the convolutions that the run `identity` had fitted for `network`; none where there is no such file.
///
/// # Errors
/// [`ErrorKind::Mismatch`] for the file of another run; a file that cannot be read or is damaged.
pub(super) fn read(file: &Path, identity: &[u8], network: &Network) -> Result<BTreeMap<usize, Fitted>> {
    let place = file.display().to_string();
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(Error::io(place, error)),
    };
    let checkpoint = Checkpoint::from_safetensors(&place, bytes, &Limits::default())?;
    let read = |name: &str| checkpoint.entry(name).map(|_| checkpoint.read(name)).transpose();
    if read(IDENTITY)?.map(Tensor::into_data) != Some(TensorData::U8(identity.to_vec())) {
        let message = "it was begun with another teacher, other photographs or other options";
        return Err(Error::new(ErrorKind::Mismatch, place, message)
            .with_hint("give those again to go on with it, or remove it to begin anew"));
    }
    let mut fitted = BTreeMap::new();
    for (conv, layer) in network.convs().iter().enumerate() {
        let [kh, kw, ic, oc] = layer.shape;
        let shape = [kh * kw * ic + 1, oc];
        let Some(filter) = read(&format!("{conv}/filter"))? else { continue };
        let damaged = || Error::corrupt(&place, format!("the numbers of convolution {conv} do not fit it"));
        let right_shape = filter.shape() == shape;
        let filter = Filter::from_shape_vec((shape[0], oc), filter.into_f32()?).ok().filter(|_| right_shape);
        let statistics = read(&format!("{conv}/statistics"))?.map(Tensor::into_data);
        let (Some(filter), Some(TensorData::F64(statistics))) = (filter, statistics) else {
            return Err(damaged());
        };
        if statistics.len() != 2 * oc + 1 {
            return Err(damaged());
        }
        let (mean, rest) = statistics.split_at(oc);
        let (variance, error) = rest.split_at(oc);
        let fit = Fitted { filter, mean: mean.to_vec(), variance: variance.to_vec(), error: error[0] };
        fitted.insert(conv, fit);
    }
    Ok(fitted)
}
