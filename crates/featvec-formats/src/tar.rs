//! The members of a tar archive, read in one pass without trusting a header; and written.

use std::io::Write;

use crate::error::TRUNCATED;
use crate::limits::check_limit;
use crate::{Error, ErrorKind, Limits, NamedFiles, Result, Skip, grouped};

const BLOCK_BYTES: usize = 512;
/// Longest name, and longest extended header, that is read.
const MOST_NAME_BYTES: u64 = 64 << 10;

/// Whether `head` begins with the header of a tar member.
pub fn is_tar(head: &[u8]) -> bool {
    // The magic number tells even if the header is damaged; the oldest archives have none.
    head.get(257..262) == Some(b"ustar")
        || head.first_chunk().is_some_and(|header| Header(header).check().is_ok())
}

/// What a member of an archive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberKind {
    File,
    Folder,
}

/// A member of an archive: its safe name, relative, with `/` between folders; empty for the root itself.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) kind: MemberKind,
    /// Bytes of the file.
    pub(crate) length: u64,
}

/// What stands in an archive, as its header has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, byte for byte: it may be absolute, lead anywhere, or be no text.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of its content.
    pub length: u64,
}

/// What an [`Entry`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A file of which only some regions are there: GNU tar's `--sparse`. Its content is not that of the file.
    Sparse,
    /// Something else, in words: a link, a device.
    Other(&'static str),
}

/// Reads members one after another.
#[derive(Debug)]
pub struct Reader<R> {
    stream: R,
    limits: Limits,
    /// Bytes of the stream so far.
    bytes: u64,
    entries: usize,
    /// Bytes of the member's content that are still in the stream, and of the padding after it.
    unread: u64,
    padding: u64,
    place: String,
}

impl<R: Skip> Reader<R> {
    /// A reader of the archive `stream`, which obeys `archive_bytes` and `archive_entries` of `limits`.
    pub fn new(stream: R, limits: &Limits) -> Reader<R> {
        let limits = limits.clone();
        Reader { stream, limits, bytes: 0, entries: 0, unread: 0, padding: 0, place: String::new() }
    }

    /// The next file or folder with a name that stays within the archive's folder, or `None` after the last.
    pub(crate) fn next_member(&mut self) -> Result<Option<Member>> {
        let Some(Entry { name, kind, length }) = self.next_entry()? else { return Ok(None) };
        let kind = match kind {
            EntryKind::File => MemberKind::File,
            EntryKind::Folder => MemberKind::Folder,
            EntryKind::Sparse => return Err(self.refuse("a sparse file")),
            EntryKind::Other(what) => return Err(self.refuse(what)),
        };
        let name = safe_name(&name, &self.limits).map_err(|error| error.within(&self.place))?;
        // Refused now rather than after reading up to the limit.
        let total = self.bytes.saturating_add(length);
        check_limit(&self.place, "bytes", length, self.limits.file_bytes())?;
        check_limit(&self.place, "bytes unpacked", total, self.limits.archive_bytes())?;
        if name.is_empty() && kind == MemberKind::File {
            return Err(Error::corrupt(&self.place, "a file without a name"));
        }
        Ok(Some(Member { name, kind, length }))
    }

