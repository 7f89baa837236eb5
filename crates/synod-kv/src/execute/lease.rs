//! Carries out what concerns leases, in the log time of the command.
//!
//! A lease that is over stays, with its keys, until a command ends it; but it cannot be renewed
//! and no key can be attached to it any more.

use super::Execution;
use crate::command::{Assign, Put};
use crate::engine::Engine;
use crate::lease::{
    LEASE_TTL_MAX, LeaseExpire, LeaseExpireResponse, LeaseGrant, LeaseGrantResponse, LeaseIds,
    LeaseKeepAliveResponse, LeaseRevokeResponse,
};
use crate::response::ApplyError;

impl<E: Engine> Execution<'_, E> {
    pub(super) fn grant(&mut self, grant: LeaseGrant) -> Result<LeaseGrantResponse, ApplyError> {
        let LeaseGrant { id, ttl, ttl_min } = grant;
        if ttl > LEASE_TTL_MAX {
            return Err(ApplyError::LeaseTtlTooLarge { ttl });
        }
        if self.state.leases.terms(id).is_some() {
            return Err(ApplyError::LeaseExists { lease: id });
        }
        let id = if id == 0 { self.choose_id() } else { id };
        let ttl = ttl.max(i64::from(ttl_min)).clamp(1, LEASE_TTL_MAX);
        self.state.grant_lease(id, ttl);
        Ok(LeaseGrantResponse { id, ttl })
    }

    /// A positive id that no lease has, and that looks like none chosen before: it comes from the
    /// digest, which every command moves and every member has.
    fn choose_id(&self) -> i64 {
        let mut digest = self.state.meta.digest;
        digest.pair(self.state.meta.applied_slot, 8);
        let start = i64::try_from(digest.as_u64() >> 1).expect("63 bits are no negative number");
        let candidates = (start.max(1)..=i64::MAX).chain(1..start);
        let mut unused = candidates.filter(|id| self.state.leases.terms(*id).is_none());
        unused.next().expect("fewer than 2^63 leases")
    }

    pub(super) fn revoke(&mut self, id: i64) -> Result<LeaseRevokeResponse, ApplyError> {
        if self.state.leases.terms(id).is_none() {
            return Err(ApplyError::LeaseNotFound { lease: id });
        }
        let deleted = self.state.end_lease(id);
        Ok(LeaseRevokeResponse { revision: self.state.current(), deleted })
    }

    pub(super) fn keep_alive(&mut self, ids: &LeaseIds) -> LeaseKeepAliveResponse {
        let mut ttls = Vec::with_capacity(ids.as_slice().len());
        for id in ids.as_slice() {
            ttls.push(self.state.renew_lease(*id).unwrap_or(0));
        }
        LeaseKeepAliveResponse { ttls }
    }

    pub(super) fn expire(&mut self, expire: &LeaseExpire) -> LeaseExpireResponse {
        let (mut expired, mut deleted) = (Vec::new(), 0);
        self.state.meta.digest.pair(expire.by.0, expire.by.1);
        for id in expire.ids.as_slice() {
            let time_ms = self.state.meta.time_ms;
            if self.state.leases.terms(*id).is_some_and(|terms| terms.is_over(time_ms)) {
                deleted += self.state.end_lease(*id);
                expired.push(*id);
            }
        }
        LeaseExpireResponse { revision: self.state.current(), expired, deleted }
    }

    /// A key is only attached to a lease that exists and is not over.
    pub(super) fn check_lease(&self, put: &Put) -> Result<(), ApplyError> {
        match put.lease {
            Assign::Set(lease) if lease != 0 && self.state.lease_not_over(lease).is_none() => {
                Err(ApplyError::LeaseNotFound { lease })
            }
            Assign::Keep | Assign::Set(_) => Ok(()),
        }
    }
}
