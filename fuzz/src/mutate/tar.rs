//! Tar archives as their members, plain or compressed; headers get the right checksum.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::mutate::bytes;
use crate::rng::Rng;

const BLOCK_BYTES: usize = 512;
/// Where things are in a header.
const SIZE: usize = 124;
const CHECKSUM: usize = 148;
const KIND: usize = 156;
const MAGIC: usize = 257;
const PREFIX: usize = 345;

#[derive(Clone)]
pub struct Member {
    header: [u8; BLOCK_BYTES],
    content: Vec<u8>,
}

impl Member {
    pub fn file(name: &str, content: Vec<u8>) -> Member {
        Member::new(name, b'0', content)
    }

    /// A member of any kind. The name has at most 100 bytes.
    pub fn new(name: &str, kind: u8, content: Vec<u8>) -> Member {
        let mut header = [0; BLOCK_BYTES];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..108].copy_from_slice(b"0000644\0");
        header[MAGIC..MAGIC + 8].copy_from_slice(b"ustar\x0000");
        header[KIND] = kind;
        let mut member = Member { header, content };
        member.repair_size();
        member
    }

    /// The member in folders that stand in the header's second field for the name.
    pub fn with_prefix(mut self, prefix: &str) -> Member {
        self.header[PREFIX..][..prefix.len()].copy_from_slice(prefix.as_bytes());
        self
    }

    fn put(&mut self, at: usize, most: usize, text: &[u8]) {
        let length = text.len().min(most);
        self.header[at..at + most].fill(0);
        self.header[at..at + length].copy_from_slice(&text[..length]);
    }

    fn repair_size(&mut self) {
        let size = format!("{:011o}\0", self.content.len());
        self.put(SIZE, 12, size.as_bytes());
    }

    fn repair_checksum(&mut self) {
        self.header[CHECKSUM..CHECKSUM + 8].fill(b' ');
        let sum: u32 = self.header.iter().map(|byte| u32::from(*byte)).sum();
        self.header[CHECKSUM..CHECKSUM + 8].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }

    fn mutate(&mut self, rng: &mut Rng) {
        const NAMES: [&[u8]; 16] = [
            b"../outside",
            b"/absolute",
            b"a/../../outside",
            b"./a/./b//c",
            b"a\\b",
            b"..",
            b".",
            b"",
            b"/",
            b"a/",
            b"C:x",
            b"\xff\xfe",
            b"tfhub_module.pb",
            b"tfhub_module.pb/x",
            b"variables",
            b"a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a",
        ];
        match rng.below(12) {
            0 => self.put(0, 100, rng.pick(&NAMES)),
            1 => self.put(PREFIX, 155, rng.pick(&NAMES)),
            2 => self.header[KIND] = rng.pick(b"\x000123456LKxgSDMNV"),
            3 => {
                let near = rng.integer(self.content.len() as u64);
                let octal = format!("{:011o}", near & 0o77_777_777_777);
                self.put(SIZE, 12, octal.as_bytes());
            }
            4 => {
                self.put(SIZE, 12, b"\x80");
                let binary = rng.integer(self.content.len() as u64).to_be_bytes();
                self.header[SIZE + 4..SIZE + 12].copy_from_slice(&binary);
            }
            5 => bytes::overwrite(&mut self.header, rng),
            6 => self.put(MAGIC, 8, rng.pick(&[&b"ustar  \0"[..], b"", b"ustar\x0000"])),
            7 => {
                // Larger than what may be unpacked, but not when compressed.
                self.content.resize(rng.below(3 << 20), 0);
                self.repair_size();
            }
            8 => self.content = records(rng),
            9 => {
                self.content = rng.pick(&NAMES).repeat(rng.below(40));
                self.repair_size();
            }
            _ => {
                bytes::mutate(&mut self.content, rng);
                self.repair_size();
            }
        }
        if self.header[KIND] == b'x' && rng.one_in(2) {
            self.content = records(rng);
            self.repair_size();
        }
    }
}

/// A record of an extended header.
pub fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    // The length counts its own digits too.
    let digits = if rest.len() + 1 < 10 { 1 } else { 2 };
    format!("{}{rest}", rest.len() + digits).into_bytes()
}

/// The records of an extended header, of which some are wrong.
fn records(rng: &mut Rng) -> Vec<u8> {
    let mut records = Vec::new();
    for _ in 0..rng.below(4) {
        let key = rng.pick(&["path", "size", "mtime", "GNU.sparse.major", "", "path="]);
        let value = match key {
            "path" => {
                (rng.pick(&["variables/variables.index", "../x", "/", "a/b", "", "\u{fffd}"])).to_owned()
            }
            _ => rng.integer(1024).to_string(),
        };
        let mut record = record(key, &value);
        if rng.one_in(8) {
            bytes::mutate(&mut record, rng);
        }
        records.extend(record);
    }
    records
}

/// Changes members or their order.
pub fn mutate(members: &mut Vec<Member>, rng: &mut Rng) {
    for _ in 0..rng.few() {
        let at = rng.below(members.len());
        let other = rng.below(members.len());
        match rng.below(10) {
            0 if !members.is_empty() => members.insert(at, members[other].clone()),
            1 if !members.is_empty() => {
                members.remove(at);
            }
            2 if !members.is_empty() => members.swap(at, other),
            3 => {
                let path = format!("{}/deep", "a/".repeat(rng.below(60)));
                members.insert(at, Member::new("././@LongLink", b'L', path.into_bytes()));
            }
            4 => members.insert(at, Member::new("pax", b'x', records(rng))),
            5 => members.insert(at, Member::new("folder/", b'5', Vec::new())),
            _ => {
                if let Some(member) = members.get_mut(at) {
                    member.mutate(rng);
                }
            }
        }
    }
    let repaired = members.iter_mut().filter(|_| !rng.one_in(30));
    repaired.for_each(Member::repair_checksum);
}

/// The archive of `members`, with its end.
pub fn write(members: &[Member]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for member in members {
        bytes.extend(member.header);
        bytes.extend(&member.content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
    }
    bytes.resize(bytes.len() + 2 * BLOCK_BYTES, 0);
    bytes
}

/// The archive of sound `members`, with its end.
pub fn write_sound(members: impl IntoIterator<Item = Member>) -> Vec<u8> {
    let mut members: Vec<Member> = members.into_iter().collect();
    members.iter_mut().for_each(Member::repair_checksum);
    write(&members)
}

/// `bytes` as gzip with the right checksum, in one piece or two.
pub fn gzip(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    let (first, second) = bytes.split_at(if rng.one_in(4) { rng.below(bytes.len()) } else { bytes.len() });
    let compress = |piece: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(piece).and_then(|()| encoder.finish()).expect("a Vec takes everything")
    };
    let mut file = compress(first);
    if !second.is_empty() {
        file.extend(compress(second));
    }
    file
}
