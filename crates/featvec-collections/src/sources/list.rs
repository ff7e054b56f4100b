//! Lists of inputs: one path or URL a line.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};

use featvec::{Error, ErrorKind, Result};

use super::place::Place;
use super::{Named, Places, SourceOptions};

/// Longest line: longer than any path or URL that works.
const MOST_LINE_BYTES: u64 = 64 << 10;

/// The places in the list at `place`. Empty lines do not count.
pub(super) fn places(place: &Place, options: &SourceOptions) -> Places {
    match place.stream(options) {
        Ok(stream) => read(stream, place.key(), options),
        Err(error) => Box::new(std::iter::once(Named::failed(&place.key(), error))),
    }
}

/// The places in the list on stdin.
pub(super) fn stdin(options: &SourceOptions) -> Places {
    read(io::stdin(), "stdin".to_owned(), options)
}

fn read(stream: impl Read + Send + 'static, key: String, options: &SourceOptions) -> Places {
    let separator = if options.null_separated { b'\0' } else { b'\n' };
    Box::new(Lines { stream: BufReader::new(stream), key, separator, number: 0, is_over: false })
}

struct Lines<R> {
    stream: BufReader<R>,
    key: String,
    separator: u8,
    /// Of the line read last, from 1.
    number: u64,
    is_over: bool,
}

impl<R: Read> Lines<R> {
    /// The next line that is not empty, without its end; none at the end of the list.
    fn line(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            let mut line = Vec::new();
            self.number += 1;
            let read = self.stream.by_ref().take(MOST_LINE_BYTES).read_until(self.separator, &mut line);
            if read.map_err(|error| Error::io("", error))? == 0 {
                return Ok(None);
            }
            if self.number == 1 {
                if line.starts_with(b"\xff\xfe") || line.starts_with(b"\xfe\xff") {
                    return Err(Error::new(ErrorKind::Argument, "", "a list in UTF-16")
                        .with_hint("write the list as UTF-8"));
                }
                // With this some programs begin a text in UTF-8.
                if line.starts_with(b"\xef\xbb\xbf") {
                    line.drain(..3);
                }
            }
            let is_whole = line.pop_if(|last| *last == self.separator).is_some();
            if !is_whole && line.len() as u64 == MOST_LINE_BYTES {
                let message = format!("line {} is longer than any path or URL", self.number);
                return Err(Error::new(ErrorKind::Argument, "", message)
                    .with_hint("a list has one path or URL a line; is this one?"));
            }
            if self.separator == b'\n' {
                line.pop_if(|last| *last == b'\r');
            }
            if !line.is_empty() {
                return Ok(Some(line));
            }
        }
    }
}

impl<R: Read> Iterator for Lines<R> {
    type Item = Named;

    fn next(&mut self) -> Option<Named> {
        if self.is_over {
            return None;
        }
        match self.line() {
            Ok(line) => {
                let line = line?;
                let key = || format!("{}: line {}", self.key, self.number);
                if line.contains(&0) {
                    let error = Error::new(ErrorKind::Argument, "", "a path with a zero byte in it")
                        .with_hint("--null reads lists whose paths end in zero bytes");
                    return Some(Named::failed(&key(), error));
                }
                Some(match os_string(line) {
                    Ok(line) => Named { place: Place::parse(&line), found: Ok(()) },
                    Err(error) => Named::failed(&key(), error),
                })
            }
            Err(error) => {
                self.is_over = true;
                Some(Named::failed(&self.key, error))
            }
        }
    }
}

#[cfg(unix)]
fn os_string(bytes: Vec<u8>) -> Result<OsString> {
    use std::os::unix::ffi::OsStringExt;
    Ok(OsString::from_vec(bytes))
}

#[cfg(not(unix))]
fn os_string(bytes: Vec<u8>) -> Result<OsString> {
    String::from_utf8(bytes).map(OsString::from).map_err(|_| Error::corrupt("", "a path that is no UTF-8"))
}
