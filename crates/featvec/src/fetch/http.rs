//! One GET request: time-outs, redirects, proxies, and what a refusal means.

mod forward_proxy;
mod names;

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use ureq::config::Config;
use ureq::http::{HeaderMap, StatusCode};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Proxy};

use super::{FetchOptions, url};
use crate::{Error, ErrorKind, Result};
use names::Names;

/// As many as urllib and curl's users are used to; honest chains have two or three.
const MAX_REDIRECTS: usize = 10;

pub(super) struct Client<'a> {
    pub options: &'a FetchOptions,
}

/// An answer with a body yet to be read.
pub(super) struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Where the answer came from after all redirects.
    pub url: String,
    pub body: Box<dyn Read>,
}

/// Why an attempt failed, and whether another one may go better.
pub(super) struct Failure {
    pub error: Error,
    pub again: bool,
    /// How long the server wants to be left alone.
    pub after: Option<Duration>,
}

/// What one attempt brought.
pub(super) type Attempt<T> = std::result::Result<T, Failure>;

impl Failure {
    /// Nothing that time would heal.
    pub fn last(error: Error) -> Failure {
        Failure { error, again: false, after: None }
    }

    /// The network or the server had a bad moment.
    pub fn passing(message: impl Into<String>) -> Failure {
        Failure { error: Error::new(ErrorKind::Io, "", message), again: true, after: None }
    }
}

