//! The gateway over WebSocket: for browsers, which cannot send a body piece by piece.
//!
//! etcd wraps its gateway in a proxy that turns each message into a line of a request's body, and
//! each line of the answer into a message. The connection is upgraded whatever path it names; what
//! the gateway then has to say about it is a message.

mod handshake;
mod messages;
mod metered;
mod session;

use std::sync::Arc;

use hyper::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderValue, ORIGIN};
use hyper::{Method, Request, Response};
use parking_lot::Mutex;
use tonic::body::Body;

pub(crate) use session::Session;

use crate::intake::Pipe;
use crate::service::Services;

/// Where a connection finds what it goes on with once it was upgraded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Upgrades(Arc<Mutex<Option<Session>>>);

impl Upgrades {
    /// What was agreed on, if it was.
    pub(crate) fn take(&self) -> Option<Session> {
        self.0.lock().take()
    }
}

/// Whether a request is to become a conversation, on a connection that can.
pub(super) fn is_asked(request: &Request<Body>) -> bool {
    request.extensions().get::<Upgrades>().is_some() && handshake::is_asked(request.headers())
}

/// Agrees to it, or says why not.
pub(super) fn begin(services: Services, mut request: Request<Body>) -> Response<Body> {
    let agreed = match handshake::agree(request.method(), request.headers()) {
        Ok(agreed) => agreed,
        Err(refused) => return *refused,
    };
    let upgrade = hyper::upgrade::on(&mut request);
    let extensions = request.extensions_mut();
    let upgrades = extensions.remove::<Upgrades>();
    let (Some(upgrades), Some(pipe)) = (upgrades, extensions.get::<Arc<Pipe>>().cloned()) else {
        return handshake::refused("this connection cannot be upgraded");
    };
    let cookies_count = services.context().access.names_origins();
    let mut asked = Request::new(());
    *asked.method_mut() = Method::POST;
    *asked.uri_mut() = request.uri().clone();
    asked.extensions_mut().insert(Arc::clone(&pipe));
    if let Some(token) = token(request.headers(), cookies_count) {
        asked.headers_mut().insert(AUTHORIZATION, token);
    }
    *upgrades.0.lock() = Some(Session::new(upgrade, services, asked, pipe));
    agreed
}

/// Who asks: browsers cannot send a header of their own, so it may be in one of the handshake's.
///
/// They send cookies whichever page asks. So a cookie counts if no page has asked, or if
/// `cookies_count`: then those that may ask are named, and others have been refused already.
fn token(headers: &HeaderMap, cookies_count: bool) -> Option<HeaderValue> {
    let cookie = || cookie(headers).filter(|_| cookies_count || !headers.contains_key(ORIGIN));
    let protocol = || {
        let protocol = headers.get("sec-websocket-protocol")?.to_str().ok()?;
        // Some browsers put no space behind the comma.
        let (_, token) = protocol.split_once("Bearer,")?;
        Some(format!("Bearer {}", token.trim()))
    };
    match cookie().or_else(protocol) {
        Some(token) => HeaderValue::try_from(token).ok(),
        None => headers.get(AUTHORIZATION).cloned(),
    }
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut cookies = lines.flat_map(|line| line.split(';'));
    let token = cookies.find_map(|cookie| cookie.trim().strip_prefix("token="))?;
    Some(format!("Bearer {token}"))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderName;

    use super::*;

    /// Headers, whether cookies count, and the token that is in them.
    type Case = (&'static [(&'static str, &'static str)], bool, Option<&'static str>);

    #[test]
    fn a_token_comes_in_the_header_that_a_browser_can_set() {
        const PROTOCOL: &str = "sec-websocket-protocol";
        const ORIGIN: (&str, &str) = ("origin", "http://a.example");
        let table: [Case; 8] = [
            (&[(PROTOCOL, "Bearer, abc.1")], false, Some("Bearer abc.1")),
            (&[(PROTOCOL, "Bearer,abc.1")], false, Some("Bearer abc.1")),
            (&[(PROTOCOL, "chat")], false, None),
            (&[("authorization", "abc.1")], false, Some("abc.1")),
            (&[("cookie", "a=b; token=c.2"), (PROTOCOL, "Bearer, d.3")], false, Some("Bearer c.2")),
            (&[("cookie", "token=c.2"), ORIGIN], false, None),
            (&[("cookie", "token=c.2"), ORIGIN], true, Some("Bearer c.2")),
            (&[("cookie", "token=c.2"), (PROTOCOL, "Bearer, d"), ORIGIN], false, Some("Bearer d")),
        ];
        for (given, cookies_count, expected) in table {
            let mut headers = HeaderMap::new();
            for (name, value) in given {
                let name = HeaderName::try_from(*name).unwrap();
                headers.insert(name, HeaderValue::try_from(*value).unwrap());
            }
            let found = token(&headers, cookies_count);
            let found = found.as_ref().map(|token| token.to_str().unwrap());
            assert_eq!(found, expected, "{given:?}");
        }
    }
}
