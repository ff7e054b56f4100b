//! Checks that a module's graph is Inception V1, by walking it backwards along the network's table, and reads from it
//! what the table does not fix: the input's scale, epsilon, which variable feeds which convolution, and what each
//! output of a signature is.
//!
//! Nothing is assumed from names of nodes; only operations, their parameters and their connections count.

use std::collections::{BTreeSet, HashMap};

use featvec_formats::{Attr, DataType, Graph, MetaGraph, Node, TensorName};
use featvec_kernels::{Affine, Lrn};

use crate::module::DEFAULT;
use crate::network::{Body, Border, Conv, DEFAULT_SIZE, MIN_SIZE, Mixed, Network, Pool, Variant};
use crate::plan::Mode;
use crate::{Error, ErrorKind, Limits, Result};

/// A tensor of the graph in the network's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The result of a stage.
    Stage(usize),
    /// The mean over all pixels, `[n, 1, 1, 1024]`.
    GlobalPool,
    /// The same as `[n, 1024]`.
    Features,
    /// Logits as `[n, 1, 1, classes]`.
    LogitsMap,
    /// Logits as `[n, classes]`.
    Logits,
    /// The softmax of the logits, `[n, classes]`.
    Predictions,
}

/// What a graph says.
#[derive(Debug)]
pub(crate) struct Recognized {
    pub variant: Variant,
    pub affine: Affine,
    pub epsilon: f32,
    pub mode: Mode,
    /// The variables of each convolution, in the order of [`Network::convs`].
    pub convs: Vec<ConvNames>,
    /// The variables of the classifying layer, if a signature leads to it.
    pub logits: Option<[String; 2]>,
    /// The placeholder that feeds the network.
    pub images: TensorName,
    /// The only size `[h, w]` of pictures at which a window of the last map's size is the mean over all pixels, or at
    /// which `SAME` pools are Caffe's.
    pub fixed_size: Option<[usize; 2]>,
    /// All variables of the graph, used or not.
    pub declared: BTreeSet<String>,
    roles: HashMap<TensorName, Role>,
}

/// The names of a convolution's variables in the checkpoint.
#[derive(Debug)]
pub(crate) struct ConvNames {
    pub weights: String,
    pub shift: ShiftNames,
}

/// The names of what is added to a convolution's result.
#[derive(Debug)]
pub(crate) enum ShiftNames {
    BatchNorm {
        beta: String,
        /// Moving mean and variance.
        moving: [String; 2],
    },
    Bias(String),
}

impl Recognized {
    /// What `tensor` is, if it is a value of the network.
    pub fn role(&self, tensor: &TensorName) -> Option<Role> {
        self.roles.get(tensor).copied()
    }
}

/// Recognizes Inception V1 in `graph`.
///
/// # Errors
/// [`ErrorKind::Mismatch`] where it is something else: where it differs, and what it seems to be instead.
pub(crate) fn recognize(graph: &MetaGraph, limits: &Limits) -> Result<Recognized> {
    // Only the paper's network normalises across channels.
    let is_paper = graph.graph.nodes().iter().any(|node| node.op == "LRN");
    let variant = if is_paper { Variant::Paper } else { Variant::Slim };
    let matcher = Matcher {
        graph: &graph.graph,
        limits,
        network: Network { variant, classes: None },
        found: Recognized {
            variant,
            affine: Affine { scale: [1.0; 3], offset: [0.0; 3] },
            epsilon: variant.epsilon(),
            mode: Mode::Inference,
            convs: Vec::new(),
            logits: None,
            images: TensorName { node: String::new(), output: 0 },
            fixed_size: None,
            declared: variable_nodes(&graph.graph)
                .map(|node| whole_variable(&node.name).to_string())
                .collect(),
            roles: HashMap::new(),
        },
        modes: BTreeSet::new(),
        epsilon: None,
    };
    matcher.run(graph).map_err(|error| match error.kind() {
        ErrorKind::Mismatch => {
            let message = format!("not Inception V1: {}: {}", error.place(), error.message());
            Error::new(ErrorKind::Mismatch, "", message).with_hint(describe(graph))
        }
        _ => error,
    })
}

