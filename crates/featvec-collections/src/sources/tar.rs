//! Tar archives and WebDataset shards: plain, or compressed as a whole with gzip or zstd.
//!
//! In a WebDataset the members of a sample stand one after another and have one name up to the first dot of their last
//! part: `0001.jpg`, `0001.cls`, `0001.json`. What is text beside a picture becomes a column.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use featvec::{Error, ErrorKind, Limits, Result};
use featvec_formats::tar::{Entry, EntryKind, Reader};

use super::columns;
use super::kind::is_picture;
use super::layout::too_large;
use super::names::Names;
use super::place::{Place, text};
use super::stream::Stream;
use super::unpack::{Compression, Peeked};
use super::{Draft, Located, Source, SourceOptions, Wanted};
use crate::Content;

/// Longest text beside a picture that becomes a value of a column.
const MOST_TEXT_BYTES: u64 = 1 << 20;
/// Most bytes of all texts of a sample.
const MOST_TEXTS_BYTES: u64 = 16 << 20;
/// Most texts of a sample that become columns.
const MOST_COLUMNS: usize = 256;
/// Most pictures of a sample that wait for what comes after them.
const MOST_WAITING: usize = 1024;

/// An archive being read.
pub(super) struct Tar {
    members: Members,
    key: String,
    wanted_columns: SchemaRef,
    names: Names,
    /// The sample being read.
    sample: Sample,
    /// Items that are complete.
    ready: VecDeque<Draft>,
    has_pictures: bool,
    max_picture_bytes: u64,
    is_over: bool,
}

/// The members of one name.
#[derive(Default)]
struct Sample {
    name: String,
    /// Pictures that wait for what comes after them.
    pictures: Vec<Draft>,
    bytes: u64,
    /// Text by column: the first of each.
    texts: Vec<(String, String)>,
    text_bytes: u64,
}

impl Sample {
    /// Whether the text `member` is to be kept.
    fn lacks(&self, member: &Member) -> bool {
        let column = member.column();
        self.text_bytes.saturating_add(member.length) <= MOST_TEXTS_BYTES
            && !self.texts.iter().any(|(known, _)| *known == column)
    }
}

impl Tar {
    pub(super) fn open(place: &Place, options: &SourceOptions, columns: &SchemaRef) -> Result<Tar> {
        Ok(Tar {
            members: Members::open(place, options)?,
            key: place.key(),
            wanted_columns: columns.clone(),
            names: Names::default(),
            sample: Sample::default(),
            ready: VecDeque::new(),
            has_pictures: false,
            max_picture_bytes: options.max_picture_bytes,
            is_over: false,
        })
    }

    /// Reads members until there is an item, or none any more.
    ///
    /// # Errors
    /// A damaged archive. What was read before stands in `ready`.
    fn advance(&mut self, wanted: &mut Wanted<'_>) -> Result<()> {
        while self.ready.is_empty() {
            let Some(member) = self.members.next()? else {
                self.is_over = true;
                self.flush();
                if !self.has_pictures {
                    return Err(Error::new(ErrorKind::Argument, "", "no pictures in this archive")
                        .with_hint(
                            "pictures are told by the end of their names; archives in archives are not read",
                        ));
                }
                return Ok(());
            };
            if member.sample != self.sample.name {
                self.flush();
                self.sample = Sample { name: member.sample.clone(), ..Sample::default() };
            }
            if member.is_picture() {
                self.has_pictures = true;
                let key = self.names.unique(format!("{}/{}", self.key, member.name));
                if wanted(&key) {
                    self.picture(key, &member)?;
                }
            } else if self.wanted_columns.field_with_name(&member.column()).is_ok()
                && self.sample.lacks(&member)
                && let Some(text) = self.members.text(&member)?
            {
                self.sample.text_bytes += text.len() as u64;
                self.sample.texts.push((member.column(), text));
            }
        }
        Ok(())
    }

    fn picture(&mut self, key: String, member: &Member) -> Result<()> {
        if self.sample.pictures.len() >= MOST_WAITING {
            self.flush();
        }
        if member.is_sparse {
            let error =
                Error::unsupported("", "a sparse file").with_hint("tar without --sparse packs all of it");
            self.sample.pictures.push(Draft::failed(key, error));
        } else if member.length > self.max_picture_bytes {
            self.sample.pictures.push(Draft::failed(key, too_large(self.max_picture_bytes)));
        } else {
            if self.sample.bytes.saturating_add(member.length) > self.max_picture_bytes {
                // Names that are all alike must not gather a whole archive in memory.
                self.flush();
            }
            match self.members.content(member.length) {
                Ok(bytes) => {
                    self.sample.bytes += bytes.len() as u64;
                    self.sample.pictures.push(Draft::located(&key, Located::Here(Content::Bytes(bytes))));
                }
                Err(error) => {
                    self.flush();
                    self.ready.push_back(Draft::failed(key, error));
                }
            }
        }
        if self.wanted_columns.fields().is_empty() {
            self.flush();
        }
        Ok(())
    }

    /// Completes the pictures of the sample with what stands beside them.
    fn flush(&mut self) {
        self.sample.bytes = 0;
        let pictures = std::mem::take(&mut self.sample.pictures);
        if pictures.is_empty() {
            return;
        }
        let columns =
            row(&self.sample.texts).and_then(|row| columns::conform(&row, &self.wanted_columns)).ok();
        let columns = columns.filter(|_| !self.wanted_columns.fields().is_empty());
        self.ready.extend(pictures.into_iter().map(|draft| Draft { columns: columns.clone(), ..draft }));
    }
}

