//! `saved_model.pb`: graphs by their tags, with signatures and collections.

use std::collections::{BTreeMap, BTreeSet};

use crate::bundle::shard_name;
use crate::limits::check_limit;
use crate::protobuf::{Field, Message};
use crate::tensor_proto::parse_shape;
use crate::{BundleWriter, DataType, Error, ErrorKind, Limits, NamedFiles, PartialShape, Result};

mod graph;
mod writer;
pub use graph::{Attr, AttrList, Graph, Input, Node, TensorName};

/// The file of the graphs.
pub(crate) const GRAPH_FILE: &str = "saved_model.pb";
/// The prefix of the variables' checkpoint.
pub(crate) const VARIABLES: &str = "variables/variables";

/// The decoded `saved_model.pb`.
#[derive(Clone, Debug, Default)]
pub struct SavedModel {
    /// 1 in ordinary SavedModels; 0, or nothing, in Hub modules.
    pub schema_version: i64,
    /// The variants of the graph, in the file's order; no two have the same tags.
    pub graphs: Vec<MetaGraph>,
}

/// One variant of the graph, such as the one for training, and how to use it.
#[derive(Clone, Debug, Default)]
pub struct MetaGraph {
    /// What the variant is for: nothing (inference), `train`, or in ordinary SavedModels `serve`.
    pub tags: BTreeSet<String>,
    /// The operations.
    pub graph: Graph,
    /// What can be computed, by name.
    pub signatures: BTreeMap<String, Signature>,
    /// Lists of things by their purpose, such as `trainable_variables`.
    pub collections: BTreeMap<String, Collection>,
    /// How to restore and save the variables with the graph's own operations; Hub modules do not say.
    pub saver: Option<Saver>,
    /// The version of TensorFlow that wrote it; empty if not said.
    pub tensorflow_version: String,
}

/// The operations of a graph that restore its variables from a checkpoint, and save them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saver {
    /// The tensor to feed the checkpoint's prefix to.
    pub filename: String,
    /// The tensor to fetch to save.
    pub save: String,
    /// The operation to run to restore.
    pub restore: String,
}

/// Named inputs and outputs of a graph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    /// What to feed, by name.
    pub inputs: BTreeMap<String, TensorInfo>,
    /// What comes out, by name.
    pub outputs: BTreeMap<String, TensorInfo>,
    /// For which kind of request a server offers it; empty in Hub modules.
    pub method: String,
}

/// An input or output of a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// The graph's tensor, such as `hub_input/images:0`; empty for sparse and composite tensors.
    pub name: String,
    /// The elements' type.
    pub dtype: DataType,
    /// What is known of the shape.
    pub shape: PartialShape,
}

/// A collection's values, by the kind that its writer chose.
#[derive(Clone, Debug, PartialEq)]
pub enum Collection {
    /// Names of operations (`x`) or tensors (`x:0`).
    Nodes(Vec<String>),
    /// Serialized messages.
    Bytes(Vec<Vec<u8>>),
    /// Integers.
    Ints(Vec<i64>),
    /// Floats.
    Floats(Vec<f32>),
    /// Serialized `google.protobuf.Any` messages.
    Any(Vec<Vec<u8>>),
}

/// A variable, as the collections `variables` and `trainable_variables` describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VariableDef {
    /// Its name in the checkpoint and in the graph, without `:0`.
    pub name: String,
    /// Whether it is a resource variable (`VarHandleOp`) rather than a reference (`VariableV2`).
    pub is_resource: bool,
    /// The part of a partitioned variable that it is.
    pub slice: Option<SaveSlice>,
    /// The operation that gives it its first value.
    pub initializer: String,
    /// The operation whose result that first value is.
    pub initial_value: String,
    /// The operation that reads it.
    pub snapshot: String,
    /// Whether training changes it by its gradient.
    pub trainable: bool,
}

/// Which part of a partitioned variable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SaveSlice {
    /// The whole variable's name: that of the checkpoint.
    pub full_name: String,
    /// The whole variable's shape.
    pub full_shape: Vec<i64>,
    /// Where the part begins, per dimension.
    pub offset: Vec<i64>,
    /// The part's shape.
    pub shape: Vec<i64>,
}

