//! Inception V1 as one table, from which everything else is derived: the variables' names and shapes, the plan of
//! a forward pass, the check of a module's graph.
//!
//! The network is "GoogLeNet" of Szegedy et al., *Going Deeper with Convolutions* (2014), in two variants:
//! * [`Variant::Slim`]: TF-Slim's `inception_v1`, which the TF-Hub modules hold. It has batch normalisation after
//!   every convolution, no local response normalisation, a 3x3 convolution where the paper has 5x5, a 2x2 last
//!   pool, `SAME` padding, and reads RGB scaled to [-1, 1].
//! * [`Variant::Paper`]: Caffe's BVLC GoogLeNet, with biases, local response normalisation, 5x5 convolutions,
//!   Caffe's padding, and BGR minus a mean colour.
//!
//! This is the only source file that names a layer or a channel count.

use featvec_kernels::{Affine, Lrn};

/// A row of the table: an endpoint as TF-Slim spells it, and what computes it.
struct Row {
    endpoint: &'static str,
    caffe: &'static str,
    layer: Layer,
}

enum Layer {
    Conv {
        oc: usize,
        size: usize,
        stride: usize,
        paper_norm: bool,
    },
    MaxPool {
        size: usize,
        paper_size: usize,
        stride: usize,
        paper_norm: bool,
    },
    Mixed {
        branch_0: usize,
        branch_1: [usize; 2],
        branch_2: [usize; 2],
        branch_3: usize,
        slim_branch_2: &'static str,
    },
}

const fn conv(endpoint: &'static str, caffe: &'static str, oc: usize, [size, stride]: [usize; 2]) -> Row {
    Row { endpoint, caffe, layer: Layer::Conv { oc, size, stride, paper_norm: false } }
}

const fn max_pool(endpoint: &'static str, caffe: &'static str, size: usize) -> Row {
    Row { endpoint, caffe, layer: Layer::MaxPool { size, paper_size: size, stride: 2, paper_norm: false } }
}

const fn mixed(
    endpoint: &'static str,
    caffe: &'static str,
    branch_0: usize,
    (branch_1, branch_2, branch_3): ([usize; 2], [usize; 2], usize),
) -> Row {
    let layer = Layer::Mixed { branch_0, branch_1, branch_2, branch_3, slim_branch_2: "Conv2d_0b_3x3" };
    Row { endpoint, caffe, layer }
}

impl Row {
    /// The paper normalises the result across channels; TF-Slim does not.
    const fn paper_norm(mut self) -> Row {
        match &mut self.layer {
            Layer::Conv { paper_norm, .. } | Layer::MaxPool { paper_norm, .. } => *paper_norm = true,
            Layer::Mixed { .. } => {}
        }
        self
    }

    /// The paper's pool has another size than TF-Slim's.
    const fn paper_size(mut self, size: usize) -> Row {
        if let Layer::MaxPool { paper_size, .. } = &mut self.layer {
            *paper_size = size;
        }
        self
    }

    /// TF-Slim gave this module's 3x3 convolution of branch 2 another name than its siblings.
    const fn slim_branch_2(mut self, name: &'static str) -> Row {
        if let Layer::Mixed { slim_branch_2, .. } = &mut self.layer {
            *slim_branch_2 = name;
        }
        self
    }
}

