//! Parquet and Arrow files and streams as sources.

mod common;

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, DictionaryArray, Int64Array, LargeBinaryArray, ListArray, RecordBatch,
    StringArray, StructArray, types::Int32Type,
};
use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use arrow_ipc::{CompressionType, MetadataVersion};
use arrow_schema::{DataType, Field, Schema};
use common::{Files, items, only_error, place};
use featvec::ErrorKind;
use featvec_collections::sources::{SourceOptions, open};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

fn default() -> SourceOptions {
    SourceOptions::default()
}

/// A table of five pictures, of which the third is missing.
fn pictures() -> RecordBatch {
    let bytes: ArrayRef =
        Arc::new(BinaryArray::from(vec![Some(&b"p0"[..]), Some(b"p1"), None, Some(b"p3"), Some(b"p4")]));
    let label: ArrayRef = Arc::new(Int64Array::from(vec![Some(10), None, Some(12), Some(13), Some(14)]));
    let key: ArrayRef = Arc::new(StringArray::from(vec!["k0", "k1", "k2", "k3", "k4"]));
    RecordBatch::try_from_iter_with_nullable([
        ("label", label, true),
        ("image", bytes, true),
        ("key", key, true),
    ])
    .unwrap()
}

const EXPECTED: [&str; 5] = [
    "#0 | p0 | 10 | k0",
    "#1 | p1 | null | k1",
    "#2 | ! this row has no picture | 12 | k2",
    "#3 | p3 | 13 | k3",
    "#4 | p4 | 14 | k4",
];

fn parquet(batch: &RecordBatch, properties: WriterProperties) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn groups_of(rows: usize) -> WriterProperties {
    WriterProperties::builder().set_max_row_group_row_count(Some(rows)).build()
}

