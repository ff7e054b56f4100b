//! Where an object is, and what it is called in the output.

use std::fmt;

use featvec::{Error, ErrorKind, Result};
use reqwest::Url;

use crate::address::shown;

/// The address of an object, or of a folder of them: `s3://bucket/name`, `gs://bucket/name`, `az://container/name`,
/// `http://…` or `https://…`.
///
/// Names in buckets are written as they are, without percent-encoding, as the stores' own programs take them.
#[derive(Clone, PartialEq, Eq)]
pub struct Location {
    key: String,
    pub(super) place: Place,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Place {
    Web(Url),
    Object { bucket: Bucket, name: String },
}

/// A bucket or container of a store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Bucket {
    pub service: Service,
    pub name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Service {
    S3,
    Google,
    Azure,
}

impl Service {
    fn scheme(self) -> &'static str {
        match self {
            Service::S3 => "s3",
            Service::Google => "gs",
            Service::Azure => "az",
        }
    }
}

impl Location {
    /// Reads an address.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for what is none.
    pub fn parse(text: &str) -> Result<Location> {
        let text = text.trim();
        let wrong = |message: String| {
            Error::new(ErrorKind::Argument, "", message).with_hint(
                "an address is written like s3://bucket/name, gs://…, az://container/name or https://…",
            )
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("no address".into()))?;
        let service = match scheme.to_ascii_lowercase().as_str() {
            "s3" => Service::S3,
            "gs" => Service::Google,
            "az" => Service::Azure,
            "http" | "https" => {
                let url = Url::parse(text).map_err(|error| wrong(format!("not a usable URL: {error}")))?;
                return Ok(Location { key: shown(text), place: Place::Web(url) });
            }
            _ => return Err(wrong(format!("addresses of the kind {scheme}:// are not known"))),
        };
        let (bucket, name) = rest.split_once('/').unwrap_or((rest, ""));
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if bucket.is_empty() || !bucket.chars().all(is_plain) {
            return Err(wrong("no name of a bucket after ://".into()));
        }
        Ok(Location::object(Bucket { service, name: bucket.to_string() }, name))
    }

    pub(super) fn object(bucket: Bucket, name: &str) -> Location {
        let key = format!("{}://{}/{name}", bucket.service.scheme(), bucket.name);
        Location { key, place: Place::Object { bucket, name: name.to_string() } }
    }

    pub(super) fn web(url: Url) -> Location {
        Location { key: shown(url.as_str()), place: Place::Web(url) }
    }

    /// The address as it stands in outputs and messages: as it was written, but without a user's name and password,
    /// without the fragment, and without the parameters of a signed URL, which are secret and different each time; a hash
    /// stands in for a token that a server may tell pictures by.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The whole address, with what is secret in it.
    pub(super) fn address(self) -> String {
        match self.place {
            Place::Web(url) => url.into(),
            Place::Object { .. } => self.key,
        }
    }

    /// The path within the server or bucket, by which a kind of file can be told.
    pub fn path(&self) -> &str {
        match &self.place {
            Place::Web(url) => url.path().trim_start_matches('/'),
            Place::Object { name, .. } => name,
        }
    }

    /// Whom requests for this burden: a server and its port, or a bucket.
    pub(super) fn host(&self) -> String {
        match &self.place {
            Place::Web(url) => match url.port_or_known_default() {
                Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
                None => url.host_str().unwrap_or_default().to_string(),
            },
            Place::Object { bucket, .. } => format!("{}://{}", bucket.service.scheme(), bucket.name),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Location").field(&self.key).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> String {
        Location::parse(text).unwrap().key().to_string()
    }

    #[test]
    fn keys_are_addresses_as_they_were_written() {
        for text in [
            "s3://bucket/a b/ü%20.jpg",
            "gs://bucket/x?y#z.png",
            "az://container/a.jpg",
            "HTTP://Example.org/a b.jpg?size=large&page=2",
            "https://h:8443/x",
        ] {
            assert_eq!(key(text), text);
        }
        assert_eq!(key(" s3://bucket "), "s3://bucket/");
    }

    #[test]
    fn secrets_are_no_part_of_a_key() {
        for (text, expected) in [
            ("http://user:pass@h/a.jpg#top", "http://h/a.jpg"),
            ("https://u@h:1/a@b.jpg", "https://h:1/a@b.jpg"),
            ("https://h/a?X-Amz-Date=1&v=2&X-Amz-Signature=3&X-Amz-Credential=4", "https://h/a?v=2"),
            ("https://h/a?X-Goog-Expires=1&X-Goog-Signature=2", "https://h/a"),
            ("https://h/a?sv=1&se=2&sr=b&sp=r&sig=3%3D", "https://h/a"),
            ("https://h/a?Expires=1&Signature=2&Key-Pair-Id=3&w=4", "https://h/a?w=4"),
            ("https://h/a?Signature=2&token=1", "https://h/a"),
            ("https://h/a?api_key=1&id=2", "https://h/a?id=2"),
            // Without a signature beside them these are names like any other.
            ("https://h/a?sv=1&expires=2&policy=3", "https://h/a?sv=1&expires=2&policy=3"),
        ] {
            assert_eq!(key(text), expected);
            assert_eq!(key(expected), expected, "a key is an address of its own");
            let debug = format!("{:?}", Location::parse(text).unwrap());
            assert_eq!(debug, format!("Location({expected:?})"));
        }
    }

    #[test]
    fn tokens_tell_pictures_apart_and_are_not_shown() {
        let (a, b) = (key("https://h/get?token=Aaa&w=1"), key("https://h/get?token=Bbb&w=1"));
        assert_ne!(a, b);
        assert!(a.starts_with("https://h/get?token=~") && a.ends_with("&w=1") && !a.contains("Aaa"), "{a}");
        assert_eq!(a, key("https://h/get?token=Aaa&w=1"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in
            ["photo.jpg", "ftp://h/a", "s3://", "s3:///a", "s3://user:pw@b/a", "http://", "https://[::1/a"]
        {
            let error = Location::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Argument, "{text}");
            assert!(!error.to_string().contains("pw"), "{error}");
        }
    }
}
