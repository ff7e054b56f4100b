//! Hub modules that are wrong in one way.

use featvec_formats::protobuf::Writer;
use featvec_formats::{BundleWriter, Error, ErrorKind, HubModule};

use crate::support::{assert_error, floats, message, small_limits};

const FORMAT_3: [u8; 2] = [8, 3];

/// A `saved_model.pb` with one graph.
fn graph(fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
    message(|model| {
        model.message(2, fill);
    })
}

/// Opens a folder of `files`.
fn open(files: &[(&str, &[u8])]) -> Result<HubModule, Error> {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    HubModule::open(folder.path(), &small_limits())
}

/// A collection of messages.
fn collection(graph: &mut Writer, key: &str, values: &[Vec<u8>]) {
    graph.message(4, |entry| {
        entry.bytes(1, key).message(2, |collection| {
            collection.message(2, |list| {
                values.iter().for_each(|value| {
                    list.bytes(1, value);
                });
            });
        });
    });
}

fn image_module_info(height: i64, width: i64) -> Vec<u8> {
    message(|attachment| {
        attachment.bytes(1, "image_module_info").message(2, |info| {
            info.message(1, |size| {
                size.int64(1, height).int64(2, width);
            });
        });
    })
}

#[test]
fn a_module_without_variables_needs_no_checkpoint() {
    let module = open(&[("tfhub_module.pb", &FORMAT_3), ("saved_model.pb", &graph(|_| {}))]).unwrap();
    assert!(module.checkpoint().is_none());
    assert!(module.graphs()[0].image_module_info(&small_limits()).unwrap().is_none());
}

#[test]
fn assets_are_listed() {
    let files: [(&str, &[u8]); 4] = [
        ("tfhub_module.pb", &FORMAT_3),
        ("saved_model.pb", &graph(|_| {})),
        ("assets/b.txt", b""),
        ("assets/a.txt", b""),
    ];
    assert_eq!(open(&files).unwrap().assets(), ["a.txt", "b.txt"]);
}

#[test]
fn other_formats_and_unknown_features_are_refused() {
    for (bytes, text) in [
        (&[][..], "tfhub_module.pb: a module of format 0"),
        (&[8, 2], "a module of format 2"),
        (&[8, 3, 0x12, 1, b'x'], "the module requires the feature \"x\""),
    ] {
        let opened = open(&[("tfhub_module.pb", bytes), ("saved_model.pb", &graph(|_| {}))]);
        assert_error(opened, ErrorKind::Unsupported, text);
    }
    let damaged = open(&[("tfhub_module.pb", &[8]), ("saved_model.pb", &graph(|_| {}))]);
    assert_error(damaged, ErrorKind::Corrupt, "ModuleDef field 1");
}

#[test]
fn folders_without_a_module_are_refused() {
    assert_error(open(&[]), ErrorKind::Unsupported, "no module here");
    assert_error(
        open(&[("saved_model.pb", &graph(|_| {}))]),
        ErrorKind::Unsupported,
        "without tfhub_module.pb",
    );
    assert_error(
        open(&[("tfhub_module.pb", &FORMAT_3)]),
        ErrorKind::Corrupt,
        "saved_model.pb: the module has no graph",
    );
    let empty = open(&[("tfhub_module.pb", &FORMAT_3), ("saved_model.pb", &[])]);
    assert_error(empty, ErrorKind::Corrupt, "the module has no graph");
}

#[test]
fn variables_without_a_checkpoint_are_refused() {
    let variable = message(|variable| {
        variable.bytes(1, "w:0");
    });
    let graph = graph(|graph| collection(graph, "variables", &[variable]));
    let opened = open(&[("tfhub_module.pb", &FORMAT_3), ("saved_model.pb", &graph)]);
    assert_error(opened, ErrorKind::Corrupt, "there is no checkpoint for variable \"w\" and the others");
}

#[test]
fn a_damaged_checkpoint_is_named_with_its_folder() {
    let mut writer = BundleWriter::new();
    writer.add("w", &floats(&[2], &[1.0, 2.0])).unwrap();
    let (index, shard) = writer.finish();
    let open = |shard: &[u8]| {
        open(&[
            ("tfhub_module.pb", &FORMAT_3),
            ("saved_model.pb", &graph(|_| {})),
            ("variables/variables.index", &index),
            ("variables/variables.data-00000-of-00001", shard),
        ])
    };
    assert_eq!(open(&shard).unwrap().checkpoint().unwrap().entries().count(), 1);
    let text = "variables.index: tensor \"w\": 8 bytes promised, 7 left";
    assert_error(open(&shard[..7]), ErrorKind::Corrupt, text);
}

#[test]
fn the_last_of_two_attachments_counts() {
    let attached = [image_module_info(1, 2), image_module_info(192, 160)];
    let graph = graph(|graph| collection(graph, "hub_module_attachments", &attached));
    let module = open(&[("tfhub_module.pb", &FORMAT_3), ("saved_model.pb", &graph)]).unwrap();
    let info = module.graphs()[0].image_module_info(&small_limits()).unwrap().unwrap();
    assert_eq!((info.height, info.width), (192, 160));
}

#[test]
fn an_attached_size_has_the_bytes_that_the_exporter_writes() {
    let bytes = b"\x0a\x11image_module_info\x12\x08\x0a\x06\x08\xe0\x01\x10\xe0\x01";
    assert_eq!(image_module_info(224, 224), bytes);
}

#[test]
fn a_negative_attached_size_is_refused() {
    let graph = graph(|graph| collection(graph, "hub_module_attachments", &[image_module_info(-1, 224)]));
    let module = open(&[("tfhub_module.pb", &FORMAT_3), ("saved_model.pb", &graph)]).unwrap();
    let info = module.graphs()[0].image_module_info(&small_limits());
    assert_error(info, ErrorKind::Corrupt, "a size of -1 pixels");
}

#[test]
fn an_unknown_signature_lists_those_that_there_are() {
    let graph = graph(|graph| {
        ["default", "image_feature_vector"].iter().for_each(|name| {
            graph.message(5, |entry| {
                entry.bytes(1, name);
            });
        });
    });
    let module = open(&[("tfhub_module.pb", &FORMAT_3), ("saved_model.pb", &graph)]).unwrap();
    let signature = module.graphs()[0].signature("x").cloned();
    assert_error(signature, ErrorKind::Argument, "\"x\" (the module has: default, image_feature_vector)");
}
