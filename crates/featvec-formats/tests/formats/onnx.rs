//! ONNX models: what is written comes back, and models that are wrong in one way.

use featvec_formats::onnx::{Attribute, Graph, Initializer, Model, Node, Size, Value};
use featvec_formats::protobuf::{Message, Writer};
use featvec_formats::{Error, ErrorKind, Limits};

use crate::support::{assert_error, message, small_limits};

fn value(name: &str) -> Value {
    Value { name: name.to_string(), shape: vec![Size::Named("n".to_string()), Size::Known(2)] }
}

fn node(operator: &str, inputs: &[&str], output: &str) -> Node {
    Node {
        name: format!("make {output}"),
        operator: operator.to_string(),
        inputs: inputs.iter().map(|name| name.to_string()).collect(),
        outputs: vec![output.to_string()],
        attributes: vec![
            ("int".to_string(), Attribute::Int(-3)),
            ("ints".to_string(), Attribute::Ints(vec![0, 300, -1])),
            ("float".to_string(), Attribute::Float(0.75)),
        ],
    }
}

/// `y = x + w`.
fn model() -> Model {
    Model {
        ir_version: 7,
        opset: 13,
        producer: "test".to_string(),
        producer_version: "1".to_string(),
        graph: Graph {
            name: "g".to_string(),
            nodes: vec![node("Add", &["x", "w"], "y")],
            initializers: vec![Initializer::new("w", &[1, 2], [1.5, -0.0])],
            inputs: vec![value("x")],
            outputs: vec![value("y")],
        },
    }
}

fn parse(bytes: &[u8]) -> Result<Model, Error> {
    Model::parse(bytes, &small_limits())
}

/// A model whose graph `fill` writes.
fn with_graph(fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
    message(|model| {
        model.message(7, fill);
    })
}

#[test]
fn models_come_back() {
    assert_eq!(parse(&model().encode()).unwrap(), model());
    assert_eq!(Vec::from_iter(model().graph.initializers[0].numbers()), [1.5, 0.0]);
}

/// The numbers of fields are those of `onnx.proto`, by which others read them.
#[test]
fn fields_are_where_onnx_has_them() {
    let bytes = model().encode();
    let limits = Limits::default();
    let numbers = |mut message: Message<'_>| {
        let mut numbers = Vec::new();
        while let Some(field) = message.next_field().unwrap() {
            numbers.push(field.number);
        }
        numbers
    };
    let inside = |mut message: Message<'static>, number: u32| loop {
        let field = message.next_field().unwrap().expect("the field is there");
        if field.number == number {
            break field.message("inner").unwrap();
        }
    };
    let outer = Message::new("ModelProto", bytes.leak(), &limits);
    assert_eq!(numbers(outer.clone()), [1, 2, 3, 7, 8]); // ir_version, producer_*, graph, opset_import
    let graph = inside(outer, 7);
    assert_eq!(numbers(graph.clone()), [1, 2, 5, 11, 12]); // node, name, initializer, input, output
    let node = inside(graph.clone(), 1);
    assert_eq!(numbers(node.clone()), [1, 1, 2, 3, 4, 5, 5, 5]); // input, output, name, op_type, attribute
    assert_eq!(numbers(inside(node, 5)), [1, 3, 20]); // name, i, type
    assert_eq!(numbers(inside(graph.clone(), 5)), [1, 2, 8, 9]); // dims, data_type, name, raw_data
    let tensor = inside(inside(inside(graph, 11), 2), 1); // type, tensor_type
    assert_eq!(numbers(tensor.clone()), [1, 2]); // elem_type, shape
    assert_eq!(numbers(inside(inside(tensor, 2), 1)), [2]); // dim, dim_param
}

#[test]
fn what_differs_is_named() {
    let limits = small_limits();
    model().verify(&model().encode(), &limits).unwrap();
    let with = |change: fn(&mut Model)| {
        let mut other = model();
        change(&mut other);
        model().verify(&other.encode(), &limits)
    };
    let differs = "what is read back is not what was written";
    let sign = with(|model| model.graph.initializers[0] = Initializer::new("w", &[1, 2], [1.5, 0.0]));
    assert_error(sign, ErrorKind::Corrupt, &format!("w: {differs}"));
    let node = with(|model| model.graph.nodes[0].attributes[1].1 = Attribute::Ints(vec![0, 300]));
    assert_error(node, ErrorKind::Corrupt, &format!("make y: {differs}"));
    let nodes = with(|model| model.graph.nodes.clear());
    assert_error(nodes, ErrorKind::Corrupt, &format!("graph: {differs}"));
    assert_error(with(|model| model.opset = 12), ErrorKind::Corrupt, &format!("graph: {differs}"));
}

