//! What of an address may be shown.

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
const SECRETS: [&str; 9] = [
    "token",
    "access_token",
    "auth",
    "apikey",
    "api_key",
    "password",
    "secret",
    "x-amz-security-token",
    "client_secret",
];

/// `url` as it may stand in outputs, messages and logs: without a user's name and password, without the fragment, and
/// without the parameters of a signed URL, which are secret and different each time. The rest is as it was written.
pub(crate) fn shown(url: &str) -> String {
    let url = url.split('#').next().unwrap_or(url);
    let (url, query) = url.split_once('?').map_or((url, ""), |(url, query)| (url, query));
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = authority.rsplit_once('@').map_or(authority, |(_, server)| server);
    let mut text = if scheme.is_empty() { String::new() } else { format!("{scheme}://") };
    text.push_str(authority);
    text.push_str(path);
    let name = |pair: &str| pair.split('=').next().unwrap_or_default().to_ascii_lowercase();
    let names: Vec<String> = query.split('&').map(name).collect();
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    let is_secret = |name: &str| {
        let signed = |(mark, parts): &(&str, &[&str])| {
            has(mark)
                && parts
                    .iter()
                    .any(|part| if part.ends_with('-') { name.starts_with(part) } else { name == *part })
        };
        SECRETS.contains(&name)
            || SIGNATURES.iter().any(signed)
            || has("sig") && has("sv") && AZURE_SIGNATURE.contains(&name)
    };
    let kept: Vec<&str> = query
        .split('&')
        .zip(&names)
        .filter(|(pair, name)| !pair.is_empty() && !is_secret(name))
        .map(|(pair, _)| pair)
        .collect();
    if !kept.is_empty() {
        text.push('?');
        text.push_str(&kept.join("&"));
    }
    text
}