#[rustfmt::skip]
const TABLE: [Row; 16] = [
    //       endpoint          in Caffe          out  [size, stride]
    conv    ("Conv2d_1a_7x7",  "conv1/7x7_s2",    64, [7, 2]),
    max_pool("MaxPool_2a_3x3", "pool1/3x3_s2",         3).paper_norm(),
    conv    ("Conv2d_2b_1x1",  "conv2/3x3_reduce", 64, [1, 1]),
    conv    ("Conv2d_2c_3x3",  "conv2/3x3",       192, [3, 1]).paper_norm(),
    max_pool("MaxPool_3a_3x3", "pool2/3x3_s2",         3),
    //       endpoint     in Caffe       1x1   reduce,3x3  reduce,3x3  pool-projection
    mixed   ("Mixed_3b", "inception_3a",  64, ([ 96, 128], [16,  32],  32)),
    mixed   ("Mixed_3c", "inception_3b", 128, ([128, 192], [32,  96],  64)),
    max_pool("MaxPool_4a_3x3", "pool3/3x3_s2",         3),
    mixed   ("Mixed_4b", "inception_4a", 192, ([ 96, 208], [16,  48],  64)),
    mixed   ("Mixed_4c", "inception_4b", 160, ([112, 224], [24,  64],  64)),
    mixed   ("Mixed_4d", "inception_4c", 128, ([128, 256], [24,  64],  64)),
    mixed   ("Mixed_4e", "inception_4d", 112, ([144, 288], [32,  64],  64)),
    mixed   ("Mixed_4f", "inception_4e", 256, ([160, 320], [32, 128], 128)),
    max_pool("MaxPool_5a_2x2", "pool4/3x3_s2",         2).paper_size(3),
    mixed   ("Mixed_5b", "inception_5a", 256, ([160, 320], [32, 128], 128)).slim_branch_2("Conv2d_0a_3x3"),
    mixed   ("Mixed_5c", "inception_5b", 384, ([192, 384], [48, 128], 128)),
];

/// The endpoint after the last row of the table: the mean over all pixels, `[n, 1, 1, 1024]`.
const GLOBAL_POOL: &str = "global_pool";

/// Which of the two published forms of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// TF-Slim's `inception_v1`.
    Slim,
    /// The paper's GoogLeNet as Caffe's model zoo holds it.
    Paper,
}

/// The network: a variant, and the number of its classes where it has the classifying layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Which form.
    pub variant: Variant,
    /// Logits after the feature vector, if any.
    pub classes: Option<usize>,
}

/// A convolution with what follows it (batch normalisation or a bias, and the ReLU).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conv {
    /// The name in the variant's own spelling, without the network's scope:
    /// a TF-Slim scope (variables are `scope/weights` and so on) or a Caffe layer.
    pub name: String,
    /// `[kh, kw, ic, oc]`.
    pub shape: [usize; 4],
    /// Pixels from one output to the next.
    pub stride: usize,
}

/// A max pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Rows and columns of a window.
    pub size: usize,
    /// Pixels from one window to the next.
    pub stride: usize,
}

/// One stage of the network: what computes an endpoint from the endpoint before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// The name of the result, as in TF-Slim's `end_points`, without the network's scope.
    pub endpoint: &'static str,
    /// Channels of the result.
    pub channels: usize,
    /// The computation.
    pub body: Body,
    /// Local response normalisation of the result, before the next stage reads it.
    pub norm: Option<Lrn>,
}

/// What a [`Stage`] computes.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// One convolution.
    Conv(Conv),
    /// One pool.
    MaxPool(Pool),
    /// An inception module.
    Mixed(Box<Mixed>),
}

/// An inception module: the concatenation of four branches over channels, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mixed {
    /// 1x1.
    pub branch_0: Conv,
    /// 1x1, then 3x3.
    pub branch_1: [Conv; 2],
    /// 1x1, then 3x3 (5x5 in the paper).
    pub branch_2: [Conv; 2],
    /// The pool of branch 3.
    pub pool: Pool,
    /// The 1x1 convolution after the pool.
    pub branch_3: Conv,
}

impl Mixed {
    /// All convolutions, branch by branch.
    pub fn convs(&self) -> [&Conv; 6] {
        let [b10, b11] = &self.branch_1;
        let [b20, b21] = &self.branch_2;
        [&self.branch_0, b10, b11, b20, b21, &self.branch_3]
    }
}

/// Rows and columns that a window operation adds before and after a map, and the size of its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Outputs along this direction.
    pub out: usize,
    /// Padding before the first element.
    pub before: usize,
    /// Padding after the last element that some window reaches into.
    pub after: usize,
}

