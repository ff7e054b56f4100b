//! Pictures, changed at the level of their chunks, segments or directories.

use std::io::{Read, Write};

use featvec::image::Format;
use flate2::{Compression, Crc, read::ZlibDecoder, write::ZlibEncoder};

use crate::mutate::bytes;
use crate::rng::Rng;

/// Changes the picture `file`.
pub fn mutate(file: &[u8], rng: &mut Rng) -> Vec<u8> {
    let changed = match Format::of(file) {
        Some(Format::Jpeg) => mutate_jpeg(file, rng),
        Some(Format::Png) => mutate_png(file, rng),
        Some(Format::WebP) => mutate_webp(file, rng),
        Some(Format::Tiff) if !rng.one_in(4) => mutate_tiff(file, rng),
        _ => None,
    };
    changed.unwrap_or_else(|| {
        let mut changed = file.to_vec();
        bytes::mutate_header(&mut changed, 64, rng);
        changed
    })
}

/// A piece of a picture: what it is called, what it holds, and (JPEG) the coded pixels behind it.
#[derive(Clone)]
struct Piece {
    name: [u8; 4],
    content: Vec<u8>,
    coded: Vec<u8>,
}

/// Repeats, drops or swaps pieces, or changes what is in one, its first bytes more often than others.
fn mutate_pieces(pieces: &mut Vec<Piece>, rng: &mut Rng) {
    for _ in 0..rng.few() {
        let (at, other) = (rng.below(pieces.len()), rng.below(pieces.len()));
        let Some(piece) = pieces.get_mut(at) else { return };
        match rng.below(12) {
            0 => pieces.insert(at, pieces[other].clone()),
            1 => {
                pieces.remove(at);
            }
            2 => pieces.swap(at, other),
            3 => bytes::overwrite(&mut piece.name, rng),
            4..=6 if !piece.coded.is_empty() => bytes::mutate(&mut piece.coded, rng),
            _ => bytes::mutate_header(&mut piece.content, 16, rng),
        }
    }
}

fn mutate_png(file: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    let (signature, mut rest) = file.split_at_checked(8)?;
    let mut pieces = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk() {
        let (name, after) = after.split_first_chunk()?;
        let (content, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        pieces.push(Piece { name: *name, content: content.to_vec(), coded: Vec::new() });
        rest = after.get(4..)?;
    }
    if rng.one_in(4) {
        recompress(&mut pieces, rng);
    }
    mutate_pieces(&mut pieces, rng);
    let mut changed = signature.to_vec();
    for Piece { name, content, .. } in &pieces {
        let mut crc = Crc::new();
        crc.update(name);
        crc.update(content);
        let sum = if rng.one_in(60) { 0 } else { crc.sum() };
        changed.extend((content.len() as u32).to_be_bytes());
        changed.extend(name);
        changed.extend(content);
        changed.extend(sum.to_be_bytes());
    }
    Some(changed)
}

/// Changes the pixels of a PNG before compression.
fn recompress(pieces: &mut [Piece], rng: &mut Rng) {
    let Some(piece) = pieces.iter_mut().find(|piece| piece.name == *b"IDAT") else { return };
    let mut pixels = Vec::new();
    // Where the pixels go on in a second piece, the first alone breaks off; what there is is enough.
    let _ = ZlibDecoder::new(&piece.content[..]).read_to_end(&mut pixels);
    bytes::mutate(&mut pixels, rng);
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    piece.content =
        encoder.write_all(&pixels).and_then(|()| encoder.finish()).expect("a Vec takes everything");
}

fn mutate_webp(file: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    let mut rest = file.get(12..)?;
    let mut pieces = Vec::new();
    while let Some((name, after)) = rest.split_first_chunk() {
        let (length, after) = after.split_first_chunk()?;
        let length = u32::from_le_bytes(*length) as usize;
        let (content, after) = after.split_at_checked(length)?;
        pieces.push(Piece { name: *name, content: content.to_vec(), coded: Vec::new() });
        rest = after.get(length % 2..)?;
    }
    mutate_pieces(&mut pieces, rng);
    let mut body = b"WEBP".to_vec();
    for Piece { name, content, .. } in &pieces {
        body.extend(name);
        body.extend((content.len() as u32).to_le_bytes());
        body.extend(content);
        body.resize(body.len().next_multiple_of(2), 0);
    }
    let length = if rng.one_in(30) { rng.next() as u32 } else { body.len() as u32 };
    Some([&b"RIFF"[..], &length.to_le_bytes(), &body].concat())
}

fn mutate_jpeg(file: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    let mut rest = file.get(2..)?;
    let mut pieces = Vec::new();
    while let [0xff, marker, after @ ..] = rest {
        if matches!(marker, 0xff) {
            rest = &rest[1..];
            continue;
        }
        let has_content = !matches!(marker, 0xd0..=0xd9);
        let (content, after) = match has_content {
            true => {
                let (length, after) = after.split_first_chunk()?;
                after.split_at_checked(usize::from(u16::from_be_bytes(*length)).checked_sub(2)?)?
            }
            false => (&[][..], after),
        };
        let is_marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xd0..=0xd7);
        let coded = after.windows(2).position(is_marker).unwrap_or(after.len());
        let (coded, after) = after.split_at(coded);
        pieces.push(Piece { name: [*marker, 0, 0, 0], content: content.to_vec(), coded: coded.to_vec() });
        rest = after;
    }
    mutate_pieces(&mut pieces, rng);
    let mut changed = vec![0xff, 0xd8];
    for Piece { name: [marker, ..], content, coded } in &pieces {
        changed.extend([0xff, *marker]);
        if !matches!(marker, 0xd0..=0xd9) {
            let length = if rng.one_in(60) { rng.next() as u16 } else { content.len() as u16 + 2 };
            changed.extend(length.to_be_bytes());
            changed.extend(content);
        }
        changed.extend(coded);
    }
    Some(changed)
}

