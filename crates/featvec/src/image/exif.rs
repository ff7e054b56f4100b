//! The one thing that matters in EXIF metadata: the orientation. Damaged metadata is no reason to refuse a
//! picture, so whatever does not parse reads as none.

use super::orientation::Orientation;

/// Tag of the orientation in the first directory.
const ORIENTATION: u16 = 0x0112;
/// The type of 16-bit unsigned values.
const SHORT: u16 = 3;
/// The type of 32-bit unsigned values.
const LONG: u16 = 4;
/// Bytes of a directory entry: tag, type, count, value.
const ENTRY_BYTES: usize = 12;

/// The orientation in a block of EXIF metadata, with or without the `Exif` marker of JPEG in front.
pub(super) fn orientation(exif: &[u8]) -> Orientation {
    let block = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    Directory::first(block)
        .and_then(|directory| directory.short(ORIENTATION))
        .and_then(|(_, value)| Orientation::from_exif(value))
        .unwrap_or_default()
}

/// The first directory of a TIFF block, the structure that EXIF borrowed.
#[derive(Clone, Copy)]
pub(super) struct Directory<'a> {
    block: &'a [u8],
    is_little_endian: bool,
    entries: &'a [[u8; ENTRY_BYTES]],
    /// Where the entries are in the block.
    offset: usize,
}

impl<'a> Directory<'a> {
    /// The directory, or `None` if it is not wholly within `block`.
    pub(super) fn first(block: &'a [u8]) -> Option<Directory<'a>> {
        let is_little_endian = match block.first_chunk()? {
            [b'I', b'I', 42, 0] => true,
            [b'M', b'M', 0, 42] => false,
            _ => return None,
        };
        let directory = Directory { block, is_little_endian, entries: &[], offset: 0 };
        let offset = usize::try_from(directory.u32(block.get(4..)?)?).ok()?;
        let count = usize::from(directory.u16(block.get(offset..)?)?);
        let offset = offset + 2;
        let entries = block.get(offset..)?.as_chunks().0.get(..count)?;
        Some(Directory { entries, offset, ..directory })
    }

    /// The value of `tag` and where it is in the block, if the tag has one 16-bit value.
    pub(super) fn short(&self, tag: u16) -> Option<(usize, u16)> {
        let at = self.entries.iter().position(|entry| self.u16(entry) == Some(tag))?;
        let entry = &self.entries[at];
        let is_one_short = self.u16(&entry[2..])? == SHORT && self.u32(&entry[4..])? == 1;
        is_one_short.then_some((self.offset + at * ENTRY_BYTES + 8, self.u16(&entry[8..])?))
    }

    /// The value of `tag` each time that it is given; `None` for one that is not a 16-bit or 32-bit number.
    pub(super) fn numbers(&self, tag: u16) -> impl Iterator<Item = Option<u32>> {
        let entries = self.entries.iter().filter(move |entry| self.u16(&entry[..]) == Some(tag));
        entries.map(|entry| match self.u16(&entry[2..])? {
            SHORT => self.u16(&entry[8..]).map(u32::from),
            LONG => self.u32(&entry[8..]),
            _ => None,
        })
    }

    /// Whether no tag claims more values than the whole block has bytes.
    pub(super) fn counts_are_possible(&self) -> bool {
        let length = self.block.len() as u64;
        self.entries.iter().all(|entry| self.u32(&entry[4..]).is_some_and(|count| u64::from(count) <= length))
    }

    fn u16(&self, bytes: &[u8]) -> Option<u16> {
        let bytes = *bytes.first_chunk()?;
        Some(if self.is_little_endian { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    }

    fn u32(&self, bytes: &[u8]) -> Option<u32> {
        let bytes = *bytes.first_chunk()?;
        Some(if self.is_little_endian { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }
}
