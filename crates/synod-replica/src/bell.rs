//! Wakes who sleeps until something comes in: a thread, or a task.
//!
//! Who takes things from several queues sleeps once for all of them. Who puts something into one
//! rings; the sleeper clears the ring before it looks into the queues, so nothing that was put in
//! before a ring is missed, and rings while it is awake cost one atomic operation. Nothing spins:
//! where members share two cores, that would be time taken from the others.

use std::future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Wake, Waker};
use std::thread::{self, Thread};

use crossbeam_channel::{Receiver, Sender};

/// A bell for one thread or one task. Clones are the same bell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bell(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    rung: AtomicBool,
    /// Who sleeps, once it has for the first time.
    sleeper: Mutex<Option<Waker>>,
}

/// A thread that is parked.
struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Bell {
    /// Wakes the sleeper, now or when it goes to sleep next.
    pub(crate) fn ring(&self) {
        if !self.0.rung.swap(true, Ordering::AcqRel)
            && let Some(sleeper) = &*self.sleeper()
        {
            sleeper.wake_by_ref();
        }
    }

    /// Sleeps until the bell was rung. Always on the same thread.
    pub(crate) fn wait(&self) {
        self.sleeper().get_or_insert_with(|| Arc::new(Parked(thread::current())).into());
        while !self.was_rung() {
            thread::park();
        }
    }

    /// Ends when the bell was rung. For one task at a time.
    pub(crate) async fn rung(&self) {
        future::poll_fn(|context| {
            let mut sleeper = self.sleeper();
            if !sleeper.as_ref().is_some_and(|sleeper| sleeper.will_wake(context.waker())) {
                *sleeper = Some(context.waker().clone());
            }
            drop(sleeper);
            match self.was_rung() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }

    fn sleeper(&self) -> MutexGuard<'_, Option<Waker>> {
        self.0.sleeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the bell was rung since the sleeper last looked; it has looked now.
    pub(crate) fn was_rung(&self) -> bool {
        self.0.rung.swap(false, Ordering::AcqRel)
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

    /// Puts it in without ringing: it is found when who takes wakes for something else.
    pub(crate) fn put(&self, item: T) -> bool {
        self.sender.as_ref().is_some_and(|sender| sender.send(item).is_ok())
    }

    /// Wakes who takes.
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
        // First the queue closes, then who takes looks.
        self.sender = None;
        self.bell.ring();
    }
}

#[cfg(test)]
mod tests {
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
                    Err(TryRecvError::Empty) => bell.wait(),
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
    fn a_task_is_woken_by_a_ring_before_it_sleeps_and_by_one_while_it_does() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let bell = Bell::default();
        bell.ring();
        runtime.block_on(bell.rung());
        assert!(!bell.was_rung());
        let (asleep, sleeps) = std::sync::mpsc::channel();
        let ringing = bell.clone();
        let ringer = thread::spawn(move || {
            while sleeps.recv().is_ok() {
                ringing.ring();
            }
        });
        for _ in 0..1000 {
            runtime.block_on(async {
                asleep.send(()).unwrap();
                bell.rung().await;
            });
        }
        drop(asleep);
        ringer.join().unwrap();
    }
}
