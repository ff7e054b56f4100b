//! Where test data is, and builders for files that are wrong in one way.

use std::path::{Path, PathBuf};

use featvec_formats::protobuf::Writer;
use featvec_formats::table::TableWriter;
use featvec_formats::{Checkpoint, Error, ErrorKind, Limits, Source, Tensor, TensorData, source};

/// A file made by TensorFlow that is part of the project.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A large reference file beside the project; `None`, loudly, where it is absent.
pub fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("SKIPPED: ../shared is missing, so {name} was not read");
    None
}

/// Checks the kind of an error and that its printed text contains `text`.
#[track_caller]
pub fn assert_error<T>(result: Result<T, Error>, kind: ErrorKind, text: &str) {
    match result {
        Ok(_) => panic!("no error where one must be: {text}"),
        Err(error) => {
            assert!(error.to_string().contains(text), "{error:?}\n  does not contain: {text}");
            assert_eq!(error.kind(), kind, "{error}");
        }
    }
}

/// Limits that a small file cannot need to exceed.
pub fn small_limits() -> Limits {
    Limits {
        file_bytes: 1 << 20,
        graph_bytes: 1 << 20,
        archive_bytes: 1 << 20,
        archive_entries: 100,
        tensors: 100,
        tensor_bytes: 1 << 20,
        graph_nodes: 100,
        ..Limits::default()
    }
}

/// A message made by `fill`.
pub fn message(fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::new();
    fill(&mut writer);
    writer.finish()
}

/// A member of a tar archive under construction.
pub struct TarMember<'a> {
    pub name: &'a str,
    pub kind: u8,
    pub content: &'a [u8],
}

/// A file member.
pub fn file<'a>(name: &'a str, content: &'a [u8]) -> TarMember<'a> {
    TarMember { name, kind: b'0', content }
}

/// A tar archive of `members`, with its end.
pub fn tar(members: &[TarMember<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for member in members {
        bytes.extend(tar_header(member, member.content.len() as u64));
        bytes.extend(member.content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// The header of `member`, which promises `length` bytes.
pub fn tar_header(member: &TarMember<'_>, length: u64) -> [u8; 512] {
    let mut header = [0; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, member.name);
    put(100, "0000644\0");
    put(124, &format!("{length:011o}\0"));
    put(257, "ustar\x0000");
    header[156] = member.kind;
    set_tar_checksum(&mut header);
    header
}

/// Makes a changed header valid again.
pub fn set_tar_checksum(header: &mut [u8; 512]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// `bytes` compressed with gzip.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A checkpoint, and the folder that it is in for as long as it is used.
#[derive(Debug)]
pub struct OpenBundle {
    checkpoint: Checkpoint,
    _folder: tempfile::TempDir,
}

impl std::ops::Deref for OpenBundle {
    type Target = Checkpoint;

    fn deref(&self) -> &Checkpoint {
        &self.checkpoint
    }
}

/// The checkpoint whose index and only shard these are, with every tensor verified.
pub fn open_bundle(index: &[u8], shard: &[u8]) -> Result<OpenBundle, Error> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("c.index"), index).unwrap();
    std::fs::write(folder.path().join("c.data-00000-of-00001"), shard).unwrap();
    let checkpoint = match source::open(&folder.path().join("c.index"), &small_limits())? {
        Source::Checkpoint(checkpoint) => checkpoint,
        other => panic!("not a checkpoint: {other:?}"),
    };
    checkpoint.verify()?;
    Ok(OpenBundle { checkpoint, _folder: folder })
}

/// A table of `records`, which must be sorted to be sound.
pub fn table(records: &[(&[u8], Vec<u8>)]) -> Vec<u8> {
    let mut table = TableWriter::new();
    records.iter().for_each(|(key, value)| table.add(key, value));
    table.finish()
}

/// A tensor of floats.
pub fn floats(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::new(shape.to_vec(), TensorData::F32(values.to_vec())).unwrap()
}

/// Writes a `TensorShapeProto`.
pub fn shape(writer: &mut Writer, number: u32, sizes: &[i64]) {
    writer.message(number, |shape| {
        for &size in sizes {
            shape.message(2, |dim| {
                dim.int64(1, size);
            });
        }
    });
}