/// A variable of a checkpoint: its name, shape and role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// The full name, as the checkpoint spells it.
    pub name: String,
    /// Its shape: filters are HWIO.
    pub shape: Vec<usize>,
    /// Whether training changes it by its gradient (the others are moving averages).
    pub trainable: bool,
}

/// What a convolution or pool that TensorFlow is to compute adds around its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Border {
    /// TensorFlow's `SAME`.
    Same,
    /// As many rows and columns on all four sides.
    Explicit(usize),
}

/// The smallest height and width that leave a pixel after all strides with room for the windows.
pub const MIN_SIZE: usize = 32;

/// Height and width that both variants were trained at.
pub const DEFAULT_SIZE: [usize; 2] = [224, 224];

/// Caffe subtracts this colour, red, green, blue in 0..255.
pub const PAPER_MEAN: [f32; 3] = [123.0, 117.0, 104.0];

/// How the layers of the two classifiers begin that only the training of Caffe's network used; the published file
/// carries them too.
pub const PAPER_AUXILIARY: [&str; 2] = ["loss1/", "loss2/"];

impl Variant {
    /// The scope that names of endpoints (and of TF-Slim's variables) begin with.
    pub fn scope(self) -> &'static str {
        match self {
            Variant::Slim => "InceptionV1",
            Variant::Paper => "GoogLeNet",
        }
    }

    /// The share of the features that dropout keeps in training, before the classifying layer.
    pub fn dropout_keep(self) -> f32 {
        match self {
            Variant::Slim => 0.8,
            Variant::Paper => 0.6,
        }
    }

    /// The factor of half the sum of a filter's squares in the training loss.
    pub fn weight_decay(self) -> f32 {
        match self {
            Variant::Slim => 4e-5,
            Variant::Paper => 2e-4,
        }
    }

    /// What is done to the picture, in [0, 1], before the first convolution, where no graph says otherwise.
    pub fn affine(self) -> Affine {
        match self {
            Variant::Slim => Affine { scale: [2.0; 3], offset: [-1.0; 3] },
            Variant::Paper => Affine { scale: [255.0; 3], offset: PAPER_MEAN.map(|mean| -mean) },
        }
    }

    /// What batch normalisation adds to the variance, where no graph says otherwise; 0 without batch normalisation.
    pub fn epsilon(self) -> f32 {
        match self {
            Variant::Slim => BATCH_NORM_EPSILON,
            Variant::Paper => 0.0,
        }
    }

    /// What TensorFlow is to add around the input of a convolution so that it computes this one. Half the filter on both
    /// sides is what `SAME` adds at stride 1, but not otherwise.
    pub fn border(self, conv: &Conv) -> Border {
        match self {
            Variant::Paper if conv.stride > 1 => Border::Explicit(conv.shape[0] / 2),
            _ => Border::Same,
        }
    }

    /// The extent of a max pool over `len` rows or columns.
    ///
    /// TF-Slim pads `SAME`: as many outputs as strides begin, the padding split with the odd element after. Caffe
    /// rounds the number of windows up and pads only pools that keep the size.
    pub fn pool_extent(self, pool: Pool, len: usize) -> Extent {
        match self {
            Variant::Slim => same(len, pool.size, pool.stride),
            Variant::Paper => {
                let before = if pool.stride == 1 { pool.size / 2 } else { 0 };
                let out = (len + 2 * before).saturating_sub(pool.size).div_ceil(pool.stride) + 1;
                Extent {
                    out,
                    before,
                    after: ((out - 1) * pool.stride + pool.size).saturating_sub(before + len),
                }
            }
        }
    }

    /// The extent of a convolution over `len` rows or columns. Caffe pads half the filter on both sides.
    pub fn conv_extent(self, conv: &Conv, len: usize) -> Extent {
        let size = conv.shape[0];
        match self {
            Variant::Slim => same(len, size, conv.stride),
            Variant::Paper => {
                let before = size / 2;
                Extent { out: (len + 2 * before - size) / conv.stride + 1, before, after: before }
            }
        }
    }
}

