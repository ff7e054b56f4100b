//! Why a request failed, whether another one may go better, and what a person can do about it.

use std::error::Error as _;
use std::time::{Duration, SystemTime};
use std::{fmt, io};

use featvec::{Error, ErrorKind};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use super::Timeouts;
use super::location::{Location, Place, Service};

/// Travels through object_store as the source of its errors, so it is one itself.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub kind: ErrorKind,
    /// What the server answered, if it did.
    pub status: Option<StatusCode>,
    pub message: String,
    pub hint: Option<String>,
    /// Whether time may heal it.
    pub again: bool,
    /// How long the server wants to be left alone.
    pub after: Option<Duration>,
}

/// What one attempt brought.
pub(super) type Attempt<T> = Result<T, Failure>;

impl Failure {
    /// The network or the server had a bad moment.
    pub fn passing(message: impl Into<String>) -> Failure {
        Failure { again: true, ..Failure::last(ErrorKind::Io, message) }
    }

    /// Nothing that time would heal.
    pub fn last(kind: ErrorKind, message: impl Into<String>) -> Failure {
        Failure { kind, status: None, message: message.into(), hint: None, again: false, after: None }
    }

    pub fn with_hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// What a failure of reqwest means. Its own text is not used as a whole: it shows the URL with all secrets.
    pub fn of_request(error: &reqwest::Error, timeouts: &Timeouts) -> Failure {
        let mut innermost: &dyn std::error::Error = error;
        while let Some(source) = innermost.source() {
            if let Some(failure) = source.downcast_ref::<Failure>() {
                return failure.clone();
            }
            innermost = source;
        }
        let cause = innermost.to_string();
        if error.is_timeout() {
            return Failure::passing(match error.is_connect() {
                true => format!("no connection within {:?}", timeouts.connect),
                false => format!("the server stalled: nothing came within {:?}", timeouts.stall),
            });
        }
        if error.is_builder() {
            return Failure::last(ErrorKind::Argument, format!("not a usable URL: {cause}"));
        }
        if cause.contains("certificate") {
            return Failure::last(ErrorKind::Io, cause).with_hint(
                "SSL_CERT_FILE names certificates to trust instead of Mozilla's, such as your company's",
            );
        }
        // What getaddrinfo says when no server of names answered.
        if cause.contains("Temporary failure in name resolution") {
            return Failure::passing("the server's name could not be looked up")
                .with_hint("is this machine online?");
        }
        if cause.contains("lookup") {
            return Failure::last(ErrorKind::Io, "the server's name is not known")
                .with_hint("check its spelling, and whether this machine is online");
        }
        Failure::passing(match error.is_connect() {
            true => format!("the server could not be reached: {cause}"),
            false => format!("the connection broke: {cause}"),
        })
    }

    /// What a failure of object_store means: in most cases it passes on one of ours.
    pub fn of_store(error: &object_store::Error) -> Failure {
        let mut source = error.source();
        while let Some(cause) = source {
            if let Some(failure) = cause.downcast_ref::<Failure>() {
                return failure.clone();
            }
            source = cause.source();
        }
        match error {
            object_store::Error::InvalidPath { source } => Failure::last(
                ErrorKind::Unsupported,
                format!("a name with empty parts, `.`, `..` or control characters: {source}"),
            )
            .with_hint("give the object another name"),
            error => Failure::last(ErrorKind::Io, error.to_string())
                .with_hint("is there such a store at the endpoint that the environment names?"),
        }
    }

