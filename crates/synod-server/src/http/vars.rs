//! `/debug/vars`: what etcd publishes of itself there, without Go's statistics of its memory.

use std::sync::Arc;

use hyper::{Response, StatusCode};
use serde_json::json;
use tonic::body::Body;

use super::{JSON, text};
use crate::descriptors;
use crate::service::Context;

/// Tells the command line, the bound of open files, and how far the member is, in Raft's words.
pub(super) fn answer(context: &Arc<Context>) -> Response<Body> {
    let line: Vec<_> =
        std::env::args_os().map(|part| part.to_string_lossy().into_owned()).collect();
    let status = context.handle.status();
    let leader = context.leadership.leader();
    let role = match leader {
        0 => "StateCandidate",
        id if id == context.config.member_id => "StateLeader",
        _ => "StateFollower",
    };
    let vars = json!({
        "cmdline": line,
        // Without a bound etcd has the largest number, too.
        "file_descriptor_limit": descriptors::limit().unwrap_or(u64::MAX),
        "raft.status": {
            "id": format!("{:x}", context.config.member_id),
            "term": context.leadership.round(),
            "vote": format!("{:x}", status.promised.replica.as_u64()),
            "commit": status.chosen_watermark.as_u64(),
            "lead": format!("{leader:x}"),
            "raftState": role,
            "applied": status.applied_watermark.as_u64(),
        },
    });
    text(StatusCode::OK, JSON, vars.to_string())
}
