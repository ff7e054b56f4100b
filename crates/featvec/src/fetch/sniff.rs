//! Whether a downloaded body can be an archive at all, or is a web page in its place.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use featvec_formats::archive;

use super::Download;
use crate::{Error, ErrorKind, Result};

/// Refuses a file that is neither gzip nor tar, and says what it is instead.
pub(super) fn check(file: &Path, download: &Download) -> Result<()> {
    let place = || file.display().to_string();
    let mut head = Vec::new();
    File::open(file)
        .and_then(|file| file.take(512).read_to_end(&mut head))
        .map_err(|error| Error::io(place(), error))?;
    if head.is_empty() {
        return Err(Error::corrupt("", "the server sent an empty file"));
    }
    if archive::is_archive(&head) {
        return Ok(());
    }
    let told = download.content_type.as_deref().map(|told| format!(", {told}")).unwrap_or_default();
    let message =
        format!("not a module archive: the server sent {} ({} bytes{told})", name(&head), download.bytes);
    let hint = match name(&head) {
        BZIP2 | XZ => "pack the module as .tar.gz and use `featvec fetch --from FILE HANDLE`",
        _ => "open the URL in a browser: it may want a login, or point to a page about the module",
    };
    Err(Error::new(ErrorKind::Unsupported, "", message).with_hint(hint))
}

const BZIP2: &str = "a bzip2 file";
const XZ: &str = "an xz file";

fn name(head: &[u8]) -> &'static str {
    let text = head.trim_ascii_start();
    match text {
        _ if head.starts_with(b"BZh") => BZIP2,
        _ if head.starts_with(b"\xfd7zXZ") => XZ,
        _ if head.starts_with(b"PK") => "a zip file",
        [b'<', ..] => "a web page or XML",
        [b'{' | b'[', ..] => "JSON",
        _ if text.is_ascii() => "text",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_sent_is_named() {
        assert_eq!(name(b"\n <!DOCTYPE html>"), "a web page or XML");
        assert_eq!(name(b"{\"error\": 403}"), "JSON");
        assert_eq!(name(b"BZh91AY"), BZIP2);
        assert_eq!(name(b"PK\x03\x04"), "a zip file");
        assert_eq!(name(b"Not here"), "text");
        assert_eq!(name(&[0xff, 0xd8, 0xff]), "something else");
    }
}