fn arrow_file(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = FileWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

fn arrow_stream(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

fn packed_file(batches: &[RecordBatch], codec: CompressionType) -> Vec<u8> {
    let options = IpcWriteOptions::default().try_with_compression(Some(codec)).unwrap();
    let mut writer = FileWriter::try_new_with_options(Vec::new(), &batches[0].schema(), options).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

/// The file that Polars writes: what says first what the columns are has no mark and no length, so only the end tells.
fn as_polars(mut file: Vec<u8>) -> Vec<u8> {
    let mark = file.windows(4).position(|window| window == [0xff; 4]).unwrap();
    let message = mark + 8;
    let length = u32::from_le_bytes(file[mark + 4..message].try_into().unwrap()) as usize;
    file.copy_within(message..message + length, mark);
    file[mark + length..message + length].fill(0);
    file
}

/// The same table in each format.
fn tables(files: &Files) -> [&'static str; 7] {
    let batch = pictures();
    files.write("a.parquet", parquet(&batch, groups_of(2)));
    let zstd = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    files.write("b.parquet", parquet(&batch, zstd));
    let halves = [batch.slice(0, 3), batch.slice(3, 2)];
    files.write("a.arrow", arrow_file(&halves));
    files.write("b.arrow", arrow_stream(&halves));
    files.write("c.arrows", common::gzip(&arrow_stream(&halves)));
    files.write("d.feather", packed_file(&halves, CompressionType::LZ4_FRAME));
    files.write("e.feather", packed_file(&halves, CompressionType::ZSTD));
    ["a.parquet", "b.parquet", "a.arrow", "b.arrow", "c.arrows", "d.feather", "e.feather"]
}

#[test]
fn rows_are_items_and_the_other_columns_come_with_them() {
    let files = Files::new();
    for name in tables(&files) {
        let mut collection = open(&[place(files.path(name))], &default()).unwrap();
        let columns: Vec<_> = collection.columns.fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(columns, ["label", "key"], "{name}");
        assert_eq!(
            files.short_items(&mut collection),
            EXPECTED.map(|line| format!("{name}{line}")),
            "{name}"
        );
    }
}

#[test]
fn rows_that_are_not_wanted_are_asked_for_once_and_passed_over() {
    let files = Files::new();
    for name in tables(&files) {
        let mut collection = open(&[place(files.path(name))], &default()).unwrap();
        let mut asked = Vec::new();
        let mut found = Vec::new();
        while let Some(item) = collection.next(&mut |key| {
            asked.push(files.short(key));
            key.ends_with("#1") || key.ends_with("#4") || !key.contains('#')
        }) {
            found.push(files.short_item(&item));
        }
        assert_eq!(found, [1, 4].map(|row: usize| format!("{name}{}", EXPECTED[row])), "{name}");
        assert_eq!(asked, [0, 1, 2, 3, 4].map(|row| format!("{name}#{row}")), "{name}");
    }
}

#[test]
fn files_whose_columns_only_the_end_tells_are_read() {
    let files = Files::new();
    let batch = pictures();
    let plain = arrow_file(&[batch.slice(0, 2), batch.slice(2, 3)]);
    files.write("a.arrow", as_polars(plain.clone()));
    assert_eq!(files.items("a.arrow", &default()), EXPECTED.map(|line| format!("a.arrow{line}")));
    files.write("b.arrow", as_polars(packed_file(std::slice::from_ref(&batch), CompressionType::ZSTD)));
    assert_eq!(files.items("b.arrow", &default()), EXPECTED.map(|line| format!("b.arrow{line}")));
    let dictionary: ArrayRef = Arc::new(vec!["a"].into_iter().collect::<DictionaryArray<Int32Type>>());
    files.write(
        "c.arrow",
        as_polars(arrow_file(&[one_row(vec![("d", dictionary), ("image", binary(b"x"))])])),
    );
    assert_eq!(files.items("c.arrow", &default()), ["c.arrow#0 | x | Dictionary(Int32, Utf8)"]);
    files.write("empty.arrow", as_polars(arrow_file(&[batch.slice(0, 0)])));
    assert!(files.items("empty.arrow", &default()).is_empty());
    // The end, damaged in ways that differ.
    let end = plain.len() - 10;
    for (at, value) in [(end, 0xff), (end + 3, 0x7f), (end + 4, 0), (end - 30, 0xff)] {
        let mut bytes = as_polars(plain.clone());
        bytes[at] = value;
        files.write("bad.arrow", &bytes);
        for line in files.items("bad.arrow", &default()) {
            assert!(!line.contains("gave up"), "{line}");
        }
    }
    files.write("cut.arrow", &as_polars(plain)[..end]);
    assert_eq!(only_error(&files, "cut.arrow", &default()).kind(), ErrorKind::Corrupt);
}

#[test]
fn files_and_streams_of_old_programs_whose_messages_have_no_marks_are_read() {
    let files = Files::new();
    let batch = pictures();
    let options = || IpcWriteOptions::try_new(8, true, MetadataVersion::V4).unwrap();
    let mut file = FileWriter::try_new_with_options(Vec::new(), &batch.schema(), options()).unwrap();
    let mut stream = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options()).unwrap();
    for part in [batch.slice(0, 2), batch.slice(2, 3)] {
        file.write(&part).unwrap();
        stream.write(&part).unwrap();
    }
    files.write("a.arrow", file.into_inner().unwrap());
    let stream = stream.into_inner().unwrap();
    assert_ne!(stream[..4], [0xff; 4]);
    files.write("b.arrow", stream);
    for name in ["a.arrow", "b.arrow"] {
        assert_eq!(files.items(name, &default()), EXPECTED.map(|line| format!("{name}{line}")));
    }
}

/// Columns of one picture each.
fn one_row(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

fn text(value: &str) -> ArrayRef {
    Arc::new(StringArray::from(vec![value]))
}

fn binary(value: &[u8]) -> ArrayRef {
    Arc::new(BinaryArray::from(vec![value]))
}

fn hugging_face(bytes: Option<&[u8]>, path: &str) -> ArrayRef {
    let fields = vec![Field::new("bytes", DataType::Binary, true), Field::new("path", DataType::Utf8, true)];
    let columns: Vec<ArrayRef> = vec![Arc::new(BinaryArray::from(vec![bytes])), text(path)];
    Arc::new(StructArray::new(fields.into(), columns, None))
}

#[test]
fn the_column_of_pictures_is_found() {
    let files = Files::new();
    let large: ArrayRef = Arc::new(LargeBinaryArray::from(vec![&b"large"[..]]));
    let cases = [
        (vec![("URL", text("a.jpg")), ("JPG", binary(b"x"))], "#0 | x | a.jpg"),
        (vec![("name", text("n")), ("anything", large)], "#0 | large | n"),
        (vec![("name", text("n")), ("path", text("a.jpg"))], "#0 | a file | n"),
        (vec![("picture", hugging_face(Some(b"hf"), "p.jpg"))], "#0 | hf | p.jpg"),
        (vec![("image", hugging_face(None, "p.jpg"))], "#0 | a file | p.jpg"),
        (vec![("other", binary(b"o")), ("content", binary(b"c"))], "#0 | c | Binary"),
    ];
    for (columns, expected) in cases {
        let batch = one_row(columns);
        files.write("a.parquet", parquet(&batch, groups_of(10)));
        assert_eq!(files.items("a.parquet", &default()), [format!("a.parquet{expected}")]);
        files.write("a.arrow", arrow_file(&[batch]));
        assert_eq!(files.items("a.arrow", &default()), [format!("a.arrow{expected}")]);
    }
}

#[test]
fn a_column_that_cannot_be_told_or_is_not_there_lists_what_is() {
    let files = Files::new();
    let number: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    files.write(
        "a.parquet",
        parquet(&one_row(vec![("x", binary(b"1")), ("y", binary(b"2")), ("n", number)]), groups_of(10)),
    );
    let error = only_error(&files, "a.parquet", &default());
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    let expected = "no column with pictures that can be told; it has \"x\" (Binary), \"y\" (Binary), \"n\" (Int64) \
                    (--image-column names it; it holds bytes, paths or URLs)";
    assert_eq!(error.to_string(), expected);
    let named = |name: &str| SourceOptions { image_column: Some(name.into()), ..default() };
    assert_eq!(files.items("a.parquet", &named("y")), ["a.parquet#0 | 2 | Binary | 1"]);
    assert!(only_error(&files, "a.parquet", &named("z")).to_string().starts_with("no column \"z\"; it has"));
    assert!(
        only_error(&files, "a.parquet", &named("n")).to_string().starts_with("column \"n\" is of type Int64")
    );
}

#[test]
fn columns_of_any_kind_come_along() {
    let files = Files::new();
    let dictionary: ArrayRef =
        Arc::new(vec!["a", "b", "a"].into_iter().collect::<DictionaryArray<Int32Type>>());
    let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
        Some(vec![Some(1), Some(2)]),
        None,
        Some(vec![]),
    ]));
    let image: ArrayRef = Arc::new(BinaryArray::from(vec![&b"0"[..], b"1", b"2"]));
    let batch = RecordBatch::try_from_iter([("d", dictionary), ("l", list), ("image", image)]).unwrap();
    files.write("a.parquet", parquet(&batch, groups_of(2)));
    files.write("a.arrow", arrow_stream(std::slice::from_ref(&batch)));
    for name in ["a.parquet", "a.arrow"] {
        let mut collection = open(&[place(files.path(name))], &default()).unwrap();
        let items = items(&mut collection);
        assert_eq!(items.len(), 3, "{name}: {items:?}");
        for (row, item) in items.iter().enumerate() {
            let columns = item.columns.as_ref().unwrap();
            assert_eq!(
                *columns,
                batch.project(&[0, 1]).unwrap().slice(row, 1).with_schema(columns.schema()).unwrap()
            );
        }
    }
}

