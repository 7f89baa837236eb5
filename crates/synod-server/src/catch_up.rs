//! The first thing a member does: it catches up with what was chosen while it was down.
//!
//! A read that asks no other member tells what this one has applied. Right after a start that may
//! be less than the same member told before it went down: the last of it was not in the store's
//! file yet, or is not known to be chosen any more. So such reads wait until a leader has confirmed
//! once how far one must have applied, and this member is there. They do not wait for long, since
//! they are what a member that is cut off from the others can still answer.
//!
//! etcd serves no client at all until then, and has no bound.

use std::sync::Arc;
use std::time::Duration;

use synod_replica::ReadError;
use tokio::sync::SetOnce;
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::service::Context;

/// Until a leader that was too busy is asked again.
const AGAIN: Duration = Duration::from_millis(100);

/// How far a member has come with it.
#[derive(Debug, Default)]
pub(crate) struct CatchUp {
    done: SetOnce<()>,
    /// It is done, or took too long to wait for.
    awaited: SetOnce<()>,
}

impl CatchUp {
    /// Waits until it is done.
    pub(crate) async fn done(&self) {
        self.done.wait().await;
    }

    /// Waits until it is done, or takes too long.
    pub(crate) async fn awaited(&self) {
        self.awaited.wait().await;
    }
}

/// Catches up. Ends when it is done, or the member stops.
pub(crate) async fn run(context: Arc<Context>) {
    let caught_up = async {
        loop {
            match context.handle.linearize().await {
                Ok(_) => return true,
                Err(ReadError::Stopping) => return false,
                Err(ReadError::Busy | ReadError::TimedOut) => sleep(AGAIN).await,
            }
        }
    };
    tokio::pin!(caught_up);
    let patience = context.config.without_leader_after();
    let is_done = match timeout(patience, &mut caught_up).await {
        Ok(is_done) => is_done,
        Err(_) => {
            // A member of a new cluster has told nobody anything.
            if context.handle.status().applied_watermark.as_u64() > 0 {
                warn!(
                    ?patience,
                    "no leader has confirmed how far the cluster is: serializable reads are \
                     answered from what this member has, which may be less than it told before \
                     it was started"
                );
            }
            // Nobody else sets it.
            let _ = context.catch_up.awaited.set(());
            caught_up.await
        }
    };
    if is_done {
        // The second may be set already.
        let _ = context.catch_up.done.set(());
        let _ = context.catch_up.awaited.set(());
    }
}
