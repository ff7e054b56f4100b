//! The walk along the network's table that writes it as a graph of TensorFlow, as TF Hub's exporter lays it out: variables
//! under the network's scope, operations under the scope twice.

use std::collections::{BTreeMap, BTreeSet};

use featvec_formats::{
    Attr, Collection, DataType, Graph, MetaGraph, Node, Signature, Tensor, TensorInfo, TensorProto,
    VariableDef,
};
use featvec_kernels::Lrn;

use super::{GraphOptions, named_tensors};
use crate::module::{DEFAULT, IMAGE_CLASSIFICATION, IMAGE_FEATURE_VECTOR, IMAGES, TRAIN};
use crate::network::{
    BETA, BIASES, Body, Border, Conv, MOVING_MEAN, MOVING_VARIANCE, Mixed, Pool, Variant, WEIGHTS,
    WEIGHTS_DEVIATION,
};
use crate::variables::Variables;
use crate::{Error, ErrorKind, Result};

mod nodes;

pub(super) use nodes::Nodes;
use nodes::{FLOAT, text};

/// How the graph holds the trained numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As variables, which a checkpoint restores.
    Inference,
    /// The same, with statistics of the batch, updates of their moving averages, and dropout.
    Training,
    /// As constants.
    Frozen,
}

/// A network as a graph, and what of it is what.
pub(super) struct NetworkGraph {
    pub nodes: Vec<Node>,
    pub images: TensorInfo,
    /// `[n, 1024]`.
    pub features: TensorInfo,
    /// `[n, classes]`, and their softmax.
    pub logits: Option<[TensorInfo; 2]>,
    /// By the names that a dictionary call of the module has.
    pub endpoints: BTreeMap<String, TensorInfo>,
    /// In the order of the layers.
    pub variables: Vec<VariableDef>,
    regularization_losses: Vec<String>,
    update_ops: Vec<String>,
}

/// The network of `variables` as a graph.
///
/// # Errors
/// [`ErrorKind::Argument`] for a size that the network cannot run at, or at which the paper's pools are none of
/// TensorFlow's; numbers that do not fit the network.
pub(super) fn network_graph(
    variables: &Variables,
    options: &GraphOptions,
    form: Form,
) -> Result<NetworkGraph> {
    let network = variables.network;
    let size = options.size;
    crate::plan::check_size(size)?;
    if network.variant == Variant::Paper && options.any_size {
        let message = "pools like Caffe's depend on the size of the pictures, so it must be fixed";
        return Err(Error::new(ErrorKind::Argument, "size", message));
    }
    if !network.pools_are_same(size) {
        let message = format!("{}x{}, at which TensorFlow has no pools like Caffe's", size[0], size[1]);
        return Err(Error::new(ErrorKind::Argument, "size", message)
            .with_hint("give multiples of 32, such as 224x224"));
    }
    let walk = Walk {
        variables,
        options,
        form,
        variant: network.variant,
        scope: network.variant.scope(),
        size: (!options.any_size).then_some(size),
        nodes: Nodes::default(),
        tensors: named_tensors(variables)?.into_iter().collect(),
        trainable: network.variables().into_iter().filter(|v| v.trainable).map(|v| v.name).collect(),
        definitions: Vec::new(),
        regularization_losses: Vec::new(),
        update_ops: Vec::new(),
    };
    Ok(walk.network())
}

