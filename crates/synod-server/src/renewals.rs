//! Renewals of leases, many in one command.
//!
//! No timer: while a few commands are on their way, what is asked gathers, and goes with the next
//! ones. A lone renewal waits for nobody, and a hundred thousand a second share a few hundred
//! slots.
//!
//! Only renewals of one caller share a command: it carries who asks, and is checked where it is
//! applied, as all others are. So nobody renews by a permission that was revoked before.

use std::sync::Arc;

use synod_etcd::{EtcdError, Refusal};
use synod_kv::{Caller, Command, LEASE_IDS_MAX, LeaseIds, Response};
use synod_replica::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::machine::KvMachine;
use crate::metrics::Metrics;
use crate::service::{mismatch, propose};

/// Where renewals are asked for.
#[derive(Clone, Debug)]
pub(crate) struct Renewals(mpsc::Sender<Asked>);

/// Leases that somebody wants renewed.
#[derive(Debug)]
struct Asked {
    by: Caller,
    ids: Vec<i64>,
    answer: oneshot::Sender<Result<Vec<i64>, Refusal>>,
}

/// At most so many leases may be asked for at a time.
pub(crate) const RENEWALS_MAX: usize = 256;

/// So many may wait for a command; further ones wait before they are taken.
const WAITING_MAX: usize = 1024;

/// Rounds under way at a time, each a command for each caller that asked. More than one, since a
/// slow one must not keep all others.
const UNDER_WAY_MAX: usize = 4;

impl Renewals {
    /// Starts to take renewals. It ends when nobody can ask any more.
    pub(crate) fn start(handle: Handle<KvMachine>, metrics: Arc<Metrics>) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        tokio::spawn(run(receiver, handle, metrics));
        Self(sender)
    }

    /// Renews leases, at most [`RENEWALS_MAX`]. For each, its TTL, or 0 if it is over or unknown.
    pub(crate) async fn renew(&self, by: Caller, ids: Vec<i64>) -> Result<Vec<i64>, Refusal> {
        assert!(ids.len() <= RENEWALS_MAX, "{} renewals at a time", ids.len());
        let (answer, answered) = oneshot::channel();
        let stopped = || Refusal::from(EtcdError::Stopped);
        self.0.send(Asked { by, ids, answer }).await.map_err(|_| stopped())?;
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }
}

async fn run(mut asked: mpsc::Receiver<Asked>, handle: Handle<KvMachine>, metrics: Arc<Metrics>) {
    let under_way = Arc::new(Semaphore::new(UNDER_WAY_MAX));
    loop {
        let permit = Arc::clone(&under_way).acquire_owned().await;
        let permit = permit.expect("nobody closes the semaphore");
        let Some(first) = asked.recv().await else { return };
        let permit = Arc::new(permit);
        for together in by_caller(gather(first, &mut asked)) {
            let (handle, metrics) = (handle.clone(), Arc::clone(&metrics));
            let permit = Arc::clone(&permit);
            tokio::spawn(async move {
                carry_out(together, &handle, &metrics).await;
                drop(permit);
            });
        }
    }
}

/// What waits already, as much as one command may name.
fn gather(first: Asked, asked: &mut mpsc::Receiver<Asked>) -> Vec<Asked> {
    let mut count = first.ids.len();
    let mut together = vec![first];
    while count + RENEWALS_MAX <= LEASE_IDS_MAX
        && let Ok(next) = asked.try_recv()
    {
        count += next.ids.len();
        together.push(next);
    }
    together
}

/// The same, apart for each who asks.
fn by_caller(all: Vec<Asked>) -> Vec<Vec<Asked>> {
    let mut groups: Vec<Vec<Asked>> = Vec::new();
    for asked in all {
        match groups.iter_mut().find(|group| group[0].by == asked.by) {
            Some(group) => group.push(asked),
            None => groups.push(vec![asked]),
        }
    }
    groups
}

/// Renews; if that is refused to a caller who has asked for several things, each of them by itself,
/// since the others may be permitted.
async fn carry_out(together: Vec<Asked>, handle: &Handle<KvMachine>, metrics: &Metrics) {
    let Some((together, refusal)) = renew(together, handle, metrics).await else { return };
    if together.len() == 1 || refusal.etcd() != Some(EtcdError::PermissionDenied) {
        return refuse(together, &refusal);
    }
    for asked in together {
        if let Some((alone, refusal)) = renew(vec![asked], handle, metrics).await {
            refuse(alone, &refusal);
        }
    }
}

/// Renews and answers; or gives back what was refused, and why.
async fn renew(
    together: Vec<Asked>,
    handle: &Handle<KvMachine>,
    metrics: &Metrics,
) -> Option<(Vec<Asked>, Refusal)> {
    let by = together.first().map_or(Caller::Anonymous, |first| first.by.clone());
    let ids = together.iter().flat_map(|asked| asked.ids.iter().copied()).collect();
    let ids = LeaseIds::new(ids).expect("gathered within what a command may name");
    let answer = propose(handle, metrics, &by, &Command::LeaseKeepAlive { ids }).await;
    match answer.and_then(|result| result.map_err(Refusal::from)) {
        Ok(Response::LeaseKeepAlive(renewed)) => {
            let mut ttls = renewed.ttls.into_iter();
            for Asked { ids, answer, .. } in together {
                // Who asked may have gone.
                let _ = answer.send(Ok(ttls.by_ref().take(ids.len()).collect()));
            }
        }
        Ok(other) => return Some((together, Refusal::from_status(&mismatch(&other)))),
        Err(refusal) => return Some((together, refusal)),
    }
    None
}

fn refuse(together: Vec<Asked>, refusal: &Refusal) {
    for Asked { answer, .. } in together {
        let _ = answer.send(Err(refusal.clone()));
    }
}

#[cfg(test)]
mod tests {
    use synod_kv::Identity;

    use super::*;

    #[test]
    fn only_renewals_of_one_caller_share_a_command() {
        let user = |name: &str, issued| {
            Caller::User(Identity { name: name.to_owned(), issued: Some(issued) })
        };
        let callers = [user("a", 1), user("b", 1), Caller::Anonymous, user("a", 1), user("a", 2)];
        let all = callers.iter().zip(1..).map(|(by, id)| {
            let (answer, _) = oneshot::channel();
            Asked { by: by.clone(), ids: vec![id], answer }
        });
        let groups = by_caller(all.collect());
        let ids: Vec<Vec<i64>> = groups
            .iter()
            .map(|group| group.iter().flat_map(|asked| asked.ids.iter().copied()).collect())
            .collect();
        assert_eq!(ids, [vec![1, 4], vec![2], vec![3], vec![5]]);
    }
}
