//! How HTTP/1.1 becomes WebSocket: RFC 6455, section 4.2.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use hyper::{Method, Response, StatusCode};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use tonic::body::Body;

use super::super::{PLAIN, text};

/// Whether it is asked for, well or not.
pub(super) fn is_asked(headers: &HeaderMap) -> bool {
    names(headers, &CONNECTION, "upgrade") && names(headers, &UPGRADE, "websocket")
}

/// The answer that ends HTTP on a connection; or, if it was asked for badly, what is wrong.
pub(super) fn agree(
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response<Body>, Box<Response<Body>>> {
    if *method != Method::GET {
        let why = "a WebSocket begins with GET\n".to_owned();
        return Err(Box::new(text(StatusCode::METHOD_NOT_ALLOWED, PLAIN, why)));
    }
    if headers.get(VERSION).is_none_or(|version| version != "13") {
        return Err(Box::new(refused("its version must be 13")));
    }
    let key = headers.get(KEY).map(HeaderValue::as_bytes);
    let is_key = |key: &&[u8]| BASE64_STANDARD.decode(key).is_ok_and(|key| key.len() == 16);
    let Some(key) = key.filter(is_key) else {
        return Err(Box::new(refused("its key must be 16 bytes in base64")));
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answered = response.headers_mut();
    answered.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answered.insert(UPGRADE, HeaderValue::from_static("websocket"));
    answered.insert(ACCEPT, accept(key));
    if headers.get(PROTOCOL).is_some_and(|protocol| protocol.as_bytes().starts_with(b"Bearer")) {
        answered.insert(PROTOCOL, HeaderValue::from_static("Bearer"));
    }
    Ok(response)
}

/// The refusal of a handshake.
pub(super) fn refused(why: &str) -> Response<Body> {
    let mut response = text(StatusCode::BAD_REQUEST, PLAIN, format!("no WebSocket: {why}\n"));
    response.headers_mut().insert(VERSION, HeaderValue::from_static("13"));
    response
}

/// The proof that the key was read by somebody who speaks WebSocket.
fn accept(key: &[u8]) -> HeaderValue {
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(key);
    digest.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let proof = BASE64_STANDARD.encode(digest.finish());
    HeaderValue::try_from(proof).expect("base64 is plain")
}

/// Whether a header, which may be a list, names something.
fn names(headers: &HeaderMap, header: &HeaderName, name: &str) -> bool {
    let lines = headers.get_all(header).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|found| found.trim().eq_ignore_ascii_case(name))
}

const ACCEPT: HeaderName = hyper::header::SEC_WEBSOCKET_ACCEPT;
const KEY: HeaderName = hyper::header::SEC_WEBSOCKET_KEY;
const PROTOCOL: HeaderName = hyper::header::SEC_WEBSOCKET_PROTOCOL;
const VERSION: HeaderName = hyper::header::SEC_WEBSOCKET_VERSION;

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn headers(changes: &[(&'static str, &'static str)]) -> HeaderMap {
        let given = ASKED.iter().chain(changes);
        let given = given
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut map = HeaderMap::new();
        for (name, value) in given {
            map.insert(name, value);
        }
        map
    }

    #[test]
    fn the_example_of_the_rfc() {
        let asked = headers(&[]);
        assert!(is_asked(&asked));
        let agreed = agree(&Method::GET, &asked).unwrap();
        assert_eq!(agreed.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(agreed.headers()[ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(agreed.headers().get(PROTOCOL), None);
        let with_token = headers(&[("sec-websocket-protocol", "Bearer, abc")]);
        assert_eq!(agree(&Method::GET, &with_token).unwrap().headers()[PROTOCOL], "Bearer");
    }

    #[test]
    fn what_is_asked_badly_is_refused() {
        let table: [(&[(&str, &str)], StatusCode); 3] = [
            (&[("sec-websocket-version", "8")], StatusCode::BAD_REQUEST),
            (&[("sec-websocket-key", "")], StatusCode::BAD_REQUEST),
            (&[("sec-websocket-key", "c2hvcnQ=")], StatusCode::BAD_REQUEST),
        ];
        for (changes, status) in table {
            let refused = agree(&Method::GET, &headers(changes)).unwrap_err();
            assert_eq!(refused.status(), status, "{changes:?}");
            assert_eq!(refused.headers()[VERSION], "13");
        }
        let posted = agree(&Method::POST, &headers(&[])).unwrap_err();
        assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED);
        for changes in [("connection", "keep-alive"), ("upgrade", "h2c")] {
            assert!(!is_asked(&headers(&[changes])), "{changes:?}");
        }
    }
}
