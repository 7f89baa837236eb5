//! What waits to be sent to one peer in one lane.
//!
//! Frames wait only while there is a connection, or while a lost one is dialled again for the first
//! time. After a dial has failed, frames are dropped at once: a peer that returns after an hour
//! wants the present, not an hour of the past.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::frame::{FRAME_BYTES_MAX, HEADER_BYTES};
use crate::stats::{LaneCounters, count};

/// A bounded queue that drops when it is full.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    filled: Notify,
    frames_max: usize,
    bytes_max: usize,
    pub(crate) counters: LaneCounters,
}

#[derive(Debug, Default)]
struct Queue {
    open: bool,
    frames: VecDeque<Bytes>,
    bytes: usize,
}

/// Frames that one write takes along.
const BATCH_FRAMES_MAX: usize = 1024;
/// Bytes that one write takes along; one frame may be more.
const BATCH_BYTES_MAX: usize = 1 << 20;

impl Outbox {
    pub(crate) fn new(frames_max: usize, bytes_max: usize) -> Self {
        Self {
            queue: Mutex::default(),
            filled: Notify::new(),
            frames_max,
            bytes_max,
            counters: LaneCounters::default(),
        }
    }

    /// Takes a frame, or drops it.
    pub(crate) fn push(&self, frame: Bytes) {
        let cost = HEADER_BYTES + frame.len();
        let mut queue = self.queue.lock();
        let fits = queue.open
            && frame.len() <= FRAME_BYTES_MAX
            && queue.frames.len() < self.frames_max
            && queue.bytes + cost <= self.bytes_max;
        if !fits {
            drop(queue);
            count(&self.counters.dropped_frames, 1);
            return;
        }
        queue.bytes += cost;
        queue.frames.push_back(frame);
        let first = queue.frames.len() == 1;
        drop(queue);
        // The writer empties the queue before it waits again, so only the first frame wakes it.
        if first {
            self.filled.notify_one();
        }
    }

    /// Takes what is there, up to what one write carries; waits until there is something.
    pub(crate) async fn take(&self) -> Vec<Bytes> {
        loop {
            let frames = self.take_now();
            if !frames.is_empty() {
                return frames;
            }
            self.filled.notified().await;
        }
    }

    /// Takes what is there, up to what one write carries.
    pub(crate) fn take_now(&self) -> Vec<Bytes> {
        let mut queue = self.queue.lock();
        let (mut count, mut bytes) = (0, 0);
        for frame in queue.frames.iter().take(BATCH_FRAMES_MAX) {
            let cost = HEADER_BYTES + frame.len();
            if count > 0 && bytes + cost > BATCH_BYTES_MAX {
                break;
            }
            count += 1;
            bytes += cost;
        }
        queue.bytes -= bytes;
        queue.frames.drain(..count).collect()
    }

    /// The peer is there: frames may wait from now on.
    pub(crate) fn open(&self) {
        self.queue.lock().open = true;
        count(&self.counters.connects, 1);
        self.counters.connected.store(true, Ordering::Relaxed);
    }

    /// The connection broke; a redial is under way.
    pub(crate) fn interrupt(&self) {
        self.counters.connected.store(false, Ordering::Relaxed);
    }

    /// The peer is away: what waits is dropped, and what comes too.
    pub(crate) fn close(&self) {
        let mut queue = self.queue.lock();
        let dropped = queue.frames.len();
        *queue = Queue::default();
        drop(queue);
        self.counters.connected.store(false, Ordering::Relaxed);
        count(&self.counters.dropped_frames, dropped);
    }

    /// Bytes that wait now.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queue.lock().bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::counted;

    fn frame(len: usize) -> Bytes {
        Bytes::from(vec![0; len])
    }

    fn dropped(outbox: &Outbox) -> u64 {
        counted(&outbox.counters.dropped_frames)
    }

    #[test]
    fn frames_for_a_peer_that_is_away_are_dropped() {
        let outbox = Outbox::new(10, 1000);
        outbox.push(frame(1));
        assert_eq!((dropped(&outbox), outbox.queued_bytes()), (1, 0));
        outbox.open();
        outbox.push(frame(1));
        outbox.interrupt();
        outbox.push(frame(1));
        assert_eq!((dropped(&outbox), outbox.queued_bytes()), (1, 18));
        outbox.close();
        assert_eq!((dropped(&outbox), outbox.queued_bytes()), (3, 0));
    }

    #[test]
    fn both_bounds_hold() {
        let outbox = Outbox::new(3, 100);
        outbox.open();
        outbox.push(frame(93));
        assert_eq!(dropped(&outbox), 1, "101 bytes with the header");
        (0..5).for_each(|_| outbox.push(frame(10)));
        assert_eq!((dropped(&outbox), outbox.queued_bytes()), (3, 54));
        assert_eq!(outbox.take_now().len(), 3);
        outbox.push(frame(92));
        assert_eq!((dropped(&outbox), outbox.queued_bytes()), (3, 100));
    }

    #[test]
    fn one_write_takes_a_megabyte_or_one_frame() {
        let outbox = Outbox::new(10, 64 << 20);
        outbox.open();
        for len in [600_000, 400_000, 400_000, 3 << 20] {
            outbox.push(frame(len));
        }
        let sizes: Vec<usize> = (0..3).map(|_| outbox.take_now().len()).collect();
        assert_eq!((sizes, outbox.queued_bytes()), (vec![2, 1, 1], 0));
    }
}
