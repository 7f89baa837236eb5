//! What etcd's watches did wrong once, each in the situation in which it happened.

use std::sync::atomic::Ordering;
use std::time::Duration;

use synod_etcd::watch::{Flavor, WatchCreate, WatchReply, fragments};
use synod_kv::KeyRange;

use super::super::hub::HubOptions;
use super::super::outlet::AnswerKind;
use super::world::{World, create, rev, single};

fn all() -> KeyRange {
    KeyRange::all()
}

fn kinds(world: &World, client: usize) -> Vec<&AnswerKind> {
    world.clients[client].answers.iter().map(|answer| &answer.kind).collect()
}

/// etcd #18089, #19179: a deletion at the compact revision itself was not told.
#[test]
fn a_deletion_at_the_compact_revision_is_told() {
    let mut world = World::small();
    world.put("a", "1");
    world.change(&[("a", None)]);
    world.compact(3);
    world.reclaim();
    let client = world.watching(create(single("a"), 3));
    world.settle();
    assert_eq!(world.clients[client].watches[&0].told, 1);
    world.check_complete();
}

/// The same for a watch that is told what comes: compaction overtakes what it was not told yet.
#[test]
fn a_watch_that_keeps_up_survives_any_compaction() {
    let mut world = World::small();
    let flavor = Flavor { prev_kv: true, ..Flavor::default() };
    let client = world.watching(WatchCreate { flavor, ..create(all(), 0) });
    for round in 0..10 {
        world.put("a", &round.to_string());
        world.change(&[("a", None), ("b", Some("x"))]);
        world.compact(world.revision);
        world.reclaim();
        world.settle();
    }
    assert_eq!(world.clients[client].watches[&0].told, 30);
    world.check_complete();
}

/// etcd #15271: after a snapshot was installed, watches were told again what they had been told.
#[test]
fn a_watch_never_travels_back() {
    let mut world = World::small();
    world.put("a", "1");
    let past = world.watching(create(all(), 1));
    let future = world.watching(create(all(), 5));
    world.put("a", "2");
    world.settle();
    let next = world.hub.tail.as_ref().unwrap().next();
    world.hub.fall_back(next, next);
    for value in ["3", "4", "5"] {
        world.put("a", value);
        world.settle();
    }
    let told = [past, future].map(|client| world.clients[client].watches[&0].told);
    assert_eq!(told, [5, 2]);
    world.check_complete();
}

/// etcd #17247: events were told twice when a slow watch caught up.
#[test]
fn a_slow_watch_catches_up_without_repeating() {
    let mut world = World::small();
    let slow = world.watching(create(all(), 0));
    let fast = world.watching(create(all(), 0));
    for value in 0..50 {
        world.put("a", &value.to_string());
        world.step();
        while world.take(fast) {}
        if value % 7 == 0 {
            world.take(slow);
        }
    }
    assert!(world.figures.slow.load(Ordering::Relaxed) > 0, "it was too slow");
    world.settle();
    let told = [slow, fast].map(|client| world.clients[client].watches[&0].told);
    assert_eq!(told, [50, 50]);
    world.check_complete();
}

/// etcd #17529: a starved watch lost events to a compaction, and was not told so. Others had to
/// wait for it.
#[test]
fn a_starved_watch_is_told_that_it_lost_events() {
    let mut world = World::small();
    let starved = world.watching(create(all(), 0));
    let other = world.watching(create(all(), 0));
    for value in 0..50 {
        world.put("a", &value.to_string());
        world.step();
        while world.take(other) {}
    }
    assert_eq!(world.clients[other].watches[&0].told, 50);
    world.compact(world.revision - 1);
    world.reclaim();
    world.settle();
    assert!(world.clients[starved].watches.is_empty());
    assert_eq!(kinds(&world, starved).last(), Some(&&AnswerKind::Compacted(rev(50))));
    world.put("a", "on");
    world.settle();
    world.check_complete();
}

/// etcd #15220: progress was told ahead of events.
#[test]
fn progress_comes_behind_the_events_it_speaks_of() {
    let mut world = World::small();
    for value in 0..20 {
        world.put("a", &value.to_string());
    }
    let client = world.watching(create(all(), 2));
    world.hub.ask_progress(world.slot(client));
    world.hub.ask_progress(world.slot(client));
    world.settle();
    // The client has checked the order.
    assert_eq!(kinds(&world, client), [&AnswerKind::Created, &AnswerKind::Progress]);
    assert_eq!(world.clients[client].answers[1].revision, rev(21));
    assert_eq!(world.clients[client].answers[1].watch_id, -1);
}

/// etcd #20221: a watch from a future revision was told older events.
#[test]
fn a_watch_from_the_future_is_told_nothing_older() {
    let mut world = World::small();
    let client = world.watching(create(all(), 10));
    for value in 0..12 {
        world.put("a", &value.to_string());
        world.compact(world.revision);
        world.reclaim();
        world.settle();
    }
    assert_eq!(world.clients[client].watches[&0].told, 4);
    world.check_complete();
}

/// etcd #20221, the other variant: it was told of progress below the revision it waits for.
#[test]
fn a_watch_from_the_future_hears_of_no_older_progress() {
    let mut world = World::small();
    let client = world.watching(WatchCreate { progress_notify: true, ..create(all(), 4) });
    for value in ["1", "2"] {
        world.put("a", value);
        world.hub.ask_progress(world.slot(client));
        world.now += Duration::from_secs(60);
        world.settle();
    }
    assert_eq!(kinds(&world, client), [&AnswerKind::Created]);
    world.put("a", "3");
    world.settle();
    assert_eq!(world.clients[client].answers[1].revision, rev(4), "asked for long ago");
}

