//! SavedModels of TensorFlow 1 with the operations that restore them, and graphs with constants.

use std::collections::{BTreeMap, BTreeSet};

use featvec_formats::{Attr, AttrList, DataType, Graph, SavedModel, Saver, Signature};

use super::GraphOptions;
use super::tensorflow::{Form, Nodes, network_graph};
use crate::Result;
use crate::module::{DEFAULT, IMAGES};
use crate::variables::Variables;

/// The signature that TensorFlow Serving takes where a request names none.
const SERVING_DEFAULT: &str = "serving_default";
/// The kind of request that a server answers with the outputs as they are.
const PREDICT: &str = "tensorflow/serving/predict";
/// The tag of graphs to serve.
pub(super) const SERVE: &str = "serve";

pub(super) fn saved_model(variables: &Variables, options: &GraphOptions) -> Result<SavedModel> {
    let mut network = network_graph(variables, options, Form::Inference)?;
    let names: Vec<&str> = network.variables.iter().map(|variable| variable.name.as_str()).collect();
    let (nodes, saver) = saver(&names);
    network.nodes.extend(nodes);
    let default = network.logits.as_ref().map_or(&network.features, |[logits, _]| logits);
    let mut outputs = BTreeMap::from([(DEFAULT.to_string(), default.clone())]);
    if let Some([_, probabilities]) = &network.logits {
        outputs.insert("probabilities".to_string(), probabilities.clone());
    }
    let inputs = BTreeMap::from([(IMAGES.to_string(), network.images.clone())]);
    let serving = Signature { inputs, outputs, method: String::new() };
    let mut graph = network.into_meta_graph(Form::Inference)?;
    graph.signatures.insert(SERVING_DEFAULT.to_string(), serving);
    graph.signatures.values_mut().for_each(|signature| signature.method = PREDICT.to_string());
    graph.tags = BTreeSet::from([SERVE.to_string()]);
    graph.saver = Some(saver);
    Ok(SavedModel { schema_version: 1, graphs: vec![graph] })
}

pub(super) fn frozen_graph(variables: &Variables, options: &GraphOptions) -> Result<Vec<u8>> {
    Graph::new(network_graph(variables, options, Form::Frozen)?.nodes)?.encode()
}

/// The operations that restore and save the variables `names`.
fn saver(names: &[&str]) -> (Vec<featvec_formats::Node>, Saver) {
    let mut nodes = Nodes::default();
    let string = ("dtype", Attr::Type(DataType::String));
    let types = || {
        let types = vec![DataType::F32; names.len()];
        ("dtypes", Attr::List(Box::new(AttrList { types, ..AttrList::default() })))
    };
    let default = nodes.texts("save/filename/input", &[], &["model"]);
    let scalar = ("shape", Attr::Shape(Some(Vec::new())));
    let filename = nodes.add("save/filename", "PlaceholderWithDefault", &[&default], [string, scalar]);
    let [save_names, restore_names] = ["Save", "Restore"].map(|operation| {
        let at = format!("save/{operation}V2");
        let whole = vec![""; names.len()];
        [
            nodes.texts(&format!("{at}/tensor_names"), &[names.len()], names),
            nodes.texts(&format!("{at}/shape_and_slices"), &[names.len()], &whole),
        ]
    });

    let dtype = || [("dtype", Attr::Type(DataType::F32))];
    let read = |(i, name): (usize, &&str)| {
        nodes.add(&format!("save/ReadVariableOp_{i}"), "ReadVariableOp", &[name], dtype())
    };
    let values: Vec<String> = names.iter().enumerate().map(read).collect();
    let mut inputs = vec![&*filename, &*save_names[0], &*save_names[1]];
    inputs.extend(values.iter().map(String::as_str));
    let save = nodes.add("save/SaveV2", "SaveV2", &inputs, [types()]);
    let string = ("T", Attr::Type(DataType::String));
    let saved = nodes.add("save/control_dependency", "Identity", &[&filename, &format!("^{save}")], [string]);

    let inputs = [&*filename, &*restore_names[0], &*restore_names[1]];
    let restored = nodes.add("save/RestoreV2", "RestoreV2", &inputs, [types()]);
    let assign = |(i, name): (usize, &&str)| {
        let value = format!("{restored}:{i}");
        let name =
            nodes.add(&format!("save/AssignVariableOp_{i}"), "AssignVariableOp", &[name, &value], dtype());
        format!("^{name}")
    };
    let assigned: Vec<String> = names.iter().enumerate().map(assign).collect();
    let assigned: Vec<&str> = assigned.iter().map(String::as_str).collect();
    let restore = nodes.add("save/restore_all", "NoOp", &assigned, []);
    let saver = Saver { filename: format!("{filename}:0"), save: format!("{saved}:0"), restore };
    (nodes.into_vec(), saver)
}