impl Source for Tar {
    fn next(&mut self, wanted: &mut Wanted<'_>) -> Option<Draft> {
        loop {
            if let Some(draft) = self.ready.pop_front() {
                return Some(draft);
            }
            if self.is_over {
                return None;
            }
            if let Err(error) = self.advance(wanted) {
                self.is_over = true;
                self.flush();
                if wanted(&self.key) {
                    self.ready.push_back(Draft::failed(self.key.clone(), error));
                }
            }
        }
    }
}

/// The columns of the first sample with a picture: what is text beside it.
pub(super) fn schema(place: &Place, options: &SourceOptions) -> Result<SchemaRef> {
    /// Members that are looked at.
    const MOST_MEMBERS: usize = 1000;
    let mut members = Members::open(place, options)?;
    let (mut sample, mut has_picture, mut names) = (String::new(), false, BTreeSet::new());
    for _ in 0..MOST_MEMBERS {
        let Some(member) = members.next()? else { break };
        if member.sample != sample {
            if has_picture {
                break;
            }
            sample.clone_from(&member.sample);
            names.clear();
        }
        if member.is_picture() {
            has_picture = true;
        } else if names.len() < MOST_COLUMNS
            && !names.contains(&member.column())
            && members.text(&member)?.is_some()
        {
            names.insert(member.column());
        }
    }
    if !has_picture {
        names.clear();
    }
    Ok(Arc::new(Schema::new(names.iter().map(|name| text_field(name)).collect::<Vec<_>>())))
}

fn text_field(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

/// One row of columns of text.
fn row(texts: &[(String, String)]) -> Result<RecordBatch> {
    let fields: Vec<Field> = texts.iter().map(|(name, _)| text_field(name)).collect();
    let values = texts.iter().map(|(_, text)| Arc::new(StringArray::from(vec![text.as_str()])) as ArrayRef);
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(1));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), values.collect(), &options)
        .map_err(|error| Error::corrupt("", error.to_string()))
}

/// A file of an archive.
struct Member {
    name: String,
    /// Its name up to the first dot of the last part.
    sample: String,
    length: u64,
    is_sparse: bool,
}

impl Member {
    fn new(name: String, length: u64, is_sparse: bool) -> Member {
        let last = name.rfind('/').map_or(0, |slash| slash + 1);
        let end = name[last..].find('.').map_or(name.len(), |dot| last + dot);
        Member { sample: name[..end].to_owned(), name, length, is_sparse }
    }

    fn is_picture(&self) -> bool {
        is_picture(&self.name)
    }

    /// What its column is called, if it has one.
    fn column(&self) -> String {
        self.name[self.sample.len()..].trim_start_matches('.').to_owned()
    }
}

/// The files of an archive, one after another.
struct Members {
    reader: Reader<Box<dyn Stream>>,
}

impl Members {
    fn open(place: &Place, options: &SourceOptions) -> Result<Members> {
        let stream = Peeked::new(place.stream(options)?, 4)?;
        let stream = match Compression::of(stream.head()) {
            Some(compression) => compression.unpack(stream)?,
            None => Box::new(stream),
        };
        // Its members are read one by one, so that their sum and number cost nothing.
        let limits =
            Limits { archive_bytes: u64::MAX, archive_entries: usize::MAX, ..options.limits.clone() };
        Ok(Members { reader: Reader::new(stream, &limits) })
    }

    /// The next file. Folders are passed over, and so are links, to files that are there anyway, and devices.
    fn next(&mut self) -> Result<Option<Member>> {
        loop {
            match self.reader.next_entry()? {
                Some(Entry { name, kind: kind @ (EntryKind::File | EntryKind::Sparse), length }) => {
                    let name = text(&name);
                    let name = name.trim_start_matches("./").to_owned();
                    // macOS puts what it knows of a file beside it, under a name that looks the same.
                    let is_shadow = name.rsplit('/').next().is_some_and(|last| last.starts_with("._"));
                    if !is_shadow {
                        return Ok(Some(Member::new(name, length, kind == EntryKind::Sparse)));
                    }
                }
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    /// The content of the member read last. It grows with what is really there.
    fn content(&mut self, length: u64) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        let mut buffer = vec![0; usize::try_from(length).unwrap_or(usize::MAX).clamp(1, 256 << 10)];
        loop {
            match self.reader.read_content(&mut buffer)? {
                0 => return Ok(content),
                count => content.extend(&buffer[..count]),
            }
        }
    }

    /// The content of the member read last, if it is a text that is not too long.
    fn text(&mut self, member: &Member) -> Result<Option<String>> {
        if member.length > MOST_TEXT_BYTES || member.is_sparse {
            return Ok(None);
        }
        let text = String::from_utf8(self.content(member.length)?).ok();
        Ok(text
            .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
            .filter(|text| !text.contains('\0')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_keeps_the_first_text_of_a_column_and_so_many_bytes() {
        let member = |name: &str, length| Member::new(name.to_owned(), length, false);
        let texts = vec![("txt".to_owned(), "first".to_owned())];
        let sample = Sample { texts, text_bytes: MOST_TEXTS_BYTES - 10, ..Sample::default() };
        assert!(!sample.lacks(&member("s.txt", 1)));
        assert!(sample.lacks(&member("s.cls", 10)) && !sample.lacks(&member("s.cls", 11)));
    }
}
