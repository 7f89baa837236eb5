//! A message beyond the limit of the connection, refused with etcd's code and words.
//!
//! etcd's gRPC library says `ResourceExhausted`, ours `OutOfRange`, which is etcd's code for
//! revisions out of reach: clients would take one for the other.

use hyper::Response;
use hyper::header::HeaderValue;
use tonic::body::Body;

/// Changes such an answer, and leaves all others alone.
pub(super) fn in_etcds_words(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    let out_of_range = headers.get("grpc-status").is_some_and(|status| status == OUT_OF_RANGE);
    if !out_of_range {
        return response;
    }
    let text = headers.get("grpc-message").and_then(|message| message.to_str().ok());
    if let Some(words) = text.and_then(words) {
        headers.insert("grpc-status", HeaderValue::from_static(RESOURCE_EXHAUSTED));
        headers.insert("grpc-message", words);
    }
    response
}

/// etcd's words for the library's, which are percent-encoded on the wire.
fn words(text: &str) -> Option<HeaderValue> {
    let text = text.replace("%20", " ").replace("%2C", ",");
    let rest = text.strip_prefix("Error, decoded message length too large: found ")?;
    let (found, rest) = rest.split_once(' ')?;
    let limit = rest.strip_prefix("bytes, the limit is: ")?.strip_suffix(" bytes")?;
    let words =
        format!("grpc:%20received%20message%20larger%20than%20max%20({found}%20vs.%20{limit})");
    HeaderValue::try_from(words).ok()
}

const OUT_OF_RANGE: &str = "11";
const RESOURCE_EXHAUSTED: &str = "8";

#[cfg(test)]
mod tests {
    use tonic::{Code, Status};

    use super::*;

    #[test]
    fn only_that_one_is_changed() {
        let table = [
            (
                Status::out_of_range(
                    "Error, decoded message length too large: found 30 bytes, the limit is: 20 \
                     bytes",
                ),
                Code::ResourceExhausted,
                "grpc: received message larger than max (30 vs. 20)",
            ),
            (
                Status::out_of_range("etcdserver: mvcc: required revision has been compacted"),
                Code::OutOfRange,
                "etcdserver: mvcc: required revision has been compacted",
            ),
            (Status::internal("Error, decoded"), Code::Internal, "Error, decoded"),
        ];
        for (status, code, text) in table {
            let response = in_etcds_words(status.into_http());
            let found = Status::from_header_map(response.headers()).unwrap();
            assert_eq!((found.code(), found.message()), (code, text));
        }
    }
}
