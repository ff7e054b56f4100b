//! ONNX models as featvec exports them: a graph of nodes over named values, with `f32` constants.
//!
//! What is written can be read back and compared, bit for bit ([`Model::verify`]). Models of others are read as far as
//! they keep to the same few kinds of attributes and constants.

use std::collections::BTreeSet;

use crate::limits::check_limit;
use crate::protobuf::{Field, Message, Writer};
use crate::{Error, ErrorKind, Limits, Result};

/// A model: one graph, and the version of the operators in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// The version of the format itself.
    pub ir_version: i64,
    /// The version of ONNX's own set of operators.
    pub opset: i64,
    /// The program that made it.
    pub producer: String,
    /// The version of that program.
    pub producer_version: String,
    /// The computation.
    pub graph: Graph,
}

/// A computation: nodes in an order in which they can run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// Its name.
    pub name: String,
    /// Each reads values that come before it.
    pub nodes: Vec<Node>,
    /// Constants.
    pub initializers: Vec<Initializer>,
    /// What is given.
    pub inputs: Vec<Value>,
    /// What comes back.
    pub outputs: Vec<Value>,
}

/// One operation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// The operator, such as `Conv`.
    pub operator: String,
    /// The names of the values that it reads.
    pub inputs: Vec<String>,
    /// The names of the values that it makes.
    pub outputs: Vec<String>,
    /// What the operator leaves open, by name.
    pub attributes: Vec<(String, Attribute)>,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// One whole number.
    Int(i64),
    /// Whole numbers.
    Ints(Vec<i64>),
    /// One floating-point number.
    Float(f32),
}

/// A constant of `f32`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Initializer {
    /// The value's name.
    pub name: String,
    /// Its sizes.
    pub shape: Vec<i64>,
    /// The numbers in row-major order, little-endian, so that comparing compares bits.
    pub bytes: Vec<u8>,
}

impl Initializer {
    /// The constant `name` of `shape` with these numbers.
    pub fn new(
        name: impl Into<String>,
        shape: &[i64],
        numbers: impl IntoIterator<Item = f32>,
    ) -> Initializer {
        let bytes = numbers.into_iter().flat_map(f32::to_le_bytes).collect();
        Initializer { name: name.into(), shape: shape.to_vec(), bytes }
    }

    /// The numbers.
    pub fn numbers(&self) -> impl Iterator<Item = f32> {
        self.bytes.as_chunks().0.iter().map(|&word| f32::from_le_bytes(word))
    }
}

/// The type of an input or output of a graph: a tensor of `f32`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value {
    /// Its name.
    pub name: String,
    /// Its sizes.
    pub shape: Vec<Size>,
}

/// A size of a [`Value`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Size {
    /// This many.
    Known(i64),
    /// Any, the same wherever this name stands.
    Named(String),
}

/// The code of `f32` among the types of tensors.
const FLOAT: i32 = 1;

/// The code of `float` among the types of attributes.
const ATTRIBUTE_FLOAT: u64 = 1;
const ATTRIBUTE_INT: u64 = 2;
const ATTRIBUTE_INTS: u64 = 7;

impl Model {
    /// The bytes of an `.onnx` file.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.int64(1, self.ir_version);
        writer.bytes(2, &self.producer).bytes(3, &self.producer_version);
        writer.message(7, |writer| self.graph.encode(writer));
        writer.message(8, |opset| {
            opset.bytes(1, "").int64(2, self.opset);
        });
        writer.finish()
    }

    /// Decodes an `.onnx` file.
    ///
    /// # Errors
    /// Damage; constants or attributes of a kind that [`Initializer`] and [`Attribute`] do not hold; anything beyond
    /// `limits`.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Model> {
        check_limit("", "bytes", bytes.len() as u64, limits.file_bytes())?;
        let mut budget = Budget { limits, parts: 0, bytes: 0 };
        let mut model = Model::default();
        let mut message = Message::new("ModelProto", bytes, limits);
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => model.ir_version = field.int64()?,
                2 => model.producer = field.string()?.to_owned(),
                3 => model.producer_version = field.string()?.to_owned(),
                7 => model.graph = Graph::parse(&field, &mut budget)?,
                8 => {
                    let (mut domain, mut version) = ("", 0);
                    let mut opset = field.message("OperatorSetIdProto")?;
                    while let Some(field) = opset.next_field()? {
                        match field.number {
                            1 => domain = field.string()?,
                            2 => version = field.int64()?,
                            _ => {}
                        }
                    }
                    if domain.is_empty() {
                        model.opset = version;
                    }
                }
                _ => {}
            }
        }
        Ok(model)
    }

    /// Checks that values are made once, before they are read, and that the outputs are among them.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] that names the value.
    pub fn check(&self) -> Result<()> {
        let mismatch = |name: &str, message: &str| Err(Error::new(ErrorKind::Mismatch, name, message));
        let graph = &self.graph;
        let given = graph.inputs.iter().map(|input| &input.name);
        let mut known = BTreeSet::new();
        for name in given.chain(graph.initializers.iter().map(|constant| &constant.name)) {
            if !known.insert(name) {
                return mismatch(name, "two values of the graph have this name");
            }
        }
        for node in &graph.nodes {
            if let Some(name) = node.inputs.iter().find(|name| !known.contains(name)) {
                return mismatch(name, "a node of the graph reads this value before any makes it");
            }
            for name in &node.outputs {
                if !known.insert(name) {
                    return mismatch(name, "two values of the graph have this name");
                }
            }
        }
        match graph.outputs.iter().find(|output| !known.contains(&output.name)) {
            Some(output) => mismatch(&output.name, "no node of the graph makes this output"),
            None => Ok(()),
        }
    }

    /// Reads `bytes` and compares every node, every constant and all else with this model.
    ///
    /// # Errors
    /// Those of [`parse`](Model::parse); [`ErrorKind::Corrupt`] that names what differs.
    pub fn verify(&self, bytes: &[u8], limits: &Limits) -> Result<()> {
        let read = Model::parse(bytes, limits)?;
        let differs = |name: &str| Err(Error::corrupt(name, "what is read back is not what was written"));
        let (ours, theirs) = (&self.graph, &read.graph);
        if let Some((node, _)) = ours.nodes.iter().zip(&theirs.nodes).find(|(ours, theirs)| ours != theirs) {
            return differs(&node.name);
        }
        let constants = ours.initializers.iter().zip(&theirs.initializers);
        if let Some((constant, _)) = constants.clone().find(|(ours, theirs)| ours != theirs) {
            return differs(&constant.name);
        }
        if *self != read { differs("graph") } else { Ok(()) }
    }
}

