//! Hands leadership to a member that somebody names.

use synod_etcd::{EtcdError, Refusal};
use synod_paxos::ReplicaId;
use synod_replica::TransferError;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::Code;

use super::Context;

/// etcd's text for a member that did not take over; it has no code of its own there.
const TIMED_OUT: &str = "etcdserver: request timed out, leader transfer took too long";
/// Stands for the leader while there is none.
const NOBODY: u64 = 0;

/// Hands over to a member, and returns when this one follows it. To itself, nothing is to be done.
pub(super) async fn to(context: &Context, target: u64) -> Result<(), Refusal> {
    if !context.leadership.is_leader() {
        let leader = context.config.name_of(context.leadership.leader());
        let detail = format!("only the leader hands over, and that is {leader}: ask it");
        return Err(Refusal::new(EtcdError::NotLeader).with_detail(detail));
    }
    if !context.config.members.iter().any(|member| member.id == target) {
        let detail = format!("there is no member {target:x}");
        return Err(Refusal::new(EtcdError::BadLeaderTransferee).with_detail(detail));
    }
    if target == context.config.member_id {
        return Ok(());
    }
    follows(context, target).await
}

/// Hands over until this member follows another, as long as a request may take. It asks again when
/// it still leads: the other may not have been heard for a moment, or a disk may have been slow.
async fn follows(context: &Context, target: u64) -> Result<(), Refusal> {
    let deadline = Instant::now() + context.config.request_timeout();
    let (own, to) = (context.config.member_id, Some(ReplicaId::new(target)));
    let mut detail = None;
    loop {
        match context.leadership.leader() {
            leader if leader == target => return Ok(()),
            leader if leader == own => {
                match timeout_at(deadline, context.handle.transfer_leadership(to)).await {
                    Err(_) | Ok(Ok(())) => {}
                    Ok(Err(TransferError::Busy)) => return Err(EtcdError::TooManyRequests.into()),
                    Ok(Err(TransferError::Stopping)) => return Err(EtcdError::Stopped.into()),
                    Ok(Err(error @ (TransferError::NotPossible | TransferError::TimedOut))) => {
                        detail = Some(error.to_string());
                    }
                }
            }
            NOBODY => {}
            leader => {
                let detail = format!("{} has taken over instead", context.config.name_of(leader));
                return Err(Refusal::own(Code::Unknown, TIMED_OUT).with_detail(detail));
            }
        }
        if Instant::now() >= deadline {
            let refusal = Refusal::own(Code::Unknown, TIMED_OUT);
            return Err(match detail {
                Some(detail) => refusal.with_detail(detail),
                None => refusal,
            });
        }
        sleep(context.config.heartbeat_interval / 4).await;
    }
}
