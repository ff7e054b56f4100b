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

/// The first field of a line of comma-separated values, and what comes after the comma.
pub(crate) fn unquoted(line: &str) -> Option<(String, &str)> {
    let Some(mut rest) = line.strip_prefix('"') else {
        return line.split_once(',').map(|(field, rest)| (field.to_string(), rest));
    };
    let mut field = String::new();
    loop {
        let (piece, after) = rest.split_once('"')?;
        field.push_str(piece);
        match after.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None => return Some((field, after.strip_prefix(',')?)),
        }
    }
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
    fn commas_and_quotes_are_quoted_and_come_back() {
        assert_eq!(quoted(OsStr::new("plain.jpg")), b"plain.jpg");
        assert_eq!(quoted(OsStr::new(r#"5" x 7", glossy.jpg"#)), br#""5"" x 7"", glossy.jpg""#);
        for name in ["plain.jpg", r#"5" x 7", glossy.jpg"#, "\"", ",", "", "a,\"\"b"] {
            let line = String::from_utf8([&quoted(OsStr::new(name))[..], b",1.5,2"].concat()).unwrap();
            assert_eq!(unquoted(&line), Some((name.to_string(), "1.5,2")));
        }
        assert_eq!(unquoted("\"breaks off"), None);
        assert_eq!(unquoted("no comma"), None);
    }
}
