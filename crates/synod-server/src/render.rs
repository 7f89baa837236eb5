//! The figures as Prometheus reads them, under etcd's names where they mean the same.

use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::events::REASONS;
use crate::metrics::Histogram;
use crate::service::Context;
use crate::{ETCD_VERSION, SYNOD_VERSION};

/// The whole page.
pub(crate) fn metrics(context: &Context) -> String {
    let mut page = Page(String::with_capacity(8192));
    consensus(&mut page, context);
    storage(&mut page, context);
    calls(&mut page, context);
    peers(&mut page, context);
    page.0
}

fn consensus(page: &mut Page, context: &Context) {
    let status = context.handle.status();
    let leadership = &context.leadership;
    let has_leader = u64::from(leadership.leader() != 0);
    page.gauge("etcd_server_has_leader", "Whether a leader is known.", has_leader);
    let is_leader = u64::from(leadership.is_leader());
    page.gauge("etcd_server_is_leader", "Whether this member leads.", is_leader);
    page.counter(
        "etcd_server_leader_changes_seen_total",
        "How often there was a new leader.",
        leadership.changes(),
    );
    let committed = status.chosen_watermark.as_u64() - 1;
    page.gauge("etcd_server_proposals_committed_total", "Slots chosen.", committed);
    let applied = status.applied_watermark.as_u64() - 1;
    page.gauge("etcd_server_proposals_applied_total", "Slots applied.", applied);
    let pending = number(status.proposals_waiting);
    page.gauge("etcd_server_proposals_pending", "Commands that wait for a reply.", pending);
    let failed = context.metrics.proposals_failed.load(Ordering::Relaxed);
    page.counter("etcd_server_proposals_failed_total", "Commands that brought no reply.", failed);
    let reads = context.metrics.reads_failed.load(Ordering::Relaxed);
    page.counter("etcd_server_slow_read_indexes_total", "Reads that no leader confirmed.", reads);
    page.gauge("synod_round", "The highest ballot round seen.", leadership.round());
    let stable = status.stable_everywhere.as_u64() - 1;
    page.gauge("synod_stable_everywhere", "Slots that no member needs the log for.", stable);
    let undurable = number(status.records_undurable);
    page.gauge("synod_records_undurable", "Records that wait for the disk.", undurable);
    page.head("synod_messages_ignored_total", "counter", "Messages left without effect.");
    for (reason, count) in REASONS.iter().zip(&context.metrics.ignored) {
        let labels = format!("reason=\"{reason}\"");
        page.line("synod_messages_ignored_total", &labels, count.load(Ordering::Relaxed));
    }
}

fn storage(page: &mut Page, context: &Context) {
    let metrics = &context.metrics;
    page.histogram("etcd_disk_wal_fsync_duration_seconds", "Syncs of the log.", &metrics.wal_sync);
    page.histogram(
        "etcd_disk_backend_commit_duration_seconds",
        "Commits of the engine.",
        &metrics.backend_commit,
    );
    // A store that cannot tell its size has other worries, and tells them itself.
    if let Ok(sizes) = context.reader.sizes() {
        let (disk, live) = (sizes.disk_bytes, sizes.live_bytes);
        page.gauge("etcd_mvcc_db_total_size_in_bytes", "Bytes of the store on disk.", disk);
        page.gauge("etcd_mvcc_db_total_size_in_use_in_bytes", "Bytes of live data.", live);
        page.gauge("etcd_debugging_mvcc_keys_total", "Keys that exist.", sizes.live_keys);
        let waiting = sizes.overlay_bytes;
        page.gauge("synod_store_overlay_bytes", "Bytes that wait for the engine.", waiting);
    }
    let revision = u64::try_from(context.reader.revision().as_i64()).unwrap_or(0);
    page.gauge("etcd_debugging_mvcc_current_revision", "The store's revision.", revision);
}

fn calls(page: &mut Page, context: &Context) {
    let name = "grpc_server_handled_total";
    page.head(name, "counter", "Calls answered.");
    for (service, method, code, count) in context.metrics.calls.read() {
        let labels = format!(
            "grpc_code=\"{code}\",grpc_method=\"{method}\",grpc_service=\"{service}\",\
             grpc_type=\"unary\""
        );
        page.line(name, &labels, count);
    }
    page.head("etcd_server_version", "gauge", "Which version is running.");
    page.line("etcd_server_version", &format!("server_version=\"{ETCD_VERSION}\""), 1);
    page.head("synod_server_version", "gauge", "Which version of Synod is running.");
    page.line("synod_server_version", &format!("server_version=\"{SYNOD_VERSION}\""), 1);
    page.head("etcd_server_id", "gauge", "Which member this is.");
    page.line("etcd_server_id", &format!("server_id=\"{:x}\"", context.config.member_id), 1);
}

fn peers(page: &mut Page, context: &Context) {
    let Some(transport) = context.transport.get() else { return };
    let stats = transport.stats();
    let refused = stats.refused;
    page.counter("synod_peer_refused_total", "Connections to the peer port refused.", refused);
    let bad = context.metrics.bad_frames.load(Ordering::Relaxed);
    page.counter("synod_peer_bad_frames_total", "Frames of peers that do not decode.", bad);
    type Figure = fn(&synod_transport::LaneStats) -> u64;
    let figures: [(&str, &str, &str, Figure); 6] = [
        ("synod_peer_connected", "gauge", "Whether frames can go out.", |lane| {
            u64::from(lane.connected)
        }),
        ("synod_peer_connects_total", "counter", "Connections made.", |lane| lane.connects),
        ("synod_peer_sent_frames_total", "counter", "Frames sent.", |lane| lane.sent_frames),
        ("synod_peer_sent_bytes_total", "counter", "Bytes sent.", |lane| lane.sent_bytes),
        ("synod_peer_dropped_frames_total", "counter", "Frames dropped.", |lane| {
            lane.dropped_frames
        }),
        ("synod_peer_received_bytes_total", "counter", "Bytes received.", |lane| {
            lane.received_bytes
        }),
    ];
    for (name, kind, help, figure) in figures {
        page.head(name, kind, help);
        for lane in &stats.lanes {
            let labels = format!("to=\"{:x}\",lane=\"{}\"", lane.peer, lane.lane.name());
            page.line(name, &labels, figure(lane));
        }
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// The text as it grows.
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.push(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn line(&mut self, name: &str, labels: &str, value: u64) {
        self.push(format_args!("{name}{{{labels}}} {value}\n"));
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "gauge", help);
        self.push(format_args!("{name} {value}\n"));
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "counter", help);
        self.push(format_args!("{name} {value}\n"));
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, "histogram", help);
        let (up_to, count, sum) = histogram.read();
        for (millis, below) in up_to {
            let seconds = Duration::from_millis(millis).as_secs_f64();
            self.push(format_args!("{name}_bucket{{le=\"{seconds}\"}} {below}\n"));
        }
        self.push(format_args!("{name}_bucket{{le=\"+Inf\"}} {count}\n"));
        let seconds = sum.as_secs_f64();
        self.push(format_args!("{name}_sum {seconds}\n{name}_count {count}\n"));
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("a string takes all that memory holds");
    }
}