/// What has been decoded of the whole file.
struct Budget<'l> {
    limits: &'l Limits,
    parts: u64,
    bytes: u64,
}

impl Budget<'_> {
    /// Counts one of anything that a few bytes may stand for.
    fn part(&mut self) -> Result<()> {
        self.parts += 1;
        check_limit("", "parts of the graph", self.parts, self.limits.graph_nodes())
    }

    fn text(&mut self, field: &Field<'_>) -> Result<String> {
        self.part()?;
        let text = field.string()?;
        check_limit("", "bytes of a name", text.len() as u64, self.limits.name_bytes())?;
        Ok(text.to_owned())
    }

    fn ints(&mut self, field: &Field<'_>, into: &mut Vec<i64>) -> Result<()> {
        for value in field.varints()? {
            self.part()?;
            into.push(value?.cast_signed());
        }
        Ok(())
    }
}

impl Graph {
    fn encode(&self, writer: &mut Writer) {
        for node in &self.nodes {
            writer.message(1, |writer| node.encode(writer));
        }
        writer.bytes(2, &self.name);
        for initializer in &self.initializers {
            writer.message(5, |writer| initializer.encode(writer));
        }
        for (number, values) in [(11, &self.inputs), (12, &self.outputs)] {
            for value in values {
                writer.message(number, |writer| value.encode(writer));
            }
        }
    }

    fn parse(field: &Field<'_>, budget: &mut Budget<'_>) -> Result<Graph> {
        let mut graph = Graph::default();
        let mut message = field.message("GraphProto")?;
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => graph.nodes.push(Node::parse(&field, budget)?),
                2 => graph.name = budget.text(&field)?,
                5 => graph.initializers.push(Initializer::parse(&field, budget)?),
                11 => graph.inputs.push(Value::parse(&field, budget)?),
                12 => graph.outputs.push(Value::parse(&field, budget)?),
                _ => {}
            }
        }
        Ok(graph)
    }
}

impl Node {
    fn encode(&self, writer: &mut Writer) {
        for input in &self.inputs {
            writer.bytes(1, input);
        }
        for output in &self.outputs {
            writer.bytes(2, output);
        }
        writer.bytes(3, &self.name).bytes(4, &self.operator);
        for (name, attribute) in &self.attributes {
            writer.message(5, |writer| {
                writer.bytes(1, name);
                match attribute {
                    Attribute::Float(value) => writer.float(2, *value).uint64(20, ATTRIBUTE_FLOAT),
                    Attribute::Int(value) => writer.int64(3, *value).uint64(20, ATTRIBUTE_INT),
                    Attribute::Ints(values) => writer.packed_int64(8, values).uint64(20, ATTRIBUTE_INTS),
                };
            });
        }
    }

    fn parse(field: &Field<'_>, budget: &mut Budget<'_>) -> Result<Node> {
        budget.part()?;
        let mut node = Node::default();
        let mut message = field.message("NodeProto")?;
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => node.inputs.push(budget.text(&field)?),
                2 => node.outputs.push(budget.text(&field)?),
                3 => node.name = budget.text(&field)?,
                4 => node.operator = budget.text(&field)?,
                5 => node.attributes.push(Attribute::parse(&field, budget)?),
                _ => {}
            }
        }
        Ok(node)
    }
}

