//! What waits to be sent to one peer in one lane.
//!
//! A frame that finds nothing before it goes to the kernel at once, on the caller's thread: waking
//! the writer's task would cost more than the write. Only what the socket does not take waits.
//!
//! Frames wait only while there is a connection, or while a lost one is dialled again for the first
//! time. After a dial has failed, frames are dropped at once: a peer that returns after an hour
//! wants the present, not an hour of the past.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};
use std::sync::atomic::Ordering;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::frame::{self, FRAME_BYTES_MAX, HEADER_BYTES};
use crate::stats::{LaneCounters, count};

/// A bounded queue that drops when it is full.
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    filled: Notify,
    frames_max: usize,
    bytes_max: usize,
    pub(crate) counters: LaneCounters,
}

#[derive(Default)]
struct Queue {
    open: bool,
    /// Writes past the queue; there while frames may take that way.
    shortcut: Option<Shortcut>,
    /// The rest of a frame that the socket took in part: it goes before all others.
    torn: VecDeque<Bytes>,
    frames: VecDeque<Bytes>,
    /// Of `torn` and `frames`.
    bytes: usize,
    /// The writer has taken something and may still be at it.
    writing: bool,
}

/// Hands bytes to the kernel, as far as it takes them without waiting.
pub(crate) type Shortcut = Box<dyn Fn(&[IoSlice<'_>]) -> io::Result<usize> + Send>;

/// What one write carries.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// The rest of a frame, as it goes over the wire.
    pub(crate) torn: VecDeque<Bytes>,
    /// Whole frames.
    pub(crate) frames: Vec<Bytes>,
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

    /// Takes a frame, or drops it. Writes it at once if nothing waits before it.
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
        let idle = !queue.writing && queue.bytes == 0;
        if !(idle && self.write_past(&mut queue, &frame)) {
            queue.bytes += cost;
            queue.frames.push_back(frame);
        }
        let waits = idle && queue.bytes > 0;
        drop(queue);
        // The writer empties the queue before it waits again, so only the first frame wakes it.
        if waits {
            self.filled.notify_one();
        }
    }

    /// Hands the frame to the socket. What it does not take of it waits as `torn`. False if it took
    /// nothing; should the connection be broken, the writer finds out.
    fn write_past(&self, queue: &mut Queue, frame: &Bytes) -> bool {
        let Some(write) = &queue.shortcut else { return false };
        let mut chunks = frame::encode([frame.clone()]);
        let slices: Vec<IoSlice<'_>> = chunks.iter().map(|chunk| IoSlice::new(chunk)).collect();
        let written = write(&slices).unwrap_or(0);
        if written == 0 {
            return false;
        }
        frame::advance(&mut chunks, written);
        queue.bytes = chunks.iter().map(Bytes::len).sum();
        queue.torn = chunks;
        count(&self.counters.sent_frames, 1);
        count(&self.counters.sent_bytes, written);
        true
    }

    /// For the writer: takes what is there, up to what one write carries; waits until there is
    /// something.
    pub(crate) async fn take(&self) -> Load {
        loop {
            if let Some(load) = self.take_now() {
                return load;
            }
            self.filled.notified().await;
        }
    }

    /// Takes what is there, up to what one write carries.
    pub(crate) fn take_now(&self) -> Option<Load> {
        let mut queue = self.queue.lock();
        queue.writing = queue.bytes > 0;
        if !queue.writing {
            return None;
        }
        let torn = std::mem::take(&mut queue.torn);
        queue.bytes -= torn.iter().map(Bytes::len).sum::<usize>();
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
        Some(Load { torn, frames: queue.frames.drain(..count).collect() })
    }

    /// The peer is there: frames may wait from now on, or go past the queue.
    pub(crate) fn open(&self, shortcut: Option<Shortcut>) {
        let mut queue = self.queue.lock();
        queue.open = true;
        queue.shortcut = shortcut;
        drop(queue);
        count(&self.counters.connects, 1);
        self.counters.connected.store(true, Ordering::Relaxed);
    }

    /// The connection broke; a redial is under way. A frame that was sent in part is lost.
    pub(crate) fn interrupt(&self) {
        let mut queue = self.queue.lock();
        queue.shortcut = None;
        queue.writing = false;
        let torn = std::mem::take(&mut queue.torn);
        queue.bytes -= torn.iter().map(Bytes::len).sum::<usize>();
        drop(queue);
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

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("queued_bytes", &self.queued_bytes()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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
        outbox.open(None);
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
        outbox.open(None);
        outbox.push(frame(93));
        assert_eq!(dropped(&outbox), 1, "101 bytes with the header");
        (0..5).for_each(|_| outbox.push(frame(10)));
        assert_eq!((dropped(&outbox), outbox.queued_bytes()), (3, 54));
        assert_eq!(outbox.take_now().unwrap().frames.len(), 3);
        outbox.push(frame(92));
        assert_eq!((dropped(&outbox), outbox.queued_bytes()), (3, 100));
    }

    #[test]
    fn one_write_takes_a_megabyte_or_one_frame() {
        let outbox = Outbox::new(10, 64 << 20);
        outbox.open(None);
        for len in [600_000, 400_000, 400_000, 3 << 20] {
            outbox.push(frame(len));
        }
        let sizes: Vec<usize> = (0..3).map(|_| outbox.take_now().unwrap().frames.len()).collect();
        assert_eq!((sizes, outbox.queued_bytes()), (vec![2, 1, 1], 0));
    }

    /// A socket with room for so many bytes, and what it took.
    #[derive(Debug, Default)]
    struct Socket {
        room: usize,
        taken: Vec<u8>,
    }

    fn opened(room: usize) -> (Outbox, Arc<Mutex<Socket>>) {
        let socket = Arc::new(Mutex::new(Socket { room, taken: Vec::new() }));
        let outbox = Outbox::new(10, 1000);
        let writes = Arc::clone(&socket);
        outbox.open(Some(Box::new(move |slices| {
            let mut socket = writes.lock();
            if socket.room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let before = socket.taken.len();
            for slice in slices {
                let taken = slice.len().min(socket.room);
                socket.room -= taken;
                socket.taken.extend_from_slice(&slice[..taken]);
            }
            Ok(socket.taken.len() - before)
        })));
        (outbox, socket)
    }

    fn wire(frames: &[Bytes]) -> Vec<u8> {
        frame::encode(frames.iter().cloned()).iter().flat_map(|chunk| chunk.to_vec()).collect()
    }

    #[test]
    fn a_frame_that_finds_nothing_before_it_goes_past_the_queue() {
        let (outbox, socket) = opened(100);
        outbox.push(frame(10));
        assert_eq!((outbox.queued_bytes(), counted(&outbox.counters.sent_frames)), (0, 1));
        assert_eq!(socket.lock().taken, wire(&[frame(10)]));
        assert!(outbox.take_now().is_none());
    }

    #[test]
    fn a_frame_taken_in_part_is_finished_before_all_others() {
        for room in 0..=18 {
            let (outbox, socket) = opened(room);
            outbox.push(frame(10));
            socket.lock().room = 100;
            outbox.push(frame(3));
            outbox.push(frame(4));
            let mut all = socket.lock().taken.clone();
            if let Some(load) = outbox.take_now() {
                outbox.push(frame(5));
                all.extend(load.torn.iter().flat_map(|chunk| chunk.to_vec()));
                all.extend(wire(&load.frames));
                all.extend(wire(&outbox.take_now().unwrap().frames));
            } else {
                outbox.push(frame(5));
                all.clone_from(&socket.lock().taken);
            }
            let expected: Vec<Bytes> = [10, 3, 4, 5].into_iter().map(frame).collect();
            assert_eq!(all, wire(&expected), "with room for {room} bytes");
            assert!(outbox.take_now().is_none());
            assert_eq!(outbox.queued_bytes(), 0);
        }
    }

    #[test]
    fn a_torn_frame_does_not_outlive_its_connection() {
        let (outbox, _socket) = opened(5);
        outbox.push(frame(10));
        outbox.push(frame(1));
        outbox.interrupt();
        assert_eq!(outbox.queued_bytes(), 9);
        let load = outbox.take_now().unwrap();
        assert!(load.torn.is_empty());
        assert_eq!(load.frames, [frame(1)]);
    }
}
