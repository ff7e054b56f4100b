//! The one HTTP client beneath URLs and stores: time-outs, redirects, proxies, certificates.

use std::sync::Arc;

use featvec::{Error, ErrorKind, Result};
use reqwest::redirect::Policy;
use reqwest::{Client, Proxy};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::RemoteOptions;
use super::failure::Failure;
use crate::address::shown;

/// As many as urllib and curl's users are used to; honest chains have two or three.
const MAX_REDIRECTS: usize = 10;

pub(super) fn client(options: &RemoteOptions) -> Result<Client> {
    let timeouts = &options.timeouts;
    let proxies = options.proxies.clone();
    Client::builder()
        .user_agent(concat!("featvec/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(timeouts.connect)
        .read_timeout(timeouts.stall)
        .pool_max_idle_per_host(options.requests)
        .redirect(redirects())
        .proxy(Proxy::custom(move |url| proxies.for_url(url.as_str())))
        .tls_backend_preconfigured(tls(options)?)
        .build()
        .map_err(|error| Error::new(ErrorKind::Io, "network", error.to_string()).with_source(error))
}

/// Encryption is never given up on the way, and nobody is sent round for ever.
fn redirects() -> Policy {
    Policy::custom(|attempt| {
        let next = attempt.url();
        let last = attempt.previous().last();
        let message = if attempt.previous().len() > MAX_REDIRECTS {
            format!("more than {MAX_REDIRECTS} redirects")
        } else if attempt.previous().contains(next) {
            format!("the server redirects in a circle, to {} again", shown(next.as_str()))
        } else if last.is_some_and(|last| last.scheme() == "https") && next.scheme() != "https" {
            format!("the server redirects from https to unprotected {}", shown(next.as_str()))
        } else {
            return attempt.follow();
        };
        attempt.error(Failure::last(ErrorKind::Io, message))
    })
}

fn tls(options: &RemoteOptions) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match &options.certificates {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(file) => {
            let place = file.display().to_string();
            let pem = std::fs::read(file).map_err(|error| Error::io(&place, error))?;
            roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
            if roots.is_empty() {
                return Err(Error::new(ErrorKind::Argument, place, "no certificate in PEM form in it")
                    .with_hint("SSL_CERT_FILE must name a file of trusted certificates"));
            }
        }
    }
    // Named here, so that nothing depends on which provider a program that uses this library has made its default.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config =
        config.map_err(|error| Error::new(ErrorKind::Io, "TLS", error.to_string()).with_source(error))?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