struct Matcher<'a> {
    graph: &'a Graph,
    limits: &'a Limits,
    network: Network,
    found: Recognized,
    /// The values of `is_training` met so far.
    modes: BTreeSet<bool>,
    /// The epsilon of the batch normalisations met so far.
    epsilon: Option<f32>,
}

/// The largest height and width of pictures that the paper's network is checked for.
const MAX_PAPER_SIZE: usize = 1 << 16;

/// The longest chain of nodes followed through; real heads have fewer than ten.
const MAX_CHAIN: usize = 64;

impl<'a> Matcher<'a> {
    fn run(mut self, meta: &MetaGraph) -> Result<Recognized> {
        let outputs = || meta.signatures.values().flat_map(|signature| &signature.outputs);
        // Feature vectors and logits, the outputs called `default`, come after the mean; other outputs need not.
        let pools: BTreeSet<TensorName> = outputs()
            .filter(|(name, _)| *name == DEFAULT)
            .filter_map(|(_, info)| self.find_pool(TensorName::parse(&info.name)?))
            .collect();
        let mut pools = pools.into_iter();
        let pool = pools.next().ok_or_else(|| {
            mismatch_of_graph("no output that comes from a mean over all pixels of a map".to_string())
        })?;
        if let Some(other) = pools.next() {
            let message = format!("the outputs come from two networks, one ending in {pool}, one in {other}");
            return Err(mismatch_of_graph(message));
        }
        let role = self.global_pool(&pool)?;
        let map = self.input(self.node(&pool)?, 0)?;
        self.stages(map)?;
        self.found.roles.insert(pool, role);
        for output in outputs().filter_map(|(_, info)| TensorName::parse(&info.name)) {
            self.head(&output, 0)?;
        }
        self.found.mode = match Vec::from_iter(&self.modes)[..] {
            [true] => Mode::BatchStatistics,
            [false] | [] => Mode::Inference,
            _ => {
                let message = "some batch normalisations are in training mode and some are not".to_string();
                return Err(mismatch_of_graph(message));
            }
        };
        self.found.epsilon = self.epsilon.unwrap_or(self.found.epsilon);
        Ok(self.found)
    }

    /// Follows an output back to the mean over all pixels, through whatever heads may stand on it.
    fn find_pool(&self, mut tensor: TensorName) -> Option<TensorName> {
        for _ in 0..MAX_CHAIN {
            let node = self.graph.node(&tensor.node)?;
            match node.op.as_str() {
                "Mean" | "AvgPool" => return Some(tensor),
                "Identity" | "StopGradient" | "Squeeze" | "Reshape" | "Softmax" | "BiasAdd" | "Add"
                | "AddV2" | "Conv2D" | "MatMul" => tensor = node.tensors().next()?.clone(),
                _ => return None,
            }
        }
        None
    }

    /// The mean over all pixels: as such, or (the first definition of the network) as a window of the last map's size.
    fn global_pool(&mut self, pool: &TensorName) -> Result<Role> {
        let node = self.node(pool)?;
        if node.op == "AvgPool" {
            self.check_layout(node)?;
            let stages = self.network.stages();
            let variant = self.network.variant;
            let last = stages.iter().fold(DEFAULT_SIZE, |size, stage| stage.output_size(variant, size));
            self.check_windows(node, "ksize", last[0])?;
            if node.attr("padding").and_then(Attr::as_str) != Some("VALID") {
                return Err(mismatch(&node.name, "an average over windows that leave the map".to_string()));
            }
            self.found.fixed_size = Some(DEFAULT_SIZE);
            return Ok(Role::GlobalPool);
        }
        let axes = self.integers(&self.input(node, 1)?)?;
        if axes != [1, 2] {
            return Err(mismatch(
                &node.name,
                format!("a mean over the axes {axes:?}, not over rows and columns"),
            ));
        }
        let keeps_dimensions = node.attr("keep_dims").and_then(Attr::as_bool).unwrap_or(false);
        Ok(if keeps_dimensions { Role::GlobalPool } else { Role::Features })
    }

