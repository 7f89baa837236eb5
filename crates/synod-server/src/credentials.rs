//! What a request shows of who sent it.

use hyper::HeaderMap;
use tonic::{Extensions, Request};

/// The certificate that the client of a connection has proved to own, checked against the
/// configured authority. Among the extensions of each of its requests.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct PeerCertificate {
    /// The common name of its subject.
    pub(crate) common_name: Option<String>,
}

/// What a request shows of who sent it; not yet looked at.
#[derive(Clone, Eq, PartialEq)]
pub(crate) enum Credentials {
    /// Nothing.
    None,
    /// A token.
    Token(String),
    /// The name in a certificate.
    Certificate(String),
}

impl Credentials {
    /// What the request shows. As in etcd a token goes before a certificate, the metadata `token`
    /// before `authorization`.
    pub(crate) fn of<T>(request: &Request<T>) -> Self {
        Self::shown(request.metadata().as_ref(), request.extensions())
    }

    /// The same of a request whose message is not read yet.
    pub(crate) fn shown(headers: &HeaderMap, extensions: &Extensions) -> Self {
        if let Some(token) = token(headers) {
            return Self::Token(token);
        }
        // CVE-2018-16886: what comes through a gateway comes with the gateway's certificate.
        if headers.contains_key(GATEWAY) {
            return Self::None;
        }
        let certificate = extensions.get::<PeerCertificate>();
        match certificate.and_then(|certificate| certificate.common_name.clone()) {
            Some(name) => Self::Certificate(name),
            None => Self::None,
        }
    }
}

fn token(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("token").or_else(|| headers.get("authorization"))?;
    // What is no text is no token either, but it was meant to be one.
    let text = value.to_str().unwrap_or_default();
    Some(text.strip_prefix("Bearer ").unwrap_or(text).to_owned())
}

/// Tokens are keys: they are in no log line.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Token(_) => f.write_str("Token(..)"),
            Self::Certificate(name) => f.debug_tuple("Certificate").field(name).finish(),
        }
    }
}

/// etcd's own gateway marks what it passes on with it.
const GATEWAY: &str = "grpcgateway-accept";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_before_a_certificate() {
        let mut request = Request::new(());
        assert_eq!(Credentials::of(&request), Credentials::None);
        let certificate = PeerCertificate { common_name: Some("ann".to_owned()) };
        request.extensions_mut().insert(certificate);
        assert_eq!(Credentials::of(&request), Credentials::Certificate("ann".to_owned()));
        request.metadata_mut().insert("authorization", "Bearer b".parse().unwrap());
        assert_eq!(Credentials::of(&request), Credentials::Token("b".to_owned()));
        request.metadata_mut().insert("token", "a".parse().unwrap());
        assert_eq!(Credentials::of(&request), Credentials::Token("a".to_owned()));
    }

    #[test]
    fn cve_2018_16886_a_gateways_certificate_is_nobodys_identity() {
        let mut request = Request::new(());
        let certificate = PeerCertificate { common_name: Some("root".to_owned()) };
        request.extensions_mut().insert(certificate);
        request.metadata_mut().insert("grpcgateway-accept", "application/json".parse().unwrap());
        assert_eq!(Credentials::of(&request), Credentials::None);
    }
}
