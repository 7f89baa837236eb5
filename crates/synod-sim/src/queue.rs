//! What is going to happen, in order of virtual time.
//!
//! Two things at the same microsecond happen in the order in which they were planned, so that the
//! order of events depends on nothing but the seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Virtual time: microseconds since the start of the world.
pub(crate) type Micros = u64;

/// A millisecond of virtual time.
pub(crate) const MILLISECOND: Micros = 1_000;

/// A second of virtual time.
pub(crate) const SECOND: Micros = 1_000_000;

/// Events to come.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    now: Micros,
    planned: u64,
    order: BinaryHeap<Reverse<(Micros, u64, usize)>>,
    // The heap moves small entries; the events themselves stay in place.
    events: Vec<Option<E>>,
    free: Vec<usize>,
}

impl<E> Queue<E> {
    /// An empty queue at time 0.
    pub(crate) const fn new() -> Self {
        Self { now: 0, planned: 0, order: BinaryHeap::new(), events: Vec::new(), free: Vec::new() }
    }

    /// The time of the last event taken.
    pub(crate) const fn now(&self) -> Micros {
        self.now
    }

    /// Plans an event; one in the past happens now.
    pub(crate) fn push(&mut self, at: Micros, event: E) {
        let place = if let Some(place) = self.free.pop() {
            self.events[place] = Some(event);
            place
        } else {
            self.events.push(Some(event));
            self.events.len() - 1
        };
        self.order.push(Reverse((at.max(self.now), self.planned, place)));
        self.planned += 1;
    }

    /// The next event, if one is left at or before the time. The clock moves to it, or to the
    /// time if none is left.
    pub(crate) fn pop_until(&mut self, until: Micros) -> Option<E> {
        let place = match self.order.peek() {
            Some(&Reverse((at, _, place))) if at <= until => {
                self.now = at;
                place
            }
            _ => {
                self.now = self.now.max(until);
                return None;
            }
        };
        self.order.pop();
        self.free.push(place);
        self.events[place].take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_then_in_the_order_planned() {
        let mut queue = Queue::new();
        for (at, event) in [(30, 'd'), (10, 'a'), (20, 'b'), (20, 'c')] {
            queue.push(at, event);
        }
        let order: String = std::iter::from_fn(|| queue.pop_until(25)).collect();
        assert_eq!(order, "abc");
        assert_eq!(queue.now(), 25);
        queue.push(5, 'e');
        let rest: String = std::iter::from_fn(|| queue.pop_until(99)).collect();
        assert_eq!(rest, "ed");
        assert_eq!(queue.now(), 99, "time never goes back");
    }
}
