//! TFRecord files as sources.

mod common;

use common::{Files, gzip, only_error, place};
use featvec::ErrorKind;
use featvec_collections::sources::{SourceOptions, open};
use featvec_formats::protobuf::Writer;
use featvec_formats::tfrecord::RecordWriter;

/// An example as TF-Slim writes it, with its picture in the feature `image`.
fn example(image: &str, bytes: &[u8], label: i64, text: &[u8]) -> Vec<u8> {
    let mut example = Writer::new();
    example.message(1, |features| {
        let mut feature = |name: &str, list: u32, fill: &dyn Fn(&mut Writer)| {
            features.message(1, |entry| {
                entry.bytes(1, name).message(2, |feature| _ = feature.message(list, fill));
            });
        };
        feature(image, 1, &|list| _ = list.bytes(1, bytes));
        feature("image/class/label", 3, &|list| _ = list.packed_int64(1, &[label]));
        feature("image/class/text", 1, &|list| _ = list.bytes(1, text));
        feature("image/score", 2, &|list| _ = list.packed_float(1, &[0.5]));
        feature("image/object/bbox/xmin", 2, &|list| _ = list.packed_float(1, &[0.25, 0.5]));
        feature("image/raw", 1, &|list| _ = list.bytes(1, b"\xff\xfe"));
    });
    example.finish()
}

fn file(records: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = RecordWriter::new(Vec::new());
    records.iter().for_each(|record| writer.write(record).unwrap());
    std::mem::take(writer.get_mut())
}

fn slim() -> Vec<u8> {
    let examples = [(b"p0", 1, b"cat"), (b"p1", 2, b"dog"), (b"p2", 3, b"\xff\xff\xff")];
    let records: Vec<_> =
        examples.iter().map(|(bytes, label, text)| example("image/encoded", *bytes, *label, *text)).collect();
    file(&records)
}

fn default() -> SourceOptions {
    SourceOptions::default()
}

const EXPECTED: [&str; 3] =
    ["#0 | p0 | 1 | cat | 0.5", "#1 | p1 | 2 | dog | 0.5", "#2 | p2 | 3 | null | 0.5"];

#[test]
fn records_carry_their_other_features() {
    let files = Files::new();
    let plain = slim();
    files.write("a.tfrecord", &plain);
    files.write("train-00000-of-00001", &plain);
    files.write("b.tfrecord.gz", gzip(&plain));
    files.write("c", gzip(&plain));
    for name in ["a.tfrecord", "train-00000-of-00001", "b.tfrecord.gz", "c"] {
        let mut collection = open(&[place(files.path(name))], &default()).unwrap();
        let columns: Vec<_> = collection.columns.fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(columns, ["image/class/label", "image/class/text", "image/score"]);
        assert_eq!(files.short_items(&mut collection), EXPECTED.map(|line| format!("{name}{line}")));
    }
}

#[test]
fn records_that_are_not_wanted_are_passed_over() {
    let files = Files::new();
    let mut bytes = slim();
    // Damage in the first record's bytes is not even noticed then.
    bytes[20] ^= 1;
    files.write("a.tfrecord", &bytes);
    let mut collection = open(&[place(files.path("a.tfrecord"))], &default()).unwrap();
    let item = collection.next(&mut |key| key.ends_with("#2")).unwrap();
    assert!(files.short_item(&item).starts_with("a.tfrecord#2 | p2"));
    assert!(collection.next(&mut |_| true).is_none());
}

#[test]
fn damaged_bytes_cost_a_record_and_a_damaged_length_the_rest() {
    let files = Files::new();
    let whole = slim();
    let record = whole.len() / 3;
    let mut bytes = whole.clone();
    bytes[record + 20] ^= 1;
    files.write("a.tfrecord", &bytes);
    let lines = files.items("a.tfrecord", &default());
    assert!(lines[1].starts_with("a.tfrecord#1 | ! record at byte"), "{lines:?}");
    assert!(lines[2].starts_with("a.tfrecord#2 | p2"), "{lines:?}");

    let mut bytes = whole.clone();
    bytes[record] ^= 1;
    files.write("b.tfrecord", &bytes);
    let lines = files.items("b.tfrecord", &default());
    assert!(lines[0].starts_with("b.tfrecord#0 | p0"), "{lines:?}");
    assert!(lines[1].starts_with("b.tfrecord | ! record at byte"), "{lines:?}");
    assert_eq!(lines.len(), 2);

    files.write("c.tfrecord", &whole[..whole.len() - 5]);
    let lines = files.items("c.tfrecord", &default());
    assert!(lines[2].starts_with("c.tfrecord | ! record at byte"), "{lines:?}");
}

