//! Asks, while this member leads, that leases which are due end.
//!
//! What to ask and when is decided by [`Expirer`]; this carries it out, and sleeps in between. A
//! member that leads no more drops what it waits for. What it has asked in vain may be applied
//! later, through another leader, and ends nothing that is not due in the log's time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use synod_kv::{Command, Expirer, Expiry};
use synod_paxos::Ballot;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tracing::debug;

use crate::service::Context;

/// Wakes whoever sleeps until a lease is due, when one appears that is due earlier.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    /// The log time slept for; 0 while nobody sleeps.
    set_for: AtomicU64,
    earlier: Notify,
}

impl Alarm {
    /// Whether somebody sleeps who may have to be woken.
    pub(crate) fn is_set(&self) -> bool {
        self.set_for.load(Ordering::Acquire) != 0
    }

    /// The first lease is due then.
    pub(crate) fn due(&self, time_ms: Option<u64>) {
        if time_ms.is_some_and(|time_ms| time_ms < self.set_for.load(Ordering::Acquire)) {
            self.earlier.notify_one();
        }
    }

    fn set(&self, time_ms: u64) {
        self.set_for.store(time_ms, Ordering::Release);
    }

    fn unset(&self) {
        self.set_for.store(0, Ordering::Release);
    }
}

/// Runs until the member is gone.
pub(crate) async fn run(context: Arc<Context>) {
    let mut leads = context.leadership.leads();
    while let Ok(ballot) = leads.wait_for(Option::is_some).await.map(|ballot| *ballot) {
        let Some(ballot) = ballot else { continue };
        tokio::select! {
            () = expire(&context, ballot) => {}
            () = leads_otherwise(context.leadership.leads(), ballot) => {}
        }
        context.alarm.unset();
    }
}

async fn leads_otherwise(mut leads: watch::Receiver<Option<Ballot>>, ballot: Ballot) {
    // The sender is in the context, which is there.
    let _ = leads.wait_for(|now| *now != Some(ballot)).await;
}

async fn expire(context: &Context, ballot: Ballot) {
    let mut expirer = Expirer::new((ballot.round, ballot.replica.as_u64()));
    loop {
        // Before the look at the leases, so that none appears unnoticed between look and sleep.
        context.alarm.set(u64::MAX);
        match expirer.next(&context.reader, context.clock.time_ms()) {
            Expiry::Propose(expire) => {
                let answer = context.propose_own(&Command::LeaseExpire(expire)).await;
                expirer.answered(answer.is_ok());
                if let Err(refusal) = answer {
                    debug!(%refusal, "could not ask for the end of leases");
                    sleep(PAUSE).await;
                }
            }
            Expiry::At(time_ms) => sleep_until(context, time_ms).await,
            Expiry::Never => context.alarm.earlier.notified().await,
        }
    }
}

/// Sleeps until a log time, or until a lease is due before it.
async fn sleep_until(context: &Context, time_ms: u64) {
    let span = context.clock.until(time_ms).min(SLEEP_MAX);
    if span <= NAP {
        context.alarm.unset();
        return sleep(span).await;
    }
    context.alarm.set(time_ms);
    tokio::select! {
        () = sleep(span) => {}
        () = context.alarm.earlier.notified() => {}
    }
}

/// After a proposal that found no answer.
const PAUSE: Duration = Duration::from_millis(100);
/// A sleep so short is not worth waking from: no lease is granted for less.
const NAP: Duration = Duration::from_millis(100);
/// The longest sleep the timer takes.
const SLEEP_MAX: Duration = Duration::from_secs(24 * 3600);