    /// What it means that the server answered with `status` instead of what was asked for; `code` is the name that
    /// stores give to an error.
    pub fn refusal(
        status: StatusCode,
        headers: &HeaderMap,
        code: Option<&str>,
        timeouts: &Timeouts,
    ) -> Failure {
        let region = headers.get("x-amz-bucket-region").and_then(|region| region.to_str().ok());
        let message = match status.as_u16() {
            301 | 400 if region.is_some() => "the bucket is in another region",
            404 | 410 => "the server has nothing of this name",
            401 | 403 => "the server refuses access",
            407 => "the proxy wants a login",
            412 => "it has changed while it was read",
            416 => "the server has no such part of it",
            408 | 425 | 429 | 500..=599 => "the server is not able to answer now",
            200..=299 => "the server answers without the content",
            _ => "the server refuses the request",
        };
        let code = code.map(|code| format!(", {code}")).unwrap_or_default();
        let again = matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502..=504 | 506..=599);
        let hint = match (status.as_u16(), region) {
            (301 | 400, Some(region)) => Some(format!("AWS_REGION={region} is where it is")),
            (407, _) => Some("write it like http_proxy=http://user:password@host:port".into()),
            (412, _) => Some("run again when nobody changes it".into()),
            _ if again => Some("try again later, with fewer requests at once".into()),
            _ => None,
        };
        Failure {
            kind: ErrorKind::Io,
            status: Some(status),
            message: format!("{message} ({status}{code})"),
            hint,
            again,
            after: retry_after(headers).map(|wait| wait.min(timeouts.retry_after_max)),
        }
    }

    /// The error to hand out for `location`. Like all errors of sources it names no place: whoever asks adds the address.
    pub fn of(self, location: &Location) -> Error {
        let hint = self.hint.or_else(|| self.status.and_then(|status| remedy(status, location)));
        let mut error = Error::new(self.kind, "", self.message);
        if self.again {
            // By this sources tell what may go better another time.
            error = error.with_source(io::Error::from(io::ErrorKind::TimedOut));
        }
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// What to do about a refusal depends on where the object is.
fn remedy(status: StatusCode, location: &Location) -> Option<String> {
    let service = match &location.place {
        Place::Web(_) => None,
        Place::Object { bucket, .. } => Some(bucket.service),
    };
    let missing = matches!(status.as_u16(), 404 | 410);
    let forbidden = matches!(status.as_u16(), 401 | 403);
    let text = match service {
        None if missing => "check the spelling; it may have been deleted",
        Some(_) if missing => "check the spelling; the address of a folder ends in /",
        None if forbidden => {
            "a signed URL may have expired; the name and password of a user may stand before the host"
        }
        Some(Service::S3) if forbidden => {
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be those of somebody who may read it, and AWS_REGION the \
             bucket's; profiles are not read: `aws configure export-credentials --format env` turns one into variables"
        }
        Some(Service::Google) if forbidden => {
            "GOOGLE_APPLICATION_CREDENTIALS must name the key file of somebody who may read it"
        }
        Some(Service::Azure) if forbidden => {
            "AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN must be of somebody who \
             may read it"
        }
        _ => return None,
    };
    Some(text.to_string())
}

/// What the header `Retry-After` asks for: seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("retry-after")?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(Duration::from_secs(unix_seconds(text)?).saturating_sub(now))
}

/// Reads a date as HTTP writes it (`Sun, 06 Nov 1994 08:49:37 GMT`).
fn unix_seconds(date: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = date.split_once(", ")?.1.split([' ', ':']);
    let day: u64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? as u64;
    let year: u64 = words.next()?.parse().ok().filter(|year| (1970..10_000).contains(year))?;
    let mut time = || words.next()?.parse::<u64>().ok().filter(|part| *part <= 60);
    let (hours, minutes, seconds) = (time()?, time()?, time()?);
    // Years that begin in March have their leap day at the end.
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day;
    const FIRST_OF_1970: u64 = 719_469;
    Some(days.checked_sub(FIRST_OF_1970)? * 86_400 + hours * 3600 + minutes * 60 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_http_are_understood() {
        for (date, expected) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Thu, 29 Feb 2024 23:59:59 GMT", Some(1_709_251_199)),
            ("Thu, 26 Nov 2026 19:40:00 GMT", Some(1_795_722_000)),
            ("Sun, 06 Foo 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 99999 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 08:99:37 GMT", None),
            ("soon", None),
        ] {
            assert_eq!(unix_seconds(date), expected, "{date}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let after = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", text.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(after(" 7"), Some(Duration::from_secs(7)));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO), "it is past");
        assert!(after("Fri, 31 Dec 9999 23:59:59 GMT").unwrap() > Duration::from_secs(1 << 32));
        assert_eq!(after("-1"), None);
    }

    #[test]
    fn the_remedy_fits_the_place() {
        let timeouts = Timeouts::default();
        for (address, status, word) in [
            ("s3://b/a", StatusCode::FORBIDDEN, "AWS_ACCESS_KEY_ID"),
            ("gs://b/a", StatusCode::UNAUTHORIZED, "GOOGLE_APPLICATION_CREDENTIALS"),
            ("az://b/a", StatusCode::FORBIDDEN, "AZURE_STORAGE_ACCOUNT_KEY"),
            ("https://h/a", StatusCode::FORBIDDEN, "signed URL"),
            ("https://h/a", StatusCode::NOT_FOUND, "spelling"),
            ("https://h/a", StatusCode::SERVICE_UNAVAILABLE, "later"),
        ] {
            let failure = Failure::refusal(status, &HeaderMap::new(), Some("SomeCode"), &timeouts);
            let error = failure.of(&Location::parse(address).unwrap()).to_string();
            assert!(error.contains(word) && error.contains(status.as_str()), "{error}");
            assert!(error.contains("SomeCode"), "{error}");
        }
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-bucket-region", "eu-west-1".parse().unwrap());
        let failure = Failure::refusal(StatusCode::MOVED_PERMANENTLY, &headers, None, &timeouts);
        assert_eq!(failure.hint.as_deref(), Some("AWS_REGION=eu-west-1 is where it is"));
    }
}
