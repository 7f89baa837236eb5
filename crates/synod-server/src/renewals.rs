//! Renewals of leases, many in one command.
//!
//! No timer: while a few commands are on their way, what is asked gathers, and goes with the next
//! one. A lone renewal waits for nobody, and a hundred thousand a second share a few hundred slots.

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
    /// Anonymous while auth is disabled, else the member itself, who has checked what it asks.
    by: Caller,
    ids: Vec<i64>,
    answer: oneshot::Sender<Result<Vec<i64>, Refusal>>,
}

/// At most so many leases may be asked for at a time.
pub(crate) const RENEWALS_MAX: usize = 256;

/// So many may wait for a command; further ones wait before they are taken.
const WAITING_MAX: usize = 1024;

/// Commands under way at a time. More than one, since a slow one must not keep all others.
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
    let mut next = None;
    loop {
        let permit = Arc::clone(&under_way).acquire_owned().await;
        let permit = permit.expect("nobody closes the semaphore");
        let first = match next.take() {
            Some(first) => first,
            None => match asked.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        let together;
        (together, next) = gather(first, &mut asked);
        let (handle, metrics) = (handle.clone(), Arc::clone(&metrics));
        tokio::spawn(async move {
            carry_out(together, &handle, &metrics).await;
            drop(permit);
        });
    }
}

/// What waits already, as much as one command may name and one caller asks; and what was taken and
/// has to wait for the next one.
fn gather(first: Asked, asked: &mut mpsc::Receiver<Asked>) -> (Vec<Asked>, Option<Asked>) {
    let (by, mut count) = (first.by.clone(), first.ids.len());
    let mut together = vec![first];
    while count + RENEWALS_MAX <= LEASE_IDS_MAX
        && let Ok(next) = asked.try_recv()
    {
        if next.by != by {
            return (together, Some(next));
        }
        count += next.ids.len();
        together.push(next);
    }
    (together, None)
}

async fn carry_out(together: Vec<Asked>, handle: &Handle<KvMachine>, metrics: &Metrics) {
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
        Ok(other) => refuse(together, &Refusal::from_status(&mismatch(&other))),
        Err(refusal) => refuse(together, &refusal),
    }
}

fn refuse(together: Vec<Asked>, refusal: &Refusal) {
    for Asked { answer, .. } in together {
        let _ = answer.send(Err(refusal.clone()));
    }
}
