//! Vectors as lines of text. Numbers have the fewest digits that give the same 32-bit float again.

use std::io::{self, BufRead, Read, Write};

use featvec::{Error, Result};
use serde::Deserialize;
use serde_json::json;

use super::Format;
use crate::line;

/// Most bytes of a line that is read: 800 000 numbers of 16 bytes, the largest endpoint.
const MOST_LINE_BYTES: u64 = 64 << 20;

/// Writes what stands before the rows, for vectors of `values` numbers.
///
/// # Errors
/// Those of `stream`.
pub fn write_header(format: Format, stream: &mut impl Write, values: usize) -> io::Result<()> {
    if format != Format::Csv {
        return Ok(());
    }
    write!(stream, "path")?;
    for column in 0..values {
        write!(stream, ",f{column}")?;
    }
    writeln!(stream)
}

/// Writes the vector `values`, of the sizes `shape`, as a line. Formats that have no lines are written as text.
///
/// # Errors
/// Those of `stream`.
pub fn write_row(
    format: Format,
    stream: &mut impl Write,
    key: &str,
    (values, shape): (&[f32], &[usize]),
) -> io::Result<()> {
    match format {
        Format::Csv => {
            stream.write_all(&line::quoted(key.as_ref()))?;
            write_values(stream, values, [",", ","])?;
        }
        Format::Jsonl => {
            write!(stream, "{{\"path\":{},", json!(key))?;
            if shape.len() > 1 {
                write!(stream, "\"shape\":{},", json!(shape))?;
            }
            write!(stream, "\"vector\":")?;
            serde_json::to_writer(&mut *stream, values).map_err(io::Error::from)?;
            write!(stream, "}}")?;
        }
        _ => {
            stream.write_all(&line::field(key.as_ref()))?;
            write_values(stream, values, ["\t", " "])?;
        }
    }
    writeln!(stream)
}

fn write_values(stream: &mut impl Write, values: &[f32], [first, between]: [&str; 2]) -> io::Result<()> {
    let mut separator = first;
    for value in values {
        write!(stream, "{separator}{value:?}")?;
        separator = between;
    }
    Ok(())
}

/// Reads keys and vectors back from lines.
pub(super) struct Lines<R> {
    format: Format,
    stream: R,
    number: u64,
}

#[derive(Deserialize)]
struct JsonRow {
    path: String,
    vector: Vec<f32>,
}

impl<R: BufRead> Lines<R> {
    /// Reads lines of `format` from `stream`.
    pub fn new(format: Format, stream: R) -> Result<Lines<R>> {
        let mut lines = Lines { format, stream, number: 0 };
        if format == Format::Csv {
            lines.line()?;
        }
        Ok(lines)
    }

    /// The next row; nothing at the end.
    pub fn next(&mut self) -> Result<Option<(String, Vec<f32>)>> {
        let Some(line) = self.line()? else {
            return Ok(None);
        };
        let row = match self.format {
            Format::Jsonl => serde_json::from_str(&line).ok().map(|JsonRow { path, vector }| (path, vector)),
            Format::Csv => line::unquoted(&line).and_then(|(key, rest)| Some((key, numbers(rest, ',')?))),
            _ => line.split_once('\t').and_then(|(key, rest)| Some((key.to_string(), numbers(rest, ' ')?))),
        };
        row.map(Some).ok_or_else(|| self.corrupt("no key and vector"))
    }

    fn line(&mut self) -> Result<Option<String>> {
        let mut bytes = Vec::new();
        let read = (&mut self.stream).take(MOST_LINE_BYTES).read_until(b'\n', &mut bytes);
        read.map_err(|error| Error::io(self.place(), error))?;
        if bytes.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        if bytes.pop() != Some(b'\n') {
            return Err(self.corrupt("it breaks off"));
        }
        String::from_utf8(bytes).map(Some).map_err(|_| self.corrupt("no UTF-8"))
    }

    fn place(&self) -> String {
        format!("line {}", self.number)
    }

    fn corrupt(&self, message: &str) -> Error {
        Error::corrupt(self.place(), message)
    }
}

/// The next line of `stream`, without its end; nothing if there is none, or it breaks off, or has more than `most` bytes.
pub(super) fn bounded_line(stream: &mut impl BufRead, most: u64) -> io::Result<Option<String>> {
    let mut line = String::new();
    stream.take(most).read_line(&mut line)?;
    Ok(line.pop().filter(|end| *end == '\n').map(|_| line))
}

fn numbers(text: &str, separator: char) -> Option<Vec<f32>> {
    text.split(separator).map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_whole_or_not_at_all() {
        let mut lines = &b"one\n\ntoo long\n"[..];
        let mut next = || bounded_line(&mut lines, 4).unwrap();
        assert_eq!([next(), next(), next()], [Some("one".into()), Some(String::new()), None]);
        assert_eq!(bounded_line(&mut &b"breaks off"[..], 100).unwrap(), None);
    }
}
