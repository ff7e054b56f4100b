//! The walk along the network's table that writes it as ONNX.
//!
//! Maps are `[n, c, h, w]` inside, as ONNX has them; pictures come and outputs go as `[n, h, w, c]`, as the module has
//! them. ONNX's own rules for `SAME` and for rounding up differ from TensorFlow's and Caffe's, so every padding is
//! written out, which fixes the size of the pictures.

use featvec_formats::onnx::{Attribute, Graph, Initializer, Model, Node, Size, Value as ValueInfo};
use featvec_kernels::Lrn;

use super::ExportOptions;
use crate::module::{IMAGES, Role};
use crate::network::{BIASES, Body, Conv, Extent, Mixed, Pool, Variant, WEIGHTS};
use crate::plan::{Mode, Value, check_size};
use crate::variables::{ConvVariables, Variables};
use crate::{Module, Result};

/// Of early 2021, with all operators that the network needs: whatever reads ONNX today reads these.
const OPSET: i64 = 13;
const IR_VERSION: i64 = 7;

/// The name of the batch size.
const BATCH: &str = "n";

/// The module's network as an ONNX model: input `images`, `[n, h, w, 3]` in [0, 1], red first, with `n` open; outputs
/// of the names and shapes that the signature gives them. What no output needs is left out.
///
/// # Errors
/// [`ErrorKind::Argument`](crate::ErrorKind::Argument) for a signature or an output that the module does not have, a
/// graph that normalises by the statistics of the batch, a size that the network cannot run at;
/// [`ErrorKind::Mismatch`](crate::ErrorKind::Mismatch) for a size that the signature does not take, and for an output
/// with the name of another value.
pub fn to_onnx(module: &Module, options: &ExportOptions) -> Result<Model> {
    if module.mode() == Mode::BatchStatistics {
        return Err(module
            .argument("a graph that normalises by the statistics of each batch cannot be folded")
            .with_hint("export the graph for inference, without --tags train"));
    }
    let names: Vec<&str> = options.outputs.iter().map(String::as_str).collect();
    let roles = module.roles(&options.signature, &names)?;
    let size = match options.size {
        Some(size) => size,
        None => module.expected_image_size()?,
    };
    check_size(size)?;
    module.check_images(&options.signature, &[1, size[0], size[1], 3])?;

    let model = Model {
        ir_version: IR_VERSION,
        opset: OPSET,
        producer: env!("CARGO_PKG_NAME").to_string(),
        producer_version: env!("CARGO_PKG_VERSION").to_string(),
        graph: Walk::new(module.variables()).graph(size, names.into_iter().zip(roles)),
    };
    model.check()?;
    Ok(model)
}

struct Walk<'a> {
    variables: &'a Variables,
    variant: Variant,
    /// The numbers of the convolutions still to come.
    next: std::slice::Iter<'a, ConvVariables>,
    graph: Graph,
}

/// A map of the graph.
#[derive(Clone)]
struct Map {
    name: String,
    channels: usize,
    size: [usize; 2],
}

