//! Modules in the formats of other programs.
//!
//! Each function that writes a file or a folder reads it back before it takes its place, and compares every number of
//! every variable (in a compact file, filters within their rounding); what featvec can run is run on a picture, too.

use std::path::Path;

pub use featvec_formats::bundle_files as checkpoint_v2_files;
use featvec_formats::{
    About, BundleWriter, HubModule, ImageModuleInfo, SavedModel, Tensor as NumberTensor, TensorData, archive,
    bundle_files, compact, safetensors, v1_checkpoint, with_scratch_folder, write_checkpoint_state,
    write_file, write_folder, write_whole,
};

mod onnx;
mod read_back;
mod saved_model;
mod tensorflow;

pub use featvec_formats::onnx::Model as OnnxModel;
pub use onnx::to_onnx;

use crate::labels::LABELS_FILE;
use crate::module::DEFAULT;
use crate::network::{BATCH_NORM_DECAY, DEFAULT_SIZE};
use crate::variables::Variables;
use crate::{Error, ErrorKind, Module, Result};
use tensorflow::{Form, network_graph};

/// What of a module is exported to ONNX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportOptions {
    /// The signature whose outputs are meant.
    pub signature: String,
    /// The outputs by name, each once, in the order that they are to have.
    pub outputs: Vec<String>,
    /// Height and width of the pictures; none means [`Module::expected_image_size`](crate::Module::expected_image_size).
    pub size: Option<[usize; 2]>,
}

impl Default for ExportOptions {
    fn default() -> ExportOptions {
        ExportOptions { signature: DEFAULT.to_string(), outputs: vec![DEFAULT.to_string()], size: None }
    }
}

/// What a graph of TensorFlow has beside a network's numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphOptions {
    /// Height and width of the pictures.
    pub size: [usize; 2],
    /// Whether pictures of other sizes are taken too; `size` is then what a caller is told to give. Not for the paper's
    /// network.
    pub any_size: bool,
    /// What the moving averages of batch normalisation keep at each step of training.
    pub batch_norm_decay: f32,
    /// The classes' names, one for each, for `labels.txt` in a module; none writes no such file.
    pub labels: Vec<String>,
}

impl Default for GraphOptions {
    fn default() -> GraphOptions {
        GraphOptions {
            size: DEFAULT_SIZE,
            any_size: false,
            batch_norm_decay: BATCH_NORM_DECAY,
            labels: Vec::new(),
        }
    }
}

impl GraphOptions {
    /// As `module` has it, without labels.
    ///
    /// # Errors
    /// Those of [`Module::expected_image_size`].
    pub fn of(module: &Module) -> Result<GraphOptions> {
        Ok(GraphOptions {
            size: module.expected_image_size()?,
            any_size: module.takes_any_size(),
            batch_norm_decay: module.batch_norm_decay(),
            labels: Vec::new(),
        })
    }
}

/// Writes `variables` as the folder of a TF1 Hub module with graphs for inference (no tags) and training (`train`);
/// `folder` must be empty or not there, and appears whole.
///
/// # Errors
/// [`ErrorKind::Argument`] for options that do not fit the network; numbers that do not fit it; a folder that cannot be
/// written to, a full disk.
pub fn to_hub_module(variables: &Variables, options: &GraphOptions, folder: &Path) -> Result<()> {
    let files = hub_module(variables, options)?;
    write_checked(
        folder,
        |place| write_folder(place, &files),
        |place| read_back::hub_module(place, variables, options),
    )
}

/// Writes `variables` as the `.tar.gz` of a TF1 Hub module; see [`to_hub_module`].
///
/// # Errors
/// As there.
pub fn to_hub_archive(variables: &Variables, options: &GraphOptions, file: &Path) -> Result<()> {
    let bytes = archive::pack(&hub_module(variables, options)?)?;
    write_checked(
        file,
        |place| write_file(place, &bytes),
        |place| read_back::hub_module(place, variables, options),
    )
}

fn hub_module(variables: &Variables, options: &GraphOptions) -> Result<featvec_formats::NamedFiles> {
    let mut model = SavedModel::default();
    for form in [Form::Inference, Form::Training] {
        let mut graph = network_graph(variables, options, form)?.into_meta_graph(form)?;
        let [height, width] = options.size.map(|size| size as u32);
        graph.attach_image_module_info(ImageModuleInfo { height, width });
        model.graphs.push(graph);
    }
    let mut files = HubModule::files(&model, bundle(variables)?)?;
    if !options.labels.is_empty() {
        let classes = variables.network.classes.unwrap_or(0);
        if options.labels.len() != classes {
            let message = format!("{} labels for {classes} classes", options.labels.len());
            return Err(Error::new(ErrorKind::Argument, LABELS_FILE, message));
        }
        if let Some(label) = options.labels.iter().find(|label| label.contains(['\n', '\r'])) {
            let message = format!("the label {label:?} is not one line of text");
            return Err(Error::new(ErrorKind::Argument, LABELS_FILE, message));
        }
        let text: String = options.labels.iter().map(|label| format!("{label}\n")).collect();
        files.insert(0, (LABELS_FILE.to_string(), text.into_bytes()));
    }
    Ok(files)
}

