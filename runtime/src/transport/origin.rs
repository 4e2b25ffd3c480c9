//! Which web pages may connect.
//!
//! A browser connects on behalf of any page it shows, also to a broker that only this machine can
//! reach, and says in `Origin` which page it is. Other programs send no `Origin`, or any they like.

use std::net::IpAddr;

/// The origins that are let in, beside the broker's own host where that is `localhost` or an address.
///
/// A name could be made to lead here by whoever owns it, so pages of a named host must be listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<String>);

impl Origins {
    /// Takes `SCHEME://HOST[:PORT]`, or `*` for all.
    #[must_use]
    pub fn new(origins: &[String]) -> Self {
        let plain = origins.iter().map(|origin| origin.trim_end_matches('/').to_ascii_lowercase());
        Origins(plain.collect())
    }

    /// Whether a page of `origin` may connect to a broker that it knows as `host`.
    #[must_use]
    pub fn allow(&self, origin: &str, host: Option<&str>) -> bool {
        let origin = origin.to_ascii_lowercase();
        if self.0.iter().any(|allowed| allowed == "*" || *allowed == origin) {
            return true;
        }
        let of_origin = origin.split_once("://").map(|(_, host)| without_port(host));
        let here = host.map(|host| without_port(host).to_ascii_lowercase());
        of_origin.is_some_and(|of_origin| here.as_deref() == Some(of_origin) && is_owned(of_origin))
    }
}

/// Whether nobody else can make the name lead here.
fn is_owned(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok()
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_the_same_host_and_named_ones_come_in() {
        let none = Origins::default();
        for (origin, host, allowed) in [
            ("http://localhost:8000", Some("localhost:8083"), true),
            ("https://LocalHost", Some("localhost"), true),
            ("http://[::1]:8000", Some("[::1]:8083"), true),
            ("http://evil.example", Some("localhost:8083"), false),
            ("http://localhost.evil.example", Some("localhost:8083"), false),
            ("http://192.0.2.1", Some("192.0.2.1:8083"), true),
            ("http://evil.example", Some("evil.example"), false),
            ("null", Some("null"), false),
            ("null", Some("localhost"), false),
            ("http://localhost", None, false),
        ] {
            assert_eq!(none.allow(origin, host), allowed, "{origin} {host:?}");
        }
        let named = Origins::new(&["https://Example.com/".to_owned()]);
        assert!(named.allow("https://example.com", Some("broker")));
        assert!(!named.allow("http://example.com", Some("broker")));
        assert!(Origins::new(&["*".to_owned()]).allow("null", None));
    }
}
