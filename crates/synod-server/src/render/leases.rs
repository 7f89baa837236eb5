//! Leases.

use std::sync::atomic::Ordering;

use super::Page;
use crate::service::Context;

pub(super) fn render(page: &mut Page, context: &Context) {
    let figures = &context.lease_figures;
    let counters = [
        ("etcd_debugging_lease_granted_total", "Leases granted.", &figures.granted),
        ("etcd_debugging_lease_revoked_total", "Leases revoked.", &figures.revoked),
        ("etcd_debugging_lease_renewed_total", "Renewals while leading.", &figures.renewed),
        (
            "etcd_debugging_server_lease_expired_total",
            "Leases over while leading.",
            &figures.expired,
        ),
    ];
    for (name, help, count) in counters {
        page.counter(name, help, count.load(Ordering::Relaxed));
    }
    page.histogram("etcd_debugging_lease_ttl_total", "TTLs granted, in seconds.", &figures.ttls);
}
