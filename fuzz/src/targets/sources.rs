use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, DictionaryArray, Int64Array, ListArray, RecordBatch, types::Int32Type,
};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use featvec_collections::sources::{Input, Place, SourceOptions, open};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;
use zip::write::{SimpleFileOptions, ZipWriter};

use super::{LIMIT_BYTES, Reached, Target, limits};
use crate::mutate::{bytes, tar};
use crate::rng::Rng;

/// A kind of shard or table, read as a source of pictures.
pub struct Source {
    name: &'static str,
    /// What its name ends in, so that changes of the first bytes do not make it a file of another kind.
    ending: &'static str,
    corpus: Vec<Vec<u8>>,
    most_bytes: u64,
}

const PICTURES: [&[u8]; 4] = [b"\xff\xd8\xff\xe0 first", b"second", b"", b"the fourth picture of four"];

impl Source {
    pub fn zip() -> Source {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (number, bytes) in PICTURES.iter().enumerate() {
            let method = [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated][number % 2];
            let options = SimpleFileOptions::default().compression_method(method);
            writer.start_file(format!("folder/{number}.jpg"), options).expect("memory takes everything");
            writer.write_all(bytes).expect("memory takes everything");
        }
        let corpus = vec![writer.finish().expect("memory takes everything").into_inner()];
        Source { name: "zip", ending: "zip", corpus, most_bytes: 8 * LIMIT_BYTES }
    }

    pub fn parquet() -> Source {
        let codecs = [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::GZIP(GzipLevel::default()),
            Compression::ZSTD(ZstdLevel::default()),
        ];
        let file = |codec| {
            let properties = WriterProperties::builder()
                .set_compression(codec)
                .set_max_row_group_row_count(Some(3))
                .build();
            let table = table();
            let mut writer =
                ArrowWriter::try_new(Vec::new(), table.schema(), Some(properties)).expect("a table");
            writer.write(&table).expect("memory takes everything");
            writer.into_inner().expect("memory takes everything")
        };
        // A batch of 16 rows may be 16 times one value of a dictionary.
        let most_bytes = 64 * LIMIT_BYTES;
        Source { name: "parquet", ending: "parquet", corpus: codecs.map(file).to_vec(), most_bytes }
    }

    pub fn arrow() -> Source {
        let table = table();
        let halves = [table.slice(0, 3), table.slice(3, 1)];
        let file = |options: IpcWriteOptions| {
            let writer = FileWriter::try_new_with_options(Vec::new(), &table.schema(), options);
            let mut writer = writer.expect("a table");
            halves.iter().for_each(|half| writer.write(half).expect("memory takes everything"));
            writer.into_inner().expect("memory takes everything")
        };
        let mut stream = StreamWriter::try_new(Vec::new(), &table.schema()).expect("a table");
        halves.iter().for_each(|half| stream.write(half).expect("memory takes everything"));
        let zstd = IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD));
        let corpus = vec![
            file(IpcWriteOptions::default()),
            file(zstd.expect("zstd is there")),
            stream.into_inner().expect("memory takes everything"),
        ];
        // The numbers of the rows of a batch may be four million.
        Source { name: "arrow", ending: "arrow", corpus, most_bytes: 64 * LIMIT_BYTES }
    }
}

/// A table with columns of several kinds.
fn table() -> RecordBatch {
    let images: ArrayRef = Arc::new(BinaryArray::from(PICTURES.map(Some).to_vec()));
    let labels: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(4)]));
    let words: ArrayRef = Arc::new(["a", "b", "a", "c"].into_iter().collect::<DictionaryArray<Int32Type>>());
    let boxes = [Some(vec![Some(1), Some(2)]), None, Some(vec![]), Some(vec![Some(4)])];
    let boxes: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(boxes));
    let columns = [("image", images), ("label", labels), ("word", words), ("boxes", boxes)];
    RecordBatch::try_from_iter(columns).expect("columns of one length")
}

impl Target for Source {
    fn name(&self) -> &'static str {
        self.name
    }

    fn most_bytes(&self, _: &[u8]) -> u64 {
        self.most_bytes
    }

    fn mutate(&self, rng: &mut Rng) -> Vec<u8> {
        let mut file = self.corpus[rng.below(self.corpus.len())].clone();
        bytes::mutate(&mut file, rng);
        file
    }

    fn read(&self, _: &Path, bytes: &[u8], scratch: &Path) -> Reached {
        read_source(bytes, &scratch.join(format!("input.{}", self.ending)))
    }
}

/// Tar archives as shards of a WebDataset.
pub struct Shards {
    members: Vec<tar::Member>,
}

impl Shards {
    pub fn new() -> Shards {
        let members = vec![
            tar::Member::file("0001.cls", b"7".to_vec()),
            tar::Member::file("0001.jpg", PICTURES[0].to_vec()),
            tar::Member::new("pax", b'x', tar::record("path", "train/0002.jpg")),
            tar::Member::file("x", PICTURES[1].to_vec()),
            tar::Member::file("train/0002.json", b"{}".to_vec()),
            tar::Member::new("././@LongLink", b'L', b"train/0003.png\0".to_vec()),
            tar::Member::file("y", PICTURES[3].to_vec()),
        ];
        Shards { members }
    }
}

impl Target for Shards {
    fn name(&self) -> &'static str {
        "shards"
    }

    fn most_bytes(&self, _: &[u8]) -> u64 {
        8 * LIMIT_BYTES
    }

    fn mutate(&self, rng: &mut Rng) -> Vec<u8> {
        let mut members = self.members.clone();
        tar::mutate(&mut members, rng);
        let mut file = tar::write(&members);
        if rng.one_in(10) {
            bytes::mutate(&mut file, rng);
        }
        match rng.below(3) {
            0 => file = tar::gzip(&file, rng),
            1 => file = zstd::encode_all(&file[..], 1).expect("memory takes everything"),
            _ => {}
        }
        if rng.one_in(20) {
            bytes::mutate(&mut file, rng);
        }
        file
    }

    fn read(&self, _: &Path, bytes: &[u8], scratch: &Path) -> Reached {
        read_source(bytes, &scratch.join("input.tar"))
    }
}

/// Reads all items of a file. The first check is passed where there is one, or an error within the file.
fn read_source(bytes: &[u8], path: &Path) -> Reached {
    std::fs::write(path, bytes).expect("the scratch folder is there");
    let options =
        SourceOptions { max_picture_bytes: LIMIT_BYTES, limits: limits(), ..SourceOptions::default() };
    let place = Place::Path(path.to_owned());
    let whole = place.key();
    let Ok(mut collection) = open(&[Input::Place(place)], &options) else { return Reached::FirstCheck };
    let (mut reached, mut sound) = (Reached::FirstCheck, true);
    while let Some(item) = collection.next(&mut |_| true) {
        sound &= item.content.is_ok();
        if item.content.is_ok() || item.key != whole {
            reached = Reached::Further;
        }
    }
    if sound && reached == Reached::Further { Reached::End } else { reached }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::tests::read;

    #[test]
    fn the_corpus_is_sound() {
        for target in [Source::zip(), Source::parquet(), Source::arrow()] {
            for file in &target.corpus {
                assert_eq!(read(&target, file), Reached::End, "{}", target.name);
            }
        }
        let shards = Shards::new();
        assert_eq!(read(&shards, &tar::write_sound(shards.members.clone())), Reached::End);
    }
}
