//! Watches over streams that break, from members that answer as a script says.

use synod_etcd::EtcdError;
use synod_etcd::proto::mvccpb::KeyValue;

use super::*;
use crate::Options;
use crate::fake::{Fake, Step};

fn events(revisions: &[i64]) -> pb::WatchResponse {
    let event = |revision: &i64| Event {
        kv: Some(KeyValue { mod_revision: *revision, ..Default::default() }),
        ..Default::default()
    };
    let events = revisions.iter().map(event).collect();
    pb::WatchResponse { events, ..at(revisions.last().copied().unwrap_or(0)) }
}

fn at(revision: i64) -> pb::WatchResponse {
    let header = pb::ResponseHeader { revision, ..Default::default() };
    pb::WatchResponse { header: Some(header), ..Default::default() }
}

fn created(revision: i64) -> pb::WatchResponse {
    pb::WatchResponse { created: true, ..at(revision) }
}

fn compacted(revision: i64) -> pb::WatchResponse {
    pb::WatchResponse { canceled: true, compact_revision: revision, ..at(9) }
}

/// The revisions told, up to the end of the watch, and why it ended.
async fn all(mut watcher: Watcher) -> (Vec<i64>, Option<Error>) {
    let mut told = Vec::new();
    while let Some(update) = watcher.next().await {
        match update {
            Ok(update) => told.extend(
                update.events.iter().map(|event| event.kv.as_ref().map_or(0, |kv| kv.mod_revision)),
            ),
            Err(error) => return (told, Some(error)),
        }
    }
    (told, None)
}

fn starts(fake: &Fake) -> Vec<i64> {
    let start = |seen: &crate::fake::Seen| match seen.message::<pb::WatchRequest>().request_union {
        Some(RequestUnion::CreateRequest(create)) => create.start_revision,
        other => panic!("{other:?}"),
    };
    fake.seen("Watch/Watch").iter().map(start).collect()
}

#[tokio::test]
async fn a_watch_goes_on_at_another_member_without_gap_or_duplicate() {
    let a = Fake::start();
    let b = a.twin();
    a.on("Watch/Watch", Step::stream([created(7), events(&[8, 8]), events(&[10])]).breaks());
    // It tells again what was told, then what is new, and in the end that history is gone.
    a.on("Watch/Watch", Step::stream([created(12), events(&[10, 11]), at(20)]).breaks());
    a.on("Watch/Watch", Step::stream([created(20), events(&[21])]).breaks());
    a.on("Watch/Watch", Step::stream([created(30), compacted(25)]));
    let client = Fake::client(&[&a, &b], Options::default()).await;
    let watcher = client.watch(Watch::prefix("k")).await.unwrap();
    let end = Some(Error::Compacted { revision: 25 });
    assert_eq!(all(watcher).await, (vec![8, 8, 10, 11, 21], end));
    // From now; from behind what was told; from behind the progress; from behind the last event.
    assert_eq!(starts(&a), [0, 11, 21, 22]);
    assert_eq!(client.revision(), 30);
}

#[tokio::test]
async fn a_revision_that_is_gone_ends_the_watch_at_once() {
    let a = Fake::start();
    a.on("Watch/Watch", Step::stream([compacted(5)]));
    let client = Fake::client(&[&a], Options::default()).await;
    let error = client.watch(Watch::key("k").from_revision(2)).await.unwrap_err();
    assert_eq!(error, Error::Compacted { revision: 5 });
}

#[tokio::test]
async fn what_is_denied_is_not_asked_again() {
    let a = Fake::start();
    let denied = pb::WatchResponse {
        created: true,
        canceled: true,
        cancel_reason: EtcdError::PermissionDenied.text().to_owned(),
        ..at(9)
    };
    a.on("Watch/Watch", Step::stream([denied]));
    let client = Fake::client(&[&a], Options::default()).await;
    let error = client.watch(Watch::key("k")).await.unwrap_err();
    assert_eq!(error.etcd(), Some(EtcdError::PermissionDenied));
    assert_eq!(starts(&a).len(), 1);
}

#[tokio::test]
async fn updates_that_nobody_takes_wait_at_the_server() {
    let a = Fake::start();
    let many = (8..200).map(|revision| events(&[revision]));
    let script = std::iter::once(created(7)).chain(many).chain([compacted(5)]);
    a.on("Watch/Watch", Step::stream(script));
    let options = Options { watch_updates_max: 2, ..Options::default() };
    let client = Fake::client(&[&a], options).await;
    let mut watcher = client.watch(Watch::key("k")).await.unwrap();
    let first = watcher.next().await.unwrap().unwrap();
    assert_eq!(first.revision, 8);
    assert!(watcher.updates.len() <= 2);
    let (told, _) = all(watcher).await;
    assert_eq!(told, (9..200).collect::<Vec<_>>());
}
