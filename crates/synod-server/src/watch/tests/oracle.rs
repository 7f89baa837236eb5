//! Any sequence of writes, compactions, watches and readers, fast and slow.

use std::time::Duration;

use proptest::prelude::*;
use synod_etcd::watch::{Flavor, WatchCreate};
use synod_kv::{KeyRange, Revision};

use super::world::{World, key};

#[derive(Clone, Debug)]
enum Act {
    /// These keys change in one revision.
    Change(Vec<(usize, bool)>),
    /// Compacts at so many revisions below the current one.
    Compact(i64),
    Reclaim,
    Step,
    /// A client takes so many messages.
    Take(usize, usize),
    Open,
    Close(usize),
    Create(usize, WatchCreate, Start),
    Cancel(usize, i64),
    Progress(usize),
    /// So many seconds go by.
    Later(u64),
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug)]
enum Start {
    Now,
    /// So many revisions away from the current one.
    At(i64),
}

const KEYS: [&str; 6] = ["a", "ab", "b", "ba", "c", "d"];

fn keys() -> impl Strategy<Value = KeyRange> {
    let key = |at: usize| key(KEYS[at]);
    prop_oneof![
        (0..6usize).prop_map(move |at| KeyRange::Single(key(at))),
        (0..5usize, 1..5usize).prop_map(move |(at, more)| {
            KeyRange::Between { start: key(at), end: key((at + more).min(5)) }
        }),
        (0..6usize).prop_map(move |at| KeyRange::From(key(at))),
    ]
}

fn create() -> impl Strategy<Value = Act> {
    let flavor = (any::<bool>(), 0..6u8).prop_map(|(prev_kv, filter)| Flavor {
        prev_kv,
        no_put: filter == 0,
        no_delete: filter == 1,
    });
    let start = prop_oneof![Just(Start::Now), (-12..4i64).prop_map(Start::At)];
    let id =
        prop_oneof![3 => Just(None), 1 => (-1..4i64).prop_map(|id| Some(id).filter(|id| *id != 0))];
    (0..4usize, keys(), flavor, start, id, any::<[bool; 2]>()).prop_map(
        |(client, keys, flavor, start, watch_id, [progress_notify, fragment])| {
            let create =
                WatchCreate { keys, start: None, watch_id, flavor, progress_notify, fragment };
            Act::Create(client, create, start)
        },
    )
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let change = prop::collection::btree_map(0..6usize, prop::bool::weighted(0.7), 1..4);
    let act = prop_oneof![
        10 => change.prop_map(|keys| Act::Change(keys.into_iter().collect())),
        2 => (0..8i64).prop_map(Act::Compact),
        2 => Just(Act::Reclaim),
        8 => Just(Act::Step),
        6 => (0..4usize, 1..6usize).prop_map(|(client, count)| Act::Take(client, count)),
        1 => Just(Act::Open),
        1 => (0..4usize).prop_map(Act::Close),
        4 => create(),
        1 => (0..4usize, -1..4i64).prop_map(|(client, id)| Act::Cancel(client, id)),
        2 => (0..4usize).prop_map(Act::Progress),
        1 => (1..20u64).prop_map(Act::Later),
    ];
    prop::collection::vec(act, 0..120)
}

fn act(world: &mut World, turn: usize, act: Act) {
    let is_open = |world: &World, client: usize| {
        world.clients.get(client).is_some_and(|client| client.is_open())
    };
    match act {
        Act::Change(keys) => {
            let value = turn.to_string();
            let changes: Vec<_> = keys
                .iter()
                .map(|(at, is_put)| (KEYS[*at], is_put.then_some(value.as_str())))
                .collect();
            world.change(&changes);
        }
        Act::Compact(back) => {
            let revision = world.revision - back;
            if revision > world.compacted && revision > 0 {
                world.compact(revision);
            }
        }
        Act::Reclaim => world.reclaim(),
        Act::Step => drop(world.step()),
        Act::Take(client, count) if is_open(world, client) => {
            for _ in 0..count {
                world.take(client);
            }
        }
        Act::Open => drop(world.open()),
        Act::Close(client) if is_open(world, client) => world.close(client),
        Act::Create(client, create, start) if is_open(world, client) => {
            let start = match start {
                Start::Now => None,
                Start::At(away) => Revision::named((world.revision + away).max(0)),
            };
            world.ask(client, WatchCreate { start, ..create });
        }
        Act::Cancel(client, id) if is_open(world, client) => world.cancel(client, id),
        Act::Progress(client) if is_open(world, client) => {
            world.hub.ask_progress(world.slot(client));
        }
        Act::Later(seconds) => world.now += Duration::from_secs(seconds),
        Act::Take(..) | Act::Close(_) | Act::Create(..) | Act::Cancel(..) | Act::Progress(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The clients check what they are told as it comes; in the end nothing is missing.
    #[test]
    fn every_watch_is_told_everything_once_and_in_order(acts in acts()) {
        let mut world = World::small();
        for _ in 0..3 {
            world.open();
        }
        for (turn, one) in acts.into_iter().enumerate() {
            act(&mut world, turn, one);
        }
        world.settle();
        world.check_complete();
    }
}
