//! SavedModels that are wrong in one way.

use std::time::{Duration, Instant};

use featvec_formats::protobuf::Writer;
use featvec_formats::{
    Attr, AttrList, Collection, DataType, Error, ErrorKind, Graph, Input, MetaGraph, Node, SaveSlice,
    SavedModel, Saver, Signature, Tensor, TensorData, TensorInfo, TensorName, TensorProto, VariableDef,
};

use crate::support::{assert_error, message, shape, small_limits};

fn parse(fill: impl FnOnce(&mut Writer)) -> Result<SavedModel, Error> {
    SavedModel::parse(&message(fill), &small_limits())
}

fn with_tags(model: &mut Writer, tags: &[&str]) {
    model.message(2, |graph| {
        graph.message(1, |info| {
            tags.iter().for_each(|tag| {
                info.bytes(4, tag);
            });
        });
    });
}

/// A model with one graph of the nodes that `fill` writes.
fn with_nodes(fill: impl FnOnce(&mut Writer)) -> Result<SavedModel, Error> {
    parse(|model| {
        model.message(2, |meta| {
            meta.message(2, fill);
        });
    })
}

fn node(graph: &mut Writer, name: &str, inputs: &[&str]) {
    graph.message(1, |node| {
        node.bytes(1, name).bytes(2, "NoOp");
        inputs.iter().for_each(|input| {
            node.bytes(3, input);
        });
    });
}

/// A model whose one node has the one attribute that `fill` writes.
fn with_attr(fill: impl FnOnce(&mut Writer)) -> Result<Attr, Error> {
    let model = with_nodes(|graph| {
        graph.message(1, |node| {
            node.bytes(1, "n").message(5, |entry| {
                entry.bytes(1, "value").message(2, fill);
            });
        });
    })?;
    Ok(model.graphs[0].graph.node("n").unwrap().attr("value").unwrap().clone())
}

#[test]
fn graphs_are_found_by_their_exact_tags() {
    let model = parse(|model| {
        with_tags(model, &[]);
        with_tags(model, &["train", "gpu"]);
    })
    .unwrap();
    let find = |tags: &[&str]| model.graph(&tags.iter().map(|&tag| tag.to_owned()).collect()).is_some();
    assert!(find(&[]) && find(&["gpu", "train"]));
    assert!(!find(&["train"]) && !find(&["gpu", "train", "x"]));
}

