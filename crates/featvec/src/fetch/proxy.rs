//! The proxies that the environment names, read as Python's urllib reads them.

use super::url;

/// Through which proxies servers are reached; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http://` URLs: the proxy's own URL, `http://[user:password@]host[:port]`.
    pub http: Option<String>,
    /// For `https://` URLs.
    pub https: Option<String>,
    /// Servers reached without proxy: names, which include their subdomains, with or without port, or `*` for all.
    pub exceptions: Vec<String>,
}

impl Proxies {
    /// The proxies named by `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, or the same in capitals; `var`
    /// looks a variable up. `HTTP_PROXY` is ignored in a CGI program, where whoever sends a request could set it.
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> Proxies {
        let either = |name: &str| {
            let value = var(name).or_else(|| match name {
                "http_proxy" if var("REQUEST_METHOD").is_some() => None,
                name => var(&name.to_ascii_uppercase()),
            });
            value.map(|value| value.trim().to_string()).filter(|value| !value.is_empty())
        };
        let all = either("all_proxy");
        let exceptions = either("no_proxy").unwrap_or_default();
        Proxies {
            http: either("http_proxy").or_else(|| all.clone()),
            https: either("https_proxy").or(all),
            exceptions: exceptions
                .split(',')
                .map(|name| name.trim().trim_start_matches("*.").trim_start_matches('.').to_ascii_lowercase())
                .filter(|name| !name.is_empty())
                .collect(),
        }
    }

    /// The proxy for the URL `target`, with its scheme; none where the server is reached without.
    pub fn for_url(&self, target: &str) -> Option<String> {
        let proxy = if url::scheme(target) == "https" { &self.https } else { &self.http };
        let proxy = proxy.as_deref()?;
        let (host, authority) = (url::host(target).to_lowercase(), url::authority(target).to_lowercase());
        let excepted = self.exceptions.iter().any(|name| {
            let within = |server: &str| {
                server == name || server.strip_suffix(name.as_str()).is_some_and(|sub| sub.ends_with('.'))
            };
            name == "*" || within(&host) || within(&authority)
        });
        if excepted {
            return None;
        }
        Some(if proxy.contains("://") { proxy.to_string() } else { format!("http://{proxy}") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(vars: &[(&str, &str)]) -> Proxies {
        Proxies::from_vars(|name| {
            vars.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
        })
    }

    #[test]
    fn each_scheme_has_its_proxy() {
        let proxies =
            proxies(&[("http_proxy", "p:1"), ("HTTPS_PROXY", "http://q:2"), ("HTTP_PROXY", "not this")]);
        assert_eq!(proxies.for_url("http://h/"), Some("http://p:1".to_string()));
        assert_eq!(proxies.for_url("https://h/"), Some("http://q:2".to_string()));
        assert_eq!(Proxies::default().for_url("http://h/"), None);
    }

    #[test]
    fn all_proxy_fills_the_gaps() {
        let proxies = proxies(&[("all_proxy", "a"), ("https_proxy", "s")]);
        assert_eq!(proxies.http.as_deref(), Some("a"));
        assert_eq!(proxies.https.as_deref(), Some("s"));
    }

    #[test]
    fn a_request_to_a_cgi_program_cannot_set_its_proxy() {
        assert_eq!(proxies(&[("HTTP_PROXY", "evil"), ("REQUEST_METHOD", "GET")]).http, None);
    }

    #[test]
    fn exceptions_cover_subdomains_and_nothing_else() {
        let proxies = proxies(&[("http_proxy", "p"), ("no_proxy", "localhost, .Example.org,*.test,h:81")]);
        for direct in ["localhost", "localhost:8000", "example.org", "a.example.org:1", "x.test", "h:81"] {
            assert_eq!(proxies.for_url(&format!("http://{direct}/x")), None, "{direct}");
        }
        for proxied in ["notlocalhost", "badexample.org", "example.org.evil", "h", "h:80"] {
            assert!(proxies.for_url(&format!("http://{proxied}/x")).is_some(), "{proxied}");
        }
        let all = Proxies { exceptions: vec!["*".into()], ..proxies };
        assert_eq!(all.for_url("http://anything/"), None);
    }
}
