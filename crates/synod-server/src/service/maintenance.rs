//! etcd's service Maintenance: how this member is.

use std::sync::Arc;
use std::time::Instant;

use synod_etcd::alarm::AlarmRequest;
use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::downgrade_request::DowngradeAction;
use synod_etcd::proto::etcdserverpb::maintenance_server::Maintenance;
use synod_etcd::{EtcdError, alarm, downgrade};
use synod_kv::{Command, Need, Response as StoreResponse, Revision};
use tonic::{Request, Response, Status};

use super::access::mismatch;
use super::snapshot::{self, SnapshotStream};
use super::{Context, move_leader, refusal};
use crate::{ETCD_CLUSTER_VERSION, ETCD_VERSION};

/// The service.
#[derive(Clone, Debug)]
pub(super) struct MaintenanceService(pub(super) Arc<Context>);

/// What an empty store has in use, as etcd's has: the JSON of a status leaves zeros out.
const EMPTY_BYTES: u64 = 4096;

#[tonic::async_trait]
impl Maintenance for MaintenanceService {
    type SnapshotStream = SnapshotStream;

    async fn status(
        &self,
        request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        let context = &self.0;
        context.caller(&request)?;
        let status = context.handle.status();
        let sizes = context.reader.sizes().map_err(|error| refusal::failed(&error))?;
        let leader = context.leadership.leader();
        let mut errors = Vec::new();
        if leader == 0 {
            errors.push(EtcdError::NoLeader.text().to_owned());
        }
        errors.extend(context.reader.alarms().iter().map(alarm::text));
        Ok(Response::new(pb::StatusResponse {
            header: Some(self.header()),
            version: ETCD_VERSION.to_owned(),
            db_size: signed(sizes.disk_bytes),
            leader,
            raft_index: status.chosen_watermark.as_u64() - 1,
            raft_term: context.leadership.round(),
            raft_applied_index: status.applied_watermark.as_u64() - 1,
            errors,
            // What waits for the engine is in use, and not on its disk yet.
            db_size_in_use: signed(sizes.used_bytes.min(sizes.disk_bytes).max(EMPTY_BYTES)),
            is_learner: false,
            storage_version: ETCD_CLUSTER_VERSION.to_owned(),
            db_size_quota: context.config.space.quota_bytes.map_or(-1, signed),
            downgrade_info: Some(pb::DowngradeInfo::default()),
        }))
    }

    async fn alarm(
        &self,
        request: Request<pb::AlarmRequest>,
    ) -> Result<Response<pb::AlarmResponse>, Status> {
        let context = &self.0;
        let caller = context.caller(&request)?;
        let alarms = match alarm::request(request.get_ref())? {
            AlarmRequest::Get(kind) => {
                context.linearize(&caller).await?;
                let mut alarms = context.reader.alarms();
                alarms.retain(|alarm| kind.is_none_or(|kind| alarm.kind == kind));
                alarms
            }
            AlarmRequest::Change(change) => {
                match context.propose(&caller, &Command::Alarm(change)).await? {
                    StoreResponse::Alarm(changed) => changed.alarms,
                    other => return Err(mismatch(&other)),
                }
            }
            AlarmRequest::Nothing => {
                // As the same request with a kind.
                context.permit(&caller, &[Need::Root]).await?;
                Vec::new()
            }
        };
        let alarms = alarms.iter().map(alarm::message).collect();
        Ok(Response::new(pb::AlarmResponse { header: Some(self.header()), alarms }))
    }

    /// There is nothing to be done: space that is freed is used again, and the end of the file
    /// returned, all the time. A round of that is asked for, and nobody waits for it.
    async fn defragment(
        &self,
        request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        self.0.caller(&request)?;
        let start = Instant::now();
        self.0.flush.ask();
        self.0.metrics.defrag.observe(start.elapsed());
        // etcd's answer has no header.
        Ok(Response::new(pb::DefragmentResponse { header: None }))
    }

    async fn hash(
        &self,
        request: Request<pb::HashRequest>,
    ) -> Result<Response<pb::HashResponse>, Status> {
        let context = &self.0;
        let caller = context.caller(&request)?;
        let found = context
            .read(&caller, false, move |context, who| {
                let start = Instant::now();
                let hash = context.reader.hash(who);
                context.metrics.hash.observe(start.elapsed());
                hash.map_err(|error| context.refuse(refusal::of_range(error)))
            })
            .await?;
        let header = Some(context.stamp().header(found.revision));
        Ok(Response::new(pb::HashResponse { header, hash: found.hash }))
    }

    async fn hash_kv(
        &self,
        request: Request<pb::HashKvRequest>,
    ) -> Result<Response<pb::HashKvResponse>, Status> {
        let context = &self.0;
        let caller = context.caller(&request)?;
        let revision = Revision::named(request.get_ref().revision);
        let found = context
            .read(&caller, false, move |context, who| {
                let start = Instant::now();
                let hash = context.reader.hash_kv(who, revision);
                context.metrics.hash_kv.observe(start.elapsed());
                hash.map_err(|error| context.refuse(refusal::of_range(error)))
            })
            .await?;
        Ok(Response::new(pb::HashKvResponse {
            header: Some(context.stamp().header(found.revision)),
            hash: found.hash,
            compact_revision: found.compact_revision.as_i64(),
            hash_revision: found.hash_revision.as_i64(),
        }))
    }

    async fn snapshot(
        &self,
        request: Request<pb::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let caller = self.0.caller(&request)?;
        Ok(Response::new(snapshot::send(&self.0, &caller).await?))
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        self.0.caller(&request)?;
        move_leader::to(&self.0, request.get_ref().target_id).await?;
        // etcd's answer has no header.
        Ok(Response::new(pb::MoveLeaderResponse { header: None }))
    }

    async fn downgrade(
        &self,
        request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        self.0.caller(&request)?;
        let request = request.get_ref();
        match DowngradeAction::try_from(request.action) {
            Ok(DowngradeAction::Validate | DowngradeAction::Enable) => {
                Err(downgrade::refuse(&request.version).into())
            }
            Ok(DowngradeAction::Cancel) => {
                let version = ETCD_CLUSTER_VERSION.trim_end_matches(".0").to_owned();
                let header = Some(self.header());
                Ok(Response::new(pb::DowngradeResponse { header, version }))
            }
            Err(_) => Err(Status::unknown("etcdserver: unknown method")),
        }
    }
}

impl MaintenanceService {
    /// The header of an answer about this member as it is now.
    fn header(&self) -> pb::ResponseHeader {
        self.0.stamp().header(self.0.reader.revision())
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
