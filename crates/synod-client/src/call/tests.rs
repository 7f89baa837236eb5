//! What is asked again, and what is not: by members that answer as a script says.

use synod_etcd::proto::etcdserverpb as pb;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::*;
use crate::fake::{Fake, Step};
use crate::{Get, Options, Put};

const SHORT: Duration = Duration::from_millis(300);

fn found(count: i64) -> Step {
    Step::answer(&pb::RangeResponse { count, ..Default::default() })
}

fn done() -> Step {
    Step::answer(&pb::PutResponse::default())
}

/// The address of a member that is not there.
fn nowhere() -> String {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().to_string()
}

#[tokio::test]
async fn a_read_is_asked_of_the_next_member() {
    let passing = [
        EtcdError::NoLeader,
        EtcdError::LeaderChanged,
        EtcdError::Timeout,
        EtcdError::Stopped,
        EtcdError::TooManyRequests,
    ];
    for error in passing {
        let (a, b) = (Fake::start(), Fake::start());
        a.on("KV/Range", Step::refuse(Refusal::new(error)));
        b.on("KV/Range", found(3));
        let client = Fake::client(&[&a, &b], Options::default()).await;
        assert_eq!(client.get(Get::key("k")).await.unwrap().count, 3, "{error}");
    }
}

#[tokio::test]
async fn a_read_leaves_a_silent_member_for_the_next() {
    let (a, b) = (Fake::start(), Fake::start());
    a.on("KV/Range", Step::silence());
    b.on("KV/Range", found(3)).on("KV/Range", found(4));
    let options = Options::default().with_call_timeout(Duration::from_secs(2));
    let client = Fake::client(&[&a, &b], options).await;
    assert_eq!(client.get(Get::key("k")).await.unwrap().count, 3);
    assert_eq!(client.get(Get::key("k")).await.unwrap().count, 4);
    assert_eq!(a.seen("KV/Range").len(), 1, "it is passed over");
}

#[tokio::test]
async fn a_write_whose_outcome_is_unknown_is_sent_once() {
    let open = [
        EtcdError::Timeout,
        EtcdError::LeaderChanged,
        EtcdError::NoLeader,
        EtcdError::Stopped,
        EtcdError::TimeoutLeaderFail,
    ];
    for error in open {
        let (a, b) = (Fake::start(), Fake::start());
        a.on("KV/Put", Step::refuse(Refusal::new(error)));
        b.on("KV/Put", done());
        let client = Fake::client(&[&a, &b], Options::default()).await;
        let unknown = Error::OutcomeUnknown(Unanswered::Refused(error.into()));
        assert_eq!(client.put(Put::new("k", "v")).await, Err(unknown));
        assert!(b.seen("KV/Put").is_empty());
    }
}

#[tokio::test]
async fn a_write_without_an_answer_is_sent_once() {
    let (a, b) = (Fake::start(), Fake::start());
    a.on("KV/Put", Step::silence());
    b.on("KV/Put", done());
    let client = Fake::client(&[&a, &b], Options::default().with_call_timeout(SHORT)).await;
    let unknown = Error::OutcomeUnknown(Unanswered::TimedOut(SHORT));
    assert_eq!(client.put(Put::new("k", "v")).await, Err(unknown));
    assert!(b.seen("KV/Put").is_empty());
}

#[tokio::test]
async fn a_write_on_a_connection_that_breaks_is_sent_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        // The request is on its way when this end goes.
        let mut bytes = [0; 100];
        socket.read_exact(&mut bytes).await.unwrap();
    });
    let b = Fake::start();
    b.on("KV/Put", done());
    let client = Client::connect([address, b.address.clone()], Options::default()).await.unwrap();
    let error = client.put(Put::new("k", "v")).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown(_)), "{error:?}");
    assert!(b.seen("KV/Put").is_empty());
}

