//! A gRPC status as the JSON gateway tells it.
//!
//! `error` is what etcd's clients of 3.4 read, `code` and `message` are what those of 3.6 read.

use hyper::header::HeaderValue;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use synod_etcd::DETAIL_KEY;
use tonic::body::Body;
use tonic::{Code, Status};

use super::{JSON, text};

/// The answer to a call that failed before it gave anything.
pub(super) fn response(status: &Status) -> Response<Body> {
    let body = json!({
        "error": status.message(),
        "code": i32::from(status.code()),
        "message": status.message(),
    });
    let mut response = text(http(status.code()), JSON, body.to_string());
    let detail = status.metadata().get(DETAIL_KEY).map(|detail| detail.as_encoded_bytes());
    if let Some(detail) = detail.and_then(|detail| HeaderValue::from_bytes(detail).ok()) {
        response.headers_mut().insert("grpc-metadata-synod-detail", detail);
    }
    response
}

/// The last line of a stream that failed after it gave something.
pub(super) fn line(status: &Status) -> Value {
    let http = http(status.code());
    json!({ "error": {
        "code": i32::from(status.code()),
        "message": status.message(),
        "grpc_code": i32::from(status.code()),
        "http_code": http.as_u16(),
        "http_status": http.canonical_reason().unwrap_or_default(),
    }})
}

/// The status that grpc-gateway gives to a code.
fn http(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        // Not in any standard: the client went away.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