    /// The next member, or `None` after the last, when the stream has been read to its very end, so that a checksum
    /// behind it has been verified. What is left of the content of the member before it is passed over.
    ///
    /// # Errors
    /// Something that is no archive, or one that is truncated or damaged; anything beyond the limits.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        let (mut long_name, mut long_length, mut is_sparse) = (None, None, false);
        loop {
            self.skip_content()?;
            self.place = format!("member {}", self.entries + 1);
            let mut header = [0; BLOCK_BYTES];
            self.fill(&mut header)?;
            if header == [0; BLOCK_BYTES] {
                return self.finish().map(|()| None);
            }
            self.entries += 1;
            check_limit("", "members", self.entries as u64, self.limits.archive_entries())?;
            let header = Header(&header);
            let length = header.check().map_err(|error| error.within(&self.place))?;
            match header.kind() {
                b'L' => {
                    self.begin(length);
                    let name = self.short_content()?;
                    let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
                    long_name = Some(name[..end].to_vec());
                }
                b'x' => {
                    self.begin(length);
                    let records = self.short_content()?;
                    let extended = Extended::parse(&records).map_err(|error| error.within(&self.place))?;
                    long_name = extended.path.or(long_name);
                    long_length = extended.size.or(long_length);
                    is_sparse |= extended.is_sparse;
                }
                // Global headers (as `git archive` writes) and long targets of links that are refused below.
                b'g' | b'K' => self.begin(length),
                kind => {
                    let name = long_name.unwrap_or_else(|| header.name());
                    self.place = format!("member {:?}", String::from_utf8_lossy(&name));
                    let is_folder = kind == b'5' || name.ends_with(b"/");
                    let length = long_length.unwrap_or(length);
                    if kind == b'S' {
                        self.skip_regions(header.has_more_regions())?;
                    }
                    let kind = match kind {
                        b'S' => EntryKind::Sparse,
                        b'0' | b'7' | 0 if is_sparse => EntryKind::Sparse,
                        b'5' | b'0' | 0 if is_folder && length == 0 => EntryKind::Folder,
                        b'0' | b'7' | 0 if !is_folder => EntryKind::File,
                        b'1' | b'2' => EntryKind::Other("a link"),
                        b'3' | b'4' | b'6' => EntryKind::Other("a device or a pipe"),
                        b'5' => EntryKind::Other("a folder with content"),
                        _ => EntryKind::Other("a member of unusual kind"),
                    };
                    self.begin(length);
                    return Ok(Some(Entry { name, kind, length }));
                }
            }
        }
    }

    /// Passes over the blocks between the header and the content of a sparse file, which say where its regions belong.
    fn skip_regions(&mut self, mut has_more: bool) -> Result<()> {
        while has_more {
            let mut block = [0; BLOCK_BYTES];
            self.fill(&mut block)?;
            has_more = block[504] != 0;
        }
        Ok(())
    }

    fn refuse(&self, what: &str) -> Error {
        Error::unsupported(&self.place, format!("{what}, where only files and folders are allowed"))
            .with_hint("a module's archive has neither links nor devices")
    }

    fn begin(&mut self, length: u64) {
        self.unread = length;
        self.padding = length.next_multiple_of(BLOCK_BYTES as u64) - length;
    }

    /// Bytes of the stream so far.
    pub fn offset(&self) -> u64 {
        self.bytes
    }

    /// Reads the next bytes of the member's content into `buffer`, and says how many; 0 at the end.
    ///
    /// # Errors
    /// A stream that breaks off or fails; one of more bytes than the limit.
    pub fn read_content(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let most = usize::try_from(self.unread).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..most).filter(|buffer| !buffer.is_empty()) else { return Ok(0) };
        let count = self.read(buffer)?;
        if count == 0 {
            return Err(self.truncated());
        }
        self.unread -= count as u64;
        Ok(count)
    }

    /// The content of a long name or an extended header.
    fn short_content(&mut self) -> Result<Vec<u8>> {
        if self.unread > MOST_NAME_BYTES {
            let message = format!("a name of {} bytes", grouped(self.unread));
            return Err(Error::corrupt(&self.place, message));
        }
        let mut content = vec![0; self.unread as usize];
        self.fill(&mut content)?;
        self.unread = 0;
        Ok(content)
    }

    fn skip_content(&mut self) -> Result<()> {
        let length = std::mem::take(&mut self.unread) + std::mem::take(&mut self.padding);
        let total = self.bytes.saturating_add(length);
        check_limit(&self.place, "bytes unpacked", total, self.limits.archive_bytes())?;
        let passed = self.stream.skip(length).map_err(|error| self.broken(error))?;
        self.bytes += passed;
        if passed < length { Err(self.truncated()) } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<()> {
        let mut scratch = [0; 8 << 10];
        self.place = "end of the archive".into();
        loop {
            match self.read(&mut scratch)? {
                0 => return Ok(()),
                count if scratch[..count].iter().any(|&byte| byte != 0) => {
                    return Err(Error::corrupt(&self.place, "data after the end of the archive"));
                }
                _ => {}
            }
        }
    }

    fn fill(&mut self, mut buffer: &mut [u8]) -> Result<()> {
        while !buffer.is_empty() {
            match self.read(buffer)? {
                0 => return Err(self.truncated()),
                count => buffer = &mut buffer[count..],
            }
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let count = loop {
            match self.stream.read(buffer) {
                Ok(count) => break count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(error)),
            }
        };
        self.bytes += count as u64;
        check_limit(&self.place, "bytes unpacked", self.bytes, self.limits.archive_bytes())?;
        Ok(count)
    }

    /// A failure of the stream: damage, if the unpacking found it, else whatever the source reported.
    fn broken(&self, error: std::io::Error) -> Error {
        use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        match error.kind() {
            UnexpectedEof => self.truncated().with_source(error),
            InvalidData | InvalidInput => {
                Error::corrupt(&self.place, format!("the compressed data are damaged: {error}"))
                    .with_source(error)
            }
            _ => Error::io(&self.place, error),
        }
    }

    fn truncated(&self) -> Error {
        Error::corrupt(
            &self.place,
            format!("the archive breaks off after {} bytes unpacked", grouped(self.bytes)),
        )
        .with_hint(TRUNCATED)
    }
}