#[tokio::test]
async fn a_write_that_never_left_goes_to_the_next_member() {
    let b = Fake::start();
    b.on("KV/Put", done());
    let client = Client::connect([nowhere(), b.address.clone()], Options::default()).await.unwrap();
    client.put(Put::new("k", "v")).await.unwrap();
    assert_eq!(b.seen("KV/Put").len(), 1);
}

#[tokio::test]
async fn a_write_that_never_applies_is_sent_again() {
    let (a, b) = (Fake::start(), Fake::start());
    a.on("KV/Put", Step::refuse(Refusal::new(EtcdError::Timeout).never_applied()));
    b.on("KV/Put", done());
    let client = Fake::client(&[&a, &b], Options::default()).await;
    client.put(Put::new("k", "v")).await.unwrap();
    assert_eq!(b.seen("KV/Put").len(), 1);
}

#[tokio::test]
async fn a_refusal_is_final_and_keeps_its_words() {
    let (a, b) = (Fake::start(), Fake::start());
    let refusal = Refusal::new(EtcdError::NoSpace).with_detail("2 of 2 GiB");
    a.on("KV/Put", Step::refuse(refusal.clone()));
    let client = Fake::client(&[&a, &b], Options::default()).await;
    let error = client.put(Put::new("k", "v")).await.unwrap_err();
    assert_eq!(error, Error::Refused(refusal));
    assert_eq!(error.to_string(), "etcdserver: mvcc: database space exceeded (2 of 2 GiB)");
    assert!(b.seen("KV/Put").is_empty());
}

#[tokio::test]
async fn nobody_there_is_told_as_such() {
    let endpoint = nowhere();
    let options = Options::default().with_rounds_max(2);
    let client = Client::connect([endpoint.clone()], options).await.unwrap();
    let error = client.put(Put::new("k", "v")).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { endpoint: at, .. } if at == endpoint));
}

#[tokio::test]
async fn a_token_that_is_no_longer_taken_is_replaced_once() {
    let token = |text: &str| {
        Step::answer(&pb::AuthenticateResponse { token: text.into(), ..Default::default() })
    };
    for error in [EtcdError::InvalidAuthToken, EtcdError::AuthOldRevision, EtcdError::UserEmpty] {
        let a = Fake::start();
        a.on("Auth/Authenticate", token("one")).on("Auth/Authenticate", token("two"));
        a.on("KV/Put", Step::refuse(Refusal::new(error))).on("KV/Put", done());
        let client = Fake::client(&[&a], Options::default().with_user("root", "secret")).await;
        client.put(Put::new("k", "v")).await.unwrap();
        let tokens: Vec<_> = a.seen("KV/Put").into_iter().map(|seen| seen.token).collect();
        assert_eq!(tokens, [Some("one".to_owned()), Some("two".to_owned())]);
        assert!(a.seen("Auth/Authenticate").iter().all(|seen| seen.token.is_none()));
    }
}

#[tokio::test]
async fn a_token_is_not_replaced_for_ever() {
    let a = Fake::start();
    for _ in 0..3 {
        a.on("Auth/Authenticate", Step::answer(&pb::AuthenticateResponse::default()));
        a.on("KV/Put", Step::refuse(Refusal::new(EtcdError::InvalidAuthToken)));
    }
    let client = Fake::client(&[&a], Options::default().with_user("root", "secret")).await;
    let error = client.put(Put::new("k", "v")).await.unwrap_err();
    assert_eq!(error.etcd(), Some(EtcdError::InvalidAuthToken));
    assert_eq!(a.seen("KV/Put").len(), 2);
}

#[tokio::test]
async fn a_user_of_a_cluster_without_auth_is_nobody() {
    let a = Fake::start();
    a.on("Auth/Authenticate", Step::refuse(Refusal::new(EtcdError::AuthNotEnabled)));
    a.on("KV/Put", done());
    let client = Fake::client(&[&a], Options::default().with_user("root", "secret")).await;
    client.put(Put::new("k", "v")).await.unwrap();
    assert_eq!(a.seen("KV/Put")[0].token, None);
}
