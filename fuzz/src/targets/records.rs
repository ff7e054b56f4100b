use std::io::Write;
use std::path::Path;

use featvec_formats::example::{ENCODED, LABEL};
use featvec_formats::protobuf::Writer;
use featvec_formats::tfrecord::RecordWriter;
use featvec_formats::{Example, RecordFile};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use super::{LIMIT_BYTES, Reached, Target, limits};
use crate::mutate::bytes;
use crate::mutate::message::{self, Message};
use crate::rng::Rng;

/// TFRecord files of examples, plain and compressed.
pub struct Records {
    example: Message,
}

impl Records {
    pub fn new() -> Records {
        let mut example = Writer::new();
        example.message(1, |features| {
            let mut feature = |name: &str, list: u32, fill: &dyn Fn(&mut Writer)| {
                features.message(1, |entry| {
                    entry.bytes(1, name).message(2, |feature| _ = feature.message(list, fill));
                });
            };
            feature(ENCODED, 1, &|list| _ = list.bytes(1, b"\xff\xd8\xff\xe0 a picture"));
            feature(LABEL, 3, &|list| _ = list.packed_int64(1, &[7]));
            feature("image/object/bbox/xmin", 2, &|list| _ = list.packed_float(1, &[0.25, 0.5]));
            feature("image/height", 3, &|list| _ = list.int64(1, 480));
        });
        let example = message::parse(&example.finish()).expect("what the writer wrote is a message");
        Records { example }
    }

    fn file(records: &[Vec<u8>]) -> Vec<u8> {
        let mut writer = RecordWriter::new(Vec::new());
        records.iter().for_each(|record| writer.write(record).expect("memory takes everything"));
        std::mem::take(writer.get_mut())
    }
}

impl Target for Records {
    fn name(&self) -> &'static str {
        "records"
    }

    fn most_bytes(&self, _: &[u8]) -> u64 {
        // What is unpacked, still growing, and a record of it, growing too; the decompressor; a table of features.
        7 * LIMIT_BYTES
    }

    fn mutate(&self, rng: &mut Rng) -> Vec<u8> {
        let records: Vec<Vec<u8>> = (0..rng.few())
            .map(|_| {
                let mut example = self.example.clone();
                message::mutate(&mut example, rng);
                message::encode(&example)
            })
            .collect();
        let mut file = Records::file(&records);
        if rng.one_in(6) {
            bytes::mutate(&mut file, rng);
        }
        let compress = |mut encoder: Box<dyn Write + '_>, file: &[u8]| encoder.write_all(file);
        let mut packed = Vec::new();
        let written = match rng.below(4) {
            0 => compress(Box::new(GzEncoder::new(&mut packed, Compression::fast())), &file),
            1 => compress(Box::new(ZlibEncoder::new(&mut packed, Compression::fast())), &file),
            _ => {
                packed = file;
                Ok(())
            }
        };
        written.expect("memory takes everything");
        if rng.one_in(8) {
            bytes::mutate(&mut packed, rng);
        }
        packed
    }

    /// The first check is that of the file's first length, and of what is around all of a compressed one.
    fn read(&self, input: &Path, _: &[u8], _: &Path) -> Reached {
        let opened = RecordFile::open(input, &limits());
        let Ok(file) = opened else {
            return Reached::new(&opened, |error| {
                error.place().contains("record at") && !error.place().ends_with("record at byte 0")
            });
        };
        let mut reached = Reached::End;
        for index in 0..file.len() {
            let result = file.read(index).and_then(|record| {
                let example = Example::parse(&record, &limits())?;
                example.bytes(ENCODED)?;
                example.int64(LABEL)
            });
            if result.is_err() {
                reached = Reached::Further;
            }
        }
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::tests::read;

    #[test]
    fn the_corpus_is_sound() {
        let target = Records::new();
        let example = message::encode(&target.example);
        assert_eq!(read(&target, &Records::file(&[example.clone(), example])), Reached::End);
    }
}