#[test]
fn many_graphs_with_tags_of_their_own_take_no_quadratic_time() {
    let begun = Instant::now();
    let model = parse(|model| (0..40_000).for_each(|i| with_tags(model, &[&i.to_string()]))).unwrap();
    assert_eq!(model.graphs.len(), 40_000);
    // A tenth of a second, where comparing each with each takes eight.
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[test]
fn two_graphs_with_the_same_tags_are_refused() {
    let twice = parse(|model| {
        with_tags(model, &["a", "b"]);
        with_tags(model, &["b", "a"]);
    });
    assert_error(twice, ErrorKind::Corrupt, "two graphs have the same tags {\"a\", \"b\"}");
}

#[test]
fn a_later_schema_is_refused() {
    let later = parse(|model| {
        model.uint64(1, 2);
    });
    assert_error(later, ErrorKind::Unsupported, "schema version 2");
}

#[test]
fn inputs_are_tensors_or_control_edges() {
    let model = with_nodes(|graph| {
        node(graph, "a", &[]);
        node(graph, "b", &["a", "a:3", "^a"]);
    })
    .unwrap();
    let tensor = |output| Input::Tensor(TensorName { node: "a".into(), output });
    let expected = [tensor(0), tensor(3), Input::Control("a".into())];
    assert_eq!(model.graphs[0].graph.node("b").unwrap().inputs, expected);
}

#[test]
fn a_loop_of_nodes_is_read_but_not_followed() {
    let model = with_nodes(|graph| {
        node(graph, "a", &["b"]);
        node(graph, "b", &["a", "b"]);
    });
    assert_eq!(model.unwrap().graphs[0].graph.nodes().len(), 2);
}

#[test]
fn inputs_from_nowhere_are_refused() {
    for (input, text) in [
        ("c", "node \"a\": its input \"c\" is not in the graph"),
        ("^c", "its input \"c\" is not in the graph"),
        ("", "no input can be called \"\""),
        ("a:x", "no input can be called \"a:x\""),
        ("a:-1", "no input can be called \"a:-1\""),
        ("a:99999999999", "no input can be called"),
    ] {
        assert_error(with_nodes(|graph| node(graph, "a", &[input])), ErrorKind::Corrupt, text);
    }
}

#[test]
fn two_nodes_of_one_name_are_refused() {
    let twice = with_nodes(|graph| {
        node(graph, "a", &[]);
        node(graph, "a", &[]);
    });
    assert_error(twice, ErrorKind::Corrupt, "node \"a\": a second node of this name");
}

#[test]
fn more_nodes_than_the_limit_are_refused_over_all_graphs() {
    let half = |meta: &mut Writer| {
        meta.message(2, |graph| (0..51).for_each(|i| node(graph, &format!("n{i}"), &[])));
    };
    let model = parse(|model| {
        model.message(2, half).message(2, half);
    });
    assert_error(model, ErrorKind::Limit, "101 nodes, and the limit is 100");
}

#[test]
fn a_file_beyond_the_limit_is_refused() {
    let parsed = SavedModel::parse(&vec![0; (1 << 20) + 1], &small_limits());
    assert_error(parsed, ErrorKind::Limit, "raise the limit graph_bytes");
}

/// A constant of `dtype` and `sizes` with the values that `fill` writes, decoded.
fn constant(dtype: u64, sizes: &[i64], fill: impl FnOnce(&mut Writer)) -> Result<Tensor, Error> {
    let attr = with_attr(|attr| {
        attr.message(8, |tensor| {
            tensor.uint64(1, dtype);
            shape(tensor, 2, sizes);
            fill(tensor);
        });
    })?;
    attr.as_tensor().unwrap().decode(&small_limits())
}

#[test]
fn the_last_value_of_a_constant_goes_on_to_its_end() {
    let values = |given: &'static [f32]| {
        let tensor = constant(1, &[4], |tensor| {
            tensor.packed_float(5, given);
        });
        tensor.unwrap().into_f32().unwrap()
    };
    assert_eq!(values(&[]), [0.0; 4]);
    assert_eq!(values(&[2.0]), [2.0; 4]);
    assert_eq!(values(&[1.0, 2.0]), [1.0, 2.0, 2.0, 2.0]);
}

#[test]
fn the_content_of_a_constant_must_fill_its_shape() {
    let content = |length: usize| {
        constant(1, &[2], |tensor| {
            tensor.bytes(4, vec![0; length]);
        })
    };
    assert_eq!(content(8).unwrap().into_f32().unwrap(), [0.0; 2]);
    for length in [7, 4, 12] {
        assert_error(content(length), ErrorKind::Corrupt, "bytes of content for 2 elements of float32");
    }
}

#[test]
fn a_constant_with_too_many_values_is_refused() {
    let tensor = constant(1, &[1], |tensor| {
        tensor.packed_float(5, &[1.0, 2.0]);
    });
    assert_error(tensor, ErrorKind::Corrupt, "too many values for 1 elements");
}

#[test]
fn a_few_bytes_that_stand_for_gigabytes_are_refused() {
    assert_error(constant(1, &[1 << 31], |_| {}), ErrorKind::Limit, "raise the limit tensor_bytes");
    assert_error(constant(7, &[1 << 17], |_| {}), ErrorKind::Limit, "raise the limit tensor_bytes");
}

#[test]
fn constants_of_impossible_size_are_refused() {
    for sizes in [&[-1][..], &[-5], &[i64::MAX, 3]] {
        assert_eq!(constant(1, sizes, |_| {}).unwrap_err().kind(), ErrorKind::Corrupt, "{sizes:?}");
    }
}

