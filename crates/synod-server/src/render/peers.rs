//! The connections to the other members.

use std::collections::BTreeMap;
use std::iter;
use std::sync::atomic::Ordering;

use synod_transport::{LaneStats, TransportStats};

use super::Page;
use crate::service::Context;

/// Reads a figure of a connection.
type Figure = fn(&LaneStats) -> u64;

pub(super) fn render(page: &mut Page, context: &Context) {
    let Some(transport) = context.transport.get() else { return };
    let stats = transport.stats();
    etcd(page, context, &stats);
    round_trips(page, context);
    let refused = stats.refused;
    page.counter("synod_peer_refused_total", "Connections to the peer port refused.", refused);
    let strangers = super::number(stats.strangers);
    let name = "synod_peer_strangers";
    page.gauge(name, "Connections to the peer port that have not said who they are.", strangers);
    let bad = context.metrics.bad_frames.load(Ordering::Relaxed);
    page.counter("synod_peer_bad_frames_total", "Frames of peers that do not decode.", bad);
    lanes(page, &stats);
}

/// Under etcd's names, which know no lanes.
fn etcd(page: &mut Page, context: &Context, stats: &TransportStats) {
    let me = context.config.member_id;
    let sum = |figure: Figure| {
        let mut sums = BTreeMap::new();
        for lane in &stats.lanes {
            *sums.entry(lane.peer).or_insert(0) += figure(lane);
        }
        sums
    };
    let families: [(&str, &str, &str, Figure); 3] = [
        ("etcd_network_peer_sent_bytes_total", "To", "Bytes sent to a member.", |lane| {
            lane.sent_bytes
        }),
        ("etcd_network_peer_received_bytes_total", "From", "Bytes from a member.", |lane| {
            lane.received_bytes
        }),
        ("etcd_network_peer_sent_failures_total", "To", "Messages not sent.", |lane| {
            lane.dropped_frames
        }),
    ];
    for (name, label, help, figure) in families {
        page.head(name, "counter", help);
        for (peer, value) in sum(figure) {
            page.line(name, &format!("{label}=\"{peer:x}\""), value);
        }
    }
    let pair = |peer: u64| format!("Local=\"{me:x}\",Remote=\"{peer:x}\"");
    let connected = sum(|lane| u64::from(lane.connected));
    page.head("etcd_network_known_peers", "gauge", "Members that are known, this one among them.");
    for peer in iter::once(me).chain(connected.keys().copied()) {
        page.line("etcd_network_known_peers", &pair(peer), 1);
    }
    page.head("etcd_network_active_peers", "gauge", "Members that frames can be sent to.");
    for (peer, lanes) in &connected {
        page.line("etcd_network_active_peers", &pair(*peer), u8::from(*lanes > 0));
    }
    let name = "etcd_network_disconnected_peers_total";
    page.head(name, "counter", "How often a connection to a member was lost.");
    let lost = sum(|lane| lane.connects.saturating_sub(u64::from(lane.connected)));
    for (peer, lost) in lost {
        page.line(name, &pair(peer), lost);
    }
}

fn round_trips(page: &mut Page, context: &Context) {
    let name = "etcd_network_peer_round_trip_time_seconds";
    page.head(name, "histogram", "How long a message takes to a member and back.");
    for (peer, histogram) in context.metrics.round_trips.lock().iter() {
        page.buckets(name, &format!("To=\"{peer:x}\""), histogram);
    }
}

/// Each connection by itself.
fn lanes(page: &mut Page, stats: &TransportStats) {
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
