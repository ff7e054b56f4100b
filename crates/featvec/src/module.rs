//! A module: a network with its variables, called by signature, as TF-Hub's `hub.Module` is.

mod about;
mod assemble;
mod graph;
mod notes;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use featvec_formats::{
    About, Checkpoint, CheckpointFormat, DataType, HubModule, MetaGraph, PartialShape, SavedModel, Source,
    TensorName,
};

use crate::builtin;
use crate::cache::Cache;
use crate::calibration::Calibration;
use crate::extractor::{FeatureExtractor, RunOptions};
use crate::fetch::{FetchOptions, Progress};
use crate::handle::Handle;
use crate::network::{BATCH_NORM_DECAY, DEFAULT_SIZE, Network, Variant};
use crate::plan::{Mode, Precision, Value};
use crate::tensor::Tensor;
use crate::variables::Variables;
use crate::{Error, ErrorKind, Limits, Result};

pub use about::read_about;
pub(crate) use graph::Role;
pub use notes::Notes;

/// What kind of file a module came from.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A module of TF-Hub's first format: graphs and variables.
    HubModule,
    /// A TF-Slim checkpoint of one file.
    CheckpointV1,
    /// A TF-Slim checkpoint of an index and shards.
    CheckpointV2,
    /// A safetensors file with TF-Slim's names.
    Safetensors,
    /// A compact file of featvec's own, with TF-Slim's names.
    Compact,
    /// A Caffe model.
    Caffemodel,
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Format::HubModule => "TF1 Hub module",
            Format::CheckpointV1 => "TF-Slim checkpoint (V1)",
            Format::CheckpointV2 => "TF-Slim checkpoint (V2)",
            Format::Safetensors => "safetensors",
            Format::Compact => "compact module",
            Format::Caffemodel => "caffemodel",
        })
    }
}

/// How a module is found and loaded.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// The tags of the graph to use: none for inference, `train` for batch normalisation by the batch's statistics.
    pub tags: BTreeSet<String>,
    /// Accept pictures of any size from 32 pixels on, whatever size the signatures declare; averaging over all pixels
    /// makes that possible.
    pub any_size: bool,
    /// Where downloads are kept; none means [`Cache::open_default`].
    pub cache: Option<Cache>,
    /// How downloads are made, and the limits for reading files.
    pub fetch: FetchOptions,
    /// How the network runs.
    pub run: RunOptions,
}

impl Default for LoadOptions {
    fn default() -> LoadOptions {
        LoadOptions {
            tags: BTreeSet::new(),
            any_size: false,
            cache: None,
            fetch: FetchOptions::from_env(),
            run: RunOptions::default(),
        }
    }
}

/// An input or output of a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// The elements' type.
    pub dtype: DataType,
    /// The shape as far as the module fixes it.
    pub shape: PartialShape,
}

/// A way to call a module.
#[derive(Clone, Debug, Default)]
pub struct Signature {
    inputs: BTreeMap<String, TensorInfo>,
    outputs: BTreeMap<String, (TensorInfo, Option<Role>)>,
}

impl Signature {
    /// What to give, by name.
    pub fn inputs(&self) -> &BTreeMap<String, TensorInfo> {
        &self.inputs
    }

    /// What comes back, by name.
    pub fn outputs(&self) -> impl Iterator<Item = (&str, &TensorInfo)> {
        self.outputs.iter().map(|(name, (info, _))| (name.as_str(), info))
    }
}

/// The signature that is used when none is named, and the output that is returned when no dictionary is asked for.
pub const DEFAULT: &str = "default";
/// The signature that gives feature vectors, whatever the default is.
pub const IMAGE_FEATURE_VECTOR: &str = "image_feature_vector";
/// The signature that gives logits.
pub const IMAGE_CLASSIFICATION: &str = "image_classification";

/// The tag of the graph for training.
pub(crate) const TRAIN: &str = "train";

/// The input that the pictures are given as.
pub(crate) const IMAGES: &str = "images";

