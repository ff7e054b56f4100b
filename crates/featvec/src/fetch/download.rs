//! One URL into one file, through stalls, hang-ups and lies.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use ureq::http::HeaderMap;

use super::http::{Attempt, Client, Failure, Response, refusal};
use super::{Job, Progress};
use crate::handle::hex;
use crate::{Error, ErrorKind, Result};

/// Failures are forgiven once this much more has arrived than ever before: a line that is cut once a minute still gets
/// there, and the size limit bounds how often that can be, whatever is thrown away in between.
const HEADWAY_BYTES: u64 = 256 << 10;

/// Fewer bytes than this in the time of a stall are one: a server that drips is not to hold us for days.
const DRIP_BYTES: u64 = 1 << 10;

/// What came of a download; the bytes are in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Download {
    /// Where the bytes came from in the end.
    pub url: String,
    /// The server's name for this version of the file.
    pub etag: Option<String>,
    /// What the server calls the file's format.
    pub content_type: Option<String>,
    /// Length of the file.
    pub bytes: u64,
    /// Of the whole file, in hexadecimal.
    pub sha256: String,
}

/// Downloads `url` into `job.archive`, replacing what is there.
pub(super) fn download(client: &Client<'_>, url: &str, job: &mut Job<'_>) -> Result<Download> {
    let place = job.archive.display().to_string();
    let mut partial = Partial::create(job).map_err(|error| Error::io(place, error))?;
    let timeouts = &client.options.timeouts;
    let (mut failures, mut furthest) = (0, 0);
    loop {
        let failure = match partial.attempt(client, url, job) {
            Ok(()) => return Ok(partial.finish()),
            Err(failure) => failure,
        };
        if partial.have >= furthest + HEADWAY_BYTES {
            (failures, furthest) = (0, partial.have);
        }
        failures += 1;
        if !failure.again || failures > client.options.retries {
            return Err(failure.error);
        }
        (job.progress)(Progress::Retrying { url, reason: failure.error.message() });
        let doubled = timeouts.backoff.saturating_mul(1 << (failures - 1).min(6));
        std::thread::sleep(failure.after.map_or(doubled, |asked| asked.max(doubled)));
    }
}

/// What of the file has arrived.
struct Partial {
    file: File,
    hasher: Sha256,
    have: u64,
    /// The length of the whole file, once a server has named it.
    total: Option<u64>,
    /// What tells whether the rest would be of the same file: a strong ETag or a date.
    validator: Option<String>,
    etag: Option<String>,
    content_type: Option<String>,
    url: String,
}

impl Partial {
    fn create(job: &Job<'_>) -> std::io::Result<Partial> {
        Ok(Partial {
            file: File::create(job.archive)?,
            hasher: Sha256::new(),
            have: 0,
            total: None,
            validator: None,
            etag: None,
            content_type: None,
            url: String::new(),
        })
    }

    fn finish(self) -> Download {
        Download {
            url: self.url,
            etag: self.etag,
            content_type: self.content_type,
            bytes: self.have,
            sha256: hex(&self.hasher.finalize()),
        }
    }

    fn attempt(&mut self, client: &Client<'_>, url: &str, job: &mut Job<'_>) -> Attempt<()> {
        let mut headers = Vec::new();
        if self.have > 0 {
            headers.push(("Range", format!("bytes={}-", self.have)));
            headers.extend(self.validator.clone().map(|validator| ("If-Range", validator)));
        }
        let response = client.get(url, &headers)?;
        match response.status.as_u16() {
            200 => self.start(&response)?,
            206 if self.have > 0 => self.resume(&response)?,
            // The server has nothing beyond what we have: either that was all, or it never was this file.
            416 if self.have > 0 => {
                if content_range(&response.headers).is_some_and(|range| range.total == Some(self.have)) {
                    return Ok(());
                }
                self.forget()?;
                return Err(Failure::passing("the server cannot continue where it broke off; starting over"));
            }
            _ => return Err(refusal(&response, client.options)),
        }
        self.url = response.url;
        self.copy(response.body, client, job)?;
        match self.total {
            Some(total) if self.have < total => {
                Err(Failure::passing(format!("the connection ended after {} of {total} bytes", self.have)))
            }
            Some(total) if self.have > total => {
                self.forget()?;
                Err(Failure::passing(format!("more than the promised {total} bytes arrived; starting over")))
            }
            _ => Ok(()),
        }
    }

    /// A whole file follows: a first attempt, or a server that does not continue.
    fn start(&mut self, response: &Response) -> Attempt<()> {
        self.forget()?;
        let header = |name: &str| header(&response.headers, name);
        self.total = header("content-length").and_then(|length| length.parse().ok());
        self.content_type = header("content-type");
        self.etag = header("etag");
        // A weak ETag does not promise the same bytes, so it cannot join two halves.
        let strong = self.etag.clone().filter(|etag| !etag.starts_with("W/"));
        self.validator = strong.or_else(|| header("last-modified"));
        Ok(())
    }

