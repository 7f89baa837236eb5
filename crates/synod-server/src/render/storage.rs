//! The log and the store.

use std::sync::atomic::Ordering;

use super::Page;
use crate::service::Context;

pub(super) fn render(page: &mut Page, context: &Context) {
    disk(page, context);
    store(page, context);
    operations(page, context);
    snapshots(page, context);
}

fn operations(page: &mut Page, context: &Context) {
    let done = &context.metrics.operations;
    for (name, help, count) in [
        ("etcd_mvcc_range_total", "Ranges read.", &done.ranges),
        ("etcd_mvcc_put_total", "Puts applied.", &done.puts),
        ("etcd_mvcc_delete_total", "Deletes applied.", &done.deletes),
        ("etcd_mvcc_txn_total", "Transactions of more than one operation.", &done.txns),
        ("etcd_server_slow_apply_total", "Commands that took long to apply.", &done.slow_applies),
    ] {
        page.counter(name, help, count.load(Ordering::Relaxed));
    }
    let name = "etcd_server_apply_duration_seconds";
    page.head(name, "histogram", "How long commands took to apply.");
    context.metrics.applies.each(|op, success, histogram| {
        let labels = format!("version=\"v3\",op=\"{op}\",success=\"{success}\"");
        page.buckets(name, &labels, histogram);
    });
    let name = "etcd_server_range_duration_seconds";
    page.head(name, "histogram", "How long ranges took until their answers began.");
    for (success, histogram) in [false, true].iter().zip(&context.metrics.range) {
        page.buckets(name, &format!("success=\"{success}\""), histogram);
    }
}

/// Between members. What clients save is counted as calls.
fn snapshots(page: &mut Page, context: &Context) {
    let figures = &context.metrics.snapshots;
    let sending = figures.sending.load(Ordering::Relaxed);
    page.gauge("synod_snapshot_send_inflights", "Snapshots under way to members.", sending);
    page.histogram(
        "synod_snapshot_send_duration_seconds",
        "Snapshots sent to members that lagged.",
        &figures.sent,
    );
    let failures = figures.send_failures.load(Ordering::Relaxed);
    page.counter(
        "synod_snapshot_send_failures_total",
        "Snapshots not sent to their end.",
        failures,
    );
    let receiving = figures.receiving.load(Ordering::Relaxed);
    page.gauge("synod_snapshot_receive_inflights", "Snapshots under way to here.", receiving);
    page.histogram(
        "synod_snapshot_receive_duration_seconds",
        "Snapshots received whole.",
        &figures.received,
    );
    let failures = figures.receive_failures.load(Ordering::Relaxed);
    let help = "Snapshots that broke off or were damaged.";
    page.counter("synod_snapshot_receive_failures_total", help, failures);
    page.gauge(
        "etcd_server_snapshot_apply_in_progress_total",
        "Whether a snapshot takes the place of the state.",
        figures.installing.load(Ordering::Relaxed),
    );
    page.histogram(
        "etcd_snap_db_fsync_duration_seconds",
        "Snapshots made durable in the place of the former state.",
        &figures.installs,
    );
    page.histogram(
        "etcd_snap_db_save_total_duration_seconds",
        "Snapshots received and put away.",
        &figures.received,
    );
}

fn disk(page: &mut Page, context: &Context) {
    let metrics = &context.metrics;
    page.histogram("etcd_disk_wal_fsync_duration_seconds", "Syncs of the log.", &metrics.wal_sync);
    page.histogram(
        "etcd_disk_wal_write_duration_seconds",
        "Writes to the log.",
        &metrics.wal_write,
    );
    let written = metrics.wal_bytes.load(Ordering::Relaxed);
    // A gauge in etcd, too, though it only rises.
    page.gauge("etcd_disk_wal_write_bytes_total", "Bytes written to the log.", written);
    page.histogram(
        "etcd_disk_backend_commit_duration_seconds",
        "Commits of the engine.",
        &metrics.backend_commit,
    );
    page.histogram(
        "etcd_disk_backend_snapshot_duration_seconds",
        "Snapshots of the store sent to clients and members.",
        &metrics.backend_snapshot,
    );
    let views = metrics.backend_views.load(Ordering::Relaxed);
    page.gauge("etcd_mvcc_db_open_read_transactions", "Views of the store that are open.", views);
    page.histogram("etcd_mvcc_hash_duration_seconds", "Calls of Hash.", &metrics.hash);
    page.histogram("etcd_mvcc_hash_rev_duration_seconds", "Calls of HashKV.", &metrics.hash_kv);
}

fn store(page: &mut Page, context: &Context) {
    let lent = context.ranges.held_bytes();
    page.gauge("synod_range_held_bytes", "Memory lent to answers to ranges under way.", lent);
    // Without a quota nothing is near it, so it is as large as can be.
    let quota = context.config.space.quota_bytes;
    let quota = quota.map_or_else(|| "+Inf".to_owned(), |bytes| bytes.to_string());
    page.gauge("etcd_server_quota_backend_bytes", "Bytes that the store may hold.", quota);
    // A store that cannot tell its size has other worries, and tells them itself.
    if let Ok(sizes) = context.reader.sizes() {
        let (disk, used) = (sizes.disk_bytes, sizes.used_bytes);
        page.gauge("etcd_mvcc_db_total_size_in_bytes", "Bytes of the store on disk.", disk);
        page.gauge(
            "etcd_mvcc_db_total_size_in_use_in_bytes",
            "Bytes in use, as the quota counts them.",
            used,
        );
        page.gauge("etcd_debugging_mvcc_keys_total", "Keys that exist.", sizes.live_keys);
        let waiting = sizes.overlay_bytes;
        page.gauge("synod_store_overlay_bytes", "Bytes that wait for the engine.", waiting);
    }
    page.counter(
        "etcd_debugging_mvcc_db_compaction_keys_total",
        "Rows reclaimed after compactions.",
        context.flush.reclaimed_rows(),
    );
    page.histogram_ms(
        "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
        "Slices in which rows were reclaimed.",
        &context.metrics.compaction_slice,
    );
    page.histogram_ms(
        "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
        "From the first of these slices to the last one.",
        &context.metrics.compaction,
    );
    let last = context.metrics.compaction_last.load(Ordering::Relaxed);
    let help = "When the last of these slices ended; 0 if there was none since the start.";
    page.gauge("etcd_debugging_mvcc_db_compaction_last", help, last);
    page.histogram_ms(
        "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds",
        "Compactions applied to the index.",
        &context.metrics.index_compaction,
    );
    page.histogram(
        "etcd_disk_backend_defrag_duration_seconds",
        "Calls of Defragment.",
        &context.metrics.defrag,
    );
    // Nothing that is done for Defragment keeps anybody waiting.
    page.gauge("etcd_disk_defrag_inflight", "Whether a defragmentation is under way.", 0);
    let compacted = context.reader.compact_revision().as_i64();
    let help = "The revision of the last compaction.";
    page.gauge("etcd_debugging_mvcc_compact_revision", help, compacted);
    let revision = context.reader.revision().as_i64();
    page.gauge("etcd_debugging_mvcc_current_revision", "The store's revision.", revision);
}