    /// The whole network, from the map that is averaged back to the picture.
    fn stages(&mut self, map: TensorName) -> Result<()> {
        let stages = self.network.stages();
        let mut tensor = map;
        let mut convs = Vec::new();
        for (index, stage) in stages.iter().enumerate().rev() {
            tensor = self.strip(&tensor)?;
            if let Some(lrn) = &stage.norm {
                tensor = self.lrn(lrn, &tensor, stage.endpoint)?;
            }
            self.found.roles.insert(tensor.clone(), Role::Stage(index));
            tensor = match &stage.body {
                Body::Conv(conv) => {
                    let (names, input) = self.conv(conv, &tensor)?;
                    convs.push(vec![names]);
                    input
                }
                Body::MaxPool(pool) => self.max_pool(*pool, &tensor, stage.endpoint)?,
                Body::Mixed(mixed) => {
                    let (names, input) = self.mixed(mixed, &tensor, stage.endpoint)?;
                    convs.push(names);
                    input
                }
            };
        }
        self.found.convs = convs.into_iter().rev().flatten().collect();
        self.picture(&tensor)
    }

    /// An inception module: the concatenation of four branches that read one input.
    fn mixed(
        &mut self,
        mixed: &Mixed,
        tensor: &TensorName,
        endpoint: &str,
    ) -> Result<(Vec<ConvNames>, TensorName)> {
        let node = self.expect(tensor, &["ConcatV2"], endpoint)?;
        let branches: Vec<TensorName> = node.tensors().cloned().collect();
        let [b0, b1, b2, b3, axis] = &branches[..] else {
            let message = format!("a concatenation of {} maps, not of 4", branches.len().saturating_sub(1));
            return Err(mismatch(&node.name, message));
        };
        let axis = self.integers(axis)?;
        if !matches!(axis[..], [3] | [-1]) {
            return Err(mismatch(
                &node.name,
                format!("a concatenation along axis {axis:?}, not along channels"),
            ));
        }
        let (branch_0, input_0) = self.conv(&mixed.branch_0, b0)?;
        let (conv_1, reduced_1) = self.conv(&mixed.branch_1[1], b1)?;
        let (reduce_1, input_1) = self.conv(&mixed.branch_1[0], &reduced_1)?;
        let (conv_2, reduced_2) = self.conv(&mixed.branch_2[1], b2)?;
        let (reduce_2, input_2) = self.conv(&mixed.branch_2[0], &reduced_2)?;
        let (branch_3, pooled) = self.conv(&mixed.branch_3, b3)?;
        let input_3 = self.max_pool(mixed.pool, &pooled, &mixed.branch_3.name)?;
        if [&input_1, &input_2, &input_3].into_iter().any(|input| *input != input_0) {
            return Err(mismatch(&node.name, "the branches do not all read the same map".to_string()));
        }
        Ok((vec![branch_0, reduce_1, conv_1, reduce_2, conv_2, branch_3], input_0))
    }