impl NetworkGraph {
    /// The graph of a Hub module: with signatures and collections.
    ///
    /// # Errors
    /// None but our own bugs: two nodes of one name.
    pub fn into_meta_graph(self, form: Form) -> Result<MetaGraph> {
        let signature = |default: &TensorInfo, endpoints: &BTreeMap<String, TensorInfo>| Signature {
            inputs: BTreeMap::from([(IMAGES.to_string(), self.images.clone())]),
            outputs: endpoints
                .iter()
                .map(|(name, info)| (name.clone(), info.clone()))
                .chain([(DEFAULT.to_string(), default.clone())])
                .collect(),
            method: String::new(),
        };
        let mut signatures =
            BTreeMap::from([(IMAGE_FEATURE_VECTOR.to_string(), signature(&self.features, &self.endpoints))]);
        let default = self.logits.as_ref().map_or(&self.features, |[logits, _]| logits);
        signatures.insert(DEFAULT.to_string(), signature(default, &BTreeMap::new()));
        if self.logits.is_some() {
            signatures.insert(IMAGE_CLASSIFICATION.to_string(), signature(default, &self.endpoints));
        }
        let definitions = |of: &dyn Fn(&&VariableDef) -> bool| {
            Collection::Bytes(self.variables.iter().filter(of).map(VariableDef::encode).collect())
        };
        let mut collections = BTreeMap::from([
            ("variables".to_string(), definitions(&|_| true)),
            ("model_variables".to_string(), definitions(&|_| true)),
            ("trainable_variables".to_string(), definitions(&|variable| variable.trainable)),
            ("regularization_losses".to_string(), Collection::Nodes(self.regularization_losses)),
        ]);
        if !self.update_ops.is_empty() {
            collections.insert("update_ops".to_string(), Collection::Nodes(self.update_ops));
        }
        let tags = match form {
            Form::Training => BTreeSet::from([TRAIN.to_string()]),
            Form::Inference | Form::Frozen => BTreeSet::new(),
        };
        Ok(MetaGraph {
            tags,
            graph: Graph::new(self.nodes)?,
            signatures,
            collections,
            ..MetaGraph::default()
        })
    }
}

/// A walk along the table.
struct Walk<'a> {
    variables: &'a Variables,
    options: &'a GraphOptions,
    form: Form,
    variant: Variant,
    scope: &'static str,
    /// Height and width of the pictures, where they are fixed.
    size: Option<[usize; 2]>,
    nodes: Nodes,
    /// The trained numbers by their variables' names.
    tensors: BTreeMap<String, Tensor>,
    trainable: BTreeSet<String>,
    definitions: Vec<VariableDef>,
    regularization_losses: Vec<String>,
    update_ops: Vec<String>,
}

/// A map of the graph.
#[derive(Clone)]
struct Map {
    name: String,
    channels: usize,
    size: Option<[usize; 2]>,
}

impl Map {
    fn info(&self) -> TensorInfo {
        let [h, w] = self.size.map_or([None; 2], |size| size.map(Some));
        info(&self.name, &[None, h, w, Some(self.channels)])
    }
}

