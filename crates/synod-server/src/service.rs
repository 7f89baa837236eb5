//! The gRPC services: etcd's, as far as they are built.
//!
//! Paths are matched here and not by a router: there are three services, and each request pays for
//! the way to them.

mod access;
mod cluster;
mod kv;
mod maintenance;
mod refusal;
mod too_large;

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

use hyper::body::Incoming;
use synod_etcd::proto::etcdserverpb::cluster_server::ClusterServer;
use synod_etcd::proto::etcdserverpb::kv_server::KvServer;
use synod_etcd::proto::etcdserverpb::maintenance_server::MaintenanceServer;
use synod_etcd::response::Stamp;
use synod_etcd::{Limits, unbuilt};
use synod_kv::Reader;
use synod_replica::Handle;
use synod_transport::TransportHandle;
use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;

use crate::config::ServerConfig;
use crate::engine::RedbEngine;
use crate::flush::FlushHandle;
use crate::leadership::Leadership;
use crate::machine::KvMachine;
use crate::metrics::{Calls, Metrics};
use crate::server::FatalSink;
pub(crate) use cluster::about;

/// What every service needs.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) handle: Handle<KvMachine>,
    pub(crate) reader: Reader<RedbEngine>,
    pub(crate) flush: FlushHandle,
    pub(crate) leadership: Arc<Leadership>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) transport: Arc<OnceLock<TransportHandle>>,
    pub(crate) fatal: FatalSink,
    pub(crate) limits: Limits,
    /// Long reads at a time.
    pub(crate) long_reads: Semaphore,
}

impl Context {
    /// The part of an answer's header that the store does not know.
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp {
            cluster_id: self.config.cluster_id,
            member_id: self.config.member_id,
            round: self.leadership.round(),
        }
    }
}

/// All services of a connection. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Services {
    context: Arc<Context>,
    kv: KvServer<kv::KvService>,
    maintenance: MaintenanceServer<maintenance::MaintenanceService>,
    cluster: ClusterServer<cluster::ClusterService>,
}

impl Services {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        let bytes_max = context.limits.request_bytes_max + Limits::MESSAGE_OVERHEAD_BYTES;
        let kv = kv::KvService(Arc::clone(&context));
        let maintenance = maintenance::MaintenanceService(Arc::clone(&context));
        let cluster = cluster::ClusterService(Arc::clone(&context));
        Self {
            context,
            kv: KvServer::new(kv).max_decoding_message_size(bytes_max),
            maintenance: MaintenanceServer::new(maintenance).max_decoding_message_size(bytes_max),
            cluster: ClusterServer::new(cluster).max_decoding_message_size(bytes_max),
        }
    }

    /// Answers a request, gRPC or not.
    pub(crate) async fn answer(
        mut self,
        request: hyper::Request<Incoming>,
    ) -> Result<hyper::Response<Body>, Infallible> {
        if !is_grpc(&request) {
            return Ok(crate::http::answer(&self.context, &request));
        }
        let path = request.uri().path();
        let method = Calls::method(path);
        let response = if path.starts_with("/etcdserverpb.KV/") {
            self.kv.call(request).await
        } else if path.starts_with("/etcdserverpb.Maintenance/") {
            self.maintenance.call(request).await
        } else if path.starts_with("/etcdserverpb.Cluster/") {
            self.cluster.call(request).await
        } else {
            Ok(Status::from(unbuilt::refuse(path)).into_http())
        };
        let response = response.map(too_large::in_etcds_words)?;
        // Errors of unary calls are in the headers; who gets none is served.
        let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |s| s.code());
        self.context.metrics.calls.count(method, code);
        Ok(response)
    }
}

fn is_grpc<B>(request: &hyper::Request<B>) -> bool {
    let kind = request.headers().get(hyper::header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}