#[test]
fn tables_with_other_columns_have_null_and_with_other_types_are_refused() {
    let files = Files::new();
    let number: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    files.write("a.parquet", parquet(&one_row(vec![("image", binary(b"a")), ("n", number)]), groups_of(1)));
    files
        .write("b.parquet", parquet(&one_row(vec![("image", binary(b"b")), ("m", text("m"))]), groups_of(1)));
    files
        .write("c.parquet", parquet(&one_row(vec![("image", binary(b"c")), ("n", text("n"))]), groups_of(1)));
    let inputs = ["a", "b", "c"].map(|name| place(files.path(&format!("{name}.parquet"))));
    let lines = files.short_items(&mut open(&inputs, &default()).unwrap());
    assert_eq!(lines[..2], ["a.parquet#0 | a | 1", "b.parquet#0 | b | null"]);
    assert!(
        lines[2].starts_with("c.parquet | ! column \"n\" is of type Utf8, and Int64 in an input before it"),
        "{lines:?}"
    );
    // Of two kinds, which are both looked at first, this cannot be meant.
    files.write("c.arrow", arrow_file(&[one_row(vec![("image", binary(b"c")), ("n", text("n"))])]));
    let error =
        open(&[place(files.path("a.parquet")), place(files.path("c.arrow"))], &default()).unwrap_err();
    assert!(error.place().ends_with("c.arrow"), "{error}");
}

