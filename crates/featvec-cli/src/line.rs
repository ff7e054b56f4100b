//! Names of files as one field of one line: they may hold line breaks, tabs, and bytes that are no text.

use std::ffi::OsStr;

/// `name` with control characters written as escapes (`\n`); other bytes are as they are, text or not.
pub fn field(name: &OsStr) -> Vec<u8> {
    let mut field = Vec::with_capacity(name.len());
    for &byte in name.as_encoded_bytes() {
        if byte.is_ascii_control() {
            field.extend(byte.escape_ascii());
        } else {
            field.push(byte);
        }
    }
    field
}

/// [`field`] for people.
pub fn shown(name: impl AsRef<OsStr>) -> String {
    String::from_utf8_lossy(&field(name.as_ref())).into_owned()
}

/// [`field`] for a table of comma-separated values.
pub fn quoted(name: &OsStr) -> Vec<u8> {
    let field = field(name);
    if !field.iter().any(|byte| matches!(byte, b',' | b'"')) {
        return field;
    }
    let mut quoted = vec![b'"'];
    for byte in field {
        if byte == b'"' {
            quoted.push(b'"');
        }
        quoted.push(byte);
    }
    quoted.push(b'"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_on_its_line() {
        assert_eq!(field(OsStr::new("a\tb\nc\x1bd")), br"a\tb\nc\x1bd");
        assert_eq!(field(OsStr::new("räksmörgås\\n.jpg")), "räksmörgås\\n.jpg".as_bytes());
    }

    #[test]
    fn commas_and_quotes_are_quoted() {
        assert_eq!(quoted(OsStr::new("plain.jpg")), b"plain.jpg");
        assert_eq!(quoted(OsStr::new(r#"5" x 7", glossy.jpg"#)), br#""5"" x 7"", glossy.jpg""#);
    }
}