/// A loaded module.
///
/// ```no_run
/// use featvec::{Module, Tensor};
///
/// let module = Module::load("https://tfhub.dev/google/imagenet/inception_v1/feature_vector/1")?;
/// let [height, width] = module.expected_image_size()?;
/// let images = Tensor::new([2, height, width, 3], vec![0.5; 2 * height * width * 3])?;
/// let features = module.run(&images)?;
/// assert_eq!(features.shape(), [2, 1024]);
/// # Ok::<(), featvec::Error>(())
/// ```
pub struct Module {
    place: String,
    path: Option<PathBuf>,
    format: Format,
    about: About,
    tag_sets: Vec<BTreeSet<String>>,
    tags: BTreeSet<String>,
    mode: Mode,
    any_size: bool,
    signatures: BTreeMap<String, Signature>,
    attached_size: Option<[usize; 2]>,
    fixed_size: Option<[usize; 2]>,
    batch_norm_decay: f32,
    extractor: FeatureExtractor,
}

impl Module {
    /// Loads the module that `handle` names: `builtin`, which comes with featvec; a folder or archive of a TF1 Hub
    /// module, its `http(s)://` or `gs://` URL (downloaded once, see [`Cache`]), a TF-Slim checkpoint, a safetensors file,
    /// a compact one, or BVLC GoogLeNet's caffemodel.
    ///
    /// # Errors
    /// No such file or server; damage; a module that is not Inception V1 (the message says what it is instead).
    pub fn load(handle: &str) -> Result<Module> {
        Module::load_with(handle, &LoadOptions::default(), &mut |_| {})
    }

    /// Like [`load`](Module::load) with options; `progress` is told how a download goes on.
    ///
    /// # Errors
    /// Those of [`load`](Module::load), and tags that the module has no graph for.
    pub fn load_with(
        handle: &str,
        options: &LoadOptions,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Module> {
        let handle = Handle::parse(handle)?;
        let loaded = if handle.is_builtin() {
            Loaded::builtin(options)
        } else if let Some(path) = handle.existing_path()? {
            Loaded::open(path, options)
        } else {
            let cache = match &options.cache {
                Some(cache) => cache.clone(),
                None => Cache::open_default()?,
            };
            cache.load(&handle, &options.fetch, progress, |path| Loaded::open(path, options))
        }?;
        Module::ready(loaded, (handle.as_str(), handle.path()), options)
    }

    /// Loads what `path` names, even if that is no text.
    pub(crate) fn open(path: &Path, options: &LoadOptions) -> Result<Module> {
        Module::ready(Loaded::open(path, options)?, (&path.display().to_string(), Some(path)), options)
    }

    fn ready(loaded: Loaded, (place, path): (&str, Option<&Path>), options: &LoadOptions) -> Result<Module> {
        if loaded.mode == Mode::BatchStatistics && options.run.precision == Precision::Int8 {
            let message = "a graph for training takes the statistics of each batch, which int8 cannot";
            let hint = "leave out the tag `train`, or use f32";
            return Err(Error::new(ErrorKind::Argument, place, message).with_hint(hint));
        }
        let extractor = FeatureExtractor::new(loaded.variables, &options.run)?;
        Ok(Module {
            place: place.to_string(),
            path: path.map(Path::to_path_buf),
            format: loaded.format,
            about: loaded.about,
            tag_sets: loaded.tag_sets,
            tags: options.tags.clone(),
            mode: loaded.mode,
            any_size: options.any_size,
            signatures: loaded.signatures,
            attached_size: loaded.attached_size,
            fixed_size: loaded.fixed_size,
            batch_norm_decay: loaded.batch_norm_decay,
            extractor,
        })
    }

    /// The same module with `threads` threads of its own, which runs while this one runs; see
    /// [`FeatureExtractor::fork`].
    ///
    /// # Errors
    /// No threads to be had from the operating system.
    pub fn fork(&self, threads: NonZeroUsize) -> Result<Module> {
        Ok(Module {
            place: self.place.clone(),
            path: self.path.clone(),
            about: self.about.clone(),
            tag_sets: self.tag_sets.clone(),
            tags: self.tags.clone(),
            signatures: self.signatures.clone(),
            extractor: self.extractor.fork(threads)?,
            ..*self
        })
    }

    /// The handle that the module was loaded from.
    pub fn handle(&self) -> &str {
        &self.place
    }

    /// The file or folder that was named, if it was loaded from one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The folder that it was loaded from, if it was one.
    pub fn folder(&self) -> Option<&Path> {
        self.path().filter(|path| path.is_dir())
    }

    /// What its file says of itself: what is told, and the text. Only compact files say anything.
    pub fn about(&self) -> &[(String, String)] {
        &self.about
    }

    /// What kind of file it came from.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The tags of each graph that the module has.
    pub fn tag_sets(&self) -> &[BTreeSet<String>] {
        &self.tag_sets
    }

    /// The tags of the graph in use.
    pub fn tags(&self) -> &BTreeSet<String> {
        &self.tags
    }

    /// The signatures by name.
    pub fn signatures(&self) -> &BTreeMap<String, Signature> {
        &self.signatures
    }

    /// How the graph in use normalises.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What the moving averages of batch normalisation keep at each step of training, as the module's graph for training
    /// has it; TF-Slim's where there is none.
    pub fn batch_norm_decay(&self) -> f32 {
        self.batch_norm_decay
    }

    /// The network and its trained numbers.
    pub fn variables(&self) -> &Variables {
        self.extractor.variables()
    }

    /// What runs the network.
    pub fn extractor(&self) -> &FeatureExtractor {
        &self.extractor
    }

    /// Has [`Precision::Int8`] fit `images`, `[n, h, w, 3]` in [0, 1]: a few dozen pictures like those that will be run.
    /// Without, it fits pictures that are built in, and is less accurate. Rows are comparable where the calibration was
    /// the same.
    ///
    /// # Errors
    /// Those of [`Calibration::measure`].
    pub fn calibrate(&self, images: &Tensor) -> Result<()> {
        self.extractor.calibrate(Calibration::measure(&self.extractor, images)?);
        Ok(())
    }

    /// The signature that gives feature vectors: `image_feature_vector`, or the default where there is none.
    pub fn feature_signature(&self) -> &'static str {
        if self.signatures.contains_key(IMAGE_FEATURE_VECTOR) { IMAGE_FEATURE_VECTOR } else { DEFAULT }
    }

