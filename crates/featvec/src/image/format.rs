//! Which format the bytes of a file are in, by their beginning; file names lie.

use std::fmt;

/// A picture format that [`decode`](super::decode) reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// JPEG, baseline and progressive.
    Jpeg,
    /// PNG; of APNG the still picture.
    Png,
    /// GIF; its first frame.
    Gif,
    /// Windows and OS/2 bitmaps.
    Bmp,
    /// WebP, lossy and lossless; of animations the first frame.
    WebP,
    /// TIFF; its first page.
    Tiff,
}

impl Format {
    /// The format that `bytes` begin like.
    pub fn of(bytes: &[u8]) -> Option<Format> {
        match bytes {
            [0xff, 0xd8, 0xff, ..] => Some(Format::Jpeg),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Format::Png),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Format::Gif),
            [b'B', b'M', ..] => Some(Format::Bmp),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Format::WebP),
            [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Some(Format::Tiff),
            _ => None,
        }
    }

    /// The name as people write it.
    pub fn name(self) -> &'static str {
        match self {
            Format::Jpeg => "JPEG",
            Format::Png => "PNG",
            Format::Gif => "GIF",
            Format::Bmp => "BMP",
            Format::WebP => "WebP",
            Format::Tiff => "TIFF",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Beginnings of files that people take for pictures or save under a picture's name.
const STRANGERS: &[(usize, &[u8], &str)] = &[
    (4, b"ftypheic", "a HEIC picture"),
    (4, b"ftypheix", "a HEIC picture"),
    (4, b"ftypheim", "a HEIC picture"),
    (4, b"ftyphevc", "a HEIC picture"),
    (4, b"ftypmif1", "a HEIF picture"),
    (4, b"ftypmsf1", "a HEIF picture"),
    (4, b"ftypavif", "an AVIF picture"),
    (4, b"ftypavis", "an AVIF picture"),
    (4, b"ftyp", "an MP4 film or a relative of it"),
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (4, b"JXL \r\n\x87\n", "a JPEG XL picture"),
    (4, b"jP  \r\n\x87\n", "a JPEG 2000 picture"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (0, b"II+\0", "a BigTIFF picture"),
    (0, b"MM\0+", "a BigTIFF picture"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"gimp xcf", "a GIMP document"),
    (0, b"\0\0\x01\0", "an icon"),
    (0, b"qoif", "a QOI picture"),
    (0, b"DDS ", "a DDS texture"),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR picture"),
    (0, b"#?RADIANCE", "a Radiance HDR picture"),
    (0, b"%PDF", "a PDF document"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "gzip-compressed data"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"\x1aE\xdf\xa3", "a WebM or Matroska film"),
];

/// Why `bytes`, which are of no format that is read, are refused: what they look like instead.
pub(super) fn refusal(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "the file is empty".to_string();
    }
    let stranger = STRANGERS
        .iter()
        .find(|(offset, magic, _)| bytes.get(*offset..).is_some_and(|rest| rest.starts_with(magic)));
    if let Some((_, _, what)) = stranger {
        return format!("this is {what}");
    }
    match leading_text(bytes) {
        Some(text) if contains(&text, "<svg") => "this is an SVG drawing".to_string(),
        Some(text) if contains(&text, "<!doctype html") || contains(&text, "<html") => {
            "this is a web page, as servers send in place of a picture that is not there".to_string()
        }
        Some(text) if text.contains("oid sha256:") => {
            "this is a Git LFS pointer: the picture itself was not fetched".to_string()
        }
        Some(text) => {
            let start: String = text.trim_start().chars().take(24).collect();
            format!("this is text, not a picture; it begins {start:?}")
        }
        None => {
            let start: Vec<String> = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            format!("this is no known picture format; it begins with the bytes {}", start.join(" "))
        }
    }
}

fn contains(text: &str, lower_case: &str) -> bool {
    text.to_ascii_lowercase().contains(lower_case)
}

/// The first bytes as text, if they are text.
fn leading_text(bytes: &[u8]) -> Option<String> {
    let head = &bytes[..bytes.len().min(1024)];
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The cut may have gone through a character.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let printable = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    (!text.is_empty() && text.trim_start_matches('\u{feff}').chars().all(printable)).then(|| text.to_string())
}
