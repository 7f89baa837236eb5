//! The gRPC services: etcd's, as far as they are built.
//!
//! Paths are matched here and not by a router: there are few services, and each request pays for
//! the way to them.

mod access;
mod auth;
mod carried;
mod cluster;
mod election;
mod gate;
pub(crate) mod housekeeping;
mod kv;
mod lease;
mod lock;
mod maintenance;
mod move_leader;
mod queue;
mod range;
mod refusal;
mod snapshot;
mod too_large;
mod watch;

use std::convert::Infallible;
use std::error::Error;
use std::sync::{Arc, OnceLock};

use hyper::body::{Body as HttpBody, Bytes};
use synod_etcd::proto::etcdserverpb::auth_server::AuthServer;
use synod_etcd::proto::etcdserverpb::cluster_server::ClusterServer;
use synod_etcd::proto::etcdserverpb::kv_server::KvServer;
use synod_etcd::proto::etcdserverpb::lease_server::LeaseServer;
use synod_etcd::proto::etcdserverpb::maintenance_server::MaintenanceServer;
use synod_etcd::proto::v3electionpb::election_server::ElectionServer;
use synod_etcd::proto::v3lockpb::lock_server::LockServer;
use synod_etcd::response::Stamp;
use synod_etcd::{Limits, unbuilt};
use synod_kv::Reader;
use synod_replica::Handle;
use synod_transport::TransportHandle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use crate::auth::{Passwords, Tokens};
use crate::catch_up::CatchUp;
use crate::comparison::Comparison;
use crate::config::ServerConfig;
use crate::engine::RedbEngine;
use crate::expiry::Alarm;
use crate::flush::FlushHandle;
use crate::http::{self, Access};
use crate::initial_check::InitialCheck;
use crate::leadership::Leadership;
use crate::lease_figures::LeaseFigures;
use crate::listener::admission::Admission;
use crate::log_clock::LogClock;
use crate::machine::KvMachine;
use crate::metrics::{Followed, Metrics};
use crate::renewals::Renewals;
use crate::server::FatalSink;
use crate::space::Space;
use crate::tls::ServerTls;
use crate::watch::Watches;
pub(crate) use access::{mismatch, propose};
pub(crate) use carried::AnswerBody;
pub(crate) use cluster::about;
pub(crate) use range::{AsJson, Held, RangeBudget, lent};
pub(crate) use snapshot::SNAPSHOTS_MAX;
use watch::PATH as WATCH;

/// What every service needs.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) handle: Handle<KvMachine>,
    pub(crate) reader: Reader<RedbEngine>,
    pub(crate) flush: FlushHandle,
    pub(crate) space: Arc<Space>,
    pub(crate) log_segment_bytes: u64,
    pub(crate) watches: Watches,
    pub(crate) leadership: Arc<Leadership>,
    pub(crate) clock: Arc<LogClock>,
    pub(crate) alarm: Arc<Alarm>,
    pub(crate) lease_figures: Arc<LeaseFigures>,
    pub(crate) renewals: Renewals,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) transport: Arc<OnceLock<TransportHandle>>,
    pub(crate) tls: Arc<ServerTls>,
    pub(crate) fatal: FatalSink,
    /// Cancelled when the member stops: streams end then.
    pub(crate) stopping: CancellationToken,
    pub(crate) limits: Limits,
    /// Whether members have applied the same.
    pub(crate) comparison: Arc<Comparison>,
    /// Whether they were the same when this one started, if that is asked.
    pub(crate) initial_check: InitialCheck,
    /// Whether this one has caught up with them since.
    pub(crate) catch_up: CatchUp,
    /// Who may connect, and what of requests is on its way in.
    pub(crate) admission: Arc<Admission>,
    /// Which web pages may speak to this member.
    pub(crate) access: Access,
    /// Checks and hashes passwords.
    pub(crate) passwords: Passwords,
    /// Issues tokens and reads them.
    pub(crate) tokens: Tokens,
    /// What answers to ranges hold.
    pub(crate) ranges: RangeBudget,
    /// Long reads at a time.
    pub(crate) long_reads: Semaphore,
    /// Snapshots that are sent to clients at a time.
    pub(crate) snapshots: Arc<Semaphore>,
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

impl Context {
    /// The alarms that are raised, by etcd's names.
    pub(crate) fn alarms(&self) -> Vec<&'static str> {
        let mut names: Vec<_> =
            self.reader.alarms().iter().map(|alarm| synod_etcd::alarm::name(alarm.kind)).collect();
        // One line for each kind, however many members raised it: they are in order.
        names.dedup();
        names
    }

    /// Whether this member does not vote.
    pub(crate) fn is_learner(&self) -> bool {
        // All members vote, as yet.
        false
    }
}

/// What a port is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scope {
    /// Clients.
    Everything,
    /// Clients that speak gRPC, beside a port for the others.
    Grpc,
    /// Clients that do not.
    Http,
    /// Those who watch over the member.
    Metrics,
}

