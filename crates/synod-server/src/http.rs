//! What is on the client port beside gRPC: health, version, metrics.

use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;
use tonic::body::Body;

use crate::service::Context;
use crate::{ETCD_CLUSTER_VERSION, ETCD_VERSION, SYNOD_VERSION, render};

/// Answers a request that is not gRPC.
pub(crate) fn answer<B>(context: &Context, request: &Request<B>) -> Response<Body> {
    let path = request.uri().path();
    if !matches!(path, "/health" | "/version" | "/metrics") {
        return text(StatusCode::NOT_FOUND, PLAIN, "404 page not found\n".to_owned());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let body = "405 method not allowed\n".to_owned();
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, PLAIN, body);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    match path {
        "/health" => health(context.leadership.leader() != 0),
        "/version" => {
            let version = json!({
                "etcdserver": ETCD_VERSION,
                "etcdcluster": ETCD_CLUSTER_VERSION,
                "storage": ETCD_CLUSTER_VERSION,
                "synod": SYNOD_VERSION,
            });
            text(StatusCode::OK, JSON, version.to_string())
        }
        _ => text(StatusCode::OK, METRICS, render::metrics(context)),
    }
}

/// etcd's words: clients and load balancers look for them.
fn health(has_leader: bool) -> Response<Body> {
    if has_leader {
        text(StatusCode::OK, JSON, r#"{"health":"true"}"#.to_owned())
    } else {
        let body = r#"{"health":"false","reason":"RAFT NO LEADER"}"#.to_owned();
        text(StatusCode::SERVICE_UNAVAILABLE, JSON, body)
    }
}

fn text(status: StatusCode, kind: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

const PLAIN: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_follows_the_leader() {
        assert_eq!(health(true).status(), StatusCode::OK);
        assert_eq!(health(false).status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