impl<'a> Walk<'a> {
    fn new(variables: &'a Variables) -> Walk<'a> {
        let variant = variables.network.variant;
        let graph = Graph { name: variant.scope().to_string(), ..Graph::default() };
        Walk { variables, variant, next: variables.convs.iter(), graph }
    }

    fn graph<'n>(mut self, size: [usize; 2], outputs: impl Iterator<Item = (&'n str, Role)>) -> Graph {
        let outputs: Vec<(&str, Role)> = outputs.collect();
        let mut stages = self.variables.network.stages();
        let wanted = |(_, role): &(&str, Role)| match role {
            Role::Stage(index) => index + 1,
            _ => stages.len(),
        };
        let needed = outputs.iter().map(wanted).max().unwrap_or(0);
        let needs_logits = outputs.iter().any(|(_, role)| role.value() == Value::Logits);
        let needs_mean = needs_logits || outputs.iter().any(|(_, role)| role.value() == Value::Features);
        stages.truncate(needed);

        let mut current = self.picture(size);
        let mut maps = Vec::new();
        for stage in &stages {
            current = match &stage.body {
                Body::Conv(conv) => self.next_conv(&current, conv),
                Body::MaxPool(pool) => self.max_pool(&current, *pool, stage.endpoint),
                Body::Mixed(mixed) => self.mixed(&current, mixed, stage.endpoint),
            };
            maps.push(current.clone());
            if let Some(lrn) = &stage.norm {
                current = self.lrn(&current, lrn, stage.endpoint);
            }
        }
        let mean = needs_mean.then(|| self.global_mean(&current));
        let logits = mean.as_ref().filter(|_| needs_logits).and_then(|mean| self.logits(mean));
        for (name, role) in outputs {
            let from = match role {
                Role::Stage(index) => maps.get(index),
                Role::GlobalPool | Role::Features => mean.as_ref(),
                Role::LogitsMap | Role::Logits | Role::Predictions => logits.as_ref(),
            };
            self.output(name, role, from.expect("what an output needs has been made"));
        }
        self.graph
    }

    /// The input, scaled before anything pads it: what a border adds is 0 after scaling, not before.
    fn picture(&mut self, [h, w]: [usize; 2]) -> Map {
        let channels = 3;
        self.graph.inputs.push(ValueInfo { name: IMAGES.to_string(), shape: batch_of(&[h, w, channels]) });
        let mut from =
            self.node("Transpose", &[IMAGES], "images/channels_first", &[permutation([0, 3, 1, 2])]);
        let affine = self.variables.affine;
        for (operator, name, numbers) in [("Mul", "scale", affine.scale), ("Add", "offset", affine.offset)] {
            let constant = self.constant(&format!("{IMAGES}/{name}"), &[1, channels, 1, 1], numbers);
            from = self.node(operator, &[&from, &constant], &format!("{IMAGES}/{name}d"), &[]);
        }
        Map { name: from, channels, size: [h, w] }
    }

    fn mixed(&mut self, input: &Map, mixed: &Mixed, endpoint: &str) -> Map {
        // In the order of `Mixed::convs`, which is that of the variables.
        let branch_0 = self.next_conv(input, &mixed.branch_0);
        let [branch_1, branch_2] = [&mixed.branch_1, &mixed.branch_2].map(|[reduce, conv]| {
            let reduced = self.next_conv(input, reduce);
            self.next_conv(&reduced, conv)
        });
        let pooled = self.max_pool(input, mixed.pool, endpoint);
        let branch_3 = self.next_conv(&pooled, &mixed.branch_3);
        let branches = [branch_0, branch_1, branch_2, branch_3];
        let names = branches.each_ref().map(|branch| branch.name.as_str());
        let name = self.node("Concat", &names, &format!("{endpoint}/concat"), &[("axis", Attribute::Int(1))]);
        Map { name, channels: branches.iter().map(|branch| branch.channels).sum(), size: input.size }
    }

    /// The next convolution and its ReLU.
    fn next_conv(&mut self, input: &Map, conv: &Conv) -> Map {
        let numbers = self.next.next().expect("numbers for every convolution");
        let convolved = self.conv(input, conv, numbers);
        let name = self.node("Relu", &[&convolved.name], &format!("{}/relu", conv.name), &[]);
        Map { name, ..convolved }
    }

    fn conv(&mut self, input: &Map, conv: &Conv, numbers: &ConvVariables) -> Map {
        let [kh, kw, ic, oc] = conv.shape;
        let folded = numbers.fold(self.variables.epsilon);
        let taps = kh * kw;
        let hwio = &folded.weights;
        let oihw = (0..oc)
            .flat_map(|o| (0..ic).flat_map(move |i| (0..taps).map(move |tap| hwio[(tap * ic + i) * oc + o])));
        let weights = self.constant(&format!("{}/{WEIGHTS}", conv.name), &[oc, ic, kh, kw], oihw);
        let bias = self.constant(&format!("{}/{BIASES}", conv.name), &[oc], folded.bias);
        let extents = input.size.map(|len| self.variant.conv_extent(conv, len));
        let name = self.node(
            "Conv",
            &[&input.name, &weights, &bias],
            &format!("{}/conv", conv.name),
            &window([kh, kw], conv.stride, extents),
        );
        Map { name, channels: oc, size: extents.map(|extent| extent.out) }
    }

    fn max_pool(&mut self, input: &Map, pool: Pool, endpoint: &str) -> Map {
        let extents = input.size.map(|len| self.variant.pool_extent(pool, len));
        let attributes = window([pool.size; 2], pool.stride, extents);
        let name = self.node("MaxPool", &[&input.name], &format!("{endpoint}/pool"), &attributes);
        Map { name, channels: input.channels, size: extents.map(|extent| extent.out) }
    }

    fn lrn(&mut self, input: &Map, lrn: &Lrn, endpoint: &str) -> Map {
        let attributes = [
            ("size", Attribute::Int(lrn.size as i64)),
            ("alpha", Attribute::Float(lrn.alpha)),
            ("beta", Attribute::Float(Lrn::BETA)),
            ("bias", Attribute::Float(lrn.k)),
        ];
        let name = self.node("LRN", &[&input.name], &format!("{endpoint}/norm"), &attributes);
        Map { name, ..input.clone() }
    }

    fn global_mean(&mut self, input: &Map) -> Map {
        let name = self.node("GlobalAveragePool", &[&input.name], "mean", &[]);
        Map { name, channels: input.channels, size: [1, 1] }
    }

    /// The classifying layer, a 1x1 convolution of the mean, if there is one.
    fn logits(&mut self, mean: &Map) -> Option<Map> {
        let conv = self.variables.network.logits()?;
        let numbers = self.variables.logits.as_ref()?;
        Some(self.conv(mean, &conv, numbers))
    }

    /// The output `name`: `from` in the form of `role`.
    fn output(&mut self, name: &str, role: Role, from: &Map) {
        let channels = from.channels;
        let flatten = [("axis", Attribute::Int(1))];
        let shape = match role {
            Role::Stage(_) | Role::GlobalPool | Role::LogitsMap => {
                self.node("Transpose", &[&from.name], name, &[permutation([0, 2, 3, 1])]);
                batch_of(&[from.size[0], from.size[1], channels])
            }
            Role::Features | Role::Logits => {
                self.node("Flatten", &[&from.name], name, &flatten);
                batch_of(&[channels])
            }
            Role::Predictions => {
                let logits = self.node("Flatten", &[&from.name], &format!("{name}/logits"), &flatten);
                self.node("Softmax", &[&logits], name, &[("axis", Attribute::Int(1))]);
                batch_of(&[channels])
            }
        };
        self.graph.outputs.push(ValueInfo { name: name.to_string(), shape });
    }

    /// Appends a node that makes the value `output`, and gives that name back.
    fn node(
        &mut self,
        operator: &str,
        inputs: &[&str],
        output: &str,
        attributes: &[(&str, Attribute)],
    ) -> String {
        self.graph.nodes.push(Node {
            name: output.to_string(),
            operator: operator.to_string(),
            inputs: inputs.iter().map(|name| name.to_string()).collect(),
            outputs: vec![output.to_string()],
            attributes: attributes.iter().map(|(name, value)| (name.to_string(), value.clone())).collect(),
        });
        output.to_string()
    }

    /// Appends a constant, and gives its name back.
    fn constant(&mut self, name: &str, shape: &[usize], numbers: impl IntoIterator<Item = f32>) -> String {
        let shape: Vec<i64> = shape.iter().map(|size| *size as i64).collect();
        self.graph.initializers.push(Initializer::new(name, &shape, numbers));
        name.to_string()
    }
}

fn permutation(axes: [i64; 4]) -> (&'static str, Attribute) {
    ("perm", Attribute::Ints(axes.to_vec()))
}

/// The attributes of a window of `size` `[h, w]`, which moves along rows and columns of these extents.
fn window(size: [usize; 2], stride: usize, [rows, columns]: [Extent; 2]) -> [(&'static str, Attribute); 3] {
    let ints = |values: &[usize]| Attribute::Ints(values.iter().map(|value| *value as i64).collect());
    let pads = [rows.before, columns.before, rows.after, columns.after];
    [("kernel_shape", ints(&size)), ("strides", ints(&[stride; 2])), ("pads", ints(&pads))]
}

/// The shape of a batch of `sizes`.
fn batch_of(sizes: &[usize]) -> Vec<Size> {
    let known = sizes.iter().map(|size| Size::Known(*size as i64));
    [Size::Named(BATCH.to_string())].into_iter().chain(known).collect()
}