#[test]
fn values_are_made_once_and_before_they_are_read() {
    model().check().unwrap();
    let with = |change: fn(&mut Graph)| {
        let mut model = model();
        change(&mut model.graph);
        model.check()
    };
    let again = with(|graph| graph.nodes.push(node("Relu", &["x"], "y")));
    assert_error(again, ErrorKind::Mismatch, "y: two values of the graph have this name");
    let constant = with(|graph| graph.initializers.push(Initializer::new("x", &[], [1.0])));
    assert_error(constant, ErrorKind::Mismatch, "x: two values of the graph have this name");
    let late = with(|graph| graph.nodes.insert(0, node("Relu", &["y"], "z")));
    assert_error(late, ErrorKind::Mismatch, "y: a node of the graph reads this value before any makes it");
    let nobody = with(|graph| graph.outputs.push(value("z")));
    assert_error(nobody, ErrorKind::Mismatch, "z: no node of the graph makes this output");
}

#[test]
fn constants_fit_their_shape() {
    let constant = |sizes: &'static [i64], bytes: usize| {
        parse(&with_graph(|graph| {
            graph.message(5, |tensor| {
                tensor.packed_int64(1, sizes).int64(2, 1).bytes(8, "w").bytes(9, vec![0; bytes]);
            });
        }))
    };
    constant(&[2, 3], 24).unwrap();
    constant(&[], 4).unwrap();
    constant(&[0], 0).unwrap();
    for (sizes, bytes) in [(&[2, 3][..], 23), (&[-1], 4), (&[-2, -2], 16), (&[i64::MAX, i64::MAX], 4)] {
        assert_error(constant(sizes, bytes), ErrorKind::Corrupt, &format!("w: float32 {sizes:?} promised"));
    }
}

#[test]
fn other_types_are_refused() {
    let constant = with_graph(|graph| {
        graph.message(5, |tensor| {
            tensor.int64(2, 7).bytes(8, "w");
        });
    });
    assert_error(parse(&constant), ErrorKind::Unsupported, "w: constants of type 7 are not read");
    let attribute = with_graph(|graph| {
        graph.message(1, |node| {
            node.message(5, |attribute| {
                attribute.bytes(1, "then_branch").uint64(20, 5);
            });
        });
    });
    assert_error(parse(&attribute), ErrorKind::Unsupported, "then_branch: attributes of type 5 are not read");
    let input = with_graph(|graph| {
        graph.message(11, |value| {
            value.bytes(1, "x");
        });
    });
    assert_error(parse(&input), ErrorKind::Unsupported, "x: values of type 0 are not read");
}

#[test]
fn limits_are_kept() {
    let limited = |change: fn(&mut Limits)| {
        let mut limits = small_limits();
        change(&mut limits);
        Model::parse(&model().encode(), &limits)
    };
    limited(|_| {}).unwrap();
    assert_error(limited(|limits| limits.file_bytes = 9), ErrorKind::Limit, "raise the limit file_bytes");
    assert_error(limited(|limits| limits.tensor_bytes = 7), ErrorKind::Limit, "raise the limit tensor_bytes");
    assert_error(limited(|limits| limits.graph_nodes = 9), ErrorKind::Limit, "raise the limit graph_nodes");
    assert_error(limited(|limits| limits.name_bytes = 1), ErrorKind::Limit, "raise the limit name_bytes");
    assert_error(limited(|limits| limits.message_depth = 2), ErrorKind::Limit, "message_depth");

    // A packed number takes a byte in the file, and eight in memory.
    let many = with_graph(|graph| {
        graph.message(5, |tensor| {
            tensor.packed_int64(1, &[1; 101]);
        });
    });
    assert_error(parse(&many), ErrorKind::Limit, "101 parts of the graph");
}

#[test]
fn truncated_models_are_refused() {
    let bytes = model().encode();
    for length in 0..bytes.len() {
        // Up to the end of a field, a shorter model is a model.
        if let Ok(shorter) = parse(&bytes[..length]) {
            assert_ne!(shorter, model(), "{length} of {} bytes", bytes.len());
        }
    }
}