/// A header block.
struct Header<'b>(&'b [u8; BLOCK_BYTES]);

impl<'b> Header<'b> {
    /// Verifies the checksum, and returns the content's length. A block of zeros has no checksum.
    fn check(&self) -> Result<u64> {
        const CHECKSUM: std::ops::Range<usize> = 148..156;
        let sum = |byte: fn(u8) -> i64| -> i64 {
            let counted = |(i, &b): (usize, &u8)| byte(if CHECKSUM.contains(&i) { b' ' } else { b });
            self.0.iter().enumerate().map(counted).sum()
        };
        let stored = number(&self.0[CHECKSUM]).and_then(|stored| i64::try_from(stored).ok());
        // Some old archivers summed signed bytes.
        if stored != Some(sum(i64::from)) && stored != Some(sum(|byte| i64::from(byte.cast_signed()))) {
            return Err(Error::corrupt("", "not the header of a tar member"));
        }
        number(&self.0[124..136])
            .filter(|&length| length < i64::MAX as u64)
            .ok_or_else(|| Error::corrupt("", "its length is not a number"))
    }

    fn kind(&self) -> u8 {
        self.0[156]
    }

    /// Whether a sparse file has more regions than its header has room for.
    fn has_more_regions(&self) -> bool {
        self.0[482] != 0
    }

    fn name(&self) -> Vec<u8> {
        let text = |field: &'b [u8]| field.split(|&byte| byte == 0).next().unwrap_or(&[]);
        let name = text(&self.0[..100]);
        // POSIX archives may put the folders into a second field; GNU ones use its place otherwise.
        match text(&self.0[345..500]) {
            prefix if !prefix.is_empty() && self.0[257..263] == *b"ustar\0" => [prefix, b"/", name].concat(),
            _ => name.to_vec(),
        }
    }
}

/// A number in octal digits, or in binary if the first bit is set.
fn number(field: &[u8]) -> Option<u64> {
    match field.split_first()? {
        (0x80, rest) => {
            let (high, low) = rest.split_last_chunk::<8>().unwrap_or((&[], &[0; 8]));
            (rest.len() >= 8 && high.iter().all(|&byte| byte == 0)).then(|| u64::from_be_bytes(*low))
        }
        _ => {
            let text = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
            if text.is_empty() { Some(0) } else { u64::from_str_radix(text, 8).ok() }
        }
    }
}

/// What matters of a member's extended header.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    size: Option<u64>,
    is_sparse: bool,
}

