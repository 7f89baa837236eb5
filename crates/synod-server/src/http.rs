//! What is on the client port beside gRPC: JSON, probes, version, variables, metrics.

mod access;
mod frames;
mod gateway;
mod health;
mod lines;
mod objects;
mod probes;
mod refused;
mod vars;
mod websocket;

use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use tonic::body::Body;

pub(crate) use access::Access;
pub(crate) use gateway::JSON_FACTOR;
pub(crate) use websocket::Upgrades;

use crate::service::{Scope, Services};
use crate::tls::OverTls;
use crate::{ETCD_CLUSTER_VERSION, ETCD_VERSION, SYNOD_VERSION, render};

/// Answers a request that is not gRPC.
pub(crate) async fn answer(services: Services, request: Request<Body>) -> Response<Body> {
    if services.scope() == Scope::Metrics {
        return watched(&services, request.method(), request.uri()).await;
    }
    if services.scope() == Scope::Grpc {
        let why = "404 this port is for gRPC: see --listen-client-http-urls\n".to_owned();
        return text(StatusCode::NOT_FOUND, PLAIN, why);
    }
    let access = &services.context().access;
    let checked = match request.extensions().get::<OverTls>() {
        Some(_) => access.check_origin(request.headers()),
        None => access.check(request.headers(), request.uri()),
    };
    let allowed = match checked {
        Ok(allowed) => allowed,
        Err(refused) => return *refused,
    };
    let mut response = if request.method() == Method::OPTIONS {
        Response::new(Body::empty())
    } else if services.context().config.http.gateway && gateway::is_for(request.uri().path()) {
        if websocket::is_asked(&request) {
            websocket::begin(services, request)
        } else {
            gateway::answer(services, request).await
        }
    } else if request.uri().path() == "/version" {
        only_get(request.method()).unwrap_or_else(version)
    } else if request.uri().path() == "/debug/vars" {
        only_get(request.method()).unwrap_or_else(|| vars::answer(services.context()))
    } else {
        watched(&services, request.method(), request.uri()).await
    };
    allowed.tell(response.headers_mut());
    response
}

/// Answers those who watch over the member.
async fn watched(services: &Services, method: &Method, uri: &Uri) -> Response<Body> {
    let context = services.context();
    let known = matches!(uri.path(), "/health" | "/metrics") || probes::is_for(uri.path());
    if !known {
        return text(StatusCode::NOT_FOUND, PLAIN, "404 page not found\n".to_owned());
    }
    if let Some(refused) = only_get(method) {
        return refused;
    }
    let query = uri.query().unwrap_or_default();
    match uri.path() {
        "/metrics" => text(StatusCode::OK, METRICS, render::metrics(context)),
        "/health" => health::answer(context, query).await,
        path => probes::answer(context, path, query).await,
    }
}

fn version() -> Response<Body> {
    // In etcd's order, for scripts that take it apart as text; versions need no escapes.
    let fields = [
        ("etcdserver", ETCD_VERSION),
        ("etcdcluster", ETCD_CLUSTER_VERSION),
        ("storage", ETCD_CLUSTER_VERSION),
        ("synod", SYNOD_VERSION),
    ];
    let fields = fields.map(|(name, version)| format!(r#""{name}":"{version}""#));
    text(StatusCode::OK, JSON, format!("{{{}}}", fields.join(",")))
}

/// The refusal of a request that wants to do something where there is only something to see.
fn only_get(method: &Method) -> Option<Response<Body>> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    let body = "Method Not Allowed\n".to_owned();
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, PLAIN, body);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
    Some(response)
}

/// Every value that a query has for a name; none of ours needs escapes.
fn values<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.filter(move |(found, _)| *found == name).map(|(_, value)| value)
}

fn text(status: StatusCode, kind: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(NO_SNIFFING, HeaderValue::from_static("nosniff"));
    response
}

/// What came is what it says it is: no browser guesses.
const NO_SNIFFING: HeaderName = hyper::header::X_CONTENT_TYPE_OPTIONS;
const PLAIN: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_may_name_a_thing_twice_or_without_a_value() {
        let query = "exclude=a&verbose&exclude=b&x=exclude";
        assert_eq!(values(query, "exclude").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(values(query, "verbose").collect::<Vec<_>>(), [""]);
        assert_eq!(values("", "verbose").count(), 0);
    }
}
