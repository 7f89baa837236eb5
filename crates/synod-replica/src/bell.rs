//! Wakes a thread that sleeps until something comes in.
//!
//! A thread that takes things from several queues sleeps once for all of them. Who puts something
//! into one rings; the thread clears the ring before it looks into the queues, so nothing that was
//! put in before a ring is missed, and rings while it is awake cost one atomic operation. Nothing
//! spins or yields: where members share two cores, that would be time taken from the others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};

/// A bell for one thread. Clones are the same bell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bell(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    rung: AtomicBool,
    /// Who sleeps, once it has for the first time.
    sleeper: OnceLock<Thread>,
}

impl Bell {
    /// Wakes the thread, now or when it goes to sleep next.
    pub(crate) fn ring(&self) {
        if !self.0.rung.swap(true, Ordering::AcqRel)
            && let Some(sleeper) = self.0.sleeper.get()
        {
            sleeper.unpark();
        }
    }

    /// Sleeps until the bell was rung, or until that time. Always on the same thread.
    pub(crate) fn wait(&self, until: Option<Instant>) {
        self.0.sleeper.get_or_init(thread::current);
        while !self.0.rung.swap(false, Ordering::AcqRel) {
            match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => thread::park(),
                Some(left) if left.is_zero() => return,
                Some(left) => thread::park_timeout(left),
            }
        }
    }
}

/// A queue whose sender rings, also when it goes.
pub(crate) fn unbounded<T>(bell: &Bell) -> (RingingSender<T>, Receiver<T>) {
    let (sender, receiver) = crossbeam_channel::unbounded();
    (RingingSender { sender: Some(sender), bell: bell.clone() }, receiver)
}

/// Puts things into a queue, and rings.
#[derive(Debug)]
pub(crate) struct RingingSender<T> {
    /// There until it is dropped.
    sender: Option<Sender<T>>,
    bell: Bell,
}

impl<T> RingingSender<T> {
    /// Puts it in. False if nobody takes things any more.
    pub(crate) fn send(&self, item: T) -> bool {
        let sent = self.put(item);
        self.ring();
        sent
    }

    /// Puts it in without ringing: it is found when the thread wakes for something else.
    pub(crate) fn put(&self, item: T) -> bool {
        self.sender.as_ref().is_some_and(|sender| sender.send(item).is_ok())
    }

    /// Wakes the thread.
    pub(crate) fn ring(&self) {
        self.bell.ring();
    }
}

impl<T> Clone for RingingSender<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), bell: self.bell.clone() }
    }
}

impl<T> Drop for RingingSender<T> {
    fn drop(&mut self) {
        // First the queue closes, then the thread looks.
        self.sender = None;
        self.bell.ring();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crossbeam_channel::TryRecvError;

    use super::*;

    #[test]
    fn every_item_wakes_and_so_does_the_end() {
        let bell = Bell::default();
        let (sender, receiver) = unbounded(&bell);
        let taker = thread::spawn(move || {
            let mut sum = 0;
            loop {
                match receiver.try_recv() {
                    Ok(item) => sum += item,
                    Err(TryRecvError::Empty) => bell.wait(None),
                    Err(TryRecvError::Disconnected) => return sum,
                }
            }
        });
        for item in 1..=10_000_u64 {
            assert!(sender.send(item));
        }
        drop(sender);
        assert_eq!(taker.join().unwrap(), 10_000 * 10_001 / 2);
    }

    #[test]
    fn a_time_that_is_over_ends_the_wait() {
        let bell = Bell::default();
        bell.wait(Some(Instant::now()));
        bell.ring();
        bell.wait(None);
        bell.wait(Some(Instant::now() + Duration::from_micros(1)));
    }
}