#[test]
fn the_feature_with_the_picture_is_found_or_named() {
    let files = Files::new();
    files.write("a.tfrecord", file(&[example("image", b"x", 1, b"t")]));
    assert_eq!(files.items("a.tfrecord", &default()), ["a.tfrecord#0 | x | 1 | t | 0.5"]);
    files.write("b.tfrecord", file(&[example("photo", b"x", 1, b"t")]));
    let error = only_error(&files, "b.tfrecord", &default());
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert!(
        error
            .to_string()
            .starts_with("no feature with a picture that can be told; it has \"image/class/label\""),
        "{error}"
    );
    let options = SourceOptions { image_column: Some("photo".into()), ..default() };
    assert_eq!(files.items("b.tfrecord", &options), ["b.tfrecord#0 | x | 1 | t | 0.5"]);
}

#[test]
fn what_is_no_example_or_no_file_of_records_is_an_item() {
    let files = Files::new();
    files.write("a.tfrecord", file(&[b"\xff\xff\xff".to_vec(), example("image", b"x", 1, b"t")]));
    let lines = files.items("a.tfrecord", &default());
    assert!(lines[0].starts_with("a.tfrecord#0 | ! Example"), "{lines:?}");
    assert!(lines[1].starts_with("a.tfrecord#1 | x"), "{lines:?}");
    files.write("b.tfrecord", "this is only a text");
    let error = only_error(&files, "b.tfrecord", &default());
    assert!(error.to_string().contains("is it a TFRecord file?"), "{error}");
}

#[test]
fn a_record_beyond_the_limit_is_passed_over() {
    let files = Files::new();
    files.write("a.tfrecord", file(&[vec![0; 20 << 20], example("image", b"x", 1, b"t")]));
    let options = SourceOptions { max_picture_bytes: 1000, ..default() };
    let lines = files.items("a.tfrecord", &options);
    assert!(lines[0].starts_with("a.tfrecord#0 | ! more than"), "{lines:?}");
    assert!(lines[0].ends_with("(--max-memory raises it)"), "{lines:?}");
    assert!(lines[1].starts_with("a.tfrecord#1 | x"), "{lines:?}");
}

#[test]
fn a_file_without_a_record_is_an_item() {
    let files = Files::new();
    files.write("a.tfrecord", "");
    files.write("b.tfrecord.gz", gzip(b""));
    for name in ["a.tfrecord", "b.tfrecord.gz"] {
        let error = only_error(&files, name, &default());
        assert_eq!(error.to_string(), "no records (fetch or copy it again)", "{name}");
    }
}

#[test]
fn a_damaged_archive_before_others_is_an_item_and_stops_nothing() {
    let files = Files::new();
    let whole = gzip(&slim());
    let mut damaged = whole.clone();
    // The head of the first block.
    damaged[10] = 0xff;
    files.write("cut.tfrecord.gz", &whole[..100]);
    files.write("damaged.tfrecord.gz", damaged);
    files.write("sound.tfrecord.gz", &whole);
    let inputs = ["cut", "damaged", "sound"].map(|name| place(files.path(&format!("{name}.tfrecord.gz"))));
    let lines = files.short_items(&mut open(&inputs, &default()).unwrap());
    assert!(lines[0].starts_with("cut.tfrecord.gz | ! "), "{lines:?}");
    assert!(lines[1].starts_with("damaged.tfrecord.gz | ! it cannot be unpacked: "), "{lines:?}");
    for name in ["cut.tfrecord.gz", "damaged.tfrecord.gz"] {
        assert_eq!(only_error(&files, name, &default()).kind(), ErrorKind::Corrupt, "{name}");
    }
    assert_eq!(lines[2..], EXPECTED.map(|line| format!("sound.tfrecord.gz{line}")));
}