    /// Convolution, batch normalisation or bias, ReLU; returns the variables and the input.
    fn conv(&mut self, conv: &Conv, tensor: &TensorName) -> Result<(ConvNames, TensorName)> {
        let relu = self.expect(tensor, &["Relu"], &conv.name)?;
        let shifted = self.input(relu, 0)?;
        let (shift, convolution) = match self.network.variant {
            Variant::Slim => self.batch_norm(conv, &shifted)?,
            Variant::Paper => {
                let add = self.expect(&shifted, &["BiasAdd", "Add", "AddV2"], &conv.name)?;
                self.check_layout(add)?;
                (ShiftNames::Bias(self.variable(&self.input(add, 1)?)?), self.input(add, 0)?)
            }
        };
        let node = self.expect(&convolution, &["Conv2D"], &conv.name)?;
        self.check_layout(node)?;
        self.check_windows(node, "strides", conv.stride)?;
        if node.attr("dilations").and_then(Attr::as_ints).is_some_and(|dilations| dilations != [1; 4]) {
            return Err(mismatch(&node.name, "a dilated convolution".to_string()));
        }
        let weights = self.variable(&self.input(node, 1)?)?;
        let mut input = self.strip(&self.input(node, 0)?)?;
        match self.network.variant.border(conv) {
            Border::Explicit(border) => {
                self.check_padding(node, "VALID")?;
                input = self.padded(&input, border, &conv.name)?;
            }
            // A 1x1 window never leaves the map, so its padding does not matter.
            Border::Same if conv.shape[0] > 1 => self.check_padding(node, "SAME")?,
            Border::Same => {}
        }
        Ok((ConvNames { weights, shift }, input))
    }

    /// Zeros on all four sides; returns what they are put around.
    fn padded(&self, tensor: &TensorName, border: usize, what: &str) -> Result<TensorName> {
        let node = self.expect(tensor, &["Pad"], what)?;
        let border = border as i64;
        let paddings = self.integers(&self.input(node, 1)?)?;
        if paddings != [0, 0, border, border, border, border, 0, 0] {
            let message = format!("a border {paddings:?}, not {border} rows and columns on all sides");
            return Err(mismatch(&node.name, message));
        }
        self.strip(&self.input(node, 0)?)
    }

    /// Local response normalisation; returns the input.
    fn lrn(&self, lrn: &Lrn, tensor: &TensorName, what: &str) -> Result<TensorName> {
        let node = self.expect(tensor, &["LRN"], what)?;
        let radius = node.attr("depth_radius").and_then(Attr::as_int).unwrap_or(5);
        let float = |name: &str, default| node.attr(name).and_then(Attr::as_float).unwrap_or(default);
        let found = (radius, [float("bias", 1.0), float("alpha", 1.0), float("beta", 0.5)]);
        let expected = (lrn.size as i64 / 2, [lrn.k, lrn.alpha / lrn.size as f32, Lrn::BETA]);
        if found != expected {
            let message = format!("depth_radius, bias, alpha and beta are {found:?}, not {expected:?}");
            return Err(mismatch(&node.name, message));
        }
        self.strip(&self.input(node, 0)?)
    }

    /// Batch normalisation; returns the variables and the input.
    fn batch_norm(&mut self, conv: &Conv, tensor: &TensorName) -> Result<(ShiftNames, TensorName)> {
        let norm =
            self.expect(tensor, &["FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"], &conv.name)?;
        self.check_layout(norm)?;
        // The operation's own default, where the attribute is left out, is 1e-4.
        let epsilon = norm.attr("epsilon").and_then(Attr::as_float).unwrap_or(1e-4);
        if !(epsilon.is_finite() && epsilon >= 0.0) {
            return Err(mismatch(&norm.name, format!("epsilon {epsilon}; a small positive number expected")));
        }
        let other = *self.epsilon.get_or_insert(epsilon);
        if other != epsilon {
            return Err(mismatch(&norm.name, format!("epsilon {epsilon}, elsewhere {other}")));
        }
        let training = norm.attr("is_training").and_then(Attr::as_bool).unwrap_or(true);
        self.modes.insert(training);
        self.check_gamma(norm)?;
        let beta = self.variable(&self.input(norm, 2)?)?;
        let moving = if training {
            // The graph normalises by the batch; its moving averages are only written. TF-Slim names them after beta.
            let scope = beta.strip_suffix("beta").unwrap_or(&beta);
            [format!("{scope}moving_mean"), format!("{scope}moving_variance")]
        } else {
            [self.variable(&self.input(norm, 3)?)?, self.variable(&self.input(norm, 4)?)?]
        };

        Ok((ShiftNames::BatchNorm { beta, moving }, self.input(norm, 0)?))
    }