impl<'a> Client<'a> {
    pub fn new(options: &'a FetchOptions) -> Client<'a> {
        Client { options }
    }

    /// Sends GET with `headers` and follows redirects; whatever the final status is, it is returned.
    pub fn get(&self, url: &str, headers: &[(&str, String)]) -> Attempt<Response> {
        let mut url = url::encoded(url);
        let mut visited: Vec<String> = Vec::new();
        loop {
            let response = self.get_once(&url, headers)?;
            if !matches!(response.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let location = response.headers.get("location").map(|location| location.as_bytes());
            let next = redirected(&url, location)?;
            visited.push(std::mem::replace(&mut url, next));
            if visited.contains(&url) {
                return Err(redirect_failure(&format!("the server redirects in a circle, to {url} again")));
            }
            if visited.len() > MAX_REDIRECTS {
                return Err(redirect_failure(&format!("more than {MAX_REDIRECTS} redirects")));
            }
        }
    }

    fn get_once(&self, url: &str, headers: &[(&str, String)]) -> Attempt<Response> {
        let proxy = self.options.proxies.for_url(url);
        let agent = self.agent(url, proxy.as_deref()).map_err(Failure::last)?;
        let mut request = agent.get(url);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        if url::scheme(url) == "http"
            && let Some(credentials) = proxy.as_deref().and_then(forward_proxy::authorization)
        {
            request = request.header("Proxy-Authorization", credentials);
        }
        let response = request.call().map_err(|error| {
            let failure = transport_failure(error, self.options);
            match &proxy {
                Some(proxy) => {
                    let place = format!("through the proxy {}", url::authority(proxy));
                    Failure { error: failure.error.within(&place), ..failure }
                }
                None => failure,
            }
        })?;
        let (parts, body) = response.into_parts();
        Ok(Response {
            status: parts.status,
            headers: parts.headers,
            url: url.to_string(),
            body: Box::new(body.into_reader()),
        })
    }

    fn agent(&self, url: &str, proxy: Option<&str>) -> Result<Agent> {
        let timeouts = &self.options.timeouts;
        let mut config = Config::builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // What a lying server sends after its Content-Length must not become the next answer.
            .max_idle_connections(0)
            .user_agent(concat!("featvec/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .timeout_resolve(Some(timeouts.connect))
            .timeout_connect(Some(timeouts.connect))
            .timeout_recv_response(Some(timeouts.stall))
            .timeout_per_read(Some(timeouts.stall))
            .timeout_per_write(Some(timeouts.stall))
            .proxy(None);
        let unusable = |error: ureq::Error| {
            Error::new(ErrorKind::Argument, "proxy", format!("unusable: {error}"))
                .with_hint("http_proxy and https_proxy are written like http://host:port")
        };
        if url::scheme(url) == "http" {
            let config = config.build();
            return match proxy {
                Some(proxy) => forward_proxy::agent(config, proxy).map_err(unusable),
                None => Ok(direct(config)),
            };
        }
        if let Some(proxy) = proxy {
            config = config.proxy(Some(Proxy::new(proxy).map_err(unusable)?));
        }
        let roots = match &self.options.certificates {
            Some(file) => trusted_certificates(file)?,
            None => RootCerts::WebPki,
        };
        let tls = TlsConfig::builder()
            .root_certs(roots)
            .disable_verification(self.options.disable_cert_validation)
            .build();
        Ok(direct(config.tls_config(tls).build()))
    }
}

fn direct(config: Config) -> Agent {
    Agent::with_parts(config, DefaultConnector::new(), Names::default())
}

fn trusted_certificates(file: &std::path::Path) -> Result<RootCerts> {
    let place = file.display().to_string();
    let pem = std::fs::read(file).map_err(|error| Error::io(&place, error))?;
    let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(Error::new(ErrorKind::Argument, place, "no certificate in PEM form in it")
            .with_hint("SSL_CERT_FILE must name a file of trusted certificates"));
    }
    Ok(RootCerts::Specific(Arc::new(certificates)))
}

/// Where a redirect from `url` leads.
fn redirected(url: &str, location: Option<&[u8]>) -> Attempt<String> {
    let Some(location) = location else {
        return Err(redirect_failure("the server redirects without saying where to"));
    };
    let next = url::join(url, &String::from_utf8_lossy(location));
    match (url::scheme(url), url::scheme(&next)) {
        ("http", "http" | "https") | ("https", "https") => Ok(next),
        ("https", "http") => {
            Err(redirect_failure(&format!("the server redirects from https to unprotected {next}")))
        }
        _ => Err(redirect_failure(&format!("the server redirects to {next}, which is not http(s)"))),
    }
}

fn redirect_failure(message: &str) -> Failure {
    Failure::last(Error::new(ErrorKind::Io, "", message))
}

/// What it means that there was no answer at all.
fn transport_failure(error: ureq::Error, options: &FetchOptions) -> Failure {
    let message = match &error {
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
            format!("no connection within {:?}", options.timeouts.connect)
        }
        ureq::Error::Timeout(_) => format!("no answer within {:?}", options.timeouts.stall),
        ureq::Error::HostNotFound => {
            let message = "the server's name is not known (is this machine online?)";
            return Failure::last(Error::new(ErrorKind::Io, "", message));
        }
        ureq::Error::BadUri(reason) => {
            return Failure::last(Error::new(ErrorKind::Argument, "", format!("not a usable URL: {reason}")));
        }
        ureq::Error::Io(cause) => format!("the server could not be reached: {cause}"),
        other => other.to_string(),
    };
    if message.contains("certificate") {
        return Failure::last(Error::new(ErrorKind::Io, "", message).with_source(error).with_hint(
            "SSL_CERT_FILE names certificates to trust instead of Mozilla's, such as your company's",
        ));
    }
    Failure { error: Error::new(ErrorKind::Io, "", message).with_source(error), again: true, after: None }
}

/// What it means that the server answered with this status instead of the file.
pub(super) fn refusal(response: &Response, options: &FetchOptions) -> Failure {
    let status = response.status;
    let (message, hint) = match status.as_u16() {
        404 | 410 => (
            "the server has no such file",
            "check the spelling of the handle, its version included; a folder on a file server is not an archive",
        ),
        401 | 403 => (
            "the server refuses to hand the file out",
            "TF Hub has moved to Kaggle, which may want a login: name a mirror with --mirror, or download the \
             archive in a browser and use `featvec fetch --from FILE HANDLE`",
        ),
        407 => ("the proxy wants a login", "write it like http_proxy=http://user:password@host:port"),
        408 | 425 | 429 | 500..=599 => {
            ("the server is not able to answer now", "try again later, or name a mirror")
        }
        200..=299 => ("the server answers without the file", "name a mirror with --mirror"),
        _ => ("the server refuses the request", "check the handle, or name a mirror with --mirror"),
    };
    let again = matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502..=504 | 506..=599);
    let after =
        response.headers.get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Failure {
        error: Error::new(ErrorKind::Io, "", format!("{message} ({status})")).with_hint(hint),
        again,
        after: after.map(|seconds| Duration::from_secs(seconds).min(options.timeouts.retry_after_max)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encryption_is_never_given_up() {
        let redirect =
            |from: &str, to: &str| redirected(from, Some(to.as_bytes())).map_err(|failure| failure.error);
        assert_eq!(redirect("http://a/x", "https://b/y").unwrap(), "https://b/y");
        assert_eq!(redirect("https://a/x", "//b/y").unwrap(), "https://b/y");
        let error = redirect("https://a/x", "http://b/y").unwrap_err();
        assert!(error.to_string().contains("from https to unprotected http://b/y"), "{error}");
    }
}
