//! etcd's service Lock.
//!
//! A lock is held as long as its key exists. A holder that is paused may lose it without knowing;
//! so the answer carries a fencing token, which what the lock protects can check.

use std::sync::Arc;

use bytes::Bytes;
use synod_etcd::Refusal;
use synod_etcd::proto::v3lockpb as pb;
use synod_etcd::proto::v3lockpb::lock_server::Lock;
use synod_kv::{Command, DeleteRange, Key, KeyRange, Response as StoreResponse};
use tonic::{Code, Request, Response, Status};

use super::Context;
use super::access::{Caller, mismatch};
use super::queue::{self, in_etcds_code};

/// The service.
#[derive(Clone, Debug)]
pub(super) struct LockService(pub(super) Arc<Context>);

#[tonic::async_trait]
impl Lock for LockService {
    async fn lock(
        &self,
        request: Request<pb::LockRequest>,
    ) -> Result<Response<pb::LockResponse>, Status> {
        let caller = self.0.caller(&request)?;
        let answer = self.acquire(&caller, request.into_inner()).await;
        answer.map(Response::new).map_err(in_etcds_code)
    }

    async fn unlock(
        &self,
        request: Request<pb::UnlockRequest>,
    ) -> Result<Response<pb::UnlockResponse>, Status> {
        let caller = self.0.caller(&request)?;
        let answer = self.release(&caller, request.into_inner()).await;
        answer.map(Response::new).map_err(in_etcds_code)
    }
}

impl LockService {
    async fn acquire(
        &self,
        caller: &Caller,
        request: pb::LockRequest,
    ) -> Result<pb::LockResponse, Refusal> {
        let pb::LockRequest { name, lease } = request;
        let lease = queue::session(&self.0, caller, lease).await?;
        let waiting = queue::take(&self.0, caller, &name, (lease, Bytes::new())).await?.waiting;
        let place = waiting.place();
        let (key, create) = (place.key.as_bytes().clone(), place.create.as_i64());
        let expired = Refusal::own(Code::Unknown, "mutex: session is expired");
        let at = waiting.turn(&name, expired).await?;
        Ok(pb::LockResponse { header: Some(self.0.stamp().header(at)), key, fencing_token: create })
    }

    async fn release(
        &self,
        caller: &Caller,
        request: pb::UnlockRequest,
    ) -> Result<pb::UnlockResponse, Refusal> {
        let keys = KeyRange::Single(Key::new(request.key)?);
        let delete = Command::DeleteRange(DeleteRange { keys, prev_kv: false });
        match self.0.propose(caller, &delete).await? {
            StoreResponse::DeleteRange(deleted) => {
                let header = Some(self.0.stamp().header(deleted.revision));
                Ok(pb::UnlockResponse { header })
            }
            other => Err(Refusal::from_status(&mismatch(&other))),
        }
    }
}