    fn max_pool(&self, pool: Pool, tensor: &TensorName, what: &str) -> Result<TensorName> {
        let node = self.expect(tensor, &["MaxPool"], what)?;
        self.check_layout(node)?;
        self.check_windows(node, "ksize", pool.size)?;
        self.check_windows(node, "strides", pool.stride)?;
        self.check_padding(node, "SAME")?;
        self.strip(&self.input(node, 0)?)
    }

    /// What happens to the picture before the first convolution: products and sums with constants.
    fn picture(&mut self, tensor: &TensorName) -> Result<()> {
        // For each channel.
        let (mut scale, mut offset) = ([1.0f64; 3], [0.0f64; 3]);
        let mut tensor = self.strip(tensor)?;
        for _ in 0..MAX_CHAIN {
            let node = self.node(&tensor)?;
            let op = node.op.as_str();
            if matches!(op, "Placeholder" | "PlaceholderWithDefault") {
                let [scale, offset] = [scale, offset].map(|values| values.map(|value| value as f32));
                self.found.affine = Affine { scale, offset };
                if !scale.iter().chain(&offset).all(|value| value.is_finite()) {
                    let message = format!("pictures are scaled by {scale:?} and {offset:?}");
                    return Err(mismatch(&node.name, message));
                }
                self.found.images = tensor;
                return self.check_pools(node);
            }
            if !matches!(op, "Mul" | "Sub" | "Add" | "AddV2" | "RealDiv" | "Div") {
                return Err(mismatch(&node.name, format!("{op} before the first convolution")));
            }
            let (left, right) = (self.input(node, 0)?, self.input(node, 1)?);
            let (input, constant) = match (self.per_channel(&right)?, self.per_channel(&left)?) {
                (Some(constant), _) => (left, constant),
                (None, Some(constant)) if matches!(op, "Mul" | "Add" | "AddV2") => (right, constant),
                _ => return Err(mismatch(&node.name, format!("{op} of the picture with no constant"))),
            };
            // So far y = scale * x + offset; now x = input (op) constant.
            for ((scale, offset), constant) in scale.iter_mut().zip(&mut offset).zip(constant) {
                match op {
                    "Mul" => *scale *= constant,
                    "RealDiv" | "Div" => *scale /= constant,
                    "Sub" => *offset -= *scale * constant,
                    _ => *offset += *scale * constant,
                }
            }
            tensor = self.strip(&input)?;
        }
        Err(mismatch(&tensor.node, "a chain without end before the first convolution".to_string()))
    }

    /// Whether `SAME` pools are the network's, which for the paper's depends on the size of the pictures.
    fn check_pools(&mut self, images: &Node) -> Result<()> {
        if self.network.variant == Variant::Slim {
            return Ok(());
        }
        let size = match images.attr("shape") {
            Some(Attr::Shape(Some(shape))) => match shape[..] {
                [_, Some(h), Some(w), _] => [h, w].map(|size| usize::try_from(size).unwrap_or(0)),
                _ => [0; 2],
            },
            _ => [0; 2],
        };
        let fits = size.iter().all(|size| (MIN_SIZE..=MAX_PAPER_SIZE).contains(size));
        if !fits || !self.network.pools_are_same(size) {
            let message = format!("pictures of {}x{}, at which SAME pools are not Caffe's", size[0], size[1]);
            return Err(mismatch(&images.name, message));
        }
        self.found.fixed_size = Some(size);
        Ok(())
    }