#[test]
fn damage_costs_a_row_group_or_a_batch() {
    let files = Files::new();
    let image: ArrayRef = Arc::new(BinaryArray::from(vec![&b"first row"[..], b"second row", b"third row"]));
    let batch = RecordBatch::try_from_iter([("image", image)]).unwrap();
    // Pages without compression, so that their bytes can be found; a page's header is just before.
    let plain = WriterProperties::builder()
        .set_max_row_group_row_count(Some(2))
        .set_dictionary_enabled(false)
        .build();
    let mut bytes = parquet(&batch, plain);
    let at = bytes.windows(10).position(|window| window == b"second row").unwrap();
    // The length of the value.
    bytes[at - 4..at].copy_from_slice(&[0xff; 4]);
    files.write("a.parquet", bytes);
    let lines = files.items("a.parquet", &default());
    // What was to be read with it is lost, too.
    assert!(lines[0].starts_with("a.parquet#0 | ! row group 0: "), "{lines:?}");
    assert!(lines[1].starts_with("a.parquet#1 | ! row group 0: "), "{lines:?}");
    assert_eq!(lines[2..], ["a.parquet#2 | third row"]);

    let batches: Vec<_> = (0..3).map(|row| batch.slice(row, 1)).collect();
    let mut bytes = arrow_stream(&batches);
    let at = bytes.windows(10).position(|window| window == b"second row").unwrap();
    // The offsets of the values.
    let offsets = bytes[..at].windows(8).rposition(|window| window == [0, 0, 0, 0, 10, 0, 0, 0]).unwrap();
    bytes[offsets + 4] = 0xff;
    files.write("a.arrow", bytes);
    let lines = files.items("a.arrow", &default());
    assert_eq!(lines[0], "a.arrow#0 | first row");
    assert!(lines[1].starts_with("a.arrow#1 | ! batch 1: "), "{lines:?}");
    assert_eq!(lines[2], "a.arrow#2 | third row");
}

#[test]
fn a_damaged_header_of_a_batch_invents_no_rows_and_makes_no_reader_give_up() {
    let files = Files::new();
    let batch = pictures();
    let batches = [batch.slice(0, 2), batch.slice(2, 2), batch.slice(4, 1)];
    let whole = arrow_stream(&batches);
    // The second batch lies where the stream of only the first has eight bytes at its end.
    let start = arrow_stream(&batches[..1]).len() - 8;
    let length = u32::from_le_bytes(whole[start + 4..start + 8].try_into().unwrap()) as usize;
    for (at, bit) in (start..start + 8 + length).flat_map(|at| [0x10, 0x80].map(|bit| (at, bit))) {
        let mut bytes = whole.clone();
        bytes[at] ^= bit;
        files.write("a.arrow", bytes);
        let lines = files.items("a.arrow", &default());
        assert!(lines[1].starts_with("a.arrow#1 | p1") && lines.len() <= 6, "{at}: {lines:?}");
        let is_key = |line: &String| (0..5).any(|row| line.starts_with(&format!("a.arrow#{row} | ")));
        assert!(lines.iter().all(|line| is_key(line) || line.starts_with("a.arrow | ! ")), "{at}: {lines:?}");
        assert!(lines.iter().all(|line| !line.contains("gave up")), "{at}: {lines:?}");
        let is_told = |line: &String| line.starts_with("a.arrow | ! ") || line == "a.arrow#4 | p4 | 14 | k4";
        assert!(lines.iter().any(is_told), "{at}: {lines:?}");
    }
}

#[test]
fn what_is_cut_or_no_table_is_one_item() {
    let files = Files::new();
    for name in tables(&files).into_iter().filter(|name| *name != "c.arrows") {
        let whole = std::fs::read(files.path(name)).unwrap();
        files.write(name, &whole[..100]);
        let error = only_error(&files, name, &default());
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}: {error}");
    }
    for name in ["t.parquet", "t.arrow", "t.feather"] {
        files.write(name, "this is only a text of a few words");
        assert_eq!(only_error(&files, name, &default()).kind(), ErrorKind::Corrupt, "{name}");
    }
}

#[test]
fn a_cut_stream_gives_the_batches_before() {
    let files = Files::new();
    let batch = pictures();
    let bytes = arrow_stream(&[batch.slice(0, 2), batch.slice(2, 3)]);
    files.write("a.arrow", &bytes[..bytes.len() - 40]);
    let lines = files.items("a.arrow", &default());
    assert_eq!(lines[..2], ["a.arrow#0 | p0 | 10 | k0", "a.arrow#1 | p1 | null | k1"]);
    assert!(lines[2].starts_with("a.arrow | ! batch 1: the file breaks off"), "{lines:?}");
    let lost = |row| format!("a.arrow#{row} | ! batch 1: the file breaks off");
    assert!((2..5).all(|row| lines[row + 1].starts_with(&lost(row))) && lines.len() == 6, "{lines:?}");
}

