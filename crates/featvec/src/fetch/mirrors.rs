//! Where else the bytes of a module may be found.

use super::url;
use crate::handle::Handle;
use crate::{Error, ErrorKind, Result};

/// Where the archives of `tfhub.dev` are or were kept.
const TFHUB_MIRRORS: [&str; 2] = [
    "https://storage.googleapis.com/tfhub-modules/{path}.tar.gz",
    "https://gcs.tensorflow.google.cn/tfhub-modules/{path}.tar.gz",
];

/// Servers that are (or point to) TF Hub itself; what they redirect to has changed hands more than once.
const TFHUB_SERVERS: [&str; 2] = ["tfhub.dev", "hub.tensorflow.google.cn"];

/// The URLs to ask for `handle`, best first.
pub(super) fn sources(handle: &Handle, mirrors: &[String]) -> Result<Vec<String>> {
    let own = handle.url().unwrap_or_default();
    let path = url::path(own);
    let mut custom = Vec::new();
    for template in mirrors {
        if !template.contains("{path}") || !template.starts_with("http") {
            let message = format!("the mirror {template} is not a URL with {{path}} in it");
            return Err(Error::new(ErrorKind::Argument, "mirrors", message)
                .with_hint("write it like https://example.org/modules/{path}.tar.gz"));
        }
        custom.push(template.replace("{path}", path));
    }
    if handle.as_str().starts_with("gs://") {
        return Ok(std::iter::once(own.to_string()).chain(custom).collect());
    }
    let asked = url::compressed(own);
    let custom = custom.iter().map(|url| url::compressed(url));
    Ok(if TFHUB_SERVERS.contains(&url::host(own)) {
        let known = TFHUB_MIRRORS.iter().map(|template| template.replace("{path}", path));
        custom.chain([asked]).chain(known).collect()
    } else {
        std::iter::once(asked).chain(custom).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources_of(handle: &str, mirrors: &[&str]) -> Vec<String> {
        let mirrors: Vec<String> = mirrors.iter().map(ToString::to_string).collect();
        sources(&Handle::parse(handle).unwrap(), &mirrors).unwrap()
    }

    #[test]
    fn tfhub_is_asked_after_the_users_mirrors_and_before_ours() {
        assert_eq!(
            sources_of("https://tfhub.dev/google/m/1", &["http://mirror/{path}.tgz"]),
            [
                "http://mirror/google/m/1.tgz?tf-hub-format=compressed",
                "https://tfhub.dev/google/m/1?tf-hub-format=compressed",
                "https://storage.googleapis.com/tfhub-modules/google/m/1.tar.gz",
                "https://gcs.tensorflow.google.cn/tfhub-modules/google/m/1.tar.gz",
            ]
        );
    }

    #[test]
    fn another_server_is_asked_before_the_mirrors() {
        assert_eq!(
            sources_of("http://example.org/m.tar.gz?v=2", &["http://mirror/{path}"]),
            [
                "http://example.org/m.tar.gz?v=2&tf-hub-format=compressed",
                "http://mirror/m.tar.gz?tf-hub-format=compressed"
            ]
        );
    }

    #[test]
    fn storage_objects_are_asked_for_as_they_are() {
        assert_eq!(sources_of("gs://b/m.tar.gz", &[]), ["https://storage.googleapis.com/b/m.tar.gz"]);
    }

    #[test]
    fn a_mirror_without_a_place_for_the_path_is_refused() {
        let handle = Handle::parse("https://tfhub.dev/google/m/1").unwrap();
        assert!(
            sources(&handle, &["http://mirror/".to_string()]).unwrap_err().to_string().contains("{path}")
        );
    }
}
