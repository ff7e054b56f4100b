//! One request for an object or a part of it, whether from a web server or from a store.

use bytes::Bytes;
use featvec::ErrorKind;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{GetOptions, GetRange};
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{StatusCode, Url};

use super::failure::{Attempt, Failure};
use super::location::{Bucket, Location, Place};
use super::store::Counted;
use super::{Network, Timeouts};

/// Which part of an object is wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct Part {
    pub first: u64,
    /// Where it ends, if not at the end of the object.
    pub end: Option<u64>,
    /// Of which version of the object.
    pub version: Option<String>,
}

/// What a server sends; the bytes are yet to come.
pub(super) struct Answer {
    /// Where in the object the bytes begin: a web server may send more than was asked for.
    pub first: u64,
    /// The length of the whole object, where the server says.
    pub total: Option<u64>,
    /// What tells this version of the object from others: a strong ETag or a date.
    pub version: Option<String>,
    pub chunks: BoxStream<'static, Attempt<Bytes>>,
}

impl Network {
    pub async fn ask(&self, location: &Location, part: Part) -> Attempt<Answer> {
        match &location.place {
            Place::Web(url) => self.ask_web(url, part).await,
            Place::Object { bucket, name } => self.ask_store(bucket, name, part).await,
        }
    }

    /// The same when the server may be asked, and not while too many others ask it.
    pub async fn ask_in_turn(&self, location: &Location, part: Part) -> Attempt<Answer> {
        let _permit = self.host(location).enter().await;
        self.ask(location, part).await
    }

    async fn ask_web(&self, url: &Url, part: Part) -> Attempt<Answer> {
        let timeouts = &self.options.timeouts;
        let mut request = self.client.get(url.clone()).header(header::ACCEPT_ENCODING, "identity");
        if part.first > 0 || part.end.is_some() {
            // The last byte, not the end, stands in the header.
            let last = part.end.map(|end| end.saturating_sub(1).to_string()).unwrap_or_default();
            request = request.header(header::RANGE, format!("bytes={}-{last}", part.first));
            if let Some(version) = &part.version {
                request = request.header(header::IF_RANGE, version);
            }
        }
        let response = request.send().await.map_err(|error| Failure::of_request(&error, timeouts))?;
        let headers = response.headers();
        let (first, total) = match response.status() {
            StatusCode::OK => {
                (0, text(headers.get(header::CONTENT_LENGTH)).and_then(|length| length.parse().ok()))
            }
            StatusCode::PARTIAL_CONTENT => content_range(headers).ok_or_else(|| {
                Failure::last(ErrorKind::Corrupt, "the server does not say which part it sends")
            })?,
            status => return Err(Failure::refusal(status, headers, None, timeouts)),
        };
        // A weak ETag does not promise the same bytes, so it cannot join two parts.
        let etag = text(headers.get(header::ETAG)).filter(|etag| !etag.starts_with("W/"));
        let version = etag.or_else(|| text(headers.get(header::LAST_MODIFIED))).map(String::from);
        let timeouts: Timeouts = timeouts.clone();
        let chunks = response.bytes_stream();
        let chunks =
            chunks.map(move |chunk| chunk.map_err(|error| Failure::of_request(&error, &timeouts))).boxed();
        Ok(Answer { first, total, version, chunks })
    }

    async fn ask_store(&self, bucket: &Bucket, name: &str, part: Part) -> Attempt<Answer> {
        let path = path(name)?;
        let range = match (part.first, part.end) {
            (0, None) => None,
            (first, None) => Some(GetRange::Offset(first)),
            (first, Some(end)) => Some(GetRange::Bounded(first..end)),
        };
        let mut options = GetOptions { range, if_match: part.version, ..GetOptions::default() };
        options.extensions.insert(Counted);
        let store = self.stores.get(bucket).await?;
        let result = store.get_opts(&path, options).await.map_err(|error| Failure::of_store(&error))?;
        let (first, total, version) = (result.range.start, Some(result.meta.size), result.meta.e_tag.clone());
        let chunks = result.into_stream();
        let chunks = chunks.map(|chunk| chunk.map_err(|error| Failure::of_store(&error))).boxed();
        Ok(Answer { first, total, version, chunks })
    }
}

/// The name of an object as object_store takes it.
pub(super) fn path(name: &str) -> Attempt<Path> {
    let path = Path::parse(name).ok().filter(|path| path.as_ref() == name.trim_end_matches('/'));
    path.ok_or_else(|| {
        let message = "names with empty parts, `.`, `..` or control characters cannot be asked for";
        Failure::last(ErrorKind::Unsupported, message).with_hint("give the object another name")
    })
}

/// First byte and total of `Content-Range: bytes first-last/total`; `*` stands for a total that the server does not say.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let (range, total) = text(headers.get(header::CONTENT_RANGE))?.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.trim().parse().ok()?, total.trim().parse().ok()))
}

fn text(value: Option<&HeaderValue>) -> Option<&str> {
    value?.to_str().ok().map(str::trim)
}
