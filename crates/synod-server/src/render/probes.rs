//! What `/health`, `/livez` and `/readyz` answered.

use std::sync::atomic::Ordering;

use super::Page;
use crate::service::Context;

pub(super) fn render(page: &mut Page, context: &Context) {
    let probes = &context.metrics.probes;
    let healthy = probes.healthy.load(Ordering::Relaxed);
    page.counter("etcd_server_health_success", "How often /health said yes.", healthy);
    let unhealthy = probes.unhealthy.load(Ordering::Relaxed);
    page.counter("etcd_server_health_failures", "How often /health said no.", unhealthy);
    let checks = probes.read();
    let labels = |(probe, check): (&str, &str)| format!("type=\"{probe}\",name=\"{check}\"");
    page.head("etcd_server_healthcheck", "gauge", "Whether a check passed when it last ran.");
    for (names, counts) in &checks {
        page.line("etcd_server_healthcheck", &labels(*names), u8::from(counts.passed));
    }
    let name = "etcd_server_healthchecks_total";
    page.head(name, "counter", "How often a check ran, by result.");
    for (names, counts) in &checks {
        for (status, count) in [("success", counts.successes), ("error", counts.errors)] {
            page.line(name, &format!("{},status=\"{status}\"", labels(*names)), count);
        }
    }
}
