//! How the member takes part in the cluster.

use std::sync::atomic::Ordering;

use super::{Page, number};
use crate::events::REASONS;
use crate::service::Context;
use crate::{ETCD_CLUSTER_VERSION, ETCD_VERSION, SYNOD_VERSION};

pub(super) fn render(page: &mut Page, context: &Context) {
    who(page, context);
    features(page, context);
    alarms(page, context);
    formation(page, context);
    leader(page, context);
    proposals(page, context);
}

fn who(page: &mut Page, context: &Context) {
    page.head("etcd_server_version", "gauge", "Which version's interface is served.");
    page.line("etcd_server_version", &format!("server_version=\"{ETCD_VERSION}\""), 1);
    page.head("etcd_cluster_version", "gauge", "Which version's features the cluster has.");
    // etcd leaves the patch out, and so do dashboards.
    let version = ETCD_CLUSTER_VERSION.trim_end_matches(".0");
    page.line("etcd_cluster_version", &format!("cluster_version=\"{version}\""), 1);
    page.head("synod_server_version", "gauge", "Which version of Synod is running.");
    page.line("synod_server_version", &format!("server_version=\"{SYNOD_VERSION}\""), 1);
    page.head("etcd_server_id", "gauge", "Which member this is.");
    page.line("etcd_server_id", &format!("server_id=\"{:x}\"", context.config.member_id), 1);
}

fn features(page: &mut Page, context: &Context) {
    let name = "etcd_server_feature_enabled";
    page.head(name, "gauge", "Whether a feature is enabled.");
    let enabled = u8::from(context.config.initial_corrupt_check);
    page.line(name, "name=\"InitialCorruptCheck\",stage=\"ALPHA\"", enabled);
}

fn alarms(page: &mut Page, context: &Context) {
    let name = "etcd_debugging_server_alarms";
    page.head(name, "gauge", "Alarms that are raised.");
    for alarm in context.reader.alarms() {
        let (member, kind) = (alarm.member, synod_etcd::alarm::name(alarm.kind));
        page.line(name, &format!("alarm_type=\"{kind}\",server_id=\"{member:x}\""), 1);
    }
    let revision = context.reader.auth_status().revision;
    page.gauge("etcd_debugging_auth_revision", "The revision of users and roles.", revision);
}

fn leader(page: &mut Page, context: &Context) {
    let leadership = &context.leadership;
    let has_leader = u8::from(leadership.leader() != 0);
    page.gauge("etcd_server_has_leader", "Whether a leader is known.", has_leader);
    let is_leader = u8::from(leadership.is_leader());
    page.gauge("etcd_server_is_leader", "Whether this member leads.", is_leader);
    let is_learner = u8::from(context.is_learner());
    page.gauge("etcd_server_is_learner", "Whether this member does not vote.", is_learner);
    page.counter(
        "etcd_server_leader_changes_seen_total",
        "How often there was a new leader.",
        leadership.changes(),
    );
    page.gauge("synod_round", "The highest ballot round seen.", leadership.round());
}

fn formation(page: &mut Page, context: &Context) {
    let formed = u8::from(context.handle.status().is_formed);
    page.gauge("synod_formed", "Whether all members have met, so that this one votes.", formed);
}

fn proposals(page: &mut Page, context: &Context) {
    let (status, metrics) = (context.handle.status(), &context.metrics);
    let committed = status.chosen_watermark.as_u64() - 1;
    page.gauge("etcd_server_proposals_committed_total", "Slots chosen.", committed);
    let applied = status.applied_watermark.as_u64() - 1;
    page.gauge("etcd_server_proposals_applied_total", "Slots applied.", applied);
    let pending = number(status.proposals_waiting);
    page.gauge("etcd_server_proposals_pending", "Commands that wait for a reply.", pending);
    let failed = metrics.proposals_failed.load(Ordering::Relaxed);
    page.counter("etcd_server_proposals_failed_total", "Commands that brought no reply.", failed);
    let reads = metrics.reads_failed.load(Ordering::Relaxed);
    let name = "etcd_server_read_indexes_failed_total";
    page.counter(name, "Linearizable reads that were refused.", reads);
    let slow = metrics.reads_slow.load(Ordering::Relaxed);
    let name = "etcd_server_slow_read_indexes_total";
    page.counter(name, "Linearizable reads that no leader confirmed in time.", slow);
    let late = status.heartbeats_late;
    let name = "etcd_server_heartbeat_send_failures_total";
    page.counter(name, "Heartbeats sent late while leading.", late);
    let waiting = number(status.reads_waiting);
    page.gauge("synod_reads_pending", "Linearizable reads that wait.", waiting);
    let stable = status.stable_everywhere.as_u64() - 1;
    page.gauge("synod_stable_everywhere", "Slots that no member needs the log for.", stable);
    let trimmed = status.trimmed.as_u64() - 1;
    page.gauge("synod_log_trimmed", "Slots dropped from the log since the start.", trimmed);
    let undurable = number(status.records_undurable);
    page.gauge("synod_records_undurable", "Records that wait for the disk.", undurable);
    let turned = context.handle.turned_ago().as_secs_f64();
    page.gauge("synod_driver_idle_seconds", "Since the member's loop last turned.", turned);
    let compared = context.comparison.compared();
    let name = "synod_digests_compared_total";
    page.counter(name, "Digests of others compared with this member's.", compared);
    page.head("synod_member_differs", "gauge", "Whether a member has applied something else.");
    let differing = context.comparison.differing();
    for member in context.config.members.iter().filter(|one| one.id != context.config.member_id) {
        let labels = format!("to=\"{:x}\"", member.id);
        page.line("synod_member_differs", &labels, u8::from(differing.contains(&member.id)));
    }
    page.head("synod_messages_ignored_total", "counter", "Messages left without effect.");
    for (reason, count) in REASONS.iter().zip(&metrics.ignored) {
        let labels = format!("reason=\"{reason}\"");
        page.line("synod_messages_ignored_total", &labels, count.load(Ordering::Relaxed));
    }
}