/// Changes entries of the first directory: tag, type, count or value.
fn mutate_tiff(file: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    let mut changed = file.to_vec();
    let is_big_endian = file.first() == Some(&b'M');
    let u32_of =
        |bytes: [u8; 4]| if is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
    let directory = u32_of(*file.get(4..)?.first_chunk()?) as usize;
    let [first, second] = *file.get(directory..)?.first_chunk()?;
    let count = usize::from(if is_big_endian { second } else { first });
    for _ in 0..rng.few() {
        let entry = directory + 2 + 12 * rng.below(count);
        let (at, width) = rng.pick(&[(0, 2), (2, 2), (4, 4), (8, 4), (8, 2)]);
        let field = changed.get_mut(entry + at..)?.get_mut(..width)?;
        let number = match at {
            0 => 254 + rng.below(90) as u64,
            2 => rng.below(14) as u64,
            _ => rng.integer(1),
        };
        match is_big_endian {
            true => field.copy_from_slice(&number.to_be_bytes()[8 - width..]),
            false => field.copy_from_slice(&number.to_le_bytes()[..width]),
        }
    }
    Some(changed)
}

#[cfg(test)]
mod tests {
    use featvec::image::{DecodeOptions, decode};

    use super::*;
    use crate::corpus;

    /// Most changes to any of the formats are of a kind that is looked at past the beginning.
    #[test]
    fn changed_pictures_are_still_pictures() {
        for name in ["rgb8.png", "lossy.webp", "rgb8.tif", "orientation6.jpg", "whole.gif", "rgb24.bmp"] {
            let file = corpus::fixture(&format!("featvec/tests/fixtures/images/{name}"));
            let (mut recognized, mut decoded) = (0, 0);
            for seed in 0..100 {
                let changed = mutate(&file, &mut Rng::new(seed));
                recognized += usize::from(Format::of(&changed).is_some());
                decoded += usize::from(decode(&changed, &DecodeOptions::default()).is_ok());
            }
            assert!(recognized > 60, "{name}: {recognized} of 100 recognized");
            assert!((5..100).contains(&decoded), "{name}: {decoded} of 100 decoded");
        }
    }
}
