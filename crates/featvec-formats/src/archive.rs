//! Tar archives, plain or compressed with gzip: recognised, bounded, and never unpacked outside their folder.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{BufReader, Cursor, Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::tar::{self, Member, MemberKind};
use crate::{Error, ErrorKind, Limits, NamedFiles, Result};

/// How much of a stream is looked at to recognise it: the first header of a tar archive.
const HEAD_BYTES: u64 = 512;

/// A file that [`extract`] has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extracted {
    /// Its path relative to the folder, with `/` between folders.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// Whether `head`, the first 512 bytes of a file, are those of an archive that this module reads.
pub fn is_archive(head: &[u8]) -> bool {
    is_gzip(head) || tar::is_tar(head)
}

fn is_gzip(head: &[u8]) -> bool {
    head.starts_with(&[0x1f, 0x8b])
}

/// Unpacks the archive `stream`, a tar or tar.gz, into `folder`, which must exist and be empty.
///
/// What was unpacked before an error stays where it is: unpack into a temporary folder, and rename it.
///
/// # Errors
/// Something that is no archive, or one that is truncated or damaged; a member that is a link or a device, leads out
/// of the folder, or is there twice; anything beyond `limits`.
pub fn extract(stream: impl Read, folder: &Path, limits: &Limits) -> Result<Vec<Extracted>> {
    let io = |path: &Path, error| Error::io(path.display().to_string(), error);
    if folder.read_dir().map_err(|error| io(folder, error))?.next().is_some() {
        let place = folder.display().to_string();
        return Err(Error::new(
            ErrorKind::Argument,
            place,
            "an archive is unpacked into an empty folder only",
        ));
    }
    let mut extracted = Vec::new();
    let mut buffer = vec![0; 256 << 10];
    visit(stream, limits, |member, reader| {
        let path = folder.join(&member.name);
        if member.kind == MemberKind::Folder {
            return fs::create_dir_all(&path).map_err(|error| io(&path, error));
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| io(parent, error))?;
        }
        let mut file = File::create_new(&path).map_err(|error| io(&path, error))?;
        loop {
            match reader.read_content(&mut buffer)? {
                0 => break,
                count => file.write_all(&buffer[..count]).map_err(|error| io(&path, error))?,
            }
        }
        extracted.push(Extracted { name: member.name, bytes: member.length });
        Ok(())
    })
    .map_err(Error::of_a_file)?;
    Ok(extracted)
}

/// The bytes of a tar.gz of `files`. The same files give the same bytes: there are no times and no owners in it.
///
/// # Errors
/// [`ErrorKind::Argument`] for a name of more than 100 bytes, or a file of more than eight gigabytes.
pub fn pack(files: &NamedFiles) -> Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    tar::write(&mut gzip, files)?;
    gzip.finish().map_err(|error| Error::io("", error))
}

/// Unpacks the archive `stream` into memory: its files by name.
pub(crate) fn unpack(stream: impl Read, limits: &Limits) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    visit(stream, limits, |member, reader| {
        if member.kind == MemberKind::File {
            // Grows with what is really there, not with what the header promises.
            let mut content = Vec::new();
            let mut buffer = [0; 64 << 10];
            loop {
                match reader.read_content(&mut buffer)? {
                    0 => break,
                    count => content.extend(&buffer[..count]),
                }
            }
            files.insert(member.name, content);
        }
        Ok(())
    })?;
    Ok(files)
}

/// Calls `visit` with every member of the archive `stream`; refuses those that cannot be together in a folder.
fn visit(
    mut stream: impl Read,
    limits: &Limits,
    mut visit: impl FnMut(Member, &mut tar::Reader<'_, Box<dyn Read + '_>>) -> Result<()>,
) -> Result<()> {
    let mut head = Vec::new();
    stream.by_ref().take(HEAD_BYTES).read_to_end(&mut head).map_err(|error| Error::io("", error))?;
    check_is_archive(&head)?;
    let compressed = is_gzip(&head);
    let stream = BufReader::with_capacity(64 << 10, Cursor::new(head).chain(stream));
    let stream: Box<dyn Read> =
        if compressed { Box::new(BufReader::new(MultiGzDecoder::new(stream))) } else { Box::new(stream) };
    let mut reader = tar::Reader::new(stream, limits);
    let mut tree = Tree::default();
    while let Some(member) = reader.next_member()? {
        tree.add(&member)?;
        visit(member, &mut reader)?;
    }
    if tree.files.is_empty() {
        return Err(Error::corrupt("", "an archive without files"));
    }
    Ok(())
}

fn check_is_archive(head: &[u8]) -> Result<()> {
    if is_archive(head) {
        return Ok(());
    }
    let found = match head {
        [] => "an empty file".to_owned(),
        [b'B', b'Z', b'h', ..] => "compressed with bzip2, which featvec does not read".to_owned(),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "compressed with xz, which featvec does not read".to_owned(),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "compressed with zstd, which featvec does not read".to_owned(),
        _ => match crate::source::describe(head) {
            Some(what) => format!("not an archive, but {what}"),
            None => "not an archive".to_owned(),
        },
    };
    Err(Error::unsupported("", found).with_hint("a module comes as .tar or .tar.gz"))
}

/// The names of the members so far.
#[derive(Default)]
struct Tree {
    files: HashSet<String>,
    folders: HashSet<String>,
}

impl Tree {
    fn add(&mut self, member: &Member) -> Result<()> {
        let conflict = |message: &str| Err(Error::corrupt(format!("member {:?}", member.name), message));
        for (end, _) in member.name.match_indices('/') {
            let folder = &member.name[..end];
            if self.files.contains(folder) {
                return conflict("a member below one that is a file");
            }
            if !self.folders.contains(folder) {
                self.folders.insert(folder.to_owned());
            }
        }
        match member.kind {
            MemberKind::Folder if self.files.contains(&member.name) => {
                conflict("a folder and a file of one name")
            }
            MemberKind::Folder => {
                self.folders.insert(member.name.clone());
                Ok(())
            }
            MemberKind::File if self.folders.contains(&member.name) => {
                conflict("a folder and a file of one name")
            }
            MemberKind::File if !self.files.insert(member.name.clone()) => {
                conflict("a second member of this name")
            }
            MemberKind::File => Ok(()),
        }
    }
}
