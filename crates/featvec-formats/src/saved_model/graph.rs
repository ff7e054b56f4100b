//! The operations of a graph, by name.

use std::collections::{BTreeMap, HashMap};

use crate::limits::check_limit;
use crate::protobuf::{Field, Message};
use crate::tensor_proto::parse_shape;
use crate::{DataType, Error, Limits, PartialShape, Result, TensorProto};

/// Operations and how they feed each other. Every input names a node of the graph; loops are possible.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: Vec<Node>,
    by_name: HashMap<String, usize>,
}

/// An operation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Its name, unique in the graph.
    pub name: String,
    /// What it computes, such as `Conv2D`.
    pub op: String,
    /// What it depends on, tensors first.
    pub inputs: Vec<Input>,
    /// Its parameters. Those that have their default value are usually left out.
    pub attrs: BTreeMap<String, Attr>,
}

/// What a node depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A tensor that it takes.
    Tensor(TensorName),
    /// A node that must have run before it.
    Control(String),
}

/// An output of a node, written `node:k`, or `node` for the first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorName {
    /// The node's name.
    pub node: String,
    /// Which of its outputs, from 0.
    pub output: u32,
}

/// A parameter of an operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Attr {
    /// Bytes; usually text, such as `SAME`.
    Bytes(Vec<u8>),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f32),
    /// A truth value.
    Bool(bool),
    /// An element type.
    Type(DataType),
    /// A shape.
    Shape(PartialShape),
    /// A constant.
    Tensor(TensorProto),
    /// Several values.
    List(Box<AttrList>),
    /// Something else: a function, or a placeholder within one.
    Other,
}

/// Several values of one kind; the other kinds are empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AttrList {
    /// Byte strings.
    pub bytes: Vec<Vec<u8>>,
    /// Integers.
    pub ints: Vec<i64>,
    /// Floats.
    pub floats: Vec<f32>,
    /// Truth values.
    pub bools: Vec<bool>,
    /// Element types.
    pub types: Vec<DataType>,
    /// Shapes.
    pub shapes: Vec<PartialShape>,
}

impl Graph {
    /// Decodes a `GraphDef`, such as a frozen graph is.
    ///
    /// # Errors
    /// Those of [`new`](Graph::new); damage; anything beyond `limits`.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Graph> {
        let mut nodes = Vec::new();
        parse_nodes(Message::new("GraphDef", bytes, limits), limits, &mut nodes, &mut 0)?;
        Graph::new(nodes)
    }

    /// A graph of `nodes`.
    ///
    /// # Errors
    /// Two nodes of one name; an input that no node provides.
    pub fn new(nodes: Vec<Node>) -> Result<Graph> {
        let mut by_name = HashMap::with_capacity(nodes.len());
        for (i, node) in nodes.iter().enumerate() {
            if by_name.insert(node.name.clone(), i).is_some() {
                return Err(Error::corrupt(node.place(), "a second node of this name"));
            }
        }
        for node in &nodes {
            for input in &node.inputs {
                let (Input::Tensor(TensorName { node: name, .. }) | Input::Control(name)) = input;
                if !by_name.contains_key(name) {
                    return Err(Error::corrupt(
                        node.place(),
                        format!("its input {name:?} is not in the graph"),
                    ));
                }
            }
        }
        Ok(Graph { nodes, by_name })
    }

    /// The nodes, in the file's order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node `name`.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.by_name.get(name).and_then(|&i| self.nodes.get(i))
    }
}

impl Node {
    /// The parameter `name`, if it is given.
    pub fn attr(&self, name: &str) -> Option<&Attr> {
        self.attrs.get(name)
    }

    /// The tensors that the node takes, in order.
    pub fn tensors(&self) -> impl Iterator<Item = &TensorName> {
        self.inputs.iter().filter_map(|input| match input {
            Input::Tensor(tensor) => Some(tensor),
            Input::Control(_) => None,
        })
    }

    fn place(&self) -> String {
        format!("node {:?}", self.name)
    }
}

impl TensorName {
    /// Reads `node:k` or `node`; `None` for an empty name, a control edge or an output that is not a number.
    pub fn parse(text: &str) -> Option<TensorName> {
        let (node, output) = match text.rsplit_once(':') {
            Some((node, output)) => (node, output.parse().ok()?),
            None => (text, 0),
        };
        (!node.is_empty() && !node.starts_with('^')).then(|| TensorName { node: node.to_owned(), output })
    }
}