    /// Finds out what an output is and remembers it. An output that is no value of the network has no role.
    fn head(&mut self, output: &TensorName, depth: usize) -> Result<Option<Role>> {
        if let Some(role) = self.found.role(output) {
            return Ok(Some(role));
        }
        let (Some(node), true) = (self.graph.node(&output.node), depth < MAX_CHAIN) else {
            return Ok(None);
        };
        let Some(input) = node.tensors().next() else {
            return Ok(None);
        };
        let role = match node.op.as_str() {
            "Identity" | "StopGradient" => self.head(input, depth + 1)?,
            "Squeeze" | "Reshape" => self.head(input, depth + 1)?.and_then(|role| match role {
                Role::GlobalPool | Role::Features => Some(Role::Features),
                Role::LogitsMap | Role::Logits => Some(Role::Logits),
                Role::Predictions => Some(Role::Predictions),
                Role::Stage(_) => None,
            }),
            "Softmax" => (self.head(input, depth + 1)? == Some(Role::Logits)).then_some(Role::Predictions),
            "BiasAdd" | "Add" | "AddV2" => self.logits(node, depth + 1)?,
            _ => None,
        };
        if let Some(role) = role {
            self.found.roles.insert(output.clone(), role);
        }
        Ok(role)
    }

    /// The classifying layer: a 1x1 convolution of the mean, with a bias.
    fn logits(&mut self, add: &Node, depth: usize) -> Result<Option<Role>> {
        let product = self.strip(&self.input(add, 0)?)?;
        let product = self.node(&product)?;
        if product.op != "Conv2D" {
            return Ok(None);
        }
        if self.head(&self.input(product, 0)?, depth)? != Some(Role::GlobalPool) {
            return Ok(None);
        }
        let names = [self.variable(&self.input(product, 1)?)?, self.variable(&self.input(add, 1)?)?];
        if self.found.logits.as_ref().is_some_and(|other| *other != names) {
            return Err(mismatch(&add.name, "a second classifying layer".to_string()));
        }
        self.found.logits = Some(names);
        Ok(Some(Role::LogitsMap))
    }

    fn check_gamma(&self, norm: &Node) -> Result<()> {
        let gamma = self.input(norm, 1)?;
        let node = self.node(&self.strip(&gamma)?)?;
        // `Fill` is how newer versions of TensorFlow write a constant of ones.
        let values = match node.op.as_str() {
            "Const" => self.constant(node)?.into_f32().ok(),
            "Fill" => Some(self.scalar(&self.input(node, 1)?)?.into_iter().collect()),
            _ => None,
        };
        if !values.is_some_and(|values| !values.is_empty() && values.iter().all(|gamma| *gamma == 1.0)) {
            return Err(mismatch(&norm.name, "batch normalisation with a scale (gamma)".to_string()));
        }
        Ok(())
    }

    fn check_layout(&self, node: &Node) -> Result<()> {
        match node.attr("data_format").and_then(Attr::as_str) {
            None | Some("NHWC") => Ok(()),
            Some(other) => Err(mismatch(&node.name, format!("maps in the layout {other}, not NHWC"))),
        }
    }

    fn check_padding(&self, node: &Node, expected: &str) -> Result<()> {
        let found = node.attr("padding").and_then(Attr::as_str).unwrap_or("unknown");
        if found != expected {
            return Err(mismatch(&node.name, format!("padding {found}, not {expected}")));
        }
        Ok(())
    }

    fn check_windows(&self, node: &Node, attr: &str, size: usize) -> Result<()> {
        let expected = [1, size as i64, size as i64, 1];
        let found = node.attr(attr).and_then(Attr::as_ints).unwrap_or_default();
        if found != expected {
            return Err(mismatch(&node.name, format!("{attr} {found:?}, not {expected:?}")));
        }
        Ok(())
    }