#[test]
fn attributes_of_every_kind_are_read() {
    assert_eq!(
        with_attr(|attr| {
            attr.bytes(2, "SAME");
        })
        .unwrap()
        .as_str(),
        Some("SAME")
    );
    assert_eq!(
        with_attr(|attr| {
            attr.int64(3, -2);
        })
        .unwrap()
        .as_int(),
        Some(-2)
    );
    assert_eq!(
        with_attr(|attr| {
            attr.float(4, 0.5);
        })
        .unwrap()
        .as_float(),
        Some(0.5)
    );
    assert_eq!(
        with_attr(|attr| {
            attr.uint64(5, 1);
        })
        .unwrap()
        .as_bool(),
        Some(true)
    );
    assert_eq!(
        with_attr(|attr| {
            attr.uint64(6, 101);
        })
        .unwrap(),
        Attr::Type(DataType::F32)
    );
    assert_eq!(with_attr(|attr| shape(attr, 7, &[-1, 3])).unwrap(), Attr::Shape(Some(vec![None, Some(3)])));
    let unknown_rank = with_attr(|attr| {
        attr.message(7, |shape| {
            shape.uint64(3, 1);
        });
    });
    assert_eq!(unknown_rank.unwrap(), Attr::Shape(None));
    let list = with_attr(|attr| {
        attr.message(1, |list| {
            list.packed_int64(3, &[1, 2]).int64(3, 3);
        });
    });
    assert_eq!(list.unwrap().as_ints(), Some(&[1, 2, 3][..]));
    assert_eq!(
        with_attr(|attr| {
            attr.bytes(10, "");
        })
        .unwrap(),
        Attr::Other
    );
}

#[test]
fn a_long_text_that_is_repeated_beyond_the_limit_is_refused() {
    // 2 KB that stand for 2 MB, where a tensor may have 1 MiB.
    let attr = |elements| {
        with_attr(|attr| {
            attr.message(8, |tensor| {
                tensor.uint64(1, 7);
                shape(tensor, 2, &[elements]);
                tensor.bytes(8, [b't'; 2048]);
            });
        })
    };
    let decode = |elements| attr(elements).unwrap().as_tensor().unwrap().decode(&small_limits());
    assert_eq!(decode(500).unwrap().shape(), [500]);
    assert_error(decode(1000), ErrorKind::Limit, "2 045 952 bytes of text, and the limit is 1 048 576");
}

#[test]
fn every_truncation_of_a_genuine_graph_is_refused_or_shorter() {
    let bytes = std::fs::read(crate::support::fixture("tf2_saved_model/saved_model.pb")).unwrap();
    let limits = featvec_formats::Limits::default();
    let whole = SavedModel::parse(&bytes, &limits).unwrap();
    assert_eq!(whole.graphs.len(), 1);
    for length in 0..bytes.len() {
        // A cut between two fields of the outermost message leaves a sound message.
        if let Ok(model) = SavedModel::parse(&bytes[..length], &limits) {
            assert!(model.graphs.is_empty(), "{length} bytes");
        }
    }
}

#[test]
fn no_flipped_bit_of_a_genuine_graph_panics() {
    let bytes = std::fs::read(crate::support::fixture("tf2_saved_model/saved_model.pb")).unwrap();
    let mut refused = 0;
    for position in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[position] ^= 1 << (position % 8);
        refused += usize::from(SavedModel::parse(&damaged, &featvec_formats::Limits::default()).is_err());
    }
    assert!(refused > bytes.len() / 20, "{refused} of {}", bytes.len());
}

