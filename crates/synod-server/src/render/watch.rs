//! Watches, and what waits for them.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::Page;
use crate::service::Context;

pub(super) fn render(page: &mut Page, context: &Context) {
    let figures = context.watches.figures();
    let read = |figure: &AtomicUsize| figure.load(Ordering::Relaxed);
    page.gauge("etcd_debugging_mvcc_watcher_total", "Watches.", read(&figures.watches));
    let streams = read(&figures.streams);
    page.gauge("etcd_debugging_mvcc_watch_stream_total", "Streams of watches.", streams);
    let help = "Watches that have history to read.";
    page.gauge("etcd_debugging_mvcc_slow_watcher_total", help, read(&figures.slow));
    let help = "Events that wait for their stream.";
    page.gauge("etcd_debugging_mvcc_pending_events_total", help, figures.pending());
    let help = "Events told to watches.";
    page.counter("etcd_debugging_mvcc_events_total", help, figures.sent());
}
