//! Rows as lines. Numbers have the fewest digits that give the same 32-bit float again.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};

use featvec::Tensor;
use serde_json::json;

use super::LineFormat;
use crate::line;

impl LineFormat {
    /// Writes what stands before the rows.
    pub fn write_header(self, stream: &mut impl Write, row_shape: &[usize]) -> io::Result<()> {
        if self != LineFormat::Csv {
            return Ok(());
        }
        write!(stream, "path")?;
        for column in 0..row_shape.iter().product() {
            write!(stream, ",f{column}")?;
        }
        writeln!(stream)
    }

    /// Writes rows, `[n, ...]`, with their names; several dimensions are laid end to end.
    pub fn write(self, stream: &mut impl Write, names: &[OsString], values: &Tensor) -> io::Result<()> {
        let row_shape = values.shape().get(1..).unwrap_or_default();
        for (name, row) in names.iter().zip(values.iter_rows()) {
            match self {
                LineFormat::Text => {
                    stream.write_all(&line::field(name))?;
                    write_values(stream, row, ["\t", " "])?;
                }
                LineFormat::Csv => {
                    stream.write_all(&line::quoted(name))?;
                    write_values(stream, row, [",", ","])?;
                }
                LineFormat::Jsonl => write_json(stream, name, (row, row_shape))?,
            }
            writeln!(stream)?;
        }
        Ok(())
    }
}

fn write_values(stream: &mut impl Write, row: &[f32], [first, between]: [&str; 2]) -> io::Result<()> {
    let mut separator = first;
    for value in row {
        write!(stream, "{separator}{value:?}")?;
        separator = between;
    }
    Ok(())
}

fn write_json(stream: &mut impl Write, name: &OsStr, (row, shape): (&[f32], &[usize])) -> io::Result<()> {
    let path = json!(name.to_string_lossy());
    write!(stream, "{{\"path\":{path},")?;
    if shape.len() > 1 {
        write!(stream, "\"shape\":{},", json!(shape))?;
    }
    write!(stream, "\"vector\":")?;
    serde_json::to_writer(&mut *stream, row).map_err(io::Error::from)?;
    write!(stream, "}}")
}