impl std::fmt::Display for TensorName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.node, self.output)
    }
}

impl Attr {
    /// The text of a [`Attr::Bytes`], if it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Attr::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The number of an [`Attr::Int`].
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Attr::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The number of an [`Attr::Float`].
    pub fn as_float(&self) -> Option<f32> {
        match self {
            Attr::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// The value of an [`Attr::Bool`].
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Attr::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The constant of an [`Attr::Tensor`].
    pub fn as_tensor(&self) -> Option<&TensorProto> {
        match self {
            Attr::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// The integers of an [`Attr::List`].
    pub fn as_ints(&self) -> Option<&[i64]> {
        match self {
            Attr::List(list) => Some(&list.ints),
            _ => None,
        }
    }

    fn parse(field: &Field<'_>, limits: &Limits) -> Result<Attr> {
        let mut attr = Attr::Other;
        let mut message = field.message("AttrValue")?;
        while let Some(field) = message.next_field()? {
            attr = match field.number {
                1 => Attr::List(Box::new(AttrList::parse(field.message("AttrValue.ListValue")?, limits)?)),
                2 => Attr::Bytes(field.bytes()?.to_vec()),
                3 => Attr::Int(field.int64()?),
                4 => Attr::Float(field.float()?),
                5 => Attr::Bool(field.bool()?),
                6 => Attr::Type(DataType::from_code(field.int32()?)),
                7 => Attr::Shape(parse_shape(&field, limits)?),
                8 => Attr::Tensor(TensorProto::parse(&field, limits)?),
                9 | 10 => Attr::Other,
                _ => continue,
            };
        }
        Ok(attr)
    }
}

impl AttrList {
    fn parse(mut message: Message<'_>, limits: &Limits) -> Result<AttrList> {
        let mut list = AttrList::default();
        while let Some(field) = message.next_field()? {
            match field.number {
                2 => list.bytes.push(field.bytes()?.to_vec()),
                4 => list.floats.extend(field.words32()?.iter().map(|&word| f32::from_le_bytes(word))),
                7 => list.shapes.push(parse_shape(&field, limits)?),
                3 | 5 | 6 => {
                    for value in field.varints()? {
                        let value = value?;
                        match field.number {
                            3 => list.ints.push(value.cast_signed()),
                            5 => list.bools.push(value != 0),
                            _ => list.types.push(DataType::from_code(i32::try_from(value).unwrap_or(0))),
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(list)
    }
}

/// Appends the nodes of a GraphDef to `nodes`; `count` is how many all graphs of the file have had so far.
pub(super) fn parse_nodes(
    mut graph: Message<'_>,
    limits: &Limits,
    nodes: &mut Vec<Node>,
    count: &mut usize,
) -> Result<()> {
    while let Some(field) = graph.next_field()? {
        if field.number != 1 {
            continue;
        }
        *count += 1;
        check_limit("GraphDef", "nodes", *count as u64, limits.graph_nodes())?;
        nodes.push(parse_node(field.message("NodeDef")?, limits)?);
    }
    Ok(())
}

fn parse_node(mut message: Message<'_>, limits: &Limits) -> Result<Node> {
    let mut node = Node::default();
    while let Some(field) = message.next_field()? {
        match field.number {
            1 => node.name = field.string()?.to_owned(),
            2 => node.op = field.string()?.to_owned(),
            3 => {
                let text = field.string()?;
                let input = match text.strip_prefix('^') {
                    Some(name) => Some(Input::Control(name.to_owned())),
                    None => TensorName::parse(text).map(Input::Tensor),
                };
                node.inputs
                    .push(input.ok_or_else(|| field.error(format!("no input can be called {text:?}")))?);
            }
            5 => {
                let (key, value) = field.map_entry()?;
                let within = |error: Error| error.within(&format!("node {:?}, attribute {key:?}", node.name));
                let attr = value.map(|value| Attr::parse(&value, limits)).transpose().map_err(within)?;
                node.attrs.insert(key.to_owned(), attr.unwrap_or(Attr::Other));
            }
            _ => {}
        }
    }
    Ok(node)
}