impl Walk<'_> {
    fn network(mut self) -> NetworkGraph {
        let network = self.variables.network;
        let mut names = network.endpoints().into_iter();
        let mut endpoints = BTreeMap::new();
        let images = self.images();
        let mut current = self.scaled(&images);
        for (stage, name) in network.stages().iter().zip(names.by_ref()) {
            let at = format!("{0}/{0}/{1}", self.scope, stage.endpoint);
            current = match &stage.body {
                Body::Conv(conv) => self.conv(&current, conv),
                Body::MaxPool(pool) => self.max_pool(&current, *pool, &at),
                Body::Mixed(mixed) => self.mixed(&current, mixed, &at),
            };
            endpoints.insert(name, current.info());
            if let Some(lrn) = &stage.norm {
                current = self.lrn(&current, lrn, &at);
            }
        }
        let mean = self.global_mean(&current);
        endpoints.extend(names.map(|name| (name, mean.info())));
        let name = self
            .squeeze(&self.output_name("hub_output/feature_vector/SpatialSqueeze", "feature_vector"), &mean);
        let features = info(&name, &[None, Some(mean.channels)]);
        let logits = network.logits().map(|conv| self.logits(&mean, &conv));
        if let Some([logits, predictions]) = &logits {
            endpoints.insert(format!("{}/Logits", self.scope), logits.clone());
            endpoints.insert(format!("{}/Predictions", self.scope), predictions.clone());
        }
        NetworkGraph {
            nodes: self.nodes.into_vec(),
            images: images.info(),
            features,
            logits,
            endpoints,
            variables: self.definitions,
            regularization_losses: self.regularization_losses,
            update_ops: self.update_ops,
        }
    }

    /// The name of an input or output: people type those of a frozen graph, which has no signatures.
    fn output_name(&self, of_a_module: &str, of_a_frozen_graph: &str) -> String {
        if self.form == Form::Frozen { of_a_frozen_graph } else { of_a_module }.to_string()
    }

    fn images(&mut self) -> Map {
        let name = self.output_name("hub_input/images", IMAGES);
        let mut map = Map { name, channels: 3, size: self.size };
        let attrs = [("dtype", Attr::Type(DataType::F32)), ("shape", Attr::Shape(map.info().shape))];
        map.name = self.nodes.add(&map.name, "Placeholder", &[], attrs);
        map
    }

    /// The picture as the first convolution reads it. What a border adds is 0 after scaling, not before.
    fn scaled(&mut self, images: &Map) -> Map {
        let affine = self.variables.affine;
        let mut name = images.name.clone();
        for (op, numbers) in [("Mul", affine.scale), ("Sub", affine.offset.map(|offset| -offset))] {
            let at = format!("hub_input/{op}");
            let numbers = if numbers == [numbers[0]; 3] { &numbers[..1] } else { &numbers[..] };
            let constant = self.nodes.floats(&format!("{at}/y"), numbers);
            name = self.nodes.add(&at, op, &[&name, &constant], [FLOAT]);
        }
        Map { name, ..images.clone() }
    }

    fn mixed(&mut self, input: &Map, mixed: &Mixed, at: &str) -> Map {
        let branch_0 = self.conv(input, &mixed.branch_0);
        let [branch_1, branch_2] = [&mixed.branch_1, &mixed.branch_2].map(|[reduce, conv]| {
            let reduced = self.conv(input, reduce);
            self.conv(&reduced, conv)
        });
        let pooled = self.max_pool(input, mixed.pool, at);
        let branch_3 = self.conv(&pooled, &mixed.branch_3);
        let branches = [branch_0, branch_1, branch_2, branch_3];
        let axis = self.nodes.ints(&format!("{at}/concat/axis"), &[], &[3]);
        let names = branches.each_ref().map(|branch| branch.name.as_str());
        let inputs = [&names[..], &[&axis]].concat();
        let count = ("N", Attr::Int(branches.len() as i64));
        let name = self.nodes.add(&format!("{at}/concat"), "ConcatV2", &inputs, [count, FLOAT]);
        Map { name, channels: branches.iter().map(|branch| branch.channels).sum(), size: input.size }
    }

    /// A convolution, what is added to it, and the ReLU.
    fn conv(&mut self, input: &Map, conv: &Conv) -> Map {
        let at = format!("{0}/{0}/{1}", self.scope, conv.name);
        let convolved = self.convolution(input, conv, (&at, WEIGHTS_DEVIATION));
        let shifted = match self.variant {
            Variant::Slim => self.batch_norm(&convolved, conv, &at),
            Variant::Paper => self.bias(&convolved, conv, &at),
        };
        let name = self.nodes.add(&format!("{at}/Relu"), "Relu", &[&shifted], [FLOAT]);
        Map { name, ..convolved }
    }

    /// A convolution alone, with its filter and the filter's part of the training loss.
    fn convolution(&mut self, input: &Map, conv: &Conv, (at, deviation): (&str, f32)) -> Map {
        let weights = self.variable(conv, WEIGHTS, Initial::Random { deviation });
        if self.form != Form::Frozen {
            self.regularize(&weights, at);
        }
        let (padding, from) = match self.variant.border(conv) {
            Border::Same => ("SAME", input.name.clone()),
            Border::Explicit(border) => ("VALID", self.pad(input, border, at)),
        };
        let filter = self.read(&weights, &format!("{at}/Conv2D/ReadVariableOp"));
        let attrs = [FLOAT, ("strides", window(conv.stride)), ("padding", text(padding))];
        let name = self.nodes.add(&format!("{at}/Conv2D"), "Conv2D", &[&from, &filter], attrs);
        let out = |len| self.variant.conv_extent(conv, len).out;
        Map { name, channels: conv.shape[3], size: input.size.map(|size| size.map(out)) }
    }

    /// Zeros on all four sides.
    fn pad(&mut self, input: &Map, border: usize, at: &str) -> String {
        let border = border as i32;
        let paddings = [0, 0, border, border, border, border, 0, 0];
        let paddings = self.nodes.ints(&format!("{at}/Pad/paddings"), &[4, 2], &paddings);
        self.nodes.add(&format!("{at}/Pad"), "Pad", &[&input.name, &paddings], [FLOAT])
    }

    fn regularize(&mut self, weights: &str, at: &str) {
        let at = format!("{at}/kernel/Regularizer/l2_regularizer");
        let scale = self.nodes.floats(&format!("{at}/scale"), &[self.variant.weight_decay()]);
        let read = self.read(weights, &format!("{at}/L2Loss/ReadVariableOp"));
        let loss = self.nodes.add(&format!("{at}/L2Loss"), "L2Loss", &[&read], [FLOAT]);
        let scaled = self.nodes.add(&at, "Mul", &[&scale, &loss], [FLOAT]);
        self.regularization_losses.push(format!("{scaled}:0"));
    }

    fn bias(&mut self, convolved: &Map, conv: &Conv, at: &str) -> String {
        let biases = self.variable(conv, BIASES, Initial::Constant(0.0));
        let read = self.read(&biases, &format!("{at}/BiasAdd/ReadVariableOp"));
        self.nodes.add(&format!("{at}/BiasAdd"), "BiasAdd", &[&convolved.name, &read], [FLOAT])
    }

    fn batch_norm(&mut self, convolved: &Map, conv: &Conv, at: &str) -> String {
        let at = format!("{at}/BatchNorm");
        let beta = self.variable(conv, BETA, Initial::Constant(0.0));
        let mean = self.variable(conv, MOVING_MEAN, Initial::Constant(0.0));
        let variance = self.variable(conv, MOVING_VARIANCE, Initial::Constant(1.0));
        let ones = TensorProto::repeat(conv.shape[3..].to_vec(), 1.0);
        let gamma = self.nodes.constant(&format!("{at}/Const"), ones);
        let beta = self.read(&beta, &format!("{at}/ReadVariableOp"));
        let norm = format!("{at}/FusedBatchNormV3");
        let statistics = [(&mean, "ReadVariableOp"), (&variance, "ReadVariableOp_1")]
            .map(|(variable, name)| self.read(variable, &format!("{norm}/{name}")));
        let attrs = [
            FLOAT,
            ("U", Attr::Type(DataType::F32)),
            ("epsilon", Attr::Float(self.variables.epsilon)),
            ("is_training", Attr::Bool(self.form == Form::Training)),
        ];
        let inputs = [&convolved.name, &gamma, &beta, &statistics[0], &statistics[1]].map(String::as_str);
        let norm = self.nodes.add(&norm, "FusedBatchNormV3", &inputs, attrs);
        if self.form == Form::Training {
            let decay = self.nodes.floats(&format!("{at}/Const_1"), &[self.options.batch_norm_decay]);
            // The batch's mean and corrected variance are outputs 1 and 2.
            self.update(&mean, &format!("{norm}:1"), (&decay, &format!("{at}/AssignMovingAvg")));
            self.update(&variance, &format!("{norm}:2"), (&decay, &format!("{at}/AssignMovingAvg_1")));
        }
        norm
    }

    /// `average -= (average - of_batch) * (1 - decay)`.
    fn update(&mut self, average: &str, of_batch: &str, (decay, at): (&str, &str)) {
        let one = self.nodes.floats(&format!("{at}/sub/x"), &[1.0]);
        let rate = self.nodes.add(&format!("{at}/sub"), "Sub", &[&one, decay], [FLOAT]);
        let read = self.read(average, &format!("{at}/ReadVariableOp"));
        let excess = self.nodes.add(&format!("{at}/sub_1"), "Sub", &[&read, of_batch], [FLOAT]);
        let delta = self.nodes.add(&format!("{at}/mul"), "Mul", &[&excess, &rate], [FLOAT]);
        let dtype = ("dtype", Attr::Type(DataType::F32));
        let name = format!("{at}/AssignSubVariableOp");
        let assign = self.nodes.add(&name, "AssignSubVariableOp", &[average, &delta], [dtype]);
        self.update_ops.push(assign);
    }

    fn max_pool(&mut self, input: &Map, pool: Pool, at: &str) -> Map {
        let attrs = [
            FLOAT,
            ("ksize", window(pool.size)),
            ("strides", window(pool.stride)),
            ("padding", text("SAME")),
        ];
        let name = self.nodes.add(&format!("{at}/MaxPool"), "MaxPool", &[&input.name], attrs);
        let out = |len| self.variant.pool_extent(pool, len).out;
        Map { name, channels: input.channels, size: input.size.map(|size| size.map(out)) }
    }

    /// Caffe divides alpha by the number of channels in the window, TensorFlow does not.
    fn lrn(&mut self, input: &Map, lrn: &Lrn, at: &str) -> Map {
        let attrs = [
            FLOAT,
            ("depth_radius", Attr::Int(lrn.size as i64 / 2)),
            ("bias", Attr::Float(lrn.k)),
            ("alpha", Attr::Float(lrn.alpha / lrn.size as f32)),
            ("beta", Attr::Float(Lrn::BETA)),
        ];
        let name = self.nodes.add(&format!("{at}/LRN"), "LRN", &[&input.name], attrs);
        Map { name, ..input.clone() }
    }

    fn global_mean(&mut self, input: &Map) -> Map {
        let at = format!("{}/Logits/global_pool", self.scope);
        let axes = self.nodes.ints(&format!("{at}/reduction_indices"), &[2], &[1, 2]);
        let attrs = [FLOAT, ("keep_dims", Attr::Bool(true))];
        let name = self.nodes.add(&at, "Mean", &[&input.name, &axes], attrs);
        Map { name, channels: input.channels, size: Some([1, 1]) }
    }

    /// The classifying layer: logits and their softmax.
    fn logits(&mut self, mean: &Map, conv: &Conv) -> [TensorInfo; 2] {
        let head = format!("{}/Logits", self.scope);
        let mut input = mean.clone();
        if self.form == Form::Training {
            input.name = self.dropout(mean, &format!("{head}/dropout"));
        }
        let at = format!("{}/{}", self.scope, conv.name);
        // So that the logits vary as much as what they are made of, truncation reckoned with.
        let deviation = (1.3 * 2.0 / mean.channels as f32).sqrt();
        let product = self.convolution(&input, conv, (&at, deviation));
        let name = self.bias(&product, conv, &at);
        let shape = [None, Some(product.channels)];
        let map = Map { name, ..product };
        let squeezed = self.squeeze(&self.output_name(&format!("{head}/SpatialSqueeze"), "logits"), &map);
        let predictions = self.output_name(&format!("{head}/Predictions"), "probabilities");
        let predictions = self.nodes.add(&predictions, "Softmax", &[&squeezed], [FLOAT]);
        [info(&squeezed, &shape), info(&predictions, &shape)]
    }

    /// Keeps each feature with the given probability, and makes up for those that are dropped.
    fn dropout(&mut self, input: &Map, at: &str) -> String {
        let dtype = ("dtype", Attr::Type(DataType::F32));
        let indices = ("T", Attr::Type(DataType::I32));
        let keep = self.nodes.floats(&format!("{at}/keep_prob"), &[self.variant.dropout_keep()]);
        let shape = self.nodes.add(&format!("{at}/Shape"), "Shape", &[&input.name], [FLOAT]);
        let name = format!("{at}/random_uniform");
        let random = self.nodes.add(&name, "RandomUniform", &[&shape], [indices, dtype]);
        let shifted = self.nodes.add(&format!("{at}/add"), "Add", &[&random, &keep], [FLOAT]);
        let mask = self.nodes.add(&format!("{at}/Floor"), "Floor", &[&shifted], [FLOAT]);
        let scaled = self.nodes.add(&format!("{at}/div"), "RealDiv", &[&input.name, &keep], [FLOAT]);
        self.nodes.add(&format!("{at}/mul"), "Mul", &[&scaled, &mask], [FLOAT])
    }

    /// `[n, 1, 1, c]` as `[n, c]`.
    fn squeeze(&mut self, name: &str, map: &Map) -> String {
        let axes = [FLOAT, ("squeeze_dims", nodes::ints(&[1, 2]))];
        self.nodes.add(name, "Squeeze", &[&map.name], axes)
    }

    /// The trained numbers `name` of `conv`, as a variable that begins with `initial` or as a constant.
    fn variable(&mut self, conv: &Conv, name: &str, initial: Initial) -> String {
        let name = format!("{}/{}/{name}", self.scope, conv.name);
        let tensor = &self.tensors[&name];
        if self.form == Form::Frozen {
            return self.nodes.constant(&name, TensorProto::of(tensor));
        }
        let shape = tensor.shape().to_vec();
        let dtype = ("dtype", Attr::Type(DataType::F32));
        let known = Attr::Shape(Some(shape.iter().map(|size| Some(*size as u64)).collect()));
        let attrs = [dtype.clone(), ("shape", known), ("shared_name", text(&name))];
        self.nodes.add(&name, "VarHandleOp", &[], attrs);
        let first = self.initial(&format!("{name}/Initializer"), shape, initial);
        let initializer =
            self.nodes.add(&format!("{name}/Assign"), "AssignVariableOp", &[&name, &first], [dtype.clone()]);
        let read = format!("{name}/Read/ReadVariableOp");
        let snapshot = self.nodes.add(&read, "ReadVariableOp", &[&name], [dtype]);
        self.definitions.push(VariableDef {
            name: name.clone(),
            is_resource: true,
            slice: None,
            initializer,
            initial_value: first,
            snapshot,
            trainable: self.trainable.contains(&name),
        });
        name
    }

    /// A variable's first value; restoring a checkpoint overwrites it.
    fn initial(&mut self, at: &str, shape: Vec<usize>, initial: Initial) -> String {
        match initial {
            Initial::Constant(value) => {
                let name = if value == 0.0 { "zeros" } else { "ones" };
                self.nodes.constant(&format!("{at}/{name}"), TensorProto::repeat(shape, value))
            }
            Initial::Random { deviation } => {
                let at = format!("{at}/truncated_normal");
                let sizes = shape.iter().map(|size| *size as i32).collect::<Vec<_>>();
                let sizes = self.nodes.ints(&format!("{at}/shape"), &[sizes.len()], &sizes);
                let attrs = [("T", Attr::Type(DataType::I32)), ("dtype", Attr::Type(DataType::F32))];
                let name = format!("{at}/TruncatedNormal");
                let normal = self.nodes.add(&name, "TruncatedNormal", &[&sizes], attrs);
                let deviation = self.nodes.floats(&format!("{at}/stddev"), &[deviation]);
                self.nodes.add(&at, "Mul", &[&normal, &deviation], [FLOAT])
            }
        }
    }

    /// The value of `variable`, read by the node `at` unless it is a constant.
    fn read(&mut self, variable: &str, at: &str) -> String {
        if self.form == Form::Frozen {
            return variable.to_string();
        }
        self.nodes.add(at, "ReadVariableOp", &[variable], [("dtype", Attr::Type(DataType::F32))])
    }
}

/// What a variable holds before it is restored or trained.
#[derive(Clone, Copy)]
enum Initial {
    Constant(f32),
    /// Normally distributed, but within two standard deviations.
    Random {
        deviation: f32,
    },
}

fn window(size: usize) -> Attr {
    let size = size as i64;
    nodes::ints(&[1, size, size, 1])
}

/// The first output of the node `name`, floats of these sizes.
fn info(name: &str, sizes: &[Option<usize>]) -> TensorInfo {
    let shape = Some(sizes.iter().map(|size| size.map(|size| size as u64)).collect());
    TensorInfo { name: format!("{name}:0"), dtype: DataType::F32, shape }
}
