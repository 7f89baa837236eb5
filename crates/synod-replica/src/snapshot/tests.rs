//! Shelves that send to each other by hand, over states that are a few bytes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use synod_paxos::Slot;

use super::*;

const LAGGARD: ReplicaId = ReplicaId::new(3);

/// Ships a state that is nothing but its prefix; it goes on whenever somebody says so.
struct Machine(Arc<AtomicU64>);

struct Sent {
    prefix: Prefix,
    left: Bytes,
}

struct Received(Vec<u8>);

impl Shipping for Machine {
    fn open(&mut self) -> Result<Box<dyn Outgoing>, ShippingError> {
        let end = self.0.load(Ordering::Relaxed);
        let prefix = prefix(end);
        Ok(Box::new(Sent { prefix, left: Bytes::copy_from_slice(&end.to_le_bytes()) }))
    }

    fn receive(&mut self) -> Result<Box<dyn Incoming>, ShippingError> {
        Ok(Box::new(Received(Vec::new())))
    }
}

impl Outgoing for Sent {
    fn prefix(&self) -> Prefix {
        self.prefix
    }

    fn next(&mut self, bytes_max: usize) -> Result<Bytes, ShippingError> {
        Ok(self.left.split_to(bytes_max.min(self.left.len())))
    }
}

impl Incoming for Received {
    fn push(&mut self, bytes: &Bytes) -> Result<(), ShippingError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Arrived, ShippingError> {
        let end = u64::from_le_bytes(self.0.as_slice().try_into()?);
        Ok(Arrived { prefix: prefix(end), state: Box::new(()) })
    }
}

fn prefix(end: u64) -> Prefix {
    Prefix { end: Slot::new(end), ..Prefix::default() }
}

/// A source whose machine has applied so much, and the laggard that asks it.
struct Source {
    applied: Arc<AtomicU64>,
    shelf: Shelf,
}

impl Source {
    fn new(applied: u64) -> Self {
        let applied = Arc::new(AtomicU64::new(applied));
        let shelf = Shelf::new(Box::new(Machine(Arc::clone(&applied))), 100);
        Self { applied, shelf }
    }

    fn applies_up_to(&self, end: u64) {
        self.applied.store(end, Ordering::Relaxed);
    }

    fn ask(&mut self, wanted: PageWanted) -> Option<SnapshotPage> {
        self.shelf.serve(LAGGARD, wanted, 3).unwrap()
    }

    fn begin(&mut self, beyond: u64) -> SnapshotPage {
        self.ask(PageWanted::First { beyond: Slot::new(beyond) }).unwrap()
    }
}

fn after(page: &SnapshotPage) -> PageWanted {
    PageWanted::At { snapshot: page.snapshot, offset: page.offset + length(&page.bytes) }
}

#[test]
fn pages_come_one_after_the_other_and_make_the_state() {
    let mut source = Source::new(10);
    let mut target = Shelf::new(Box::new(Machine(Arc::default())), 200);
    let mut page = source.begin(1);
    source.applies_up_to(20);
    for offset in [0, 3, 6, 8] {
        assert_eq!((page.offset, page.prefix.end), (offset, Slot::new(10)));
        match target.take(&page) {
            Taken::Next { snapshot, next } => {
                assert_eq!(PageWanted::At { snapshot, offset: next }, after(&page));
            }
            Taken::Arrived(arrived) => {
                assert_eq!((arrived.prefix.end, offset), (Slot::new(10), 8));
                return;
            }
            Taken::Failed(error) => panic!("{error}"),
        }
        page = source.ask(after(&page)).unwrap();
    }
    panic!("four pages hold all of it");
}

/// A member asked for a snapshot, got what it lacked from somebody's log meanwhile, and fell back
/// again: what was begun for it is of no use any more, however often it is offered.
#[test]
fn one_that_has_got_further_meanwhile_is_offered_a_new_snapshot() {
    let mut source = Source::new(10);
    let first = source.begin(1);
    source.applies_up_to(20);
    let second = source.begin(10);
    assert_ne!(first.snapshot, second.snapshot);
    assert_eq!(second.prefix.end, Slot::new(20));
}

#[test]
fn one_that_asks_twice_before_anything_came_is_offered_the_same_twice() {
    let mut source = Source::new(10);
    let first = source.begin(1);
    source.applies_up_to(20);
    assert_eq!(source.begin(1), first);
    assert_eq!(source.begin(9), first);
}

#[test]
fn a_question_that_comes_late_ends_nothing() {
    let mut source = Source::new(10);
    let first = source.begin(1);
    let second = source.ask(after(&first)).unwrap();
    let third = source.ask(after(&second)).unwrap();
    assert_eq!(source.ask(after(&first)), None, "the second page, which has been taken");
    assert_eq!(source.ask(after(&second)), Some(third.clone()), "the third, again");
    assert!(source.ask(after(&third)).unwrap().bytes.is_empty(), "the end");
}

#[test]
fn a_snapshot_that_was_let_go_begins_anew() {
    let mut source = Source::new(10);
    let first = source.begin(1);
    source.shelf.forget_unused();
    source.shelf.forget_unused();
    let anew = source.ask(after(&first)).unwrap();
    assert_ne!(anew.snapshot, first.snapshot);
    assert_eq!(anew.offset, 0);
}

/// Questions that cross, as after a slow first page: each page that comes is taken, and asks for
/// the next one. However many there are, one snapshot is left over and comes to its end.
#[test]
fn questions_under_way_at_the_same_time_do_not_end_each_others_snapshots_for_ever() {
    let mut source = Source::new(10);
    let mut pages: VecDeque<_> = (0..3).map(|_| source.begin(1)).collect();
    source.applies_up_to(20);
    let mut fetched = (0, 0);
    for _ in 0..100 {
        let Some(page) = pages.pop_front() else { break };
        // As the core does: a page that is expected is taken; another snapshot begins anew.
        let expected = page.offset == 0 && page.snapshot != fetched.0
            || (page.snapshot, page.offset) == fetched;
        if !expected {
            continue;
        }
        if page.bytes.is_empty() {
            return;
        }
        fetched = (page.snapshot, page.offset + length(&page.bytes));
        pages.extend(source.ask(after(&page)));
    }
    panic!("no snapshot comes to its end");
}
