//! What a module's file says of itself, as people write it down.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use featvec_formats::About;

use crate::{Error, ErrorKind, Result};

/// More than anybody reads.
const MAX_BYTES: u64 = 64 << 10;

/// Reads lines like `licence: MIT` from the text file `path`. Lines that begin with a space go on where the line before
/// ended; empty ones are skipped.
///
/// # Errors
/// No readable text file, one of more than 64 kB, or a line without a colon.
pub fn read_about(path: &Path) -> Result<About> {
    let place = path.display().to_string();
    let io = |error| Error::io(&*place, error);
    let mut text = String::new();
    // A device has no length to be held against the limit.
    File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text)).map_err(io)?;
    if text.len() as u64 > MAX_BYTES {
        let message = format!("more than the {MAX_BYTES} bytes expected at most");
        return Err(Error::new(ErrorKind::Limit, place, message));
    }
    let mut about = About::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match (about.last_mut(), line.split_once(": ")) {
            (Some((_, text)), _) if line.starts_with(' ') => {
                text.push(' ');
                text.push_str(line.trim());
            }
            (_, Some((what, text))) => about.push((what.trim().to_string(), text.trim().to_string())),
            _ => {
                let place = format!("{place}: line {}", number + 1);
                return Err(Error::new(ErrorKind::Argument, place, "no colon and space in it").with_hint(
                    "write lines like \"licence: MIT\", and begin with a space to go on with one",
                ));
            }
        }
    }
    Ok(about)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_on_where_they_begin_with_a_space() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("about.txt");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            read_about(&file)
        };
        let expected = [("what", "a module: a test of it"), ("licence", "MIT")];
        let expected = expected.map(|(what, text)| (what.to_string(), text.to_string()));
        assert_eq!(read("what: a module:\n  a test of it\n\nlicence: MIT\n").unwrap(), expected);
        assert!(read("").unwrap().is_empty());
        for (text, reason) in [
            ("what: x\nlicence MIT", "line 2: no colon"),
            (" x", "line 1: no colon"),
            (&format!("what: {}", "x".repeat(1 << 17)), "more than the 65536 bytes"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
