//! Counters, per peer and lane.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::hello::Lane;

/// What happened since the start.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TransportStats {
    /// One entry per peer and lane.
    pub lanes: Vec<LaneStats>,
    /// Greetings that this member refused, and noise on its port.
    pub refused: u64,
    /// Connections that have not said yet who they are.
    pub strangers: usize,
    /// Frames meant for nobody this member knows.
    pub misdirected: u64,
}

/// One lane to and from one peer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LaneStats {
    /// The peer.
    pub peer: u64,
    /// The lane.
    pub lane: Lane,
    /// Whether frames can go out now.
    pub connected: bool,
    /// Connections established so far.
    pub connects: u64,
    /// Frames handed to the kernel.
    pub sent_frames: u64,
    /// Bytes handed to the kernel.
    pub sent_bytes: u64,
    /// Frames dropped: the peer was away, or too slow.
    pub dropped_frames: u64,
    /// Frames received.
    pub received_frames: u64,
    /// Payload bytes received.
    pub received_bytes: u64,
    /// Bytes that wait now.
    pub queued_bytes: usize,
}

/// The live counters behind [`LaneStats`].
#[derive(Debug, Default)]
pub(crate) struct LaneCounters {
    pub(crate) connected: AtomicBool,
    pub(crate) connects: AtomicU64,
    pub(crate) sent_frames: AtomicU64,
    pub(crate) sent_bytes: AtomicU64,
    pub(crate) dropped_frames: AtomicU64,
    pub(crate) received_frames: AtomicU64,
    pub(crate) received_bytes: AtomicU64,
}

/// Counts; nothing is ordered by these.
pub(crate) fn count(counter: &AtomicU64, more: usize) {
    counter.fetch_add(u64::try_from(more).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// Reads a counter.
pub(crate) fn counted(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
