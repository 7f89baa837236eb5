//! Leases between etcd's messages and the store's commands.

use synod_kv::{LeaseGrant, LeaseGrantResponse, LeaseStatus, Revision};

use crate::proto::etcdserverpb as pb;
use crate::response::Stamp;

/// The lease to grant. Ids are any numbers, TTLs too: too long ones are refused where the command
/// applies, as etcd does, and too short ones raised to `ttl_min`.
#[must_use]
pub const fn grant_command(request: &pb::LeaseGrantRequest, ttl_min: u32) -> LeaseGrant {
    LeaseGrant { id: request.id, ttl: request.ttl, ttl_min }
}

/// The answer to a grant.
#[must_use]
pub const fn granted(
    stamp: Stamp,
    revision: Revision,
    response: LeaseGrantResponse,
) -> pb::LeaseGrantResponse {
    let LeaseGrantResponse { id, ttl } = response;
    pb::LeaseGrantResponse { header: Some(stamp.header(revision)), id, ttl, error: String::new() }
}

/// The answer to a renewal; a TTL of 0 says that the lease is over.
#[must_use]
pub const fn renewed(header: pb::ResponseHeader, id: i64, ttl: i64) -> pb::LeaseKeepAliveResponse {
    pb::LeaseKeepAliveResponse { header: Some(header), id, ttl }
}

/// What is left of a lease, in whole seconds; -1 if there is no such lease.
#[must_use]
pub fn time_to_live(
    header: pb::ResponseHeader,
    id: i64,
    status: Option<LeaseStatus>,
) -> pb::LeaseTimeToLiveResponse {
    let header = Some(header);
    match status {
        None => pb::LeaseTimeToLiveResponse { header, id, ttl: -1, ..Default::default() },
        Some(LeaseStatus { id, granted_ttl, remaining_ms, keys }) => pb::LeaseTimeToLiveResponse {
            header,
            id,
            ttl: i64::try_from(remaining_ms / 1000).unwrap_or(i64::MAX),
            granted_ttl,
            keys,
        },
    }
}

/// The list of leases.
#[must_use]
pub fn leases(header: pb::ResponseHeader, ids: &[i64]) -> pb::LeaseLeasesResponse {
    let leases = ids.iter().map(|id| pb::LeaseStatus { id: *id }).collect();
    pb::LeaseLeasesResponse { header: Some(header), leases }
}

/// The shortest TTL in seconds that a member with these times grants: one and a half election
/// timeouts, counted in heartbeats and rounded up, as in etcd.
#[must_use]
pub fn ttl_min(heartbeat_ms: u64, election_ms: u64) -> u32 {
    let ticks = 3 * (election_ms / heartbeat_ms.max(1)) / 2;
    let seconds = ticks.saturating_mul(heartbeat_ms).div_ceil(1000);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_ttl_is_etcds() {
        let table =
            [(100, 1000, 2), (50, 500, 1), (100, 3000, 5), (100, 50_000, 75), (30, 1000, 2)];
        for (heartbeat, election, expected) in table {
            assert_eq!(ttl_min(heartbeat, election), expected, "{heartbeat} {election}");
        }
    }
}