/// Whatever featvec knows of a model, in one of each kind.
fn model() -> SavedModel {
    let shape = Some(vec![None, Some(0), Some(224)]);
    let list = AttrList {
        bytes: vec![b"x".to_vec(), Vec::new()],
        ints: vec![1, -1],
        floats: vec![0.5],
        bools: vec![true, false],
        types: vec![DataType::F32, DataType::String],
        shapes: vec![None, shape.clone()],
    };
    let text = Tensor::new(vec![2], TensorData::Strings(vec![b"".to_vec(), b"\xff".to_vec()])).unwrap();
    let attrs = [
        ("bytes", Attr::Bytes(b"SAME".to_vec())),
        ("int", Attr::Int(-3)),
        ("float", Attr::Float(0.25)),
        ("bool", Attr::Bool(false)),
        ("type", Attr::Type(DataType::F32)),
        ("shape", Attr::Shape(shape.clone())),
        ("unknown", Attr::Shape(None)),
        ("tensor", Attr::Tensor(TensorProto::of(&text))),
        ("splat", Attr::Tensor(TensorProto::repeat(vec![2, 3], 1.0))),
        ("list", Attr::List(Box::new(list))),
    ];
    let node = |name: &str, inputs: &[Input]| Node {
        name: name.to_string(),
        op: "Op".to_string(),
        inputs: inputs.to_vec(),
        attrs: attrs.iter().map(|(name, attr)| (name.to_string(), attr.clone())).collect(),
    };
    let tensor = |output| Input::Tensor(TensorName { node: "a".to_string(), output });
    let nodes = vec![node("a", &[]), node("b", &[tensor(0), tensor(2), Input::Control("a".to_string())])];
    let info = TensorInfo { name: "b:0".to_string(), dtype: DataType::F32, shape };
    let signature = Signature {
        inputs: [("images".to_string(), info.clone())].into(),
        outputs: [("default".to_string(), info)].into(),
        method: "predict".to_string(),
    };
    let variable = VariableDef {
        name: "v".to_string(),
        is_resource: true,
        slice: Some(SaveSlice {
            full_name: "w".to_string(),
            full_shape: vec![4],
            offset: vec![2],
            shape: vec![2],
        }),
        initializer: "v/Assign".to_string(),
        initial_value: "v/Initializer".to_string(),
        snapshot: "v/Read".to_string(),
        trainable: true,
    };
    let collections = [
        ("nodes", Collection::Nodes(vec!["a".to_string(), "b:0".to_string()])),
        ("variables", Collection::Bytes(vec![variable.encode()])),
        ("ints", Collection::Ints(vec![1, -1])),
        ("floats", Collection::Floats(vec![0.5])),
        ("any", Collection::Any(vec![vec![1, 2]])),
    ];
    let graph = MetaGraph {
        tags: ["train".to_string()].into(),
        graph: Graph::new(nodes).unwrap(),
        signatures: [("default".to_string(), signature)].into(),
        collections: collections.map(|(key, collection)| (key.to_string(), collection)).into(),
        saver: Some(Saver {
            filename: "save/Const:0".to_string(),
            save: "save/control:0".to_string(),
            restore: "save/all".to_string(),
        }),
        tensorflow_version: "1.15.0".to_string(),
    };
    SavedModel { schema_version: 1, graphs: vec![graph] }
}

#[test]
fn what_is_written_comes_back() {
    let (written, limits) = (model(), small_limits());
    let bytes = written.encode().unwrap();
    let read = SavedModel::parse(&bytes, &limits).unwrap();
    let ([a], [b]) = (&written.graphs[..], &read.graphs[..]) else { panic!("one graph each") };
    assert_eq!((read.schema_version, &b.tags, &b.saver), (1, &a.tags, &a.saver));
    assert_eq!(b.graph.nodes(), a.graph.nodes());
    assert_eq!((&b.signatures, &b.collections), (&a.signatures, &a.collections));
    assert_eq!(b.tensorflow_version, a.tensorflow_version);
    let [variable] = &b.variables(&limits).unwrap()[..] else { panic!("one variable") };
    assert_eq!(Collection::Bytes(vec![variable.encode()]), a.collections["variables"]);
    assert_eq!((&*variable.initializer, &*variable.snapshot), ("v/Assign", "v/Read"));
    // The graph alone, as a frozen one is.
    let alone = Graph::parse(&a.graph.encode().unwrap(), &limits).unwrap();
    assert_eq!(alone.nodes(), a.graph.nodes());
}

#[test]
fn what_is_not_known_is_not_written() {
    let mut node = model().graphs[0].graph.nodes()[0].clone();
    node.attrs.insert("function".to_string(), Attr::Other);
    let graph = Graph::new(vec![node]).unwrap();
    assert_error(graph.encode(), ErrorKind::Unsupported, "node \"a\", attribute \"function\"");
}

#[test]
fn graphs_of_nodes_that_do_not_fit_are_refused() {
    let [a, b] = model().graphs[0].graph.nodes().to_vec().try_into().unwrap();
    assert_error(Graph::new(vec![b]), ErrorKind::Corrupt, "its input \"a\" is not in the graph");
    assert_error(Graph::new(vec![a.clone(), a]), ErrorKind::Corrupt, "a second node of this name");
}