/// TensorFlow's `SAME` padding.
fn same(len: usize, size: usize, stride: usize) -> Extent {
    let out = len.div_ceil(stride);
    let total = ((out - 1) * stride + size).saturating_sub(len);
    Extent { out, before: total / 2, after: total - total / 2 }
}

impl Network {
    /// The stages in order; each reads the result of the one before, the first the picture.
    pub fn stages(&self) -> Vec<Stage> {
        let slim = self.variant == Variant::Slim;
        let name = |tf: String, caffe: String| if slim { tf } else { caffe };
        let conv = |name: String, size: usize, [ic, oc]: [usize; 2]| Conv {
            name,
            shape: [size, size, ic, oc],
            stride: 1,
        };
        let paper_lrn = Lrn { size: 5, alpha: 1e-4, k: 1.0 };
        let mut ic = 3;
        let mut stages = Vec::with_capacity(TABLE.len());
        for Row { endpoint, caffe, layer } in &TABLE {
            let mut norm = None;
            let (body, channels) = match *layer {
                Layer::Conv { oc, size, stride, paper_norm } => {
                    norm = (!slim && paper_norm).then_some(paper_lrn);
                    let name = name(endpoint.to_string(), caffe.to_string());
                    (Body::Conv(Conv { stride, ..conv(name, size, [ic, oc]) }), oc)
                }
                Layer::MaxPool { size, paper_size, stride, paper_norm } => {
                    norm = (!slim && paper_norm).then_some(paper_lrn);
                    (Body::MaxPool(Pool { size: if slim { size } else { paper_size }, stride }), ic)
                }
                Layer::Mixed { branch_0, branch_1, branch_2, branch_3, slim_branch_2 } => {
                    let name = |tf: &str, layer: &str| {
                        name(format!("{endpoint}/Branch_{tf}"), format!("{caffe}/{layer}"))
                    };
                    let wide = if slim { 3 } else { 5 };
                    let mixed = Mixed {
                        branch_0: conv(name("0/Conv2d_0a_1x1", "1x1"), 1, [ic, branch_0]),
                        branch_1: [
                            conv(name("1/Conv2d_0a_1x1", "3x3_reduce"), 1, [ic, branch_1[0]]),
                            conv(name("1/Conv2d_0b_3x3", "3x3"), 3, branch_1),
                        ],
                        branch_2: [
                            conv(name("2/Conv2d_0a_1x1", "5x5_reduce"), 1, [ic, branch_2[0]]),
                            conv(name(&format!("2/{slim_branch_2}"), "5x5"), wide, branch_2),
                        ],
                        pool: Pool { size: 3, stride: 1 },
                        branch_3: conv(name("3/Conv2d_0b_1x1", "pool_proj"), 1, [ic, branch_3]),
                    };
                    (Body::Mixed(Box::new(mixed)), branch_0 + branch_1[1] + branch_2[1] + branch_3)
                }
            };
            stages.push(Stage { endpoint, channels, body, norm });
            ic = channels;
        }
        stages
    }

    /// Elements of a feature vector.
    pub fn features(&self) -> usize {
        self.stages().last().map_or(0, |stage| stage.channels)
    }

    /// All convolutions in order, the classifying layer (which has a bias and no ReLU) not among them.
    pub fn convs(&self) -> Vec<Conv> {
        self.sized_convs(DEFAULT_SIZE).into_iter().map(|(conv, _)| conv).collect()
    }

    /// The same, each with the height and width of its result for a picture of `size` `[h, w]`.
    pub fn sized_convs(&self, mut size: [usize; 2]) -> Vec<(Conv, [usize; 2])> {
        let mut convs = Vec::new();
        for stage in self.stages() {
            size = stage.output_size(self.variant, size);
            match stage.body {
                Body::Conv(conv) => convs.push((conv, size)),
                Body::MaxPool(_) => {}
                Body::Mixed(mixed) => convs.extend(mixed.convs().map(|conv| (conv.clone(), size))),
            }
        }
        convs
    }

