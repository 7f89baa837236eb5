//! `/health`, as etcd answers it: no alarm, a leader, a read that a quorum confirms.
//!
//! `?serializable=true` asks about this member alone, `?exclude=NOSPACE` leaves an alarm out.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::{Response, StatusCode};
use serde_json::json;
use tonic::body::Body;
use tracing::warn;

use super::{PLAIN, text, values};
use crate::service::Context;

/// Asks the member.
pub(super) async fn answer(context: &Arc<Context>, query: &str) -> Response<Body> {
    let serializable = values(query, "serializable").any(|value| value == "true");
    let result = check(context, serializable, |alarm| {
        values(query, "exclude").any(|excluded| excluded == alarm)
    });
    let probes = &context.metrics.probes;
    let Err(reason) = result.await else {
        probes.healthy.fetch_add(1, Ordering::Relaxed);
        // etcd's own type and words: what watches etcd compares them.
        let health = json!({ "health": "true", "reason": "" });
        return text(StatusCode::OK, PLAIN, health.to_string());
    };
    probes.unhealthy.fetch_add(1, Ordering::Relaxed);
    warn!(reason, "/health said no");
    let health = json!({ "health": "false", "reason": reason });
    text(StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{health}\n"))
}

async fn check(
    context: &Arc<Context>,
    serializable: bool,
    excluded: impl Fn(&str) -> bool,
) -> Result<(), String> {
    if let Some(alarm) = context.alarms().into_iter().find(|alarm| !excluded(alarm)) {
        return Err(format!("ALARM {alarm}"));
    }
    if !serializable && context.leadership.leader() == 0 {
        return Err("RAFT NO LEADER".to_owned());
    }
    context.probe_read(serializable).await.map_err(|refusal| format!("RANGE ERROR:{refusal}"))
}