    /// Height and width of the pictures that the module wants, in this order, as `hub.get_expected_image_size`.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] where neither the attachment nor the default signature says.
    pub fn expected_image_size(&self) -> Result<[usize; 2]> {
        if let Some(size) = self.attached_size {
            return Ok(size);
        }
        let shape = self.images_info(DEFAULT)?.shape.as_deref();
        match shape {
            Some(&[_, Some(h), Some(w), _]) if h > 0 && w > 0 => Ok([h as usize, w as usize]),
            _ => Err(self
                .mismatch("it does not say which size of pictures it expects")
                .with_hint("give --size")),
        }
    }

    /// Whether it takes pictures of any size by its own word.
    pub(crate) fn takes_any_size(&self) -> bool {
        let shape = self.images_info(DEFAULT).ok().and_then(|info| info.shape.as_deref());
        self.fixed_size.is_none() && !matches!(shape, Some([_, Some(_), Some(_), _]))
    }

    /// Channels of the pictures that the default signature takes, as `hub.get_num_image_channels`: 3.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] where the signature does not say.
    pub fn num_image_channels(&self) -> Result<usize> {
        match self.images_info(DEFAULT)?.shape.as_deref() {
            Some(&[_, _, _, Some(channels)]) => Ok(channels as usize),
            _ => Err(self.mismatch("it does not say how many channels its pictures have")),
        }
    }

    /// The output `default` of the signature `default` for `images`, `[n, h, w, 3]` in [0, 1]: feature vectors
    /// `[n, 1024]` of a feature vector module, logits `[n, classes]` of a classification module.
    ///
    /// # Errors
    /// Those of [`run_outputs`](Module::run_outputs).
    pub fn run(&self, images: &Tensor) -> Result<Tensor> {
        let mut outputs = self.run_outputs(DEFAULT, images, &[DEFAULT])?;
        Ok(outputs.remove(0))
    }

    /// All outputs of `signature` by name, as `hub.Module`'s call with `as_dict=True`.
    ///
    /// # Errors
    /// Those of [`run_outputs`](Module::run_outputs).
    pub fn run_signature(&self, signature: &str, images: &Tensor) -> Result<BTreeMap<String, Tensor>> {
        let names: Vec<&str> = self.signature(signature)?.outputs.keys().map(String::as_str).collect();
        let tensors = self.run_outputs(signature, images, &names)?;
        Ok(names.into_iter().map(String::from).zip(tensors).collect())
    }

