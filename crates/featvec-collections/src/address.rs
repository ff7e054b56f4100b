//! What of an address may be shown.

use sha2::{Digest, Sha256};

/// Parameters that a signature of the kind that the first names is made of.
const SIGNATURES: [(&str, &[&str]); 3] = [
    ("x-amz-signature", &["x-amz-"]),
    ("x-goog-signature", &["x-goog-"]),
    // CloudFront, and the older signatures of S3 and Google.
    ("signature", &["signature", "expires", "policy", "key-pair-id", "awsaccesskeyid", "googleaccessid"]),
];
/// Those of Azure's shared access signatures, whole names.
const AZURE_SIGNATURE: [&str; 19] = [
    "sig", "se", "st", "sp", "sv", "sr", "spr", "sip", "si", "ss", "srt", "sdd", "skoid", "sktid", "skt",
    "ske", "sks", "skv", "saoid",
];
/// Parameters that are secret in whatever company.
const SECRETS: [&str; 7] =
    ["access_token", "apikey", "api_key", "password", "secret", "x-amz-security-token", "client_secret"];
/// Secrets by which a server may also tell one picture from another. A hash takes their place.
const TELLING_SECRETS: [&str; 2] = ["token", "auth"];

/// Whether `url` is one of a web server, where `?` begins a query and `#` a fragment. Elsewhere they are part of a name.
pub(crate) fn is_web(url: &str) -> bool {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    ["http", "https"].iter().any(|web| scheme.eq_ignore_ascii_case(web))
}

/// `url` as it may stand in outputs, messages and logs: without a user's name and password, and, on the web, without the
/// fragment and the parameters of a signed URL, which are secret and different each time. The rest is as it was written.
pub(crate) fn shown(url: &str) -> String {
    let (url, query) = match is_web(url) {
        true => {
            let url = url.split('#').next().unwrap_or(url);
            url.split_once('?').unwrap_or((url, ""))
        }
        false => (url, ""),
    };
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = authority.rsplit_once('@').map_or(authority, |(_, server)| server);
    let mut text = if scheme.is_empty() { String::new() } else { format!("{scheme}://") };
    text.push_str(authority);
    text.push_str(path);
    let name = |pair: &str| pair.split('=').next().unwrap_or_default().to_ascii_lowercase();
    let names: Vec<String> = query.split('&').map(name).collect();
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    let is_azure = has("sig") && has("sv");
    let is_signed = is_azure || SIGNATURES.iter().any(|(mark, _)| has(mark));
    let is_secret = |name: &str| {
        let signed = |(mark, parts): &(&str, &[&str])| {
            has(mark)
                && parts
                    .iter()
                    .any(|part| if part.ends_with('-') { name.starts_with(part) } else { name == *part })
        };
        SECRETS.contains(&name)
            || is_signed && TELLING_SECRETS.contains(&name)
            || SIGNATURES.iter().any(signed)
            || is_azure && AZURE_SIGNATURE.contains(&name)
    };
    let kept: Vec<String> = query
        .split('&')
        .zip(&names)
        .filter(|(pair, name)| !pair.is_empty() && !is_secret(name))
        .map(|(pair, name)| match TELLING_SECRETS.contains(&name.as_str()) {
            true => hashed(pair),
            false => pair.to_owned(),
        })
        .collect();
    if !kept.is_empty() {
        text.push('?');
        text.push_str(&kept.join("&"));
    }
    text
}

/// The parameter `pair` with some bits of a hash instead of its value: enough to tell a server's pictures apart, too few
/// to find the value by.
fn hashed(pair: &str) -> String {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    let [a, b, c, d, ..]: [u8; 32] = Sha256::digest(value.as_bytes()).into();
    format!("{name}=~{:08x}", u32::from_be_bytes([a, b, c, d]))
}