/// A watch that was refused closed the one with id 0.
#[test]
fn a_refused_watch_leaves_watch_0_alone() {
    let mut world = World::small();
    let client = world.watching(create(all(), 0));
    world.ask(client, WatchCreate { watch_id: Some(7), ..create(all(), 0) });
    world.ask(client, WatchCreate { watch_id: Some(7), ..create(all(), 0) });
    world.cancel(client, 9);
    world.put("a", "1");
    world.settle();
    let text = "mvcc: duplicate watch ID provided on the WatchStream";
    assert_eq!(kinds(&world, client)[2], &AnswerKind::Refused(text.into()));
    assert_eq!(world.clients[client].answers[2].watch_id, -1);
    let told: Vec<_> = world.clients[client].watches.iter().map(|(id, w)| (*id, w.told)).collect();
    assert_eq!(told, [(0, 1), (7, 1)]);
}

/// The events of a large transaction came in several messages without `fragment`.
#[test]
fn a_revision_is_whole_whatever_its_size() {
    let mut world = World::small();
    let value = "x".repeat(1000);
    let names: Vec<String> = (0..100).map(|at| format!("k{at:03}")).collect();
    let changes: Vec<_> = names.iter().map(|name| (name.as_str(), Some(value.as_str()))).collect();
    let live = world.watching(create(all(), 0));
    world.change(&changes);
    let past = world.watching(create(all(), 2));
    world.settle();
    // The client has checked that the revision came whole.
    for client in [live, past] {
        assert_eq!(world.clients[client].watches[&0].told, 100);
    }
    world.check_complete();

    let blocks: Vec<_> = (0..3).map(|_| bytes::Bytes::from(vec![0x5a, 1, 0])).collect();
    let whole = synod_etcd::watch::Block::of(&blocks);
    let head = WatchReply::default().head;
    assert_eq!(fragments(&head, &whole, 5).len(), 3);
}

/// Thousands that lag are served by shared reads, and in turns.
#[test]
fn those_who_lag_read_history_together() {
    let mut world = World::new(HubOptions::default());
    for value in 0..2000 {
        world.put("a", &value.to_string());
    }
    let clients: Vec<usize> = (0..200)
        .map(|at| {
            let client = world.open();
            world.ask(client, create(single("a"), 2 + at * 3));
            client
        })
        .collect();
    let mut reads = 0;
    while world.step() {
        reads += 1;
    }
    assert!(reads <= 8, "{reads} reads for 200 watches of 2,000 events each");
    world.settle();
    for (at, client) in clients.into_iter().enumerate() {
        assert_eq!(world.clients[client].watches[&0].told, 2000 - at * 3);
    }
}

/// What all outlets hold is bounded, too: then each may hold less.
#[test]
fn streams_that_read_nothing_hold_little() {
    let options =
        HubOptions { stream_bytes_max: 1 << 16, all_bytes_max: 1 << 17, ..HubOptions::default() };
    let mut world = World::new(options);
    let clients: Vec<usize> = (0..50).map(|_| world.watching(create(all(), 0))).collect();
    for value in 0..400 {
        world.put("a", &format!("{value:01000}"));
        world.step();
    }
    let held = world.figures.bytes();
    assert!(held < (1 << 17) + 50 * (1 << 13), "{held} bytes");
    world.settle();
    for client in clients {
        assert_eq!(world.clients[client].watches[&0].told, 400);
    }
    world.check_complete();
}

/// A client has many watches of one key on one stream: what they are told takes one place.
#[test]
fn watches_of_a_stream_that_are_told_the_same_share_a_place() {
    let mut world = World::new(HubOptions::default());
    let client = world.open();
    for at in 0..100 {
        world.ask(client, WatchCreate { fragment: at == 50, ..create(single("a"), 0) });
    }
    world.settle();
    world.put("a", &"x".repeat(1000));
    world.step();
    let held = world.figures.bytes();
    assert!(held < 5_000, "{held} bytes");
    assert_eq!(world.figures.pending(), 100);
    // One of them leaves: what is on its way comes nevertheless, and the others stay.
    world.cancel(client, 7);
    world.put("a", "y");
    world.settle();
    assert_eq!(world.figures.pending(), 0);
    assert_eq!(world.figures.bytes(), 0);
    for (watch, seen) in &world.clients[client].watches {
        assert_eq!(seen.told, 2, "watch {watch}");
    }
    world.check_complete();
}

/// Of two that were told the same, only one is told what comes next.
#[test]
fn what_is_for_one_watch_is_not_told_to_those_it_shared_with_before() {
    let mut world = World::new(HubOptions::default());
    let client = world.open();
    let only_a = || KeyRange::new("a".into(), "b".into()).unwrap();
    for keys in [KeyRange::all(), only_a(), KeyRange::all(), only_a()] {
        world.ask(client, create(keys, 0));
    }
    world.settle();
    for name in ["a", "b", "a", "a", "b"] {
        world.put(name, "x");
        world.step();
    }
    world.settle();
    let told: Vec<usize> = world.clients[client].watches.values().map(|watch| watch.told).collect();
    assert_eq!(told, [5, 3, 5, 3]);
    world.check_complete();
}
