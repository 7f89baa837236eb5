//! What clients asked.

use std::sync::atomic::Ordering;

use super::Page;
use crate::metrics::CODES;
use crate::service::Context;

pub(super) fn render(page: &mut Page, context: &Context) {
    let calls = &context.metrics.calls;
    type Figure = fn(&crate::metrics::Row) -> &std::sync::atomic::AtomicU64;
    let figures: [(&str, &str, Figure); 3] = [
        ("grpc_server_started_total", "Calls begun.", |row| &row.started),
        ("grpc_server_msg_received_total", "Messages from clients.", |row| &row.received),
        ("grpc_server_msg_sent_total", "Messages to clients.", |row| &row.sent),
    ];
    for (name, help, figure) in figures {
        page.head(name, "counter", help);
        for (service, method, kind, row) in calls.read() {
            page.line(name, &labels(service, method, kind), figure(row).load(Ordering::Relaxed));
        }
    }
    handled(page, context);
    let name = "etcd_server_client_requests_total";
    page.head(name, "counter", "Calls by the version that clients say they are made for.");
    for (version, kind, count) in calls.clients.read() {
        page.line(name, &format!("client_api_version=\"{version}\",type=\"{kind}\""), count);
    }
    let received = calls.received_bytes.load(Ordering::Relaxed);
    let name = "etcd_network_client_grpc_received_bytes_total";
    page.counter(name, "Bytes of clients' messages.", received);
    let sent = calls.sent_bytes.load(Ordering::Relaxed);
    let name = "etcd_network_client_grpc_sent_bytes_total";
    page.counter(name, "Bytes of messages to clients.", sent);
}

fn handled(page: &mut Page, context: &Context) {
    let calls = &context.metrics.calls;
    let name = "grpc_server_handled_total";
    page.head(name, "counter", "Calls ended, by code.");
    for (service, method, kind, row) in calls.read() {
        let labels = labels(service, method, kind);
        for (code, count) in CODES.iter().zip(&row.handled) {
            let labels = format!("grpc_code=\"{code}\",{labels}");
            page.line(name, &labels, count.load(Ordering::Relaxed));
        }
    }
    let name = "grpc_server_handling_seconds";
    page.head(name, "histogram", "How long calls took.");
    for (service, method, kind, row) in calls.read() {
        page.buckets(name, &labels(service, method, kind), &row.seconds);
    }
}

fn labels(service: &str, method: &str, kind: &str) -> String {
    format!("grpc_method=\"{method}\",grpc_service=\"{service}\",grpc_type=\"{kind}\"")
}
