//! The CPU time of other processes, from `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::Context;
use rustix::param::clock_ticks_per_second;

/// What these processes have used so far, all together; nothing if none are named.
pub(super) fn cpu_time(pids: &[u32]) -> anyhow::Result<Option<Duration>> {
    let mut ticks = 0;
    for pid in pids {
        let path = format!("/proc/{pid}/stat");
        let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        ticks += ticks_used(&stat).with_context(|| format!("{path} is not as expected"))?;
    }
    let nanos = ticks.saturating_mul(1_000_000_000) / clock_ticks_per_second();
    Ok((!pids.is_empty()).then(|| Duration::from_nanos(nanos)))
}

/// User and system time: the fields 14 and 15. Field 2, the name, may contain anything, but ends
/// with the last parenthesis.
fn ticks_used(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_is_skipped() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194304 100 0 0 0 42 8 0 0 20 0 1 0 500";
        assert_eq!(ticks_used(stat), Some(50));
        assert_eq!(ticks_used("7 (a) S 1"), None);
        assert_eq!(ticks_used(""), None);
    }

    #[test]
    fn nobody_uses_nothing() {
        assert_eq!(cpu_time(&[]).unwrap(), None);
        assert!(cpu_time(&[std::process::id()]).unwrap().is_some());
        assert!(cpu_time(&[u32::MAX]).is_err());
    }
}