    /// All outputs of `signature` for a dictionary of inputs, which must have exactly the names that the signature
    /// declares.
    ///
    /// # Errors
    /// Those of [`run_outputs`](Module::run_outputs); missing and surplus inputs.
    pub fn call(
        &self,
        signature: &str,
        inputs: &BTreeMap<String, Tensor>,
    ) -> Result<BTreeMap<String, Tensor>> {
        let declared = &self.signature(signature)?.inputs;
        if !declared.keys().eq(inputs.keys()) {
            let list = |names: Vec<&String>| format!("{names:?}");
            let message = format!(
                "signature {signature:?} takes the inputs {}, not {}",
                list(declared.keys().collect()),
                list(inputs.keys().collect())
            );
            return Err(self.argument(message));
        }
        let Some(images) = inputs.get(IMAGES) else {
            return Err(self.argument(format!("signature {signature:?} does not take {IMAGES:?}")));
        };
        for (name, info) in declared {
            let shape = inputs[name].shape();
            if name != IMAGES && !is_compatible(&info.shape, shape) {
                return Err(self.argument(format!("input {name:?} has the shape {shape:?}, not {info}")));
            }
        }
        self.run_signature(signature, images)
    }

    /// The outputs `names` of `signature` for `images`, `[n, h, w, 3]` in [0, 1].
    ///
    /// Beside `images` a signature may take scalars that only matter to training, such as `batch_norm_momentum`; here
    /// they have their default values.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a signature or an output that the module does not have, or one that cannot be
    /// computed because it depends on more than the network; [`ErrorKind::Mismatch`] for images of another shape than
    /// the signature's.
    pub fn run_outputs(&self, signature: &str, images: &Tensor, names: &[&str]) -> Result<Vec<Tensor>> {
        self.check_images(signature, images.shape())?;
        let roles = self.roles(signature, names)?;
        let values: Vec<Value> = roles.iter().map(|role| role.value()).collect();
        let tensors = self.extractor.run(images, self.mode, &values)?;
        tensors.into_iter().zip(roles).map(|(tensor, role)| role.finish(tensor)).collect()
    }

    /// Refuses images of another shape than `signature` takes.
    pub(crate) fn check_images(&self, signature: &str, shape: &[usize]) -> Result<()> {
        let declared = self.images_info(signature)?;
        let fits =
            if self.any_size { matches!(shape, [_, _, _, 3]) } else { is_compatible(&declared.shape, shape) };
        if !fits {
            let message = format!("images of shape {shape:?}, and signature {signature:?} takes {declared}");
            let hint = match declared.shape.as_deref() {
                Some([_, Some(h), Some(w), _]) => {
                    format!("resize them to {h}x{w}, or allow any size with --size")
                }
                _ => "images are [n, height, width, 3]".to_string(),
            };
            return Err(self.mismatch(message).with_hint(hint));
        }
        if let (Some(size), [_, h, w, _]) = (self.fixed_size, shape)
            && size != [*h, *w]
        {
            let message = format!(
                "its graph averages or pads by fixed numbers, so it runs at {}x{} only",
                size[0], size[1]
            );
            return Err(self
                .mismatch(message)
                .with_hint("a module that averages over all pixels and pads SAME runs at any size"));
        }
        Ok(())
    }

    /// What the outputs `names` of `signature` are in the network's terms.
    pub(crate) fn roles(&self, signature: &str, names: &[&str]) -> Result<Vec<Role>> {
        let outputs = &self.signature(signature)?.outputs;
        let role = |name: &&str| match outputs.get(*name) {
            Some((_, Some(role))) => Ok(*role),
            Some((_, None)) => Err(self
                .argument(format!("output {name:?} is not a value of the network"))
                .with_hint("in a graph for training, logits go through random dropout; read the features")),
            None => Err(self.no_such_output(signature, name)),
        };
        names.iter().map(role).collect()
    }