impl Extended {
    /// Parses records of the form `LENGTH KEY=VALUE\n`.
    fn parse(mut records: &[u8]) -> Result<Extended> {
        let damaged = || Error::corrupt("", "its extended header is damaged");
        let (mut extended, mut has_own_name) = (Extended::default(), false);
        while !records.is_empty() {
            let space = records.iter().position(|&byte| byte == b' ').ok_or_else(damaged)?;
            let (record, rest) = std::str::from_utf8(&records[..space])
                .ok()
                .and_then(|length| length.parse::<usize>().ok())
                .and_then(|length| records.split_at_checked(length))
                .ok_or_else(damaged)?;
            records = rest;
            let record =
                record.get(space + 1..).and_then(|record| record.strip_suffix(b"\n")).ok_or_else(damaged)?;
            let equals = record.iter().position(|&byte| byte == b'=').ok_or_else(damaged)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            if key == b"GNU.sparse.name" || key == b"path" && !has_own_name {
                // A sparse file's path is that of a file that nobody has.
                has_own_name = key != b"path";
                extended.path = Some(value.to_vec());
            } else if key == b"size" {
                let size = std::str::from_utf8(value).ok().and_then(|size| size.parse().ok());
                extended.size = Some(size.filter(|&size: &u64| size < i64::MAX as u64).ok_or_else(damaged)?);
            }
            extended.is_sparse |= key.starts_with(b"GNU.sparse.");
        }
        Ok(extended)
    }
}

/// A member's name made relative and plain, if it stays within the folder that the archive is unpacked to.
fn safe_name(name: &[u8], limits: &Limits) -> Result<String> {
    /// Folders in folders; each is kept in mind, so a name must not be many.
    const MOST_PARTS: usize = 32;
    let refuse = |message: &str| {
        Err(Error::corrupt("", message)
            .with_hint("the archive is damaged or hostile; nothing was written there"))
    };
    let Ok(name) = std::str::from_utf8(name) else { return refuse("a name that is not UTF-8") };
    check_limit("", "bytes of a name", name.len() as u64, limits.name_bytes())?;
    if name.starts_with('/') {
        return refuse("an absolute name");
    }
    if name.split('/').count() > MOST_PARTS {
        return refuse("a name of too many folders");
    }
    let mut safe = String::with_capacity(name.len());
    for part in name.split('/') {
        match part {
            "" | "." => continue,
            ".." => return refuse("a name that leads out of the folder"),
            _ => {}
        }
        if part.contains(['\\', '\0']) || cfg!(windows) && part.contains(':') || part.len() > 255 {
            return refuse("a name that is no file's name on some systems");
        }
        if !safe.is_empty() {
            safe.push('/');
        }
        safe.push_str(part);
    }
    Ok(safe)
}

/// Writes an archive of `files` to `stream`.
pub(crate) fn write(stream: &mut impl Write, files: &NamedFiles) -> Result<()> {
    let io = |error| Error::io("", error);
    for (name, bytes) in files {
        stream.write_all(&header(name, bytes.len())?).map_err(io)?;
        stream.write_all(bytes).map_err(io)?;
        let padding = bytes.len().next_multiple_of(BLOCK_BYTES) - bytes.len();
        stream.write_all(&[0; BLOCK_BYTES][..padding]).map_err(io)?;
    }
    stream.write_all(&[0; 2 * BLOCK_BYTES]).map_err(io)
}

/// The header of a file that everybody may read.
fn header(name: &str, length: usize) -> Result<[u8; BLOCK_BYTES]> {
    const NAME_BYTES: usize = 100;
    /// Eleven octal digits.
    const MOST_BYTES: u64 = (1 << 33) - 1;
    if name.is_empty() || name.len() > NAME_BYTES {
        let message = format!("a name of {} bytes; 1 to {NAME_BYTES} expected", name.len());
        return Err(Error::new(ErrorKind::Argument, format!("member {name:?}"), message));
    }
    if length as u64 > MOST_BYTES {
        let message = format!("{} bytes; at most {} expected", grouped(length as u64), grouped(MOST_BYTES));
        return Err(Error::new(ErrorKind::Argument, format!("member {name:?}"), message));
    }
    let mut header = [0; BLOCK_BYTES];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    // Owner and group.
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{length:011o}\0"));
    // The time.
    put(136, "00000000000\0");
    // The checksum is one over itself as blanks.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(header)
}
