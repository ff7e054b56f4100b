//! Writing a `saved_model.pb` or a graph alone. Maps are written in the order of their keys, so that the same model gives
//! the same bytes.

use super::graph::{Attr, AttrList, Graph, Input, Node};
use super::{Collection, MetaGraph, SaveSlice, SavedModel, Signature, TensorInfo, VariableDef};
use crate::protobuf::Writer;
use crate::tensor_proto::write_partial_shape;
use crate::{Error, Result};

/// The version of graphs that TensorFlow 1.7 wrote: whatever reads graphs today reads these.
const PRODUCER: u64 = 26;

impl SavedModel {
    /// The bytes of a `saved_model.pb`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for a node with an [`Attr::Other`], whose value is not
    /// known.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut writer = Writer::new();
        if self.schema_version != 0 {
            writer.int64(1, self.schema_version);
        }
        for graph in &self.graphs {
            writer.bytes(2, graph.encode()?);
        }
        Ok(writer.finish())
    }
}

impl MetaGraph {
    fn encode(&self) -> Result<Vec<u8>> {
        let graph = self.graph.encode()?;
        let mut writer = Writer::new();
        writer.message(1, |info| {
            self.tags.iter().for_each(|tag| {
                info.bytes(4, tag);
            });
            string(info, 5, &self.tensorflow_version);
            // Attributes that have their default values are left out.
            info.uint64(7, 1);
        });
        writer.bytes(2, graph);
        if let Some(saver) = &self.saver {
            writer.message(3, |message| {
                message.bytes(1, &saver.filename).bytes(2, &saver.save).bytes(3, &saver.restore);
                message.int64(4, 1).uint64(7, 2);
            });
        }
        for (key, collection) in &self.collections {
            map_entry(&mut writer, 4, key, |value| write_collection(value, collection));
        }
        for (key, signature) in &self.signatures {
            map_entry(&mut writer, 5, key, |value| write_signature(value, signature));
        }
        Ok(writer.finish())
    }
}

impl Graph {
    /// The bytes of a `GraphDef`, such as a frozen graph is.
    ///
    /// # Errors
    /// As of [`SavedModel::encode`].
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut writer = Writer::new();
        for node in self.nodes() {
            writer.bytes(1, encode_node(node)?);
        }
        writer.message(4, |versions| {
            versions.uint64(1, PRODUCER);
        });
        Ok(writer.finish())
    }
}

impl VariableDef {
    /// The bytes of the message, as the collections of variables hold it.
    pub fn encode(&self) -> Vec<u8> {
        let tensor = |operation: &str| match operation {
            "" => String::new(),
            name => format!("{name}:0"),
        };
        let mut writer = Writer::new();
        string(&mut writer, 1, &tensor(&self.name));
        string(&mut writer, 2, &self.initializer);
        string(&mut writer, 3, &tensor(&self.snapshot));
        if let Some(slice) = &self.slice {
            writer.message(4, |writer| write_save_slice(writer, slice));
        }
        boolean(&mut writer, 5, self.is_resource);
        string(&mut writer, 6, &tensor(&self.initial_value));
        boolean(&mut writer, 7, self.trainable);
        writer.finish()
    }
}

fn write_save_slice(writer: &mut Writer, slice: &SaveSlice) {
    string(writer, 1, &slice.full_name);
    writer.packed_int64(2, &slice.full_shape);
    writer.packed_int64(3, &slice.offset).packed_int64(4, &slice.shape);
}

fn string(writer: &mut Writer, number: u32, text: &str) {
    if !text.is_empty() {
        writer.bytes(number, text);
    }
}

fn boolean(writer: &mut Writer, number: u32, value: bool) {
    if value {
        writer.uint64(number, 1);
    }
}

fn map_entry(writer: &mut Writer, number: u32, key: &str, fill: impl FnOnce(&mut Writer)) {
    writer.message(number, |entry| {
        entry.bytes(1, key).message(2, fill);
    });
}

fn write_collection(writer: &mut Writer, collection: &Collection) {
    let strings = |writer: &mut Writer, number: u32, values: &mut dyn Iterator<Item = &[u8]>| {
        writer.message(number, |list| {
            values.for_each(|value| {
                list.bytes(1, value);
            });
        });
    };
    match collection {
        Collection::Nodes(names) => strings(writer, 1, &mut names.iter().map(String::as_bytes)),
        Collection::Bytes(values) => strings(writer, 2, &mut values.iter().map(Vec::as_slice)),
        Collection::Any(values) => strings(writer, 5, &mut values.iter().map(Vec::as_slice)),
        Collection::Ints(values) => {
            writer.message(3, |list| {
                list.packed_int64(1, values);
            });
        }
        Collection::Floats(values) => {
            writer.message(4, |list| {
                list.packed_float(1, values);
            });
        }
    }
}

fn write_signature(writer: &mut Writer, signature: &Signature) {
    for (number, tensors) in [(1, &signature.inputs), (2, &signature.outputs)] {
        for (key, TensorInfo { name, dtype, shape }) in tensors {
            map_entry(writer, number, key, |info| {
                info.bytes(1, name).int64(2, dtype.code().into());
                info.message(3, |writer| write_partial_shape(shape, writer));
            });
        }
    }
    string(writer, 3, &signature.method);
}

fn encode_node(node: &Node) -> Result<Vec<u8>> {
    let mut writer = Writer::new();
    writer.bytes(1, &node.name).bytes(2, &node.op);
    for input in &node.inputs {
        match input {
            Input::Tensor(tensor) if tensor.output == 0 => writer.bytes(3, &tensor.node),
            Input::Tensor(tensor) => writer.bytes(3, tensor.to_string()),
            Input::Control(name) => writer.bytes(3, format!("^{name}")),
        };
    }
    for (key, attr) in &node.attrs {
        if *attr == Attr::Other {
            let place = format!("node {:?}, attribute {key:?}", node.name);
            return Err(Error::unsupported(place, "a function, which featvec does not write"));
        }
        map_entry(&mut writer, 5, key, |value| write_attr(value, attr));
    }
    Ok(writer.finish())
}

fn write_attr(writer: &mut Writer, attr: &Attr) {
    match attr {
        Attr::List(list) => writer.message(1, |writer| write_list(writer, list)),
        Attr::Bytes(bytes) => writer.bytes(2, bytes),
        Attr::Int(value) => writer.int64(3, *value),
        Attr::Float(value) => writer.float(4, *value),
        Attr::Bool(value) => writer.uint64(5, (*value).into()),
        Attr::Type(dtype) => writer.int64(6, dtype.code().into()),
        Attr::Shape(shape) => writer.message(7, |writer| write_partial_shape(shape, writer)),
        Attr::Tensor(tensor) => writer.bytes(8, tensor.encoded()),
        Attr::Other => writer,
    };
}

fn write_list(writer: &mut Writer, list: &AttrList) {
    list.bytes.iter().for_each(|bytes| {
        writer.bytes(2, bytes);
    });
    let bools: Vec<i64> = list.bools.iter().map(|&value| value.into()).collect();
    let types: Vec<i64> = list.types.iter().map(|dtype| dtype.code().into()).collect();
    for (number, values) in [(3, &list.ints), (5, &bools), (6, &types)] {
        if !values.is_empty() {
            writer.packed_int64(number, values);
        }
    }
    if !list.floats.is_empty() {
        writer.packed_float(4, &list.floats);
    }
    for shape in &list.shapes {
        writer.message(7, |writer| write_partial_shape(shape, writer));
    }
}
