//! What is counted of leases, as etcd counts it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use synod_kv::Response;

use crate::metrics::{Histogram, Ttl};

/// Counts since the start of the process, of what was applied here.
#[derive(Debug, Default)]
pub(crate) struct LeaseFigures {
    /// Leases granted.
    pub(crate) granted: AtomicU64,
    /// Leases revoked, by clients.
    pub(crate) revoked: AtomicU64,
    /// Renewals, while this member led: so that a sum over members counts each once.
    pub(crate) renewed: AtomicU64,
    /// Leases that were over, while this member led.
    pub(crate) expired: AtomicU64,
    /// TTLs granted; those above 136 years count as such.
    pub(crate) ttls: Histogram<Ttl>,
}

impl LeaseFigures {
    /// Counts what an applied command did.
    pub(crate) fn count(&self, response: &Response, is_leader: bool) {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        match response {
            Response::LeaseGrant(granted) => {
                self.granted.fetch_add(1, Ordering::Relaxed);
                let seconds = u32::try_from(granted.ttl).unwrap_or(u32::MAX);
                self.ttls.observe(Duration::from_secs(u64::from(seconds)));
            }
            Response::LeaseRevoke(_) => {
                self.revoked.fetch_add(1, Ordering::Relaxed);
            }
            Response::LeaseKeepAlive(renewed) if is_leader => {
                let renewed = renewed.ttls.iter().filter(|ttl| **ttl > 0).count();
                self.renewed.fetch_add(number(renewed), Ordering::Relaxed);
            }
            Response::LeaseExpire(expired) if is_leader => {
                self.expired.fetch_add(number(expired.expired.len()), Ordering::Relaxed);
            }
            _ => {}
        }
    }
}
