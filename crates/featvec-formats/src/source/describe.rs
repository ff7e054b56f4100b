//! What a file looks like, by its beginning; names lie.

use crate::varint;

/// Where in a file which bytes are, and what the file is then. What is more special comes first.
const KNOWN: &[(usize, &[u8], &str)] = &[
    (0, b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"GIF8", "a GIF picture"),
    (0, b"BM", "a BMP picture"),
    (8, b"WEBP", "a WebP picture"),
    (0, b"II*\0", "a TIFF picture"),
    (0, b"MM\0*", "a TIFF picture"),
    (0, b"\x89FVM\r\n\x1a\n", "a compact module of featvec"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, perhaps of Keras"),
    (0, b"PK\x03\x04", "a zip file, as PyTorch, Keras and numpy write them"),
    (0, b"\x93NUMPY", "an array of numpy"),
    (0, b"%PDF", "a PDF document"),
    (0, b"\x1f\x8b", "a gzip file"),
    (0, b"BZh", "a bzip2 file"),
    (0, b"\xfd7zXZ", "an xz file"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd file"),
    (257, b"ustar", "a tar archive"),
    (0, b"GGUF", "a GGUF file"),
    (4, b"TFL3", "a TensorFlow Lite model"),
    (8, b"{\"", "a safetensors file"),
];

/// What a file is that begins with `head`, as the end of a sentence like "this is ..."; `None` if it cannot be told.
/// A guess for the sake of a message, from the first 512 bytes or more; all of a short file.
///
/// ```
/// use featvec_formats::source;
///
/// assert_eq!(source::describe(b"GIF89a"), Some("a GIF picture"));
/// assert_eq!(source::describe(&[0, 1, 2]), None);
/// ```
pub fn describe(head: &[u8]) -> Option<&'static str> {
    if head.is_empty() {
        return Some("an empty file");
    }
    let known =
        KNOWN.iter().find(|(at, magic, _)| head.get(*at..).is_some_and(|rest| rest.starts_with(magic)));
    if let Some((_, _, what)) = known {
        return Some(what);
    }
    match head {
        [0x80, 2..=5, ..] => Some("a Python pickle, perhaps of PyTorch"),
        _ if is_html(head) => Some("a web page, not the file that it may have been the link to"),
        _ => describe_message(head)
            .or_else(|| is_text(head.get(..512).unwrap_or(head)).then_some("a text file")),
    }
}

fn describe_message(head: &[u8]) -> Option<&'static str> {
    match &peek(head)[..] {
        [(1, Peeked::Number(1..=30)), (2 | 7, Peeked::Bytes(producer)), ..] if is_text(producer) => {
            Some("an ONNX model")
        }
        [(1, Peeked::Number(_)), (2, Peeked::Bytes(_)), ..] => {
            Some("a saved_model.pb alone, without its folder")
        }
        [(2, Peeked::Bytes(graph)), ..] if matches!(peek(graph)[..], [(1, Peeked::Bytes(_)), ..]) => {
            Some("a saved_model.pb alone, without its folder")
        }
        [(1, Peeked::Bytes(node)), ..] if is_node(node) => Some("a frozen TensorFlow graph"),
        _ => None,
    }
}

fn is_html(head: &[u8]) -> bool {
    let start = head.trim_ascii_start();
    [&b"<!doctype"[..], b"<html"]
        .iter()
        .any(|tag| start.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag)))
}

fn is_node(bytes: &[u8]) -> bool {
    matches!(&peek(bytes)[..], [(1, Peeked::Bytes(name)), (2, Peeked::Bytes(op)), ..] if is_text(name) && is_text(op))
}

/// Whether `bytes` begin as a caffemodel does: perhaps with a name, then with a layer that begins with a text.
pub(crate) fn is_caffemodel(bytes: &[u8]) -> bool {
    let begins_with_text = |layer: &[u8], numbers: std::ops::RangeInclusive<u64>| matches!(&peek(layer)[..], [(number, Peeked::Bytes(text)), ..] if numbers.contains(number) && is_text(text));
    for (number, value) in peek(bytes) {
        match (number, value) {
            (1, Peeked::Bytes(name)) if is_text(name) => {}
            (2, Peeked::Bytes(layer)) => return begins_with_text(layer, 2..=4),
            (100, Peeked::Bytes(layer)) => return begins_with_text(layer, 1..=1),
            (3, Peeked::Bytes(_)) | (4 | 5, Peeked::Number(_)) | (6 | 8, Peeked::Bytes(_)) => {}
            _ => return false,
        }
    }
    false
}

fn is_text(bytes: &[u8]) -> bool {
    // What has no length of its own may be cut within a character.
    let is_utf8 = std::str::from_utf8(bytes).map_or_else(|error| error.error_len().is_none(), |_| true);
    let is_control = |byte: &u8| (*byte < b' ' && !b"\t\r\n".contains(byte)) || *byte == 0x7f;
    !bytes.is_empty() && is_utf8 && !bytes.iter().any(is_control)
}

/// A field of what may be a protobuf message.
enum Peeked<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The first fields of what may be a protobuf message; the last may be cut short.
fn peek(mut bytes: &[u8]) -> Vec<(u64, Peeked<'_>)> {
    const MOST: usize = 16;
    let mut fields = Vec::new();
    while fields.len() < MOST && !bytes.is_empty() {
        let Some(tag) = varint::take(&mut bytes) else { break };
        let Some(number) = varint::take(&mut bytes) else { break };
        match tag & 7 {
            0 => fields.push((tag >> 3, Peeked::Number(number))),
            2 => {
                let length = usize::try_from(number).unwrap_or(usize::MAX).min(bytes.len());
                let (content, rest) = bytes.split_at(length);
                fields.push((tag >> 3, Peeked::Bytes(content)));
                bytes = rest;
            }
            _ => break,
        }
    }
    fields
}
