//! `/livez` and `/readyz`, in etcd's format: for those who restart members and send them clients.
//!
//! A member is alive while its loop turns: neither a lost quorum, nor a slow disk, nor an alarm is
//! cured by a restart. It is ready when it can serve. Each check has a path of its own, such as
//! `/readyz/linearizable_read`; `?exclude=NAME` leaves one out, `?verbose` shows those that passed.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use hyper::{Response, StatusCode};
use synod_paxos::ReplicaId;
use synod_replica::Status;
use tonic::body::Body;
use tracing::warn;

use super::{PLAIN, text, values};
use crate::config::MemberConfig;
use crate::service::Context;

/// A probe and its checks.
struct Probe {
    name: &'static str,
    checks: &'static [Check],
}

/// What is looked at. The names of the last four are etcd's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Check {
    EventLoop,
    Formed,
    LeaderKnown,
    AppliedCaughtUp,
    StoreFlusher,
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

const PROBES: [Probe; 2] = [
    Probe { name: "livez", checks: &[Check::EventLoop, Check::SerializableRead] },
    Probe {
        name: "readyz",
        checks: &[
            Check::DataCorruption,
            Check::Formed,
            Check::LeaderKnown,
            Check::AppliedCaughtUp,
            Check::StoreFlusher,
            Check::SerializableRead,
            Check::LinearizableRead,
            Check::NonLearner,
        ],
    },
];

/// A loop that has not turned for so long is stuck: it turns ten times a second, and nothing that
/// it does takes a hundredth of this.
const STUCK: Duration = Duration::from_secs(30);
/// So many chosen slots may wait to be applied.
const BEHIND_MAX: u64 = 10_000;

impl Check {
    const fn name(self) -> &'static str {
        match self {
            Self::EventLoop => "event_loop",
            Self::Formed => "formed",
            Self::LeaderKnown => "leader_known",
            Self::AppliedCaughtUp => "applied_caught_up",
            Self::StoreFlusher => "store_flusher",
            Self::DataCorruption => "data_corruption",
            Self::SerializableRead => "serializable_read",
            Self::LinearizableRead => "linearizable_read",
            Self::NonLearner => "non_learner",
        }
    }

    /// Passes, or says why not.
    async fn run(self, context: &Arc<Context>) -> Result<(), String> {
        match self {
            Self::EventLoop => turns(context.handle.turned_ago(), context.flush.is_awaited()),
            Self::Formed => formed(&context.handle.status(), &context.config.members),
            Self::LeaderKnown if context.leadership.leader() == 0 => {
                Err("no leader is known".to_owned())
            }
            Self::AppliedCaughtUp => {
                let status = context.handle.status();
                caught_up(status.chosen_watermark.as_u64(), status.applied_watermark.as_u64())
            }
            Self::StoreFlusher if context.flush.has_ended() => {
                Err("nothing is written to the store's file any more".to_owned())
            }
            Self::DataCorruption if context.alarms().contains(&"CORRUPT") => {
                Err("alarm activated: CORRUPT".to_owned())
            }
            Self::SerializableRead => read(context, true).await,
            Self::LinearizableRead => read(context, false).await,
            Self::NonLearner if context.is_learner() => Err("not supported for learner".to_owned()),
            Self::LeaderKnown | Self::StoreFlusher | Self::DataCorruption | Self::NonLearner => {
                Ok(())
            }
        }
    }
}

fn turns(ago: Duration, waits_for_disk: bool) -> Result<(), String> {
    if waits_for_disk || ago < STUCK {
        return Ok(());
    }
    Err(format!("the member's loop has not turned for {ago:?}, the limit is {STUCK:?}"))
}

/// A member of a new cluster votes once all have met. That is kept on disk: no restart undoes it.
fn formed(status: &Status, members: &[MemberConfig]) -> Result<(), String> {
    if status.is_formed {
        return Ok(());
    }
    let unmet = members.iter().filter(|member| status.unmet.contains(ReplicaId::new(member.id)));
    let mut names: Vec<&str> = unmet.map(|member| member.name.as_str()).collect();
    names.sort_unstable();
    Err(format!(
        "this member of a new cluster votes once it and all others have met; still to meet: {}",
        names.join(", ")
    ))
}

fn caught_up(chosen: u64, applied: u64) -> Result<(), String> {
    let behind = chosen.saturating_sub(applied);
    if behind <= BEHIND_MAX {
        return Ok(());
    }
    Err(format!("{behind} chosen slots wait to be applied, the limit is {BEHIND_MAX}"))
}

async fn read(context: &Arc<Context>, serializable: bool) -> Result<(), String> {
    context.probe_read(serializable).await.map_err(|refusal| refusal.to_string())
}

/// The probe that a path means, and the one check if it names one.
fn find(path: &str) -> Option<(&'static Probe, Option<Check>)> {
    let path = path.strip_prefix('/')?;
    let (name, check) = path.split_once('/').map_or((path, None), |(n, check)| (n, Some(check)));
    let probe = PROBES.iter().find(|probe| probe.name == name)?;
    match check {
        None => Some((probe, None)),
        Some(name) => {
            let check = probe.checks.iter().find(|check| check.name() == name)?;
            Some((probe, Some(*check)))
        }
    }
}

/// Whether a path means a probe.
pub(super) fn is_for(path: &str) -> bool {
    find(path).is_some()
}

/// Runs the checks.
pub(super) async fn answer(context: &Arc<Context>, path: &str, query: &str) -> Response<Body> {
    let Some((probe, one)) = find(path) else {
        return text(StatusCode::NOT_FOUND, PLAIN, "404 page not found\n".to_owned());
    };
    let (mut report, mut passed) = (String::new(), true);
    let excluded = |check: &Check| values(query, "exclude").any(|name| name == check.name());
    let wanted = |check: &&Check| one.map_or_else(|| !excluded(check), |one| one == **check);
    for check in probe.checks.iter().filter(wanted) {
        let (name, result) = (check.name(), check.run(context).await);
        context.metrics.probes.checked(probe.name, name, result.is_ok());
        let line = match result {
            Ok(()) => format!("[+]{name} ok\n"),
            Err(why) => {
                passed = false;
                format!("[-]{name} failed: {why}\n")
            }
        };
        report.write_str(&line).expect("a string takes all that memory holds");
    }
    if !passed {
        warn!(probe = probe.name, report, "a probe failed");
        return text(StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{report}\n"));
    }
    if values(query, "verbose").next().is_none() {
        report.clear();
    }
    text(StatusCode::OK, PLAIN, format!("{report}ok\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_has_a_path_below_its_probe() {
        let found = |path| find(path).map(|(probe, check)| (probe.name, check));
        assert_eq!(found("/livez"), Some(("livez", None)));
        let read = Some(Check::LinearizableRead);
        assert_eq!(found("/readyz/linearizable_read"), Some(("readyz", read)));
        for path in ["/livez/linearizable_read", "/readyz/", "/readyz/x/y", "/ready", "livez"] {
            assert!(!is_for(path), "{path}");
        }
    }

    #[test]
    fn a_member_is_alive_until_its_loop_is_stuck_for_another_reason_than_the_disk() {
        assert!(turns(STUCK - Duration::from_millis(1), false).is_ok());
        assert!(turns(STUCK, false).is_err());
        assert!(turns(STUCK * 100, true).is_ok());
    }

    #[test]
    fn a_member_that_lags_is_not_ready() {
        assert!(caught_up(BEHIND_MAX + 1, 1).is_ok());
        assert!(caught_up(BEHIND_MAX + 2, 1).is_err());
    }
}