#[test]
fn what_is_beyond_the_limit_is_refused_before_it_is_read() {
    let files = Files::new();
    let bytes = vec![7; 10_000];
    let image: ArrayRef = Arc::new(BinaryArray::from(vec![&b"small"[..], &bytes, b"small too"]));
    let batch = RecordBatch::try_from_iter([("image", image)]).unwrap();
    let properties =
        WriterProperties::builder().set_max_row_group_row_count(Some(1)).set_compression(Compression::SNAPPY);
    files.write("a.parquet", parquet(&batch, properties.build()));
    let batches: Vec<_> = (0..3).map(|row| batch.slice(row, 1)).collect();
    files.write("a.arrow", arrow_file(&batches));
    let options = SourceOptions { max_picture_bytes: 5000, ..default() };
    for (name, place) in [("a.parquet", "row group"), ("a.arrow", "batch")] {
        let lines = files.items(name, &options);
        assert_eq!(lines[0], format!("{name}#0 | small"));
        assert!(lines[1].starts_with(&format!("{name}#1 | ! {place} 1: a ")), "{lines:?}");
        assert!(lines[1].contains("the limit is 5000 (--max-memory raises it"), "{lines:?}");
        assert_eq!(lines[2], format!("{name}#2 | small too"));
    }
}

#[test]
fn a_batch_that_unpacks_to_more_than_the_limit_is_refused_before_it_is_unpacked() {
    let files = Files::new();
    let image: ArrayRef = Arc::new(BinaryArray::from(vec![&[0; 100_000][..]]));
    let batch = RecordBatch::try_from_iter([("image", image)]).unwrap();
    files.write("a.arrow", packed_file(&[batch], CompressionType::ZSTD));
    let options = SourceOptions { max_picture_bytes: 50_000, ..default() };
    let error = only_error(&files, "a.arrow", &options);
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
}

#[test]
fn tables_without_rows_and_without_batches_are_empty() {
    let files = Files::new();
    let schema = Arc::new(Schema::new(vec![Field::new("image", DataType::Binary, true)]));
    let empty = RecordBatch::new_empty(schema);
    files.write("a.parquet", parquet(&empty, groups_of(1)));
    files.write("a.arrow", arrow_file(std::slice::from_ref(&empty)));
    assert!(files.items("a.parquet", &default()).is_empty());
    assert!(files.items("a.arrow", &default()).is_empty());
}

#[test]
fn columns_of_one_name_have_names_of_their_own() {
    let files = Files::new();
    let schema = Schema::new(vec![
        Field::new("n", DataType::Utf8, true),
        Field::new("image", hugging_face(None, "").data_type().clone(), true),
        Field::new("image.path", DataType::Utf8, true),
        Field::new("n", DataType::Utf8, true),
    ]);
    let columns = vec![text("first"), hugging_face(Some(b"x"), "p.jpg"), text("other"), text("second")];
    let batch = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
    files.write("a.arrow", arrow_file(&[batch]));
    let mut collection = open(&[place(files.path("a.arrow"))], &default()).unwrap();
    let names: Vec<_> = collection.columns.fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["n", "image.path", "input_n", "input_image.path"]);
    assert_eq!(files.short_items(&mut collection), ["a.arrow#0 | x | first | other | second | p.jpg"]);
}

#[test]
fn rows_that_a_file_only_claims_are_refused_and_those_after_keep_their_numbers() {
    let files = Files::new();
    let rows = (0..70_001).map(|row| (row == 70_000).then_some(&b"x"[..]));
    let image: ArrayRef = Arc::new(rows.collect::<BinaryArray>());
    let batch = RecordBatch::try_from_iter([("image", image)]).unwrap();
    files.write("a.parquet", parquet(&batch, groups_of(70_000)));
    let lines = files.items("a.parquet", &default());
    assert!(lines[0].starts_with("a.parquet: row group 0 | ! 70000 rows, of at most 65536"), "{lines:?}");
    assert_eq!(lines[1..], ["a.parquet#70000 | x"]);
}