    /// The name of the variable that `tensor` is a reading of; the whole variable's where it is read in parts.
    fn variable(&self, tensor: &TensorName) -> Result<String> {
        let node = self.node(&self.strip(tensor)?)?;
        match node.op.as_str() {
            "VarHandleOp" | "VariableV2" | "Variable" => Ok(whole_variable(&node.name).to_string()),
            "ReadVariableOp" => {
                let handle = self.node(&self.strip(&self.input(node, 0)?)?)?;
                match handle.op.as_str() {
                    "VarHandleOp" => Ok(whole_variable(&handle.name).to_string()),
                    op => Err(mismatch(&node.name, format!("reads a variable from {op}"))),
                }
            }
            "ConcatV2" => {
                let parts: Vec<_> = node.tensors().cloned().collect();
                let mut wholes = BTreeSet::new();
                for part in &parts[..parts.len().saturating_sub(1)] {
                    if self.node(&self.strip(part)?)?.op == "ConcatV2" {
                        return Err(mismatch(&node.name, "parts of parts of a variable".to_string()));
                    }
                    wholes.insert(self.variable(part)?);
                }
                match (wholes.pop_first(), wholes.is_empty()) {
                    (Some(whole), true) => Ok(whole),
                    _ => Err(mismatch(&node.name, "parts of different variables".to_string())),
                }
            }
            op => Err(mismatch(&node.name, format!("a variable expected, {op} found"))),
        }
    }

    /// The value of a constant with one element, if `tensor` is one.
    fn scalar(&self, tensor: &TensorName) -> Result<Option<f32>> {
        let node = self.node(&self.strip(tensor)?)?;
        if node.op != "Const" {
            return Ok(None);
        }
        let values = self.constant(node)?.into_f32().unwrap_or_default();
        Ok(if let [value] = values[..] { Some(value) } else { None })
    }

    /// The value for each of three channels of a constant that is one for all of them, or one for each.
    fn per_channel(&self, tensor: &TensorName) -> Result<Option<[f64; 3]>> {
        let node = self.node(&self.strip(tensor)?)?;
        if node.op != "Const" {
            return Ok(None);
        }
        let constant = self.constant(node)?;
        let is_per_channel = constant.shape().last() == Some(&3);
        Ok(match constant.into_f32().unwrap_or_default()[..] {
            [value] => Some([value.into(); 3]),
            [red, green, blue] if is_per_channel => Some([red, green, blue].map(f64::from)),
            _ => None,
        })
    }

    fn integers(&self, tensor: &TensorName) -> Result<Vec<i64>> {
        let node = self.node(&self.strip(tensor)?)?;
        match node.op.as_str() {
            "Const" => self.constant(node)?.to_i64().map_err(|error| error.within(&node.name)),
            op => Err(mismatch(&node.name, format!("a constant expected, {op} found"))),
        }
    }

    fn constant(&self, node: &Node) -> Result<featvec_formats::Tensor> {
        let value = node.attr("value").and_then(Attr::as_tensor);
        let value = value.ok_or_else(|| Error::corrupt(&node.name, "a constant without a value"))?;
        value.decode(self.limits).map_err(|error| error.within(&node.name))
    }

    /// The node that computes `tensor`, which must be one of `ops`.
    fn expect(&self, tensor: &TensorName, ops: &[&str], what: &str) -> Result<&'a Node> {
        let node = self.node(&self.strip(tensor)?)?;
        if ops.contains(&node.op.as_str()) {
            return Ok(node);
        }
        Err(mismatch(&node.name, format!("{} expected for {what}, {} found", ops[0], node.op)))
    }

    /// `tensor`, or what it is passed on from unchanged.
    fn strip(&self, tensor: &TensorName) -> Result<TensorName> {
        let mut tensor = tensor.clone();
        for _ in 0..MAX_CHAIN {
            let node = self.node(&tensor)?;
            if !matches!(node.op.as_str(), "Identity" | "StopGradient") {
                return Ok(tensor);
            }
            tensor = self.input(node, 0)?;
        }
        Err(mismatch(&tensor.node, "a chain of identities without end".to_string()))
    }

    fn node(&self, tensor: &TensorName) -> Result<&'a Node> {
        self.graph
            .node(&tensor.node)
            .ok_or_else(|| Error::corrupt(format!("node {:?}", tensor.node), "it is not in the graph"))
    }

    fn input(&self, node: &Node, index: usize) -> Result<TensorName> {
        let input = node.tensors().nth(index).cloned();
        input.ok_or_else(|| {
            Error::corrupt(format!("node {:?}", node.name), format!("it has no input {index}"))
        })
    }
}

