//! Transports of two members over TLS, with files that change while they run.

use std::sync::mpsc;
use std::thread;

use bytes::Bytes;
use synod_transport::{
    Lane, Listening, PeerIdentity, Transport, TransportHandle, TransportOptions, Who,
};
use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

/// Two members: which certificates they have and trust, and where they listen.
struct Pairs {
    dir: TempDir,
    ca: Authority,
    ca_file: PathBuf,
    crl: PathBuf,
}

/// A transport, what it has received, and its TLS.
struct Link {
    handle: TransportHandle,
    frames: UnboundedReceiver<Bytes>,
    tls: Arc<ServerTls>,
    /// The runtime in which it reads ends with it.
    _reading: oneshot::Sender<()>,
}

/// A runtime with a thread of its own, until the other is dropped.
fn elsewhere() -> (Handle, oneshot::Sender<()>) {
    let (runtime, handle) = mpsc::channel();
    let (reading, ended) = oneshot::channel::<()>();
    thread::spawn(move || {
        let own = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.send(own.handle().clone()).unwrap();
        let _ = own.block_on(ended);
    });
    (handle.recv().unwrap(), reading)
}

impl Pairs {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ca = Authority::new("members");
        let ca_file = ca.file(dir.path(), "ca.pem");
        let crl = ca.revoke(dir.path(), "crl.pem", &[]);
        Self { dir, ca, ca_file, crl }
    }

    /// TLS with the certificate of this serial number.
    fn tls(&self, serial: u64) -> Arc<ServerTls> {
        let subject = Subject { serial, ..Subject::default() };
        let pair = self.ca.sign(self.dir.path(), &format!("m{serial}"), &subject);
        let crl = format!("--peer-crl-file={}", self.crl.display());
        Arc::new(member(self.dir.path(), &pair, &self.ca_file, &[crl]))
    }

    fn revoke(&self, serials: &[u64]) {
        self.ca.revoke(self.dir.path(), "crl.pem", serials);
    }
}

impl Link {
    fn start(
        (cluster, id): (u64, u64),
        tls: &Arc<ServerTls>,
        listening: Listening,
        peer: (u64, &str),
    ) -> Self {
        let who = Who {
            cluster,
            me: PeerIdentity { id, incarnation: 1 },
            peers: vec![(peer.0, peer.1.to_owned())],
            about: Bytes::new(),
        };
        let as_peer: Arc<dyn PeerTls> = Arc::clone(tls) as Arc<dyn PeerTls>;
        let (runtime, reading) = elsewhere();
        let options = TransportOptions {
            tls: Some(as_peer),
            // As a member does it: connections move once they are greeted.
            reading: Some(runtime),
            ..TransportOptions::default()
        };
        let (sender, frames) = unbounded_channel();
        let take = move |_, frame| {
            let _ = sender.send(frame);
        };
        let handle = Transport::start(who, options, listening, take, |_| {});
        Self { handle, frames, tls: Arc::clone(tls), _reading: reading }
    }

    /// Takes up changed files.
    fn refresh(&self) {
        self.tls.sides().for_each(Side::refresh);
    }

    async fn hears(&mut self, from: &Self, what: &'static str) {
        let to = if from.handle.stats().lanes[0].peer == 1 { 1 } else { 2 };
        let heard = async {
            loop {
                from.handle.send(to, Lane::Control, Bytes::from_static(what.as_bytes()));
                let frame = timeout(Duration::from_millis(20), self.frames.recv()).await;
                if frame.is_ok_and(|frame| frame.is_some_and(|frame| frame == what)) {
                    return;
                }
            }
        };
        timeout(PATIENCE, heard).await.unwrap_or_else(|_| panic!("never heard: {what}"));
    }

    /// Waits until it has turned so many away.
    async fn refuses(&self, more: u64) {
        let before = self.handle.stats().refused;
        let refused = async {
            while self.handle.stats().refused < before + more {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, refused).await.expect("turned away in time");
    }
}

async fn two() -> [(Listening, String); 2] {
    let mut two = Vec::new();
    for _ in 0..2 {
        let listening = Listening::bind(&["127.0.0.1:0".to_owned()]).await.unwrap();
        let address = listening.local_addresses()[0].to_string();
        two.push((listening, address));
    }
    two.try_into().unwrap()
}

#[tokio::test]
async fn a_member_is_shut_out_and_let_in_again_while_the_other_runs() {
    let pairs = Pairs::new();
    let [(listening_1, at_1), (listening_2, at_2)] = two().await;
    let mut one = Link::start((7, 1), &pairs.tls(1), listening_1, (2, &at_2));
    let mut other = Link::start((7, 2), &pairs.tls(2), listening_2, (1, &at_1));
    one.hears(&other, "to and").await;
    other.hears(&one, "fro").await;

    // Its certificate is revoked. What is connected stays; what connects is refused.
    pairs.revoke(&[2]);
    one.refresh();
    one.hears(&other, "still").await;
    other.handle.shutdown().await;
    let tls = Arc::clone(&other.tls);
    drop(other);
    let listening = Listening::bind(std::slice::from_ref(&at_2)).await.unwrap();
    let again = Link::start((7, 2), &tls, listening, (1, &at_1));
    one.refuses(3).await;
    assert!(one.frames.try_recv().is_err(), "a revoked member says nothing");

    // A new certificate lets it in, with no restart of either.
    let renewed =
        pairs.ca.sign(pairs.dir.path(), "m2", &Subject { serial: 20, ..Subject::default() });
    assert!(renewed.cert.exists());
    again.refresh();
    one.hears(&again, "back").await;
    one.handle.shutdown().await;
    again.handle.shutdown().await;
}

#[tokio::test]
async fn who_is_trusted_and_of_another_cluster_is_refused_all_the_same() {
    let pairs = Pairs::new();
    let [(listening_1, at_1), (listening_2, at_2)] = two().await;
    let mut one = Link::start((7, 1), &pairs.tls(1), listening_1, (2, &at_2));
    let other = Link::start((8, 2), &pairs.tls(2), listening_2, (1, &at_1));
    one.refuses(3).await;
    other.handle.send(1, Lane::Bulk, Bytes::from_static(b"never"));
    assert!(!other.handle.stats().lanes[0].connected && one.frames.try_recv().is_err());
    one.handle.shutdown().await;
    other.handle.shutdown().await;
}

#[tokio::test]
async fn who_is_not_trusted_comes_not_as_far_as_the_greeting() {
    let (pairs, strangers) = (Pairs::new(), Pairs::new());
    let [(listening_1, at_1), (listening_2, at_2)] = two().await;
    let mut one = Link::start((7, 1), &pairs.tls(1), listening_1, (2, &at_2));
    let mut other = Link::start((7, 2), &strangers.tls(2), listening_2, (1, &at_1));
    // Each turns the other away, or is turned away by it.
    let turned = async { tokio::join!(one.refuses(3), other.refuses(3)) };
    timeout(PATIENCE, turned).await.expect("in time");
    for link in [&mut one, &mut other] {
        assert!(!link.handle.stats().lanes[0].connected && link.frames.try_recv().is_err());
    }
    one.handle.shutdown().await;
    other.handle.shutdown().await;
}