    /// The classifying layer, `[1, 1, 1024, classes]`, if there is one.
    pub fn logits(&self) -> Option<Conv> {
        let name = match self.variant {
            Variant::Slim => "Logits/Conv2d_0c_1x1",
            Variant::Paper => "loss3/classifier",
        };
        let classes = self.classes?;
        Some(Conv { name: name.to_string(), shape: [1, 1, self.features(), classes], stride: 1 })
    }

    /// The variables of a checkpoint of this network as TensorFlow names them, in the order of the layers.
    pub fn variables(&self) -> Vec<Variable> {
        let scope = self.variant.scope();
        let variable = |conv: &Conv, name: &str, shape: &[usize]| Variable {
            name: format!("{scope}/{}/{name}", conv.name),
            shape: shape.to_vec(),
            trainable: !name.contains("moving_"),
        };
        let mut variables = Vec::new();
        let shift: &[&str] = match self.variant {
            Variant::Slim => &[BETA, MOVING_MEAN, MOVING_VARIANCE],
            Variant::Paper => &[BIASES],
        };
        for conv in self.convs() {
            variables.push(variable(&conv, WEIGHTS, &conv.shape));
            for name in shift {
                variables.push(variable(&conv, name, &conv.shape[3..]));
            }
        }
        if let Some(logits) = self.logits() {
            variables.push(variable(&logits, WEIGHTS, &logits.shape));
            variables.push(variable(&logits, BIASES, &logits.shape[3..]));
        }
        variables
    }

    /// The names of all endpoints in order, with the network's scope, as a dictionary call of the module has them.
    pub fn endpoints(&self) -> Vec<String> {
        let scope = self.variant.scope();
        TABLE
            .iter()
            .map(|row| row.endpoint)
            .chain([GLOBAL_POOL])
            .map(|name| format!("{scope}/{name}"))
            .collect()
    }

    /// Whether TensorFlow's `SAME` pools compute this network's for pictures of `size` `[h, w]`. Caffe's pools round up,
    /// which comes to the same for even sizes only.
    pub fn pools_are_same(&self, mut size: [usize; 2]) -> bool {
        self.stages().iter().all(|stage| {
            let input = size;
            size = stage.output_size(self.variant, size);
            match &stage.body {
                Body::MaxPool(pool) => input.iter().all(|len| {
                    let extent = self.variant.pool_extent(*pool, *len);
                    extent == same(*len, pool.size, pool.stride)
                }),
                _ => true,
            }
        })
    }

    /// Trained numbers, moving averages included.
    pub fn parameters(&self) -> usize {
        let bias = |conv: &Conv| conv.shape[3];
        let stored_per_channel = if self.variant == Variant::Slim { 3 } else { 1 };
        let convs: usize = self
            .convs()
            .iter()
            .map(|conv| conv.shape.iter().product::<usize>() + stored_per_channel * bias(conv))
            .sum();
        let logits = self.logits().map_or(0, |conv| conv.shape.iter().product::<usize>() + bias(&conv));
        convs + logits
    }

    /// Multiplications (each with an addition) of a forward pass of one picture of `size` `[h, w]`, the classifying
    /// layer included.
    pub fn multiply_adds(&self, size: [usize; 2]) -> usize {
        let logits = self.logits().map(|conv| (conv, [1, 1]));
        let convs = self.sized_convs(size).into_iter().chain(logits);
        convs.map(|(conv, [h, w])| h * w * conv.shape.iter().product::<usize>()).sum()
    }
}

impl Stage {
    /// The size `[h, w]` of the result for an input of `size`.
    pub fn output_size(&self, variant: Variant, size: [usize; 2]) -> [usize; 2] {
        match &self.body {
            Body::Conv(conv) => size.map(|len| variant.conv_extent(conv, len).out),
            Body::MaxPool(pool) => size.map(|len| variant.pool_extent(*pool, len).out),
            Body::Mixed(_) => size,
        }
    }
}

