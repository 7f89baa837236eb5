//! Leases that end, by a server that answers as a script says.

use super::*;
use crate::Options;
use crate::fake::{Fake, Step};

fn granted(ttl: i64) -> Step {
    Step::answer(&pb::LeaseGrantResponse { id: 7, ttl, ..Default::default() })
}

fn renewed(ttl: i64) -> Step {
    Step::answer(&pb::LeaseKeepAliveResponse { id: 7, ttl, ..Default::default() })
}

#[tokio::test]
async fn a_lease_that_the_server_ended_is_lost_at_once() {
    let a = Fake::start();
    a.on("Lease/LeaseGrant", granted(1));
    a.on("Lease/LeaseKeepAlive", renewed(3600)).on("Lease/LeaseKeepAlive", renewed(0));
    let client = Fake::client(&[&a], Options::default()).await;
    let lease = client.grant(Duration::from_millis(10)).await.unwrap();
    let keep_alive = client.keep_alive(&lease);
    assert!(keep_alive.is_valid());
    drop(keep_alive);
    // The guard is gone before the first renewal was due.
    let lost = client.keep_alive_once(7).await.map(|answer| answer.ttl);
    assert_eq!(lost, Ok(3600));
    let lost = client.keep_alive_once(7).await.unwrap_err();
    assert_eq!(lost, Error::LeaseLost { id: 7 });
}

#[tokio::test]
async fn a_lease_whose_renewals_stay_without_answer_is_lost() {
    let a = Fake::start();
    a.on("Lease/LeaseGrant", granted(1));
    let client = Fake::client(&[&a], Options::default()).await;
    let lease = client.grant(Duration::from_secs(1)).await.unwrap();
    for _ in 0..50 {
        a.on("Lease/LeaseKeepAlive", Step::silence());
    }
    let keep_alive = client.keep_alive(&lease);
    keep_alive.lost().await;
    assert!(!keep_alive.is_valid());
    assert!(!a.seen("Lease/LeaseKeepAlive").is_empty());
}

#[tokio::test]
async fn renewals_go_on_until_one_says_that_the_lease_is_over() {
    let a = Fake::start();
    a.on("Lease/LeaseGrant", granted(1));
    for ttl in [1, 1, 0] {
        a.on("Lease/LeaseKeepAlive", renewed(ttl));
    }
    let client = Fake::client(&[&a], Options::default()).await;
    let lease = client.grant(Duration::from_secs(1)).await.unwrap();
    let keep_alive = client.keep_alive(&lease);
    keep_alive.lost().await;
    assert_eq!(a.seen("Lease/LeaseKeepAlive").len(), 3);
}

#[test]
fn time_counts_from_when_the_request_was_sent() {
    let sent = Instant::now();
    let answered = sent + Duration::from_secs(8);
    let left = valid_until(sent, Duration::from_secs(10)).saturating_duration_since(answered);
    assert_eq!(left, Duration::from_secs(1), "an answer that took 8 s leaves one");
}