/// What the moving averages of a graph for training keep at each step: of `m -= (m - x) * (1 - decay)`, the decay. `None`
/// where there are no such averages, or not all of them keep the same.
pub(crate) fn moving_average_decay(graph: &Graph, limits: &Limits) -> Option<f32> {
    let operand = |node: &Node, index: usize| {
        let mut node = graph.node(&node.tensors().nth(index)?.node)?;
        for _ in 0..MAX_CHAIN {
            if !matches!(node.op.as_str(), "Identity" | "PlaceholderWithDefault") {
                return Some(node);
            }
            node = graph.node(&node.tensors().next()?.node)?;
        }
        None
    };
    let constant = |node: &Node| {
        let tensor = node.attr("value").and_then(Attr::as_tensor)?.decode(limits).ok()?;
        match tensor.into_f32().ok()?[..] {
            [value] => Some(value),
            _ => None,
        }
    };
    let decay_of = |update: &Node| {
        let product = operand(update, 1).filter(|node| node.op == "Mul")?;
        (0..2).filter_map(|index| operand(product, index)).find_map(|rate| match rate.op.as_str() {
            "Const" => constant(rate).map(|rate| 1.0 - rate),
            "Sub" if operand(rate, 0).and_then(constant) == Some(1.0) => operand(rate, 1).and_then(constant),
            _ => None,
        })
    };
    let updates = |node: &&Node| matches!(node.op.as_str(), "AssignSub" | "AssignSubVariableOp");
    let mut decays = graph.nodes().iter().filter(updates).map(decay_of);
    let first = decays.next()??;
    decays.all(|decay| decay == Some(first)).then_some(first).filter(|decay| (0.0..=1.0).contains(decay))
}

fn variable_nodes(graph: &Graph) -> impl Iterator<Item = &Node> {
    graph.nodes().iter().filter(|node| matches!(node.op.as_str(), "VarHandleOp" | "VariableV2" | "Variable"))
}

/// The name of the variable that the variable node `name` is, or is a part of.
fn whole_variable(name: &str) -> &str {
    name.rsplit_once("/part_").map_or(name, |(whole, _)| whole)
}

fn mismatch(node: &str, message: String) -> Error {
    Error::new(ErrorKind::Mismatch, format!("node {node:?}"), message)
}

/// A difference that is not at one node.
fn mismatch_of_graph(message: String) -> Error {
    Error::new(ErrorKind::Mismatch, "signatures", message)
}

/// What a graph seems to be, for people who gave the wrong one.
fn describe(meta: &MetaGraph) -> String {
    let count = |op: &str| meta.graph.nodes().iter().filter(|node| node.op == op).count();
    let mut scopes: HashMap<&str, usize> = HashMap::new();
    for node in variable_nodes(&meta.graph) {
        *scopes.entry(node.name.split('/').next().unwrap_or_default()).or_default() += 1;
    }
    let scope = scopes.into_iter().max_by_key(|(scope, count)| (*count, *scope));
    let scope = scope.map_or("no variables".to_string(), |(scope, _)| format!("variables under {scope:?}"));
    let inputs: BTreeSet<String> = meta
        .signatures
        .values()
        .flat_map(|signature| &signature.inputs)
        .map(|(name, info)| match info.dtype {
            DataType::F32 => format!("{name:?}"),
            dtype => format!("{name:?} of {dtype}"),
        })
        .collect();
    let inputs = Vec::from_iter(inputs).join(", ");
    format!(
        "the module reads {inputs} and has {} convolutions, {} depthwise ones, {} matrix products and {scope}",
        count("Conv2D"),
        count("DepthwiseConv2dNative"),
        count("MatMul")
    )
}
