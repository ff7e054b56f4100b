//! Caffemodels in both forms, and wrong in one way.

use featvec_formats::protobuf::Writer;
use featvec_formats::{Caffemodel, Error, ErrorKind, Tensor, TensorData};

use crate::support::{assert_error, message, small_limits};

/// A model of one layer `l` with one blob.
fn with_blob(fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
    message(|net| {
        net.bytes(1, "net").message(100, |layer| {
            layer.bytes(1, "l").bytes(2, "Convolution").message(7, fill);
        });
    })
}

fn parse(bytes: &[u8]) -> Result<Caffemodel, Error> {
    Caffemodel::parse(bytes, &small_limits())
}

fn blob(fill: impl FnOnce(&mut Writer)) -> Result<Tensor, Error> {
    parse(&with_blob(fill)).map(|model| model.layers[0].blobs[0].clone())
}

fn sizes(writer: &mut Writer, sizes: &[i64]) {
    writer.message(7, |shape| {
        shape.packed_int64(1, sizes);
    });
}

#[test]
fn a_layer_has_name_kind_and_blobs() {
    let model = parse(&with_blob(|blob| {
        sizes(blob, &[2, 1]);
        blob.packed_float(5, &[1.0, 2.0]);
    }))
    .unwrap();
    assert_eq!((&*model.name, &*model.layers[0].kind), ("net", "Convolution"));
    assert_eq!(model.layer("l").unwrap().blobs[0].shape(), [2, 1]);
    assert_eq!(model.layer("l").unwrap().blobs[0].as_f32(), Some(&[1.0, 2.0][..]));
    assert!(model.layer("m").is_none());
}

#[test]
fn old_layers_with_old_blobs_are_read() {
    let bytes = message(|net| {
        net.message(2, |layer| {
            layer.bytes(2, "data").bytes(3, "l").bytes(4, "l").uint64(5, 4).message(6, |blob| {
                blob.uint64(1, 1).uint64(2, 1).uint64(3, 1).uint64(4, 2);
                blob.float(5, 1.0).float(5, 2.0);
            });
        });
    });
    let model = parse(&bytes).unwrap();
    assert_eq!((&*model.layers[0].name, &*model.layers[0].kind), ("l", "Convolution"));
    assert_eq!(model.layers[0].blobs[0].shape(), [1, 1, 1, 2]);
    assert_eq!(model.layers[0].blobs[0].as_f32(), Some(&[1.0, 2.0][..]));
}

#[test]
fn doubles_are_read() {
    let tensor = blob(|blob| {
        sizes(blob, &[2]);
        blob.packed_double(8, &[0.5, 1.5]);
    });
    assert_eq!(tensor.unwrap().data(), &TensorData::F64(vec![0.5, 1.5]));
}

#[test]
fn numbers_that_do_not_fit_the_shape_are_refused() {
    let given = |promised: &'static [i64], count: usize| {
        blob(|blob| {
            sizes(blob, promised);
            blob.packed_float(5, &vec![0.0; count]);
        })
    };
    assert_error(given(&[64, 3, 7, 7], 2), ErrorKind::Corrupt, "layer \"l\", blob 0: 9 408 numbers promised");
    assert_error(given(&[1], 2), ErrorKind::Corrupt, "1 numbers promised by [1], 2 found");
    assert_error(given(&[-1], 1), ErrorKind::Corrupt, "impossible sizes [-1]");
    assert_error(given(&[i64::MAX, i64::MAX], 1), ErrorKind::Corrupt, "impossible sizes");
    assert_error(given(&[1 << 40], 1), ErrorKind::Limit, "raise the limit tensor_bytes");
    assert_error(given(&[1; 100], 1), ErrorKind::Corrupt, "more dimensions than a blob can have");
}

#[test]
fn a_blob_with_both_floats_and_doubles_is_refused() {
    let both = blob(|blob| {
        sizes(blob, &[1]);
        blob.packed_float(5, &[0.0]).packed_double(8, &[0.0]);
    });
    assert_error(both, ErrorKind::Corrupt, "both floats and doubles");
}

#[test]
fn a_network_without_layers_is_refused() {
    let empty = message(|net| {
        net.bytes(1, "net");
    });
    assert_error(parse(&empty), ErrorKind::Corrupt, "a network without layers");
}

#[test]
fn more_layers_and_blobs_than_the_limits_are_refused() {
    let layers = message(|net| {
        (0..101).for_each(|_| {
            net.message(100, |_| {});
        });
    });
    assert_error(parse(&layers), ErrorKind::Limit, "101 layers, and the limit is 100");
    let blobs = message(|net| {
        net.message(100, |layer| {
            (0..101).for_each(|_| {
                layer.message(7, |blob| sizes(blob, &[0]));
            });
        });
    });
    assert_error(parse(&blobs), ErrorKind::Limit, "101 blobs, and the limit is 100");
}

#[test]
fn every_truncation_is_refused() {
    let bytes = with_blob(|blob| {
        sizes(blob, &[2]);
        blob.packed_float(5, &[1.0, 2.0]);
    });
    for length in 0..bytes.len() {
        assert_eq!(parse(&bytes[..length]).unwrap_err().kind(), ErrorKind::Corrupt, "{length} bytes");
    }
}
