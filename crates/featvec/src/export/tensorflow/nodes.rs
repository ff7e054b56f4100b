//! Nodes of a graph of TensorFlow, appended one by one.

use featvec_formats::{Attr, AttrList, DataType, Input, Node, Tensor, TensorData, TensorName, TensorProto};

/// The attribute of operations on floats.
pub(in crate::export) const FLOAT: (&str, Attr) = ("T", Attr::Type(DataType::F32));

/// The nodes so far.
#[derive(Default)]
pub(in crate::export) struct Nodes(Vec<Node>);

impl Nodes {
    pub fn into_vec(self) -> Vec<Node> {
        self.0
    }

    /// Appends a node, and gives its name back. Inputs are `node`, `node:k` or `^node`.
    pub fn add(
        &mut self,
        name: &str,
        op: &str,
        inputs: &[&str],
        attrs: impl IntoIterator<Item = (&'static str, Attr)>,
    ) -> String {
        let input = |text: &&str| match (text.strip_prefix('^'), TensorName::parse(text)) {
            (Some(node), _) => Input::Control(node.to_string()),
            (None, Some(tensor)) => Input::Tensor(tensor),
            (None, None) => unreachable!("no node is called {text:?}"),
        };
        self.0.push(Node {
            name: name.to_string(),
            op: op.to_string(),
            inputs: inputs.iter().map(input).collect(),
            attrs: attrs.into_iter().map(|(name, attr)| (name.to_string(), attr)).collect(),
        });
        name.to_string()
    }

    pub fn constant(&mut self, name: &str, value: TensorProto) -> String {
        let dtype = Attr::Type(value.dtype);
        self.add(name, "Const", &[], [("dtype", dtype), ("value", Attr::Tensor(value))])
    }

    /// A scalar, if there is one number, or a vector.
    pub fn floats(&mut self, name: &str, numbers: &[f32]) -> String {
        let shape = if numbers.len() == 1 { vec![] } else { vec![numbers.len()] };
        self.tensor(name, shape, TensorData::F32(numbers.to_vec()))
    }

    pub fn ints(&mut self, name: &str, shape: &[usize], numbers: &[i32]) -> String {
        self.tensor(name, shape.to_vec(), TensorData::I32(numbers.to_vec()))
    }

    /// A scalar without a shape, or a vector.
    pub fn texts(&mut self, name: &str, shape: &[usize], texts: &[&str]) -> String {
        let texts = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        self.tensor(name, shape.to_vec(), TensorData::Strings(texts))
    }

    fn tensor(&mut self, name: &str, shape: Vec<usize>, data: TensorData) -> String {
        let tensor = Tensor::new(shape, data).expect("as many elements as the shape says");
        self.constant(name, TensorProto::of(&tensor))
    }
}

pub(in crate::export) fn text(text: &str) -> Attr {
    Attr::Bytes(text.as_bytes().to_vec())
}

/// A list of integers.
pub(super) fn ints(values: &[i64]) -> Attr {
    Attr::List(Box::new(AttrList { ints: values.to_vec(), ..AttrList::default() }))
}
