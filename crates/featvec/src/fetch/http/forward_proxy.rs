//! `http://` through a proxy as proxies expect it: the request goes to the proxy with the whole URL in its first line.
//! ureq would open a tunnel (CONNECT), which proxies commonly allow for encrypted connections only.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, DefaultConnector, NextTimeout, Transport,
};
use ureq::{Agent, Error, Proxy, ProxyProtocol};

use super::names::Names;

/// An agent whose `http://` requests all go to `proxy`.
pub(super) fn agent(config: Config, proxy: &str) -> Result<Agent, Error> {
    let proxy = Proxy::new(proxy)?;
    if proxy.protocol() != ProxyProtocol::Http {
        return Err(Error::InvalidProxyUrl);
    }
    let address: Uri =
        format!("http://{}:{}", proxy.host(), proxy.port()).parse().map_err(|_| Error::InvalidProxyUrl)?;
    let connector = DefaultConnector::new().chain(AbsoluteForm);
    Ok(Agent::with_parts(config, connector, ToProxy { address, names: Names::default() }))
}

/// The value of `Proxy-Authorization`, where the proxy's URL has a user in it.
pub(super) fn authorization(proxy: &str) -> Option<String> {
    let proxy = Proxy::new(proxy).ok()?;
    let credentials = format!("{}:{}", proxy.username()?, proxy.password().unwrap_or(""));
    Some(format!("Basic {}", BASE64_STANDARD.encode(credentials)))
}

/// Finds the proxy, whichever server is asked for.
#[derive(Debug)]
struct ToProxy {
    address: Uri,
    names: Names,
}

impl Resolver for ToProxy {
    fn resolve(&self, _: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        self.names.resolve(&self.address, config, timeout)
    }
}

#[derive(Debug)]
struct AbsoluteForm;

impl<In: Transport> Connector<In> for AbsoluteForm {
    type Out = AbsoluteFormTransport<In>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        let authority = details.uri.authority().map_or("", |authority| authority.as_str());
        let origin = Some(format!("http://{authority}").into_bytes());
        Ok(chained.map(|inner| AbsoluteFormTransport { inner, origin }))
    }
}

/// Puts scheme and server in front of the path of the one request that is sent over a connection.
#[derive(Debug)]
struct AbsoluteFormTransport<T> {
    inner: T,
    /// Until the request's first line has been sent.
    origin: Option<Vec<u8>>,
}

impl<T: Transport> Transport for AbsoluteFormTransport<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let Some(origin) = self.origin.take() else {
            return self.inner.transmit_output(amount, timeout);
        };
        let output = self.inner.buffers().output();
        let path = output.iter().take(amount).position(|&byte| byte == b' ').map_or(0, |space| space + 1);
        let (longer, end) = (amount + origin.len(), path + origin.len());
        if longer > output.len() {
            return Err(Error::LargeResponseHeader(longer, output.len()));
        }
        output.copy_within(path..amount, end);
        output[path..end].copy_from_slice(&origin);
        self.inner.transmit_output(longer, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}
