//! What the tests of the sources share: files to read, and what was found in them.
#![allow(dead_code, reason = "no test uses all of it")]

use std::fs;
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use featvec_collections::sources::{Collection, Input, Place, SourceOptions, open};
use featvec_collections::{Content, Item};
use tempfile::TempDir;

/// A folder of files for a test.
pub struct Files(pub TempDir);

impl Files {
    pub fn new() -> Files {
        Files(tempfile::tempdir().unwrap())
    }

    /// Writes a file below the folder.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The key without the folder, which is another each time.
    pub fn short(&self, key: &str) -> String {
        key.replace(&format!("{}/", self.0.path().display()), "")
    }

    /// The items of the file or folder `name`, in short form.
    pub fn items(&self, name: &str, options: &SourceOptions) -> Vec<String> {
        self.short_items(&mut open(&[place(self.path(name))], options).unwrap())
    }

    pub fn short_items(&self, collection: &mut Collection) -> Vec<String> {
        items(collection).iter().map(|item| self.short_item(item)).collect()
    }

    /// An item in one line: key, content or message, columns.
    pub fn short_item(&self, item: &Item) -> String {
        let content = match &item.content {
            Ok(Content::File(_)) => "a file".to_owned(),
            Ok(Content::Coming(_)) => "on its way".to_owned(),
            Ok(Content::Bytes(bytes)) if bytes.len() > 40 => format!("{} bytes", bytes.len()),
            Ok(Content::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            Ok(Content::Image(image)) => format!("{:?} {:?}", image.shape(), image.data()),
            Err(error) => format!("! {error}"),
        };
        let columns = item.columns.iter().flat_map(|row| row.columns().iter().map(shown));
        let parts: Vec<_> = [self.short(&item.key), content].into_iter().chain(columns).collect();
        self.short(&parts.join(" | "))
    }
}

fn shown(column: &arrow_array::ArrayRef) -> String {
    use arrow_schema::DataType;
    if column.is_null(0) {
        return "null".to_owned();
    }
    match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value(0).to_owned(),
        DataType::Int64 => column.as_primitive::<arrow_array::types::Int64Type>().value(0).to_string(),
        DataType::Float32 => column.as_primitive::<arrow_array::types::Float32Type>().value(0).to_string(),
        other => other.to_string(),
    }
}

pub fn place(path: impl AsRef<Path>) -> Input {
    Input::Place(Place::Path(path.as_ref().to_owned()))
}

pub fn items(collection: &mut Collection) -> Vec<Item> {
    std::iter::from_fn(|| collection.next(&mut |_| true)).map(arrived).collect()
}

/// The only error of the file or folder `name`.
pub fn only_error(files: &Files, name: &str, options: &SourceOptions) -> featvec::Error {
    let mut collection = open(&[place(files.path(name))], options).unwrap();
    let mut items = items(&mut collection);
    assert_eq!(items.len(), 1, "{items:?}");
    items.remove(0).content.unwrap_err()
}

/// A header of a tar member, with its checksum.
pub fn tar_header(name: &str, kind: u8, length: u64) -> [u8; 512] {
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[124..136].copy_from_slice(format!("{length:011o}\0").as_bytes());
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// A tar archive of files.
pub fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar_members(members);
    archive.resize(archive.len() + 1024, 0);
    archive
}

/// The same without its end.
pub fn tar_members(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, bytes) in members {
        archive.extend(tar_header(name, b'0', bytes.len() as u64));
        archive.extend(*bytes);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// `item` once its bytes are here.
pub fn arrived(item: Item) -> Item {
    let content = match item.content {
        Ok(Content::Coming(fetch)) => fetch().map(Content::Bytes),
        content => content,
    };
    Item { content, ..item }
}