/// All services of a connection. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Services {
    context: Arc<Context>,
    scope: Scope,
    kv: KvServer<kv::KvService>,
    lease: LeaseServer<lease::LeaseService>,
    lock: LockServer<lock::LockService>,
    election: ElectionServer<election::ElectionService>,
    maintenance: MaintenanceServer<maintenance::MaintenanceService>,
    cluster: ClusterServer<cluster::ClusterService>,
    watch: watch::WatchService,
    auth: AuthServer<auth::AuthService>,
}

impl Services {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        let bytes_max = context.limits.request_bytes_max + Limits::MESSAGE_OVERHEAD_BYTES;
        let kv = kv::KvService(Arc::clone(&context));
        let lease = lease::LeaseService(Arc::clone(&context));
        let lock = lock::LockService(Arc::clone(&context));
        let election = election::ElectionService(Arc::clone(&context));
        let maintenance = maintenance::MaintenanceService(Arc::clone(&context));
        let cluster = cluster::ClusterService(Arc::clone(&context));
        let watch = watch::WatchService(Arc::clone(&context));
        let auth = auth::AuthService(Arc::clone(&context));
        Self {
            context,
            scope: Scope::Everything,
            kv: KvServer::new(kv).max_decoding_message_size(bytes_max),
            lease: LeaseServer::new(lease).max_decoding_message_size(bytes_max),
            lock: LockServer::new(lock).max_decoding_message_size(bytes_max),
            election: ElectionServer::new(election).max_decoding_message_size(bytes_max),
            maintenance: MaintenanceServer::new(maintenance).max_decoding_message_size(bytes_max),
            cluster: ClusterServer::new(cluster).max_decoding_message_size(bytes_max),
            watch,
            auth: AuthServer::new(auth).max_decoding_message_size(bytes_max),
        }
    }

    /// What every service needs.
    pub(crate) const fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// What the port is for.
    pub(crate) const fn scope(&self) -> Scope {
        self.scope
    }

    /// The same, for a port that is for this.
    pub(crate) fn only(&self, scope: Scope) -> Self {
        Self { scope, ..self.clone() }
    }

    /// Answers a request, gRPC or not.
    pub(crate) async fn answer<B>(
        self,
        request: hyper::Request<B>,
    ) -> Result<hyper::Response<Body>, Infallible>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let request = request.map(Body::new);
        let speaks_grpc = matches!(self.scope, Scope::Everything | Scope::Grpc);
        if speaks_grpc && is_grpc(&request) {
            Ok(self.grpc(request).await?.map(Body::new))
        } else {
            Ok(http::answer(self, request).await)
        }
    }

    /// Answers a gRPC request, from a socket or from the JSON gateway, and counts it.
    pub(crate) async fn grpc(
        mut self,
        request: hyper::Request<Body>,
    ) -> Result<hyper::Response<Followed<AnswerBody>>, Infallible> {
        let (request, call) = self.context.metrics.calls.begin(request);
        let response = self.dispatch(request).await.map(too_large::in_etcds_words)?;
        call.warn_if_slow(self.context.config.pace.slow_request);
        Ok(call.answered(carried::unpack(response)))
    }

    async fn dispatch(
        &mut self,
        request: hyper::Request<Body>,
    ) -> Result<hyper::Response<Body>, Infallible> {
        if self.context.reader.is_auth_enabled() {
            let admitted = self.context.admit(&request);
            if let Err(refusal) = admitted.await {
                return Ok(Status::from(refusal).into_http());
            }
        }
        let path = request.uri().path();
        if path == WATCH {
            return self.watch.clone().call(request).await;
        }
        if path.starts_with("/etcdserverpb.KV/") {
            self.kv.call(request).await
        } else if path.starts_with("/etcdserverpb.Lease/") {
            self.lease.call(request).await
        } else if path.starts_with("/v3lockpb.Lock/") {
            self.lock.call(request).await
        } else if path.starts_with("/v3electionpb.Election/") {
            self.election.call(request).await
        } else if path.starts_with("/etcdserverpb.Maintenance/") {
            self.maintenance.call(request).await
        } else if path.starts_with("/etcdserverpb.Cluster/") {
            self.cluster.call(request).await
        } else if path.starts_with("/etcdserverpb.Auth/") {
            self.auth.call(request).await
        } else {
            Ok(Status::from(unbuilt::refuse(path)).into_http())
        }
    }
}

/// Whether a request is for watches: for a stream that lasts, and says little at a time.
pub(crate) fn is_watch<B>(request: &hyper::Request<B>) -> bool {
    request.uri().path() == WATCH && is_grpc(request)
}

/// Whether a request speaks gRPC.
pub(crate) fn is_grpc<B>(request: &hyper::Request<B>) -> bool {
    let kind = request.headers().get(hyper::header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}
