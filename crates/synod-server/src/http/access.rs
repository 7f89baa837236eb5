//! Which web pages may speak to this member: `--host-whitelist` and `--cors`.
//!
//! A browser inside a network can be made to speak to what is not reachable from outside. Two ways
//! are known: a name of the attacker's that comes to mean an inner address (the `Host` header still
//! says the name), and a plain request across origins (the `Origin` header says from where).

use std::collections::BTreeSet;

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, HOST,
    HeaderMap, HeaderValue, ORIGIN,
};
use hyper::{Response, StatusCode, Uri};
use tonic::body::Body;

use super::{PLAIN, text};
use crate::config::HttpConfig;

/// Who may. Everybody, unless told otherwise, as in etcd.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Access {
    hosts: Allowed,
    origins: Allowed,
}

/// A list of names, or no limit.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Allowed {
    All,
    Only(BTreeSet<String>),
}

impl Allowed {
    fn new(names: Option<&[String]>) -> Self {
        names.map_or(Self::All, |names| Self::Only(names.iter().cloned().collect()))
    }

    fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(name),
        }
    }
}

/// What a page that may speak is told about it.
#[derive(Debug)]
pub(super) struct Told(Option<HeaderValue>);

impl Access {
    /// As the flags say.
    pub(crate) fn new(config: &HttpConfig) -> Self {
        Self::of(config.host_whitelist.as_deref(), config.cors.as_deref())
    }

    fn of(hosts: Option<&[String]>, origins: Option<&[String]>) -> Self {
        Self { hosts: Allowed::new(hosts), origins: Allowed::new(origins) }
    }

    /// Whether pages have to be named to speak to this member.
    pub(super) fn names_origins(&self) -> bool {
        self.origins != Allowed::All
    }

    /// Lets a request without TLS in, or has the answer to it. Over TLS the host needs no check:
    /// the certificate has proven the name.
    pub(super) fn check(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
    ) -> Result<Told, Box<Response<Body>>> {
        // HTTP/2 has the name in the URI.
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = host.or_else(|| uri.authority().map(|authority| authority.as_str()));
        let host = without_port(host.unwrap_or_default());
        if !self.hosts.has(host) {
            let why = format!(
                "the name {host:?} is not one this member answers to over plain HTTP: a page from \
                 elsewhere may have made it up (DNS rebinding). Use TLS, or add it to \
                 --host-whitelist.\n"
            );
            return Err(Box::new(text(StatusCode::MISDIRECTED_REQUEST, PLAIN, why)));
        }
        self.check_origin(headers)
    }

    /// Lets a request in, or has the answer to it, whatever host it names.
    pub(super) fn check_origin(&self, headers: &HeaderMap) -> Result<Told, Box<Response<Body>>> {
        if self.origins == Allowed::All {
            return Ok(Told(Some(HeaderValue::from_static("*"))));
        }
        let Some(origin) = headers.get(ORIGIN) else { return Ok(Told(None)) };
        if origin.to_str().is_ok_and(|origin| self.origins.has(origin)) {
            return Ok(Told(Some(origin.clone())));
        }
        // etcd only keeps the answer from the page. The request would have done its work by then.
        let why = format!("pages of {origin:?} may not speak to this member: see --cors\n");
        Err(Box::new(text(StatusCode::FORBIDDEN, PLAIN, why)))
    }
}

impl Told {
    /// Says so, as browsers want it.
    pub(super) fn tell(self, headers: &mut HeaderMap) {
        let Some(origin) = self.0 else { return };
        let methods = HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE");
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let allowed = HeaderValue::from_static("accept, content-type, authorization");
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    }
}

fn without_port(host: &str) -> &str {
    let port = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    // An IPv6 address has colons of its own, and is in brackets.
    port.map_or(host, |(name, _)| name).trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(access: &Access, headers: &[(&str, &str)]) -> Result<Option<String>, StatusCode> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = hyper::header::HeaderName::try_from(*name).unwrap();
            map.insert(name, HeaderValue::try_from(*value).unwrap());
        }
        match access.check(&map, &Uri::from_static("/v3/kv/put")) {
            Ok(Told(origin)) => Ok(origin.map(|origin| origin.to_str().unwrap().to_owned())),
            Err(refused) => Err(refused.status()),
        }
    }

    fn names<const N: usize>(names: [&str; N]) -> [String; N] {
        names.map(str::to_owned)
    }

    #[test]
    fn without_flags_everybody_may() {
        let access = Access::of(None, None);
        let found = check(&access, &[("host", "evil.example"), ("origin", "http://evil")]);
        assert_eq!(found, Ok(Some("*".to_owned())));
    }

    #[test]
    fn cve_2018_1099_a_name_that_was_made_up_is_not_answered() {
        let access = Access::of(Some(&names(["db.example", "::1", "127.0.0.1"])), None);
        for host in ["db.example", "db.example:2379", "[::1]:2379", "[::1]", "127.0.0.1:2379"] {
            assert!(check(&access, &[("host", host)]).is_ok(), "{host}");
        }
        for host in ["evil.example", "db.example.evil", "", "evil.example:2379"] {
            let refused = Err(StatusCode::MISDIRECTED_REQUEST);
            assert_eq!(check(&access, &[("host", host)]), refused, "{host}");
        }
        assert_eq!(check(&access, &[]), Err(StatusCode::MISDIRECTED_REQUEST));
    }

    #[test]
    fn cve_2018_1098_a_page_from_elsewhere_cannot_write() {
        let access = Access::of(None, Some(&names(["https://ui.example"])));
        let own = "https://ui.example";
        assert_eq!(check(&access, &[("origin", own)]), Ok(Some(own.to_owned())));
        assert_eq!(check(&access, &[]), Ok(None), "no page, no browser");
        for origin in ["https://evil.example", "null", "https://ui.example.evil"] {
            assert_eq!(check(&access, &[("origin", origin)]), Err(StatusCode::FORBIDDEN));
        }
    }
}
