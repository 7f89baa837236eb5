//! Hands leadership to a member that somebody names.

use synod_etcd::{EtcdError, Refusal};
use synod_paxos::ReplicaId;
use synod_replica::TransferError;
use tokio::time::{Instant, sleep};
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
    let to = Some(ReplicaId::new(target));
    context.handle.transfer_leadership(to).await.map_err(refusal)?;
    follows(context, target).await
}

/// Waits until this member follows another. Asks once more when it leads again: what was sent to
/// the other may have been lost, or have come before it knew whom it follows.
async fn follows(context: &Context, target: u64) -> Result<(), Refusal> {
    let deadline = Instant::now() + context.config.request_timeout();
    let own = context.config.member_id;
    let mut has_stepped_down = false;
    loop {
        match context.leadership.leader() {
            leader if leader == target => return Ok(()),
            leader if leader == own && has_stepped_down => {
                has_stepped_down = false;
                // It may have lost the lead in between, which the next turn sees.
                let _ = context.handle.transfer_leadership(Some(ReplicaId::new(target))).await;
            }
            leader if leader == own => {}
            NOBODY => has_stepped_down = true,
            leader => {
                let detail = format!("{} has taken over instead", context.config.name_of(leader));
                return Err(Refusal::own(Code::Unknown, TIMED_OUT).with_detail(detail));
            }
        }
        if Instant::now() >= deadline {
            return Err(Refusal::own(Code::Unknown, TIMED_OUT));
        }
        sleep(context.config.heartbeat_interval / 4).await;
    }
}

fn refusal(error: TransferError) -> Refusal {
    let refusal = match error {
        TransferError::NotPossible | TransferError::TimedOut => {
            Refusal::own(Code::Unknown, TIMED_OUT)
        }
        TransferError::Busy => Refusal::new(EtcdError::TooManyRequests),
        TransferError::Stopping => Refusal::new(EtcdError::Stopped),
    };
    refusal.with_detail(error.to_string())
}