impl SavedModel {
    /// Decodes a `saved_model.pb`.
    ///
    /// # Errors
    /// Damage; a graph with two nodes of one name or an input that no node provides; two graphs with the same tags;
    /// anything beyond `limits`.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<SavedModel> {
        check_limit("", "bytes", bytes.len() as u64, limits.graph_bytes())?;
        let mut message = Message::new("SavedModel", bytes, limits);
        let mut model = SavedModel::default();
        let mut node_count = 0;
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => {
                    model.schema_version = field.int64()?;
                    if model.schema_version > 1 {
                        let message = format!("a SavedModel of schema version {}", model.schema_version);
                        return Err(Error::unsupported("", message));
                    }
                }
                2 => model.graphs.push(MetaGraph::parse(&field, limits, &mut node_count)?),
                _ => {}
            }
        }
        let mut seen = BTreeSet::new();
        if let Some(graph) = model.graphs.iter().find(|graph| !seen.insert(&graph.tags)) {
            let message = format!("two graphs have the same tags {:?}", graph.tags);
            return Err(Error::corrupt("", message));
        }
        Ok(model)
    }

    /// The files of a SavedModel's folder: the values `variables`, then the graphs.
    ///
    /// # Errors
    /// Those of [`encode`](SavedModel::encode).
    pub fn files(&self, variables: BundleWriter) -> Result<NamedFiles> {
        let (index, shard) = variables.finish();
        Ok(vec![
            (shard_name(VARIABLES, 0, 1), shard),
            (format!("{VARIABLES}.index"), index),
            (GRAPH_FILE.to_owned(), self.encode()?),
        ])
    }

    /// The graph whose tags are exactly `tags`.
    pub fn graph(&self, tags: &BTreeSet<String>) -> Option<&MetaGraph> {
        self.graphs.iter().find(|graph| graph.tags == *tags)
    }
}

impl MetaGraph {
    fn parse(field: &Field<'_>, limits: &Limits, node_count: &mut usize) -> Result<MetaGraph> {
        let mut meta = MetaGraph::default();
        let mut nodes = Vec::new();
        let mut message = field.message("MetaGraphDef")?;
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => meta.parse_info(field.message("MetaInfoDef")?)?,
                2 => graph::parse_nodes(field.message("GraphDef")?, limits, &mut nodes, node_count)?,
                3 => meta.saver = Some(Saver::parse(field.message("SaverDef")?)?),
                4 => {
                    let (key, value) = field.map_entry()?;
                    if let Some(collection) =
                        value.map(|value| parse_collection(&value)).transpose()?.flatten()
                    {
                        meta.collections.insert(key.to_owned(), collection);
                    }
                }
                5 => {
                    let (key, value) = field.map_entry()?;
                    let within = |error: Error| error.within(&format!("signature {key:?}"));
                    let signature =
                        value.map(|value| parse_signature(&value, limits)).transpose().map_err(within)?;
                    meta.signatures.insert(key.to_owned(), signature.unwrap_or_default());
                }
                _ => {}
            }
        }
        meta.graph =
            Graph::new(nodes).map_err(|error| error.within(&format!("graph with tags {:?}", meta.tags)))?;
        Ok(meta)
    }

    fn parse_info(&mut self, mut info: Message<'_>) -> Result<()> {
        while let Some(field) = info.next_field()? {
            match field.number {
                4 => {
                    self.tags.insert(field.string()?.to_owned());
                }
                5 => self.tensorflow_version = field.string()?.to_owned(),
                _ => {}
            }
        }
        Ok(())
    }

    /// All variables, in the graph's order.
    ///
    /// # Errors
    /// Damage in the collection.
    pub fn variables(&self, limits: &Limits) -> Result<Vec<VariableDef>> {
        self.variable_collection("variables", limits)
    }

    /// The variables that training changes.
    ///
    /// # Errors
    /// Damage in the collection.
    pub fn trainable_variables(&self, limits: &Limits) -> Result<Vec<VariableDef>> {
        self.variable_collection("trainable_variables", limits)
    }

    fn variable_collection(&self, key: &str, limits: &Limits) -> Result<Vec<VariableDef>> {
        self.byte_collection(key)?
            .iter()
            .map(|bytes| VariableDef::parse(bytes, limits))
            .collect::<Result<_>>()
            .map_err(|error| error.within(&format!("collection {key:?}")))
    }

    /// The serialized messages of the collection `key`; none if there is no such collection.
    pub(crate) fn byte_collection(&self, key: &str) -> Result<&[Vec<u8>]> {
        match self.collections.get(key) {
            None => Ok(&[]),
            Some(Collection::Bytes(values)) => Ok(values),
            Some(_) => Err(Error::corrupt(format!("collection {key:?}"), "not a list of messages")),
        }
    }

    /// The names in the collection `key`, of operations or tensors; none if there is no such collection.
    ///
    /// # Errors
    /// The collection is a list of something else.
    pub fn node_collection(&self, key: &str) -> Result<&[String]> {
        match self.collections.get(key) {
            None => Ok(&[]),
            Some(Collection::Nodes(names)) => Ok(names),
            Some(_) => Err(Error::corrupt(format!("collection {key:?}"), "not a list of names")),
        }
    }

    /// The signature `name`.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] if there is none; the message lists those that there are.
    pub fn signature(&self, name: &str) -> Result<&Signature> {
        self.signatures.get(name).ok_or_else(|| {
            let names = self.signatures.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            Error::new(ErrorKind::Argument, "", format!("there is no signature {name:?}"))
                .with_hint(format!("the module has: {names}"))
        })
    }
}