    /// The rest of a file follows, if it is the same file and the rest that was asked for.
    fn resume(&mut self, response: &Response) -> Attempt<()> {
        let range = content_range(&response.headers);
        let right_place = range.is_some_and(|range| range.first == Some(self.have));
        let total = range.and_then(|range| range.total);
        let same_length = total.is_none() || self.total.is_none() || total == self.total;
        let etag = header(&response.headers, "etag");
        let same_etag = etag.is_none() || self.etag.is_none() || etag == self.etag;
        if !(right_place && same_length && same_etag) {
            self.forget()?;
            return Err(Failure::passing("the server sent another part than was asked for; starting over"));
        }
        self.total = self.total.or(total);
        Ok(())
    }

    /// Throws away what has arrived.
    fn forget(&mut self) -> Attempt<()> {
        (self.have, self.total, self.validator, self.etag) = (0, None, None, None);
        self.hasher.reset();
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map(drop).map_err(|error| Failure::last(Error::io("download", error)))
    }

    fn copy(&mut self, mut body: impl Read, client: &Client<'_>, job: &mut Job<'_>) -> Attempt<()> {
        let limit = client.options.limits.file_bytes;
        let announced = self.total.unwrap_or(0);
        if announced > limit {
            return Err(too_long(limit, &format!("the server announces {announced} bytes")));
        }
        let mut buffer = vec![0; 64 << 10];
        let mut pace = Pace::new(client.options.timeouts.stall);
        loop {
            (job.progress)(Progress::Downloading {
                url: &self.url,
                downloaded: self.have,
                total: self.total,
            });
            let count = match body.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.broken_off(&error)),
            };
            let bytes = buffer.get(..count).unwrap_or_default();
            if self.have.saturating_add(count as u64) > limit {
                return Err(too_long(limit, "the server keeps sending"));
            }
            self.file.write_all(bytes).map_err(|error| {
                Failure::last(
                    Error::io(job.archive.display().to_string(), error).with_hint("is the disk full?"),
                )
            })?;
            self.hasher.update(bytes);
            self.have += count as u64;
            if pace.is_drip(count as u64) {
                return Err(Failure::passing(format!("after {} bytes the server only drips", self.have)));
            }
        }
    }

    fn broken_off(&self, error: &std::io::Error) -> Failure {
        let total = self.total.map(|total| format!(" of {total}")).unwrap_or_default();
        let reason = match error.kind() {
            std::io::ErrorKind::TimedOut => "the server stalled".to_string(),
            std::io::ErrorKind::UnexpectedEof => "the connection broke".to_string(),
            _ => error.to_string(),
        };
        Failure::passing(format!("{reason} after {}{total} bytes", self.have))
    }
}

fn too_long(limit: u64, message: &str) -> Failure {
    let message = format!("{message}, and the limit is {limit}");
    Failure::last(Error::new(ErrorKind::Limit, "", message).with_hint(
        "Inception V1 takes about 23 000 000; if the server is to be trusted, raise the limit file_bytes",
    ))
}

/// Watches how much arrives in the time after which a silent server would be given up.
struct Pace {
    window: Duration,
    since: Instant,
    bytes: u64,
}

impl Pace {
    fn new(window: Duration) -> Pace {
        Pace { window, since: Instant::now(), bytes: 0 }
    }

    fn is_drip(&mut self, count: u64) -> bool {
        self.bytes += count;
        if self.since.elapsed() < self.window {
            return false;
        }
        let drip = self.bytes < DRIP_BYTES;
        *self = Pace::new(self.window);
        drip
    }
}

/// The header `Content-Range: bytes first-last/total`; `*` stands for what the server does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ContentRange {
    first: Option<u64>,
    total: Option<u64>,
}

fn content_range(headers: &HeaderMap) -> Option<ContentRange> {
    let text = header(headers, "content-range")?;
    let (range, total) = text.strip_prefix("bytes ")?.trim().split_once('/')?;
    let first = range.split_once('-').and_then(|(first, _)| first.trim().parse().ok());
    Some(ContentRange { first, total: total.trim().parse().ok() })
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(|value| value.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Option<ContentRange> {
        let mut headers = HeaderMap::new();
        headers.insert("content-range", text.parse().unwrap());
        content_range(&headers)
    }

    #[test]
    fn content_ranges_say_what_they_say_and_no_more() {
        assert_eq!(range("bytes 5-9/10"), Some(ContentRange { first: Some(5), total: Some(10) }));
        assert_eq!(range("bytes 5-9/*"), Some(ContentRange { first: Some(5), total: None }));
        assert_eq!(range("bytes */10"), Some(ContentRange { first: None, total: Some(10) }));
        assert_eq!(range("bytes -5-9/99999999999999999999"), Some(ContentRange { first: None, total: None }));
        assert_eq!(range("lines 5-9/10"), None);
        assert_eq!(range("bytes 5-9"), None);
    }

    #[test]
    fn dripping_is_not_arriving() {
        assert!(Pace::new(Duration::ZERO).is_drip(DRIP_BYTES - 1));
        assert!(!Pace::new(Duration::ZERO).is_drip(DRIP_BYTES));
        assert!(!Pace::new(Duration::MAX).is_drip(1), "its time has not come");
    }
}
