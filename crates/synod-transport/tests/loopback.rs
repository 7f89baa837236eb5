//! Transports on loopback: order, loss, return, and everything that must be refused.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use synod_transport::hello::{Greeting, Hello, Refused};
use synod_transport::{
    Lane, LaneStats, Listening, PeerIdentity, RefusalCode, Transport, TransportHandle,
    TransportOptions, Who,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Long enough for any machine; only a hang waits for it.
const PATIENCE: Duration = Duration::from_secs(20);
const CLUSTER: u64 = 0xc0ffee;

/// A transport and what it has told.
struct Member {
    handle: TransportHandle,
    frames: UnboundedReceiver<(PeerIdentity, Bytes)>,
    unreachable: UnboundedReceiver<u64>,
    /// The name of the thread that handed over the last frame.
    read_on: Arc<Mutex<Option<String>>>,
}

impl Member {
    fn start(id: u64, listening: Listening, peers: &[(u64, String)]) -> Self {
        Self::start_with(TransportOptions::default(), id, listening, peers)
    }

    fn start_with(
        options: TransportOptions,
        id: u64,
        listening: Listening,
        peers: &[(u64, String)],
    ) -> Self {
        let me = PeerIdentity { id, incarnation: id * 100 };
        let about = Bytes::from(format!("I am {id}"));
        let who = Who { cluster: CLUSTER, me, peers: peers.to_vec(), about };
        let (frame_sender, frames) = unbounded_channel();
        let (unreachable_sender, unreachable) = unbounded_channel();
        let read_on = Arc::default();
        let reads_on: Arc<Mutex<Option<String>>> = Arc::clone(&read_on);
        let handle = Transport::start(
            who,
            options,
            listening,
            move |from, frame| {
                *reads_on.lock().unwrap() = thread::current().name().map(str::to_owned);
                let _ = frame_sender.send((from, frame));
            },
            move |peer| {
                let _ = unreachable_sender.send(peer);
            },
        );
        Self { handle, frames, unreachable, read_on }
    }

    fn lane(&self, peer: u64, lane: Lane) -> LaneStats {
        let lanes = self.handle.stats().lanes;
        lanes.into_iter().find(|l| l.peer == peer && l.lane == lane).expect("a known peer")
    }

    async fn frame(&mut self) -> (PeerIdentity, Bytes) {
        timeout(PATIENCE, self.frames.recv()).await.expect("a frame in time").expect("running")
    }
}

/// Asks again and again until it holds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

async fn listen(address: &str) -> (Listening, String) {
    let listening = Listening::bind(&[address.to_owned()]).await.unwrap();
    let address = listening.local_addresses()[0].to_string();
    (listening, address)
}

async fn pair() -> (Member, Member, String) {
    let ((one, at_one), (two, at_two)) = (listen("127.0.0.1:0").await, listen("localhost:0").await);
    let a = Member::start(1, one, &[(2, at_two.clone())]);
    let b = Member::start(2, two, &[(1, at_one)]);
    for lane in Lane::ALL {
        until("both connected", || a.lane(2, lane).connected && b.lane(1, lane).connected).await;
    }
    (a, b, at_two)
}

fn hello() -> Hello {
    Hello {
        cluster: CLUSTER,
        sender: PeerIdentity { id: 2, incarnation: 5 },
        receiver: 1,
        lane: Lane::Bulk,
        about: Bytes::new(),
    }
}

/// Everything the other side says until it closes.
async fn said(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset is a way to close, too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("closed in time");
    bytes
}

async fn greet(address: &str, greeting: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(greeting).await.unwrap();
    stream
}

/// A runtime with a thread of its own, until it is told to end.
fn elsewhere() -> (Handle, oneshot::Sender<()>) {
    let (runtime, handle) = mpsc::channel();
    let (end, ended) = oneshot::channel();
    let run = move || {
        let own = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.send(own.handle().clone()).unwrap();
        // Who drops the other end wants it to end, too.
        let _ = own.block_on(ended);
    };
    thread::Builder::new().name(ELSEWHERE.to_owned()).spawn(run).unwrap();
    (handle.recv().unwrap(), end)
}

const ELSEWHERE: &str = "elsewhere";

#[tokio::test]
async fn frames_are_read_where_they_are_to_be() {
    let ((one, at_one), (two, at_two)) = (listen("127.0.0.1:0").await, listen("127.0.0.1:0").await);
    let (reading, end) = elsewhere();
    let options = TransportOptions { reading: Some(reading), ..TransportOptions::default() };
    let mut a = Member::start(1, one, &[(2, at_two)]);
    let mut b = Member::start_with(options, 2, two, &[(1, at_one)]);
    until("both connected", || a.lane(2, Lane::Bulk).connected && b.lane(1, Lane::Bulk).connected)
        .await;
    for size in [0, 100, 3 << 20, 1] {
        a.handle.send(2, Lane::Bulk, Bytes::from(vec![7; size]));
        assert!(b.frame().await.1 == vec![7; size]);
        assert_eq!(b.read_on.lock().unwrap().as_deref(), Some(ELSEWHERE));
        b.handle.send(1, Lane::Bulk, Bytes::from(vec![8; size]));
        assert!(a.frame().await.1 == vec![8; size]);
        assert_ne!(a.read_on.lock().unwrap().as_deref(), Some(ELSEWHERE));
    }

    // Who reads no more hears nothing, and the other side finds the connection closed.
    let connects = a.lane(2, Lane::Bulk).connects;
    end.send(()).unwrap();
    until("closed and dialled again", || a.lane(2, Lane::Bulk).connects > connects).await;
    a.handle.shutdown().await;
    b.handle.shutdown().await;
}

#[tokio::test]
async fn frames_of_a_lane_arrive_in_order_and_whole() {
    let (a, mut b, _) = pair().await;
    assert_eq!(b.handle.about(1).as_deref(), Some(&b"I am 1"[..]));
    let sizes = [0, 1, 100, 5000, 70_000, 3 << 20];
    for round in 0..200_u8 {
        let size = sizes[usize::from(round) % sizes.len()];
        a.handle.send(2, Lane::Bulk, Bytes::from(vec![round; size]));
        if round % 10 == 9 {
            for expected in (round - 9)..=round {
                let size = sizes[usize::from(expected) % sizes.len()];
                let (from, frame) = b.frame().await;
                assert_eq!(from, PeerIdentity { id: 1, incarnation: 100 });
                assert!(frame == vec![expected; size], "frame {expected} of {size} bytes");
            }
        }
    }
    assert_eq!(a.lane(2, Lane::Bulk).dropped_frames, 0);
}

#[tokio::test]
async fn a_member_that_returns_is_found_again() {
    let (mut a, b, at_two) = pair().await;
    b.handle.shutdown().await;
    let gone = timeout(PATIENCE, a.unreachable.recv()).await.expect("told in time");
    assert_eq!(gone, Some(2));

    let (two, _) = listen(&at_two).await;
    let mut b = Member::start(2, two, &[(1, "127.0.0.1:1".to_owned())]);
    until("connected again", || a.lane(2, Lane::Control).connected).await;
    a.handle.send(2, Lane::Control, Bytes::from_static(b"welcome back"));
    assert_eq!(b.frame().await.1, &b"welcome back"[..]);
}

#[tokio::test]
async fn a_peer_that_was_never_there_is_not_reported_as_gone() {
    let (free, address) = listen("127.0.0.1:0").await;
    drop(free);
    let (listening, _) = listen("127.0.0.1:0").await;
    let options =
        TransportOptions { redial_pause_max: Duration::from_millis(1), ..Default::default() };
    let mut a = Member::start_with(options, 1, listening, &[(2, address.clone())]);
    // It has dialled in vain when a listener that comes now is found.
    let socket = TcpListener::bind(&address).await.unwrap();
    timeout(PATIENCE, socket.accept()).await.unwrap().unwrap();
    assert!(a.unreachable.try_recv().is_err());
    a.handle.send(2, Lane::Control, Bytes::from_static(b"nobody hears"));
    assert_eq!(a.lane(2, Lane::Control).dropped_frames, 1);
}

#[tokio::test]
async fn who_does_not_belong_is_refused_with_the_reason() {
    let (listening, address) = listen("127.0.0.1:0").await;
    let a = Member::start(1, listening, &[(2, "127.0.0.1:1".to_owned())]);
    let stranger = PeerIdentity { id: 7, incarnation: 5 };
    let table = [
        (Greeting::Hello(Hello { cluster: 1, ..hello() }), RefusalCode::ForeignCluster),
        (Greeting::Hello(Hello { receiver: 3, ..hello() }), RefusalCode::WrongMember),
        (Greeting::Hello(Hello { sender: stranger, ..hello() }), RefusalCode::UnknownSender),
        (Greeting::Incompatible { version: 99 }, RefusalCode::IncompatibleVersion),
        (Greeting::Welcome(stranger), RefusalCode::Malformed),
    ];
    for (greeting, code) in table {
        let answer = said(greet(&address, &greeting.encode()).await).await;
        let Greeting::Refused(Refused { code: refused, text }) =
            Greeting::read(&mut &answer[..]).await.unwrap()
        else {
            panic!("{greeting:?} was not refused");
        };
        assert_eq!(refused, code, "{text}");
    }
    assert_eq!(a.handle.stats().refused, 5);
}

#[tokio::test]
async fn noise_on_the_port_is_closed_and_harms_nobody() {
    let (a, mut b, at_two) = pair().await;
    let mut flipped = Greeting::Hello(hello()).encode();
    flipped[20] ^= 1;
    for noise in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![0xff; 5000], flipped] {
        assert_eq!(said(greet(&at_two, &noise).await).await, b"");
    }
    until("counted", || b.handle.stats().refused == 3).await;
    a.handle.send(2, Lane::Control, Bytes::from_static(b"still here"));
    assert_eq!(b.frame().await.1, &b"still here"[..]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_stays_silent_is_closed() {
    let (listening, address) = listen("127.0.0.1:0").await;
    let a = Member::start(1, listening, &[]);
    assert_eq!(said(greet(&address, b"syn").await).await, b"");
    assert_eq!(a.handle.stats().refused, 1);
}

#[tokio::test]
async fn broken_frames_end_the_connection() {
    let (listening, address) = listen("127.0.0.1:0").await;
    let mut a = Member::start(1, listening, &[(2, "127.0.0.1:1".to_owned())]);
    let too_long = u32::MAX.to_le_bytes().to_vec();
    let wrong_checksum = [5, 0, 0, 0, 0, 0, 0, 0, 42].to_vec();
    for broken in [too_long, wrong_checksum] {
        let mut stream = greet(&address, &Greeting::Hello(hello()).encode()).await;
        let welcome = Greeting::read(&mut stream).await.unwrap();
        assert_eq!(welcome, Greeting::Welcome(PeerIdentity { id: 1, incarnation: 100 }));
        stream.write_all(&broken).await.unwrap();
        assert_eq!(said(stream).await, b"");
    }
    assert!(a.frames.try_recv().is_err());
    assert_eq!(a.handle.stats().refused, 2);
}

#[tokio::test]
async fn a_newer_connection_replaces_the_older() {
    let (runtime, _end) = elsewhere();
    for reading in [None, Some(runtime)] {
        let (listening, address) = listen("127.0.0.1:0").await;
        let options = TransportOptions { reading, ..TransportOptions::default() };
        let a = Member::start_with(options, 1, listening, &[(2, "127.0.0.1:1".to_owned())]);
        let mut older = greet(&address, &Greeting::Hello(hello()).encode()).await;
        Greeting::read(&mut older).await.unwrap();
        let mut newer = greet(&address, &Greeting::Hello(hello()).encode()).await;
        Greeting::read(&mut newer).await.unwrap();
        assert_eq!(said(older).await, b"");
        a.handle.shutdown().await;
        assert_eq!(said(newer).await, b"", "it ends with the transport");
    }
}

/// Such a peer would be dialled as fast as it answers.
#[tokio::test]
async fn a_peer_that_greets_and_goes_is_not_dialled_at_once() {
    let peer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (listening, _) = listen("127.0.0.1:0").await;
    let hour = Duration::from_secs(3600);
    let options = TransportOptions {
        redial_pause_min: hour,
        redial_pause_max: hour,
        ..TransportOptions::default()
    };
    let at = peer.local_addr().unwrap().to_string();
    let a = Member::start_with(options, 1, listening, &[(2, at)]);
    for _ in Lane::ALL {
        let (mut stream, _) = timeout(PATIENCE, peer.accept()).await.expect("in time").unwrap();
        Greeting::read(&mut stream).await.unwrap();
        let welcome = Greeting::Welcome(PeerIdentity { id: 2, incarnation: 1 }).encode();
        stream.write_all(&welcome).await.unwrap();
    }
    until("both were connected, and are no more", || {
        let lanes = Lane::ALL.map(|lane| a.lane(2, lane));
        lanes.iter().all(|lane| lane.connects == 1 && !lane.connected)
    })
    .await;
    let again = timeout(Duration::from_millis(50), peer.accept()).await;
    assert!(again.is_err(), "it was dialled again");
    a.handle.shutdown().await;
}

#[tokio::test]
async fn strangers_have_a_bound_and_shut_no_member_out() {
    let (listening, address) = listen("127.0.0.1:0").await;
    let options = TransportOptions {
        strangers_max: 4,
        // They stay until the test ends.
        handshake_timeout: Duration::from_secs(3600),
        ..Default::default()
    };
    let a = Member::start_with(options, 1, listening, &[(2, "127.0.0.1:1".to_owned())]);
    let mut strangers = Vec::new();
    for _ in 0..4 {
        strangers.push(from("127.0.0.2", &address).await);
    }
    until("they are let in", || a.handle.stats().strangers == 4).await;
    assert_eq!(said(from("127.0.0.2", &address).await).await, b"", "one too many");
    assert_eq!(a.handle.stats().refused, 1);

    // A member comes from elsewhere: the one that waited longest makes room.
    let mut member = greet(&address, &Greeting::Hello(hello()).encode()).await;
    let welcome = Greeting::read(&mut member).await.unwrap();
    assert!(matches!(welcome, Greeting::Welcome(_)), "{welcome:?}");
    assert_eq!(said(strangers.remove(0)).await, b"");
    until("who has said hello is no stranger", || a.handle.stats().strangers == 3).await;
}

/// Connects from an address of this machine.
async fn from(source: &str, address: &str) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    socket.connect(address.parse().unwrap()).await.unwrap()
}

/// Says welcome to whoever calls, and never reads a frame.
async fn deaf_peer(socket: TcpListener, id: u64, greeted: Arc<AtomicU64>) {
    let mut held = Vec::new();
    while let Ok((mut stream, _)) = socket.accept().await {
        Greeting::read(&mut stream).await.unwrap();
        let welcome = Greeting::Welcome(PeerIdentity { id, incarnation: 1 });
        stream.write_all(&welcome.encode()).await.unwrap();
        held.push(stream);
        greeted.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_costs_no_more_than_the_bound() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let deaf = tokio::spawn(deaf_peer(socket, 2, Arc::default()));
    let (listening, _) = listen("127.0.0.1:0").await;
    let options = TransportOptions { bulk_bytes_max: 1 << 20, ..Default::default() };
    let a = Member::start_with(options, 1, listening, &[(2, address)]);
    until("connected", || a.lane(2, Lane::Bulk).connected).await;

    let frame = Bytes::from(vec![1; 100_000]);
    until("frames are dropped", || {
        a.handle.send(2, Lane::Bulk, frame.clone());
        let lane = a.lane(2, Lane::Bulk);
        assert!(lane.queued_bytes <= 1 << 20, "{lane:?}");
        lane.dropped_frames > 100
    })
    .await;
    a.handle.send(2, Lane::Control, Bytes::from_static(b"not held up"));
    until("the other lane goes on", || a.lane(2, Lane::Control).sent_frames == 1).await;
    deaf.abort();
}

#[tokio::test]
async fn frames_too_long_or_for_nobody_are_dropped_and_counted() {
    let (a, mut b, _) = pair().await;
    a.handle.send(2, Lane::Bulk, Bytes::from(vec![0; (32 << 20) + 1]));
    a.handle.send(99, Lane::Bulk, Bytes::new());
    assert_eq!(a.lane(2, Lane::Bulk).dropped_frames, 1);
    assert_eq!(a.handle.stats().misdirected, 1);
    a.handle.send(2, Lane::Bulk, Bytes::from(vec![0; 32 << 20]));
    assert_eq!(b.frame().await.1.len(), 32 << 20);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let (_held, address) = listen("127.0.0.1:0").await;
    let error = Listening::bind(std::slice::from_ref(&address)).await.unwrap_err();
    // It once was in the text and a source beside it, so that people read it twice.
    assert!(std::error::Error::source(&error).is_none());
    let error = error.to_string();
    assert!(error.starts_with(&format!("cannot listen for peers on {address}: ")), "{error}");
}
