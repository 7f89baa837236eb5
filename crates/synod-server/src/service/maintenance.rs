//! etcd's service Maintenance: how this member is.

use std::sync::Arc;

use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::maintenance_server::Maintenance;
use synod_etcd::{EtcdError, unbuilt};
use synod_kv::Need;
use tonic::{Request, Response, Status};

use super::snapshot::{self, SnapshotStream};
use super::{Context, refusal};
use crate::{ETCD_CLUSTER_VERSION, ETCD_VERSION};

/// The service.
#[derive(Clone, Debug)]
pub(super) struct MaintenanceService(pub(super) Arc<Context>);

#[tonic::async_trait]
impl Maintenance for MaintenanceService {
    type SnapshotStream = SnapshotStream;

    async fn status(
        &self,
        request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        let context = &self.0;
        let caller = context.caller(&request)?;
        context.permit(&caller, &[Need::User])?;
        let status = context.handle.status();
        let sizes = context.reader.sizes().map_err(|error| refusal::failed(&error))?;
        let leader = context.leadership.leader();
        let errors = if leader == 0 { vec![EtcdError::NoLeader.text().to_owned()] } else { vec![] };
        Ok(Response::new(pb::StatusResponse {
            header: Some(context.stamp().header(context.reader.revision())),
            version: ETCD_VERSION.to_owned(),
            db_size: signed(sizes.disk_bytes),
            leader,
            raft_index: status.chosen_watermark.as_u64() - 1,
            raft_term: context.leadership.round(),
            raft_applied_index: status.applied_watermark.as_u64() - 1,
            errors,
            db_size_in_use: signed(sizes.live_bytes.min(sizes.disk_bytes)),
            is_learner: false,
            storage_version: ETCD_CLUSTER_VERSION.to_owned(),
            db_size_quota: 0,
            downgrade_info: None,
        }))
    }

    async fn alarm(
        &self,
        _: Request<pb::AlarmRequest>,
    ) -> Result<Response<pb::AlarmResponse>, Status> {
        Err(unbuilt::refuse("Maintenance/Alarm").into())
    }

    async fn defragment(
        &self,
        _: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        Err(unbuilt::refuse("Maintenance/Defragment").into())
    }

    async fn hash(
        &self,
        _: Request<pb::HashRequest>,
    ) -> Result<Response<pb::HashResponse>, Status> {
        Err(unbuilt::refuse("Maintenance/Hash").into())
    }

    async fn hash_kv(
        &self,
        _: Request<pb::HashKvRequest>,
    ) -> Result<Response<pb::HashKvResponse>, Status> {
        Err(unbuilt::refuse("Maintenance/HashKV").into())
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
        _: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        Err(unbuilt::refuse("Maintenance/MoveLeader").into())
    }

    async fn downgrade(
        &self,
        _: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        Err(unbuilt::refuse("Maintenance/Downgrade").into())
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