    /// The name by which `signature` knows `endpoint`, which may be written without the network's scope.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a signature or an endpoint that the module does not have.
    pub fn output_name(&self, signature: &str, endpoint: &str) -> Result<String> {
        let outputs = &self.signature(signature)?.outputs;
        let scoped = format!("{}/{endpoint}", self.variables().network.variant.scope());
        let name = [endpoint, &scoped].into_iter().find(|name| outputs.contains_key(*name));
        name.map(String::from).ok_or_else(|| self.no_such_output(signature, endpoint))
    }

    fn signature(&self, name: &str) -> Result<&Signature> {
        self.signatures.get(name).ok_or_else(|| {
            let names = Vec::from_iter(self.signatures.keys().map(String::as_str)).join(", ");
            self.argument(format!("it has no signature {name:?}")).with_hint(format!("it has {names}"))
        })
    }

    fn images_info(&self, signature: &str) -> Result<&TensorInfo> {
        let inputs = &self.signature(signature)?.inputs;
        inputs.get(IMAGES).ok_or_else(|| {
            self.argument(format!(
                "signature {signature:?} has no input {IMAGES:?}, only {:?}",
                inputs.keys()
            ))
        })
    }

    fn no_such_output(&self, signature: &str, name: &str) -> Error {
        let outputs = self.signatures.get(signature).map(|signature| &signature.outputs);
        let names: Vec<_> = outputs.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        self.argument(format!("signature {signature:?} has no output {name:?}"))
            .with_hint(format!("it has {}", names.join(", ")))
    }

    pub(crate) fn argument(&self, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Argument, format!("module {}", self.place), message)
    }

    fn mismatch(&self, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Mismatch, format!("module {}", self.place), message)
    }
}

impl Role {
    /// The network's value that it is a form of.
    pub(crate) fn value(self) -> Value {
        match self {
            Role::Stage(index) => Value::Stage(index),
            Role::GlobalPool | Role::Features => Value::Features,
            Role::LogitsMap | Role::Logits | Role::Predictions => Value::Logits,
        }
    }

    /// The tensor that the network computed, in the form of this role.
    fn finish(self, tensor: Tensor) -> Result<Tensor> {
        match self {
            Role::Stage(_) | Role::Features | Role::Logits => Ok(tensor),
            Role::GlobalPool | Role::LogitsMap => {
                let &[n, channels] = tensor.shape() else { unreachable!("one row per picture") };
                Tensor::new([n, 1, 1, channels], tensor.into_data())
            }
            Role::Predictions => Ok(crate::classify::softmax(tensor)),
        }
    }
}

fn is_compatible(declared: &PartialShape, shape: &[usize]) -> bool {
    declared.as_ref().is_none_or(|declared| {
        declared.len() == shape.len()
            && declared.iter().zip(shape).all(|(declared, size)| declared.is_none_or(|d| d == *size as u64))
    })
}

/// Prints like `float32 [?, 224, 224, 3]`.
impl std::fmt::Display for TensorInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(sizes) = &self.shape else { return write!(f, "{} of any shape", self.dtype) };
        let sizes: Vec<_> =
            sizes.iter().map(|size| size.map_or("?".to_string(), |size| size.to_string())).collect();
        write!(f, "{} [{}]", self.dtype, sizes.join(", "))
    }
}

/// All that is read from a source before the network is made ready to run.
struct Loaded {
    format: Format,
    about: About,
    tag_sets: Vec<BTreeSet<String>>,
    mode: Mode,
    signatures: BTreeMap<String, Signature>,
    attached_size: Option<[usize; 2]>,
    fixed_size: Option<[usize; 2]>,
    batch_norm_decay: f32,
    variables: Variables,
}

impl Loaded {
    fn open(path: &Path, options: &LoadOptions) -> Result<Loaded> {
        let place = path.display().to_string();
        match featvec_formats::source::open(path, &options.fetch.limits)? {
            Source::HubModule(module) => Loaded::from_module(&module, options),
            Source::Checkpoint(checkpoint) => Loaded::from_checkpoint(&checkpoint, &place, options),
            Source::Caffemodel(model) => {
                let variables = assemble::from_caffemodel(&model, &place)?;
                Loaded::without_graph(variables, (Format::Caffemodel, &place), options)
            }
        }
    }

