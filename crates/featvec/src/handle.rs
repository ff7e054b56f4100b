//! What a user calls a module: a URL, a place on this machine, or the one that comes with featvec.

use std::fmt;
use std::path::{Path, PathBuf};

use sha1::{Digest, Sha1};

use crate::builtin::BUILTIN;
use crate::{Error, ErrorKind, Result};

/// The name of a module: `https://tfhub.dev/…`, any other `http(s)://` URL, a `gs://` archive, a path, or [`BUILTIN`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handle {
    text: String,
    target: Target,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Builtin,
    Path(PathBuf),
    /// What is asked for over HTTP; for `gs://` not the text of the handle.
    Url(String),
}

impl Handle {
    /// Reads `text` as a handle. Whether the module exists is not looked at.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for an empty text, a scheme other than `http`, `https` and `gs`, a URL without a
    /// server, and a `gs://` folder (only archives can be downloaded).
    pub fn parse(text: &str) -> Result<Handle> {
        let target = match text.split_once("://") {
            Some(("http" | "https", rest)) => {
                let server = rest.split(['/', '?', '#']).next().unwrap_or("");
                if server.is_empty() {
                    return Err(wrong(text, "a URL without the name of a server")
                        .with_hint("write it like https://tfhub.dev/publisher/model/1"));
                }
                Target::Url(text.to_string())
            }
            Some(("gs", object)) => Target::Url(storage_url(text, object)?),
            Some((scheme, _)) if is_scheme(scheme) => {
                return Err(wrong(
                    text,
                    &format!("the scheme {scheme}:// is not one that featvec downloads from"),
                )
                .with_hint("use http://, https://, gs://, or the path of a file or folder"));
            }
            _ if text.is_empty() => {
                return Err(
                    wrong("module handle", "it is empty").with_hint("give a URL or the path of a module")
                );
            }
            _ if text == BUILTIN => Target::Builtin,
            _ => Target::Path(PathBuf::from(text)),
        };
        Ok(Handle { text: text.to_string(), target })
    }

    /// The handle as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name of the module's entry in a cache: SHA-1 of the handle as it was given, 40 lowercase hexadecimal
    /// digits. Python's `tensorflow_hub` computes the same.
    pub fn key(&self) -> String {
        hex(&Sha1::digest(self.text.as_bytes()))
    }

    /// Whether it is the module that comes with featvec.
    pub fn is_builtin(&self) -> bool {
        self.target == Target::Builtin
    }

    /// The file or folder, where the handle is a path.
    pub fn path(&self) -> Option<&Path> {
        match &self.target {
            Target::Path(path) => Some(path),
            Target::Builtin | Target::Url(_) => None,
        }
    }

    /// [`path`](Handle::path), after a look whether something is there that could be opened: a file, a folder, or a
    /// checkpoint of several files, which is named by what their names begin with.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where nothing is there, with a hint if the handle looks like a URL without its beginning;
    /// [`ErrorKind::Argument`] for the module that comes with featvec, which is in no file.
    pub fn existing_path(&self) -> Result<Option<&Path>> {
        if self.is_builtin() {
            return Err(wrong(&self.text, "this module is in the program, not in a file").with_hint(
                "`featvec export` writes it to one; a file of this name is reached as ./builtin",
            ));
        }
        let Some(path) = self.path() else {
            return Ok(None);
        };
        let mut index = path.as_os_str().to_owned();
        index.push(".index");
        if path.exists() || Path::new(&index).exists() {
            return Ok(Some(path));
        }
        let error = Error::new(ErrorKind::Io, &self.text, "no such file or folder");
        let parts =
            self.text.split('/').filter(|part| !part.is_empty() && *part != "." && *part != "..").count();
        Err(if path.is_relative() && parts >= 3 {
            error.with_hint(format!("a module of TF Hub is written https://tfhub.dev/{}", self.text))
        } else {
            error.with_hint("give the path of a module, or a URL with https:// in front")
        })
    }