/// The filter of a convolution, HWIO.
pub const WEIGHTS: &str = "weights";
/// The bias of the classifying layer.
pub const BIASES: &str = "biases";
/// The summand of batch normalisation; there is no `gamma`.
pub const BETA: &str = "BatchNorm/beta";
/// The moving average of the mean.
pub const MOVING_MEAN: &str = "BatchNorm/moving_mean";
/// The moving average of the variance.
pub const MOVING_VARIANCE: &str = "BatchNorm/moving_variance";

/// What the moving averages of TF-Slim's batch normalisation keep at each step, where no graph says otherwise.
pub const BATCH_NORM_DECAY: f32 = 0.9997;

/// The standard deviation of TF-Slim's first weights.
pub const WEIGHTS_DEVIATION: f32 = 0.01;

/// The epsilon of TF-Slim's batch normalisation, where no graph says otherwise.
pub const BATCH_NORM_EPSILON: f32 = 0.001;

#[cfg(test)]
mod tests {
    use super::*;

    const SLIM: Network = Network { variant: Variant::Slim, classes: None };

    #[test]
    fn totals_are_those_of_the_published_checkpoint() {
        assert_eq!(SLIM.convs().len(), 57);
        assert_eq!(SLIM.variables().len(), 228);
        assert_eq!(SLIM.variables().iter().filter(|v| v.trainable).count(), 114);
        assert_eq!(SLIM.parameters(), 5_607_184);
        assert_eq!(SLIM.multiply_adds(DEFAULT_SIZE) / 10_000, 149_735);
        assert_eq!(SLIM.features(), 1024);
        assert_eq!(SLIM.endpoints().len(), 17);
    }

    #[test]
    fn totals_are_those_of_the_caffemodel() {
        let paper = Network { variant: Variant::Paper, classes: Some(1000) };
        assert_eq!(paper.convs().len() + 1, 58);
        assert_eq!(paper.variables().len(), 2 * 58);
        assert_eq!(paper.parameters(), 6_998_552);
    }

    #[test]
    fn sizes_follow_tensorflow_and_caffe() {
        let sizes = |variant, size| {
            let mut sizes = vec![size];
            for stage in (Network { variant, classes: None }).stages() {
                sizes.push(stage.output_size(variant, *sizes.last().unwrap()));
            }
            sizes.dedup();
            sizes.into_iter().map(|[h, w]| (h, w)).collect::<Vec<_>>()
        };
        let at_224 = [224, 112, 56, 28, 14, 7].map(|n| (n, n));
        assert_eq!(sizes(Variant::Slim, [224, 224]), at_224);
        assert_eq!(sizes(Variant::Paper, [224, 224]), at_224);
        assert_eq!(sizes(Variant::Slim, [33, 65]), [(33, 65), (17, 33), (9, 17), (5, 9), (3, 5), (2, 3)]);
        assert_eq!(sizes(Variant::Slim, [32, 32]).last(), Some(&(1, 1)));
        assert_eq!(sizes(Variant::Paper, [32, 32]).last(), Some(&(1, 1)));
        // Caffe's ceil mode: (113 - 3) / 2 rounded up, plus one, is 56, where SAME would give 57.
        assert_eq!(Variant::Paper.pool_extent(Pool { size: 3, stride: 2 }, 113).out, 56);
        assert_eq!(Variant::Slim.pool_extent(Pool { size: 3, stride: 2 }, 113).out, 57);
        let pools_are_same = |variant, size| Network { variant, classes: None }.pools_are_same(size);
        assert!(pools_are_same(Variant::Paper, [224, 256]) && !pools_are_same(Variant::Paper, [224, 225]));
        assert!(pools_are_same(Variant::Slim, [33, 65]));
    }

    #[test]
    fn names_are_distinct() {
        for network in [SLIM, Network { variant: Variant::Paper, classes: Some(1000) }] {
            let mut names: Vec<_> = network.convs().into_iter().map(|conv| conv.name).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), 57);
        }
    }
}