    fn builtin(options: &LoadOptions) -> Result<Loaded> {
        let Some(bytes) = builtin::bytes() else {
            let message = "this featvec was built without its module";
            return Err(Error::new(ErrorKind::Unsupported, builtin::BUILTIN, message)
                .with_hint("build it with the feature `builtin`, or name another module"));
        };
        // The user's limits are for the bytes of others.
        let checkpoint = Checkpoint::from_compact(builtin::BUILTIN, bytes, &Limits::default())?;
        Loaded::from_checkpoint(&checkpoint, builtin::BUILTIN, options)
    }

    fn from_checkpoint(checkpoint: &Checkpoint, place: &str, options: &LoadOptions) -> Result<Loaded> {
        let format = match checkpoint.format() {
            CheckpointFormat::V1 => Format::CheckpointV1,
            CheckpointFormat::V2 => Format::CheckpointV2,
            CheckpointFormat::Safetensors => Format::Safetensors,
            CheckpointFormat::Compact => Format::Compact,
        };
        let loaded = Loaded::without_graph(assemble::from_checkpoint(checkpoint)?, (format, place), options)?;
        Ok(Loaded { about: checkpoint.about().to_vec(), ..loaded })
    }

    fn from_module(module: &HubModule, options: &LoadOptions) -> Result<Loaded> {
        let limits = &options.fetch.limits;
        let place = module.place();
        let tag_sets: Vec<_> = module.graphs().iter().map(|graph| graph.tags.clone()).collect();
        let Some(meta) = module.graph(&options.tags) else {
            return Err(no_such_tags(place, &options.tags, &tag_sets));
        };
        let recognized = graph::recognize(meta, limits).map_err(|error| error.within(place))?;
        let Some(checkpoint) = module.checkpoint() else {
            return Err(Error::new(ErrorKind::Mismatch, place, "the module has no variables"));
        };
        let variables =
            assemble::from_module(&recognized, checkpoint).map_err(|error| error.within(place))?;
        let train = module.graph(&BTreeSet::from([TRAIN.to_string()]));
        let batch_norm_decay = train
            .and_then(|train| graph::moving_average_decay(&train.graph, limits))
            .unwrap_or(BATCH_NORM_DECAY);
        let info = meta.image_module_info(limits).map_err(|error| error.within(place))?;
        Ok(Loaded {
            format: Format::HubModule,
            about: About::new(),
            tag_sets,
            mode: recognized.mode,
            signatures: signatures_of(meta, &recognized),
            attached_size: info
                .filter(|info| info.height > 0 && info.width > 0)
                .map(|info| [info.height as usize, info.width as usize]),
            fixed_size: recognized.fixed_size,
            batch_norm_decay,
            variables,
        })
    }

    /// A checkpoint has no graph and no signatures: it gets those that TF-Hub's module of the same network has, with
    /// feature vectors as the default.
    fn without_graph(
        variables: Variables,
        (format, place): (Format, &str),
        options: &LoadOptions,
    ) -> Result<Loaded> {
        let train = BTreeSet::from([TRAIN.to_string()]);
        let mut tag_sets = vec![BTreeSet::new()];
        if variables.network.variant == Variant::Slim {
            tag_sets.push(train.clone());
        }
        if !tag_sets.contains(&options.tags) {
            return Err(no_such_tags(place, &options.tags, &tag_sets));
        }
        let mode = if options.tags == train { Mode::BatchStatistics } else { Mode::Inference };
        let signatures = signatures_without_graph(&variables.network);
        let attached_size = Some(DEFAULT_SIZE);
        Ok(Loaded {
            format,
            about: About::new(),
            tag_sets,
            mode,
            signatures,
            attached_size,
            fixed_size: None,
            batch_norm_decay: BATCH_NORM_DECAY,
            variables,
        })
    }
}