fn parse_signature(field: &Field<'_>, limits: &Limits) -> Result<Signature> {
    let mut signature = Signature::default();
    let mut message = field.message("SignatureDef")?;
    while let Some(field) = message.next_field()? {
        let tensors = match field.number {
            1 => &mut signature.inputs,
            2 => &mut signature.outputs,
            3 => {
                signature.method = field.string()?.to_owned();
                continue;
            }
            _ => continue,
        };
        let (key, value) = field.map_entry()?;
        let mut info = TensorInfo { name: String::new(), dtype: DataType::Unknown(0), shape: None };
        if let Some(value) = value {
            let mut message = value.message("TensorInfo")?;
            while let Some(field) = message.next_field()? {
                match field.number {
                    1 => info.name = field.string()?.to_owned(),
                    2 => info.dtype = DataType::from_code(field.int32()?),
                    3 => info.shape = parse_shape(&field, limits)?,
                    _ => {}
                }
            }
        }
        tensors.insert(key.to_owned(), info);
    }
    Ok(signature)
}

fn parse_collection(field: &Field<'_>) -> Result<Option<Collection>> {
    let mut message = field.message("CollectionDef")?;
    let mut collection = None;
    while let Some(field) = message.next_field()? {
        let mut list = field.message("CollectionDef list")?;
        let mut values = match field.number {
            1 => Collection::Nodes(Vec::new()),
            2 => Collection::Bytes(Vec::new()),
            3 => Collection::Ints(Vec::new()),
            4 => Collection::Floats(Vec::new()),
            5 => Collection::Any(Vec::new()),
            _ => continue,
        };
        while let Some(field) = list.next_field()? {
            if field.number != 1 {
                continue;
            }
            match &mut values {
                Collection::Nodes(names) => names.push(field.string()?.to_owned()),
                Collection::Bytes(values) | Collection::Any(values) => values.push(field.bytes()?.to_vec()),
                Collection::Ints(ints) => {
                    for value in field.varints()? {
                        ints.push(value?.cast_signed());
                    }
                }
                Collection::Floats(floats) => {
                    floats.extend(field.words32()?.iter().map(|&word| f32::from_le_bytes(word)));
                }
            }
        }
        collection = Some(values);
    }
    Ok(collection)
}

impl Saver {
    fn parse(mut message: Message<'_>) -> Result<Saver> {
        let mut saver = Saver::default();
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => saver.filename = field.string()?.to_owned(),
                2 => saver.save = field.string()?.to_owned(),
                3 => saver.restore = field.string()?.to_owned(),
                _ => {}
            }
        }
        Ok(saver)
    }
}

impl VariableDef {
    fn parse(bytes: &[u8], limits: &Limits) -> Result<VariableDef> {
        let mut message = Message::new("VariableDef", bytes, limits);
        let mut variable = VariableDef::default();
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => variable.name = operation(&field)?,
                2 => variable.initializer = operation(&field)?,
                3 => variable.snapshot = operation(&field)?,
                4 => variable.slice = Some(SaveSlice::parse(field.message("SaveSliceInfoDef")?)?),
                5 => variable.is_resource = field.bool()?,
                6 => variable.initial_value = operation(&field)?,
                7 => variable.trainable = field.bool()?,
                _ => {}
            }
        }
        Ok(variable)
    }

    /// The tensor of the checkpoint that holds the variable's value, or all its parts' values.
    pub fn checkpoint_name(&self) -> &str {
        match &self.slice {
            Some(slice) => &slice.full_name,
            None => &self.name,
        }
    }
}

/// The operation whose first output the name in `field` is.
fn operation(field: &Field<'_>) -> Result<String> {
    let name = field.string()?;
    Ok(name.strip_suffix(":0").unwrap_or(name).to_owned())
}

impl SaveSlice {
    fn parse(mut message: Message<'_>) -> Result<SaveSlice> {
        let mut slice = SaveSlice::default();
        while let Some(field) = message.next_field()? {
            let sizes = match field.number {
                1 => {
                    slice.full_name = field.string()?.to_owned();
                    continue;
                }
                2 => &mut slice.full_shape,
                3 => &mut slice.offset,
                4 => &mut slice.shape,
                _ => continue,
            };
            for value in field.varints()? {
                sizes.push(value?.cast_signed());
            }
        }
        Ok(slice)
    }
}