    /// What to download, where the handle is a URL.
    pub fn url(&self) -> Option<&str> {
        match &self.target {
            Target::Builtin | Target::Path(_) => None,
            Target::Url(url) => Some(url),
        }
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::str::FromStr for Handle {
    type Err = Error;

    fn from_str(text: &str) -> Result<Handle> {
        Handle::parse(text)
    }
}

/// `bytes` in lowercase hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The public address of an object in Google Cloud Storage.
fn storage_url(text: &str, object: &str) -> Result<String> {
    const ARCHIVES: [&str; 3] = [".tar", ".tar.gz", ".tgz"];
    let (bucket, name) = object.split_once('/').unwrap_or((object, ""));
    if bucket.is_empty() || name.is_empty() || !ARCHIVES.iter().any(|suffix| name.ends_with(suffix)) {
        return Err(wrong(text, "not an archive in Google Cloud Storage")
            .with_hint("write it like gs://bucket/path/module.tar.gz; folders cannot be downloaded"));
    }
    let name: String = name.bytes().map(encoded).collect();
    Ok(format!("https://storage.googleapis.com/{bucket}/{name}"))
}

/// One byte of an object's name as it stands in a URL's path.
fn encoded(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    }
}

/// Whether `text` could be the scheme of a URL, rather than the beginning of an odd path.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn wrong(text: &str, message: &str) -> Error {
    Error::new(ErrorKind::Argument, text, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> String {
        Handle::parse(text).unwrap().key()
    }

    #[test]
    fn keys_are_those_of_tensorflow_hub() {
        for (handle, expected) in [
            (
                "https://tfhub.dev/google/imagenet/inception_v1/feature_vector/1",
                "276b9d19b6b0a264a5526d08219dfe30923ac454",
            ),
            (
                "https://tfhub.dev/google/imagenet/inception_v1/feature_vector/3",
                "300cbe32b7d2067c617cdaeea0ed18bf2510ea28",
            ),
            (
                "https://tfhub.dev/google/imagenet/inception_v1/feature_vector/5",
                "08d45bdc1bafc4adb9a5fef9808c3f12e8ff9ee2",
            ),
            ("https://tfhub.dev/google/nnlm-en-dim128/1", "32f2b2259e1cc8ca58c876921748361283e73997"),
            (
                "https://storage.googleapis.com/tfhub-test-modules/google/imagenet/inception_v1/feature_vector/1.tar.gz",
                "49048287b80c1de117011c97dd52dbe1dafafbcd",
            ),
            (
                "https://storage.googleapis.com/tfhub-modules/google/imagenet/inception_v1/feature_vector/1.tar.gz",
                "e3406dce514bc66ada1bab3157ec408aded6901b",
            ),
        ] {
            assert_eq!(key(handle), expected, "{handle}");
        }
    }

    #[test]
    fn a_trailing_slash_is_another_key() {
        assert_ne!(key("https://tfhub.dev/a/b/1"), key("https://tfhub.dev/a/b/1/"));
    }

    #[test]
    fn gs_archives_have_a_public_address_and_keep_their_own_key() {
        let handle = Handle::parse("gs://bucket/some where/m.tar.gz").unwrap();
        assert_eq!(handle.url(), Some("https://storage.googleapis.com/bucket/some%20where/m.tar.gz"));
        assert_eq!(handle.as_str(), "gs://bucket/some where/m.tar.gz");
        assert_ne!(handle.key(), key("https://storage.googleapis.com/bucket/some%20where/m.tar.gz"));
    }

    #[test]
    fn what_cannot_be_downloaded_is_refused_with_a_hint() {
        for text in
            ["", "s3://bucket/m.tar.gz", "file:///m", "https:///path", "gs://bucket/folder", "gs://b.tar"]
        {
            let error = Handle::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Argument, "{text}");
            assert!(error.hint().is_some(), "{text}");
        }
    }

    #[test]
    fn everything_else_is_a_path() {
        for text in [
            "module.tar.gz",
            "/m",
            "google/imagenet/inception_v1/feature_vector/1",
            "C:\\m",
            "odd name://x",
            "./builtin",
            "Builtin",
        ] {
            let handle = Handle::parse(text).unwrap();
            assert!(handle.path() == Some(Path::new(text)) && !handle.is_builtin());
        }
    }

    #[test]
    fn what_comes_with_featvec_is_no_path() {
        let handle = Handle::parse("builtin").unwrap();
        assert!(handle.is_builtin() && handle.path().is_none() && handle.url().is_none());
        let error = handle.existing_path().unwrap_err();
        assert!(error.kind() == ErrorKind::Argument && error.to_string().contains("./builtin"), "{error}");
    }
}