#[test]
fn a_page_of_gzip_that_unpacks_to_more_than_it_says_is_refused_before_it_does() {
    use parquet::file::properties::WriterVersion::{PARQUET_1_0, PARQUET_2_0};
    let files = Files::new();
    let image: ArrayRef = Arc::new(BinaryArray::from(vec![Some(&[0; 100_000][..]), None]));
    let batch = RecordBatch::try_from_iter_with_nullable([("image", image, true)]).unwrap();
    for version in [PARQUET_1_0, PARQUET_2_0] {
        let properties = WriterProperties::builder()
            .set_dictionary_enabled(false)
            .set_writer_version(version)
            .set_compression(Compression::GZIP(Default::default()));
        let mut bytes = parquet(&batch, properties.build());
        files.write("sound.parquet", &bytes);
        let lines = files.items("sound.parquet", &default());
        assert_eq!(lines, ["sound.parquet#0 | 100000 bytes", "sound.parquet#1 | ! this row has no picture"]);
        // After the mark comes the header: the type of the page, and what it unpacks to, in three bytes.
        assert_eq!((bytes[4], bytes[6]), (0x15, 0x15));
        bytes[7..10].copy_from_slice(&[0xd0, 0x8f, 0x01]);
        files.write("a.parquet", &bytes);
        let lines = files.items("a.parquet", &default());
        assert!(lines[0].contains("row group 0: a page of 9192 bytes that unpacks to more"), "{lines:?}");
    }
}

fn packed_parquet(batch: &RecordBatch, codec: Compression) -> Vec<u8> {
    parquet(batch, WriterProperties::builder().set_dictionary_enabled(false).set_compression(codec).build())
}

#[test]
fn pages_that_lz4_packed_are_read_but_not_its_frames_whose_length_nobody_states() {
    let files = Files::new();
    for codec in [Compression::LZ4, Compression::LZ4_RAW] {
        files.write("a.parquet", packed_parquet(&pictures(), codec));
        assert_eq!(files.items("a.parquet", &default()), EXPECTED.map(|line| format!("a.parquet{line}")));
    }
    let batch = one_row(vec![("image", binary(&[0; 100_000]))]);
    let mut bytes = packed_parquet(&batch, Compression::LZ4);
    // The body of the page begins with the number of bytes that it unpacks to.
    let at = bytes.windows(4).position(|window| window == 100_004u32.to_be_bytes()).unwrap();
    for mark in [0x184d_2204u32, 0x184c_2102] {
        bytes[at..at + 4].copy_from_slice(&mark.to_le_bytes());
        files.write("b.parquet", &bytes);
        let error = only_error(&files, "b.parquet", &default());
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
}

#[test]
fn a_file_that_brotli_or_lzo_packed_is_refused_once() {
    let files = Files::new();
    let mut bytes = packed_parquet(&pictures(), Compression::SNAPPY);
    // The codec comes after the name of the column, as a number doubled.
    let name = b"\x19\x18\x05image\x15";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap() + name.len();
    assert_eq!(bytes[at], 2);
    for (codec, name) in [(8, "brotli"), (6, "LZO")] {
        bytes[at] = codec;
        files.write("a.parquet", &bytes);
        let error = only_error(&files, "a.parquet", &default());
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        let expected = format!("packed by {name}, which is not read (write the file with zstd or snappy)");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn paths_in_a_dictionary_are_found() {
    let files = Files::new();
    let paths = [Some("http://h/b.jpg"), None, Some("a.jpg"), Some("http://h/b.jpg")];
    let dictionary: ArrayRef = Arc::new(paths.into_iter().collect::<DictionaryArray<Int32Type>>());
    let batch = RecordBatch::try_from_iter_with_nullable([("path", dictionary, true)]).unwrap();
    files.write("a.parquet", parquet(&batch, groups_of(2)));
    files.write("a.arrow", arrow_file(std::slice::from_ref(&batch)));
    for name in ["a.parquet", "a.arrow"] {
        let lines = files.items(name, &default());
        for (row, line) in lines.iter().enumerate() {
            let expected = match paths[row] {
                None => "! this row has no picture",
                Some("a.jpg") => "a file",
                Some(_) => "! a URL, and nothing here opens URLs",
            };
            assert!(line.starts_with(&format!("{name}#{row} | {expected}")), "{lines:?}");
        }
        assert_eq!(lines.len(), 4);
    }
}

#[test]
fn feather_of_version_1_is_told_from_damage() {
    let files = Files::new();
    for name in ["a.feather", "no_name"] {
        files.write(name, [&b"FEA1"[..], &[0; 100], b"FEA1"].concat());
        let error = only_error(&files, name, &default());
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let expected = "Feather of version 1, which is not read (write it with version 2, or as Parquet)";
        assert_eq!(error.to_string(), expected);
    }
}