impl Attribute {
    fn parse(field: &Field<'_>, budget: &mut Budget<'_>) -> Result<(String, Attribute)> {
        budget.part()?;
        let (mut name, mut kind, mut int, mut ints, mut float) = (String::new(), 0, 0, Vec::new(), 0.0);
        let mut message = field.message("AttributeProto")?;
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => name = budget.text(&field)?,
                2 => float = field.float()?,
                3 => int = field.int64()?,
                8 => budget.ints(&field, &mut ints)?,
                20 => kind = field.uint64()?,
                _ => {}
            }
        }
        let attribute = match kind {
            ATTRIBUTE_FLOAT => Attribute::Float(float),
            ATTRIBUTE_INT => Attribute::Int(int),
            ATTRIBUTE_INTS => Attribute::Ints(ints),
            kind => return Err(Error::unsupported(name, format!("attributes of type {kind} are not read"))),
        };
        Ok((name, attribute))
    }
}

impl Initializer {
    fn encode(&self, writer: &mut Writer) {
        writer.packed_int64(1, &self.shape).int64(2, FLOAT.into()).bytes(8, &self.name).bytes(9, &self.bytes);
    }

    fn parse(field: &Field<'_>, budget: &mut Budget<'_>) -> Result<Initializer> {
        budget.part()?;
        let (mut initializer, mut dtype) = (Initializer::default(), 0);
        let mut message = field.message("TensorProto")?;
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => budget.ints(&field, &mut initializer.shape)?,
                2 => dtype = field.int32()?,
                8 => initializer.name = budget.text(&field)?,
                9 => {
                    let bytes = field.bytes()?;
                    budget.bytes = budget.bytes.saturating_add(bytes.len() as u64);
                    check_limit("", "bytes of constants", budget.bytes, budget.limits.tensor_bytes())?;
                    initializer.bytes = bytes.to_vec();
                }
                _ => {}
            }
        }
        let Initializer { name, shape, bytes } = &initializer;
        if dtype != FLOAT {
            return Err(Error::unsupported(name, format!("constants of type {dtype} are not read")));
        }
        let needed =
            shape.iter().try_fold(4, |bytes: usize, size| bytes.checked_mul(usize::try_from(*size).ok()?));
        if needed != Some(bytes.len()) {
            let message = format!("float32 {shape:?} promised, {} bytes found", bytes.len());
            return Err(Error::corrupt(name, message));
        }
        Ok(initializer)
    }
}

impl Value {
    fn encode(&self, writer: &mut Writer) {
        writer.bytes(1, &self.name).message(2, |kind| {
            kind.message(1, |tensor| {
                tensor.int64(1, FLOAT.into()).message(2, |shape| {
                    for size in &self.shape {
                        shape.message(1, |writer| {
                            match size {
                                Size::Known(size) => writer.int64(1, *size),
                                Size::Named(name) => writer.bytes(2, name),
                            };
                        });
                    }
                });
            });
        });
    }

    fn parse(field: &Field<'_>, budget: &mut Budget<'_>) -> Result<Value> {
        budget.part()?;
        let mut value = Value::default();
        let mut dtype = 0;
        let mut message = field.message("ValueInfoProto")?;
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => value.name = budget.text(&field)?,
                2 => {
                    let mut kind = field.message("TypeProto")?;
                    while let Some(field) = kind.next_field()? {
                        if field.number == 1 {
                            dtype = parse_tensor_type(&field, &mut value.shape, budget)?;
                        }
                    }
                }
                _ => {}
            }
        }
        if dtype != FLOAT {
            return Err(Error::unsupported(value.name, format!("values of type {dtype} are not read")));
        }
        Ok(value)
    }
}

/// Appends a tensor type's sizes to `shape`, and gives the code of its elements' type.
fn parse_tensor_type(field: &Field<'_>, shape: &mut Vec<Size>, budget: &mut Budget<'_>) -> Result<i32> {
    let mut dtype = 0;
    let mut message = field.message("TypeProto.Tensor")?;
    while let Some(field) = message.next_field()? {
        match field.number {
            1 => dtype = field.int32()?,
            2 => {
                let mut sizes = field.message("TensorShapeProto")?;
                while let Some(field) = sizes.next_field()? {
                    if field.number == 1 {
                        budget.part()?;
                        shape.push(Size::parse(&field, budget)?);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(dtype)
}

impl Size {
    fn parse(field: &Field<'_>, budget: &mut Budget<'_>) -> Result<Size> {
        let mut size = Size::Named(String::new());
        let mut message = field.message("TensorShapeProto.Dimension")?;
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => size = Size::Known(field.int64()?),
                2 => size = Size::Named(budget.text(&field)?),
                _ => {}
            }
        }
        Ok(size)
    }
}
