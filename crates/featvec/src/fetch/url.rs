//! The little of URLs that downloads need: their parts, one more query parameter, relative redirects.

/// The part before `://`.
pub(super) fn scheme(url: &str) -> &str {
    url.split_once("://").map_or("", |(scheme, _)| scheme)
}

/// Server and port, without user and password.
pub(super) fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    authority.rsplit_once('@').map_or(authority, |(_, server)| server)
}

/// The server's name, without the port.
pub(super) fn host(url: &str) -> &str {
    let authority = authority(url);
    match authority.rsplit_once(':') {
        // An address of IPv6 in brackets has colons of its own.
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// The path without its first slash, without query and fragment.
pub(super) fn path(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or("");
    rest.split_once('/').map_or("", |(_, path)| path)
}

/// `url` with the query parameter by which TF Hub's servers are asked for an archive; any other server ignores it.
pub(super) fn compressed(url: &str) -> String {
    const QUERY: &str = "tf-hub-format=compressed";
    let url = url.split('#').next().unwrap_or(url);
    match url.split_once('?') {
        Some((_, query)) if query.split('&').any(|pair| pair == QUERY) => url.to_string(),
        Some((_, "")) => format!("{url}{QUERY}"),
        Some(_) => format!("{url}&{QUERY}"),
        None => format!("{url}?{QUERY}"),
    }
}

/// What the header `Location: location` means, sent in answer to a request for `base`.
pub(super) fn join(base: &str, location: &str) -> String {
    let location = location.split('#').next().unwrap_or("").trim();
    let first_segment = location.split(['/', '?']).next().unwrap_or("");
    if first_segment.contains(':') {
        return encoded(location);
    }
    let (scheme, authority) = (scheme(base), authority(base));
    if location.starts_with("//") {
        return encoded(&format!("{scheme}:{location}"));
    }
    let base_path = format!("/{}", path(base));
    let target = if location.starts_with('/') {
        location.to_string()
    } else if location.is_empty() || location.starts_with('?') {
        format!("{base_path}{location}")
    } else {
        let folder = base_path.rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{folder}/{location}")
    };
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, format!("?{query}")),
        None => (target.as_str(), String::new()),
    };
    encoded(&format!("{scheme}://{authority}{}{query}", without_dots(path)))
}

/// `path` with its `.` and `..` segments carried out; `..` at the top stays at the top.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    if path.ends_with("/.") || path.ends_with("/..") {
        kept.push("");
    }
    format!("/{}", kept.join("/"))
}

/// `url` with what may not stand in a URL (spaces, letters beyond ASCII) percent-encoded; servers do send such.
pub(super) fn encoded(url: &str) -> String {
    let mut text = String::with_capacity(url.len());
    for byte in url.bytes() {
        match byte {
            b'!'..=b'~' if !b"\"<>\\^`{|}".contains(&byte) => text.push(char::from(byte)),
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let url = "http://user:secret@[::1]:8080/a/b?c=d#e";
        assert_eq!(
            (scheme(url), authority(url), host(url), path(url)),
            ("http", "[::1]:8080", "[::1]", "a/b")
        );
        assert_eq!((host("https://h"), path("https://h")), ("h", ""));
        assert_eq!((host("https://h:1?q/x"), path("https://h?q/x")), ("h", ""));
    }

    #[test]
    fn the_query_is_kept() {
        assert_eq!(compressed("http://h/m"), "http://h/m?tf-hub-format=compressed");
        assert_eq!(compressed("http://h/m?a=b%20c#top"), "http://h/m?a=b%20c&tf-hub-format=compressed");
        assert_eq!(compressed("http://h/m?"), "http://h/m?tf-hub-format=compressed");
        let asked = "http://h/m?tf-hub-format=compressed&x";
        assert_eq!(compressed(asked), asked);
    }

    #[test]
    fn locations_may_be_relative() {
        let base = "http://h:1/a/b/c?x=y";
        for (location, expected) in [
            ("https://other/m", "https://other/m"),
            ("//other/m", "http://other/m"),
            ("/m?q", "http://h:1/m?q"),
            ("m", "http://h:1/a/b/m"),
            ("../m", "http://h:1/a/m"),
            ("../../../m", "http://h:1/m"),
            ("./", "http://h:1/a/b/"),
            ("..", "http://h:1/a/"),
            ("?z", "http://h:1/a/b/c?z"),
            ("m?next=http://x/", "http://h:1/a/b/m?next=http://x/"),
            ("/a b/ü", "http://h:1/a%20b/%C3%BC"),
            ("/kept%20so#gone", "http://h:1/kept%20so"),
        ] {
            assert_eq!(join(base, location), expected, "{location}");
        }
    }
}