/// The variables of the SavedModel in the folder `path`, whose graph with these tags must be Inception V1.
pub(crate) fn variables_of_saved_model(
    path: &Path,
    tags: &BTreeSet<String>,
    limits: &Limits,
) -> Result<Variables> {
    let file = path.join("saved_model.pb");
    let bytes = std::fs::read(&file).map_err(|error| Error::io(file.display().to_string(), error))?;
    let model = SavedModel::parse(&bytes, limits)?;
    let place = path.display().to_string();
    let tag_sets: Vec<_> = model.graphs.iter().map(|graph| graph.tags.clone()).collect();
    let meta = model.graph(tags).ok_or_else(|| no_such_tags(&place, tags, &tag_sets))?;
    let recognized = graph::recognize(meta, limits)?;
    match featvec_formats::source::open(&path.join("variables/variables"), limits)? {
        Source::Checkpoint(checkpoint) => assemble::from_module(&recognized, &checkpoint),
        _ => Err(Error::new(ErrorKind::Mismatch, place, "the variables are no checkpoint")),
    }
}

fn no_such_tags(place: &str, tags: &BTreeSet<String>, present: &[BTreeSet<String>]) -> Error {
    let message = format!("no graph with the tags {tags:?}");
    let present: Vec<_> = present.iter().map(|tags| format!("{tags:?}")).collect();
    Error::new(ErrorKind::Argument, place, message)
        .with_hint(format!("its graphs have {}", present.join(" and ")))
}

/// The module's signatures, as far as they are called with pictures that reach the network.
fn signatures_of(meta: &MetaGraph, recognized: &graph::Recognized) -> BTreeMap<String, Signature> {
    let info =
        |info: &featvec_formats::TensorInfo| TensorInfo { dtype: info.dtype, shape: info.shape.clone() };
    let mut signatures = BTreeMap::new();
    for (name, signature) in &meta.signatures {
        let feeds_network = signature
            .inputs
            .get(IMAGES)
            .is_some_and(|images| TensorName::parse(&images.name).as_ref() == Some(&recognized.images));
        let inputs = signature.inputs.iter().map(|(name, input)| (name.clone(), info(input))).collect();
        let outputs = signature
            .outputs
            .iter()
            .map(|(name, output)| {
                let role = TensorName::parse(&output.name).and_then(|tensor| recognized.role(&tensor));
                (name.clone(), (info(output), role.filter(|_| feeds_network)))
            })
            .collect();
        signatures.insert(name.clone(), Signature { inputs, outputs });
    }
    signatures
}

fn signatures_without_graph(network: &Network) -> BTreeMap<String, Signature> {
    let f32_of = |shape: &[Option<u64>]| TensorInfo { dtype: DataType::F32, shape: Some(shape.to_vec()) };
    let [h, w] = DEFAULT_SIZE.map(|size| Some(size as u64));
    let inputs = BTreeMap::from([(IMAGES.to_string(), f32_of(&[None, h, w, Some(3)]))]);
    let features = Some(network.features() as u64);

    let mut endpoints = BTreeMap::new();
    let mut size = DEFAULT_SIZE;
    let mut names = network.endpoints().into_iter();
    for ((index, stage), name) in network.stages().iter().enumerate().zip(names.by_ref()) {
        size = stage.output_size(network.variant, size);
        let [h, w] = size.map(|size| Some(size as u64));
        let info = f32_of(&[None, h, w, Some(stage.channels as u64)]);
        endpoints.insert(name, (info, Some(Role::Stage(index))));
    }
    let pool = f32_of(&[None, Some(1), Some(1), features]);
    endpoints.extend(names.map(|name| (name, (pool.clone(), Some(Role::GlobalPool)))));
    let classes = network.classes.map(|classes| f32_of(&[None, Some(classes as u64)]));
    if let Some(info) = &classes {
        let scope = network.variant.scope();
        endpoints.insert(format!("{scope}/Logits"), (info.clone(), Some(Role::Logits)));
        endpoints.insert(format!("{scope}/Predictions"), (info.clone(), Some(Role::Predictions)));
    }
    let signature = |info: TensorInfo, role| {
        let mut outputs = endpoints.clone();
        outputs.insert(DEFAULT.to_string(), (info, Some(role)));
        Signature { inputs: inputs.clone(), outputs }
    };
    let vector = signature(f32_of(&[None, features]), Role::Features);
    let mut signatures = BTreeMap::new();
    signatures.insert(DEFAULT.to_string(), vector.clone());
    signatures.insert(IMAGE_FEATURE_VECTOR.to_string(), vector);
    if let Some(info) = classes {
        signatures.insert(IMAGE_CLASSIFICATION.to_string(), signature(info, Role::Logits));
    }
    signatures
}