/// Writes `variables` as the folder of a SavedModel of TensorFlow 1, tag `serve`, for TensorFlow Serving and
/// `tf.saved_model.load`: signature `serving_default` with the input `images` and the output `default` (feature vectors or
/// logits), and for a classifier `probabilities`; beside it the signatures of a Hub module. `folder` must be empty or not
/// there, and appears whole.
///
/// # Errors
/// As of [`to_hub_module`].
pub fn to_saved_model(variables: &Variables, options: &GraphOptions, folder: &Path) -> Result<()> {
    let files = saved_model::saved_model(variables, options)?.files(bundle(variables)?)?;
    write_checked(
        folder,
        |place| write_folder(place, &files),
        |place| read_back::saved_model(place, variables),
    )
}

/// Writes `variables` as one file with the graph for inference, all numbers as constants in it: input `images`, outputs
/// `feature_vector` and, of a classifier, `logits` and `probabilities`.
///
/// # Errors
/// As of [`to_hub_module`].
pub fn to_frozen_graph(variables: &Variables, options: &GraphOptions, file: &Path) -> Result<()> {
    let bytes = saved_model::frozen_graph(variables, options)?;
    write_checked(file, |place| write_file(place, &bytes), |place| read_back::frozen_graph(place, variables))
}

/// Writes `variables` as a TF-Slim checkpoint of version 1, one file. The paper's network gets Caffe's names under its own
/// scope.
///
/// # Errors
/// [`ErrorKind::Mismatch`] where the picture's scale or the epsilon is not what a checkpoint of this network implies; a
/// folder that cannot be written to, a full disk.
pub fn to_checkpoint_v1(variables: &Variables, file: &Path) -> Result<()> {
    let bytes = v1_checkpoint(&named_tensors(variables)?)?;
    write_checked(file, |place| write_file(place, &bytes), |place| read_back::checkpoint(place, variables))
}

/// Writes `variables` as a TF-Slim checkpoint of version 2, `PREFIX.index` and `PREFIX.data-00000-of-00001`, and the text
/// file `checkpoint` that names it as the latest.
///
/// # Errors
/// As of [`to_checkpoint_v1`].
pub fn to_checkpoint_v2(variables: &Variables, prefix: &Path) -> Result<()> {
    let place = || prefix.display().to_string();
    let name = prefix.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
        Error::new(ErrorKind::Argument, place(), "the prefix of a checkpoint's names, in UTF-8, expected")
    })?;
    let folder = prefix.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The reader goes by the names, so the files get theirs in a folder of their own first.
    with_scratch_folder(prefix, |scratch| {
        let trial = scratch.join(name);
        bundle(variables)?.write(&trial)?;
        read_back::checkpoint(&trial, variables)?;
        for (from, to) in bundle_files(&trial).iter().zip(bundle_files(prefix)) {
            std::fs::rename(from, to).map_err(|error| Error::io(place(), error))?;
        }
        write_checkpoint_state(folder, &[name])
    })
}

/// Writes `variables` as one safetensors file, with the names and layouts of TF-Slim's checkpoints.
///
/// # Errors
/// As of [`to_checkpoint_v1`].
pub fn to_safetensors(variables: &Variables, file: &Path) -> Result<()> {
    let bytes = safetensors(&named_tensors(variables)?)?;
    write_checked(file, |place| write_file(place, &bytes), |place| read_back::checkpoint(place, variables))
}

/// Writes `variables` as one compact file, a third of a checkpoint's size, that says `about` itself. Filters are rounded to
/// 11 bits a number, with a scale for each output channel; all else is kept as it is.
///
/// # Errors
/// As of [`to_checkpoint_v1`]; [`ErrorKind::Argument`] for numbers that are not finite.
pub fn to_compact(variables: &Variables, about: &About, file: &Path) -> Result<()> {
    let bytes = compact(&named_tensors(variables)?, about)?;
    write_checked(file, |place| write_file(place, &bytes), |place| read_back::compact(place, variables))
}

/// Writes to a place beside `path`, reads that back with `check`, and only then gives it its name.
fn write_checked(
    path: &Path,
    write: impl FnOnce(&Path) -> Result<()>,
    check: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    write_whole(path, |place| {
        write(place)?;
        check(place)
    })
}

/// The trained numbers by the names that [`Network::variables`](crate::network::Network::variables) gives them, in that
/// order.
///
/// # Errors
/// Those of [`Variables::check`].
pub fn named_tensors(variables: &Variables) -> Result<Vec<(String, NumberTensor)>> {
    variables.check()?;
    let tensor = |(name, shape, values): (String, Vec<usize>, &[f32])| {
        Ok((name, NumberTensor::new(shape, TensorData::F32(values.to_vec()))?))
    };
    variables.named().map(tensor).collect()
}

/// The numbers as a checkpoint of version 2, sorted by name as TensorFlow does it.
fn bundle(variables: &Variables) -> Result<BundleWriter> {
    let mut tensors = named_tensors(variables)?;
    tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut writer = BundleWriter::new();
    tensors.iter().try_for_each(|(name, tensor)| writer.add(name, tensor))?;
    Ok(writer)
}
