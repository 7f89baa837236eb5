//! etcd's messages as JSON, as its gateway maps them.
//!
//! The mapping follows from the descriptors of the interface: field names as in `proto/` (camel
//! case is taken, too), 64-bit integers as strings, bytes in base64, enums by name, nothing for
//! what is zero. A [`Call`] needs no code of its own, and its path over HTTP is a line in a table.
//! `docs/decisions/0015-http-and-metrics.md` tells why this way.

mod routes;

use std::sync::LazyLock;

use bytes::Bytes;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MethodDescriptor, SerializeOptions,
};

/// How many messages go each way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Streaming {
    /// One request, one answer.
    Unary,
    /// One request, a stream of answers.
    Answers,
    /// A stream of requests, a stream of answers.
    Both,
}

/// A call of etcd's API.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its gRPC path, such as `/etcdserverpb.KV/Range`.
    path: String,
    descriptor: MethodDescriptor,
}

/// What is not the JSON of a message.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(String);

/// All calls of the interface, by path.
static CALLS: LazyLock<Vec<Call>> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(DESCRIPTORS).expect("the build has just written it");
    let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    let mut calls: Vec<Call> = methods.map(Call::new).collect();
    calls.sort_by(|a, b| a.path.cmp(&b.path));
    calls
});

static DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// All calls of the interface, built or not, in the order of their paths.
#[must_use]
pub fn calls() -> &'static [Call] {
    &CALLS
}

/// Where in [`calls`] the call with this gRPC path is.
#[must_use]
pub fn position(path: &str) -> Option<usize> {
    CALLS.binary_search_by(|call| call.path.as_str().cmp(path)).ok()
}

/// The call with this path over HTTP, such as `/v3/kv/range`.
#[must_use]
pub fn routed(path: &str) -> Option<&'static Call> {
    let (_, grpc) = routes::ROUTES.iter().find(|(http, _)| *http == path)?;
    position(grpc).map(|at| &CALLS[at])
}

/// Every path over HTTP, with that of gRPC.
pub fn routes() -> impl Iterator<Item = (&'static str, &'static str)> {
    routes::ROUTES.iter().copied()
}

impl Call {
    fn new(descriptor: MethodDescriptor) -> Self {
        let path = format!("/{}/{}", descriptor.parent_service().full_name(), descriptor.name());
        Self { path, descriptor }
    }

    /// Its gRPC path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The service with its package, and the method.
    #[must_use]
    pub fn names(&self) -> (&str, &str) {
        let path = &self.path[1..];
        path.split_once('/').expect("paths are made of both")
    }

    /// How many messages go each way.
    #[must_use]
    pub fn streaming(&self) -> Streaming {
        match (self.descriptor.is_client_streaming(), self.descriptor.is_server_streaming()) {
            (true, _) => Streaming::Both,
            (false, true) => Streaming::Answers,
            (false, false) => Streaming::Unary,
        }
    }

    /// The request that this JSON is, encoded. Fields that the message does not have are left out;
    /// nothing at all is the empty message. What comes behind the request is not looked at, as in
    /// etcd: clients end their text with a zero byte, or with a second copy.
    ///
    /// # Errors
    /// If it does not begin with the JSON of the request.
    pub fn request(&self, json: &[u8]) -> Result<Bytes, JsonError> {
        if json.trim_ascii().is_empty() {
            return Ok(Bytes::new());
        }
        let options = DeserializeOptions::new().deny_unknown_fields(false);
        let mut json = serde_json::Deserializer::from_slice(json);
        let kind = self.descriptor.input();
        let message = DynamicMessage::deserialize_with_options(kind, &mut json, &options)
            .map_err(|error| JsonError(error.to_string()))?;
        Ok(message.encode_to_vec().into())
    }

    /// The JSON of an encoded answer, appended to `json`.
    ///
    /// # Errors
    /// If it is not an answer of this call.
    pub fn answer(&self, answer: Bytes, json: &mut Vec<u8>) -> Result<(), JsonError> {
        let options = SerializeOptions::new().use_proto_field_name(true);
        let message = DynamicMessage::decode(self.descriptor.output(), answer)
            .map_err(|error| JsonError(error.to_string()))?;
        message
            .serialize_with_options(&mut serde_json::Serializer::new(json), &options)
            .map_err(|error| JsonError(error.to_string()))
    }
}

#[cfg(test)]
mod tests;
