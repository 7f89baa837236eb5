//! Members with real threads and logs: they survive each other, hand over, and stop when they must.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use synod_paxos::{Identity, Incarnation, Recovered, ReplicaId, Slot, Withdrawal};
use synod_replica::local::{self, LocalNetwork};
use synod_replica::{
    Entry, Exit, Guarantee, Handle, Log, ProposeError, ReadError, Running, RuntimeOptions,
    StateMachine, testing,
};
use synod_wal::memory::MemoryDisk;

/// Remembers all commands.
#[derive(Debug, Default)]
struct Journal(Vec<Bytes>);

impl StateMachine for Journal {
    type Reply = usize;

    fn apply(&mut self, entry: Entry<'_>) -> usize {
        self.0.push(entry.payload.clone());
        self.0.len()
    }
}

/// A member of three on a disk in memory, and what it takes to start it again.
struct Member {
    id: ReplicaId,
    disk: MemoryDisk,
    running: Running<Journal>,
}

impl Member {
    fn start(network: &LocalNetwork, id: u64, disk: MemoryDisk, options: RuntimeOptions) -> Self {
        static LIVES: AtomicU64 = AtomicU64::new(1);
        let id = ReplicaId::new(id);
        let wal = synod_wal::Options {
            segment_bytes: 1 << 20,
            record_bytes_max: 512 << 10,
            ..synod_wal::Options::default()
        };
        let fresh = Incarnation::new(id.as_u64());
        let (log, opened) = Log::open(disk.clone(), 1, id, fresh, wal, Slot::FIRST).unwrap();
        let me = opened.identity.me;
        let life = LIVES.fetch_add(1, Ordering::Relaxed);
        let members = (1..=3).map(ReplicaId::new).collect();
        let identity = Identity { me, life, members, seed: life };
        let log: (_, Recovered) = (log, opened.recovered);
        let outbox = network.outbox(me);
        let running =
            Running::start(identity, options, log, Journal::default(), outbox, |_| {}).unwrap();
        network.connect(running.handle().clone());
        Self { id, disk, running }
    }

    fn propose(&self, payload: &'static [u8]) -> Result<usize, ProposeError> {
        self.running.handle().propose_blocking(Bytes::from_static(payload))
    }

    fn journal(&self) -> Result<Vec<Bytes>, ReadError> {
        self.running.handle().query_blocking(Guarantee::Linearizable, |journal| journal.0.clone())
    }

    fn is_leader(&self) -> bool {
        self.running.handle().status().is_leader
    }
}

fn three(network: &LocalNetwork) -> Vec<Member> {
    let start = |id| Member::start(network, id, MemoryDisk::new(), patient());
    (1..=3).map(start).collect()
}

/// Only a hang waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A busy machine fails no test.
fn patient() -> RuntimeOptions {
    RuntimeOptions { request_timeout: Duration::from_secs(60), ..RuntimeOptions::default() }
}

/// Takes the member out that leads. Every caller has proposed before, so there is one; until its
/// followers have noticed who that is nobody may say so.
fn take_leader(members: &mut Vec<Member>) -> Member {
    loop {
        if let Some(at) = members.iter().position(Member::is_leader) {
            return members.remove(at);
        }
        members[0].journal().unwrap();
    }
}

#[test]
fn a_leader_that_stops_hands_over_and_loses_nothing() {
    let network = LocalNetwork::new();
    let mut members = three(&network);
    for member in &members {
        member.propose(b"before").unwrap();
    }
    let leader = take_leader(&mut members);
    leader.running.handle().shutdown();
    let handle = leader.running.handle().clone();
    assert!(matches!(leader.running.join(), Exit::Stopped));
    network.disconnect(leader.id);
    let outcome = Withdrawal::NeverApplied;
    let after = handle.propose_blocking(Bytes::from_static(b"too late"));
    assert_eq!(after, Err(ProposeError::Stopping { outcome }));

    assert_eq!(members[0].propose(b"after"), Ok(4));
    let again = Member::start(&network, leader.id.as_u64(), leader.disk, patient());
    for member in members.iter().chain([&again]) {
        let journal = member.journal().unwrap();
        assert_eq!(journal, [&b"before"[..], b"before", b"before", b"after"]);
    }
}

#[test]
fn leadership_is_transferred_to_whom_it_is_asked_for() {
    let network = LocalNetwork::new();
    let mut members = three(&network);
    members[0].propose(b"one").unwrap();
    let leader = take_leader(&mut members);
    let to = members[1].id;
    let transfer = leader.running.handle().transfer_leadership(Some(to));
    assert_eq!(block_on(transfer), Ok(()));
    assert!(!leader.is_leader());
    assert_eq!(leader.propose(b"two"), Ok(2));
    let led_by = leader.running.handle().status().leader.map(|ballot| ballot.replica);
    assert_eq!(led_by, Some(to));
}

#[test]
fn a_member_whose_disk_fails_stops_and_the_others_go_on() {
    let network = LocalNetwork::new();
    let mut members = three(&network);
    members[0].propose(b"one").unwrap();
    let broken = take_leader(&mut members);
    broken.disk.fail_sync_after(0);
    // It may answer this one: two other members are a quorum.
    let answer = broken.propose(b"two");
    let exit = broken.running.join();
    assert!(matches!(exit, Exit::LogFailed(_)), "{exit:?}");
    network.disconnect(broken.id);

    members[0].propose(b"three").unwrap();
    let journal = members[1].journal().unwrap();
    assert_eq!(journal.first().unwrap(), "one");
    assert_eq!(journal.last().unwrap(), "three");
    if answer.is_ok() {
        assert_eq!(journal.len(), 3, "what was acknowledged is there");
    }
}

#[test]
fn alone_a_member_times_out_and_serves_only_what_may_be_old() {
    let network = LocalNetwork::new();
    let options =
        RuntimeOptions { request_timeout: Duration::from_millis(50), ..Default::default() };
    let member = Member::start(&network, 1, MemoryDisk::new(), options);
    let others = member.running.handle().status().unmet;
    assert_eq!(others.iter().count(), 2, "known before the first round");
    let outcome = Withdrawal::NeverApplied;
    assert_eq!(member.propose(b"one"), Err(ProposeError::TimedOut { outcome }));
    assert_eq!(member.journal(), Err(ReadError::TimedOut));
    let old = |journal: &Journal| journal.0.len();
    let handle = member.running.handle();
    assert_eq!(handle.query_blocking(Guarantee::Serializable, old), Ok(0));
    assert!(!handle.status().is_formed);
    assert_eq!(handle.status().unmet.len(), 2);
    handle.shutdown();
    assert!(matches!(member.running.join(), Exit::Stopped));
}

#[test]
fn a_command_over_the_limit_is_refused_with_both_numbers() {
    let network = LocalNetwork::new();
    let options = RuntimeOptions { payload_bytes_max: 4, ..Default::default() };
    let member = Member::start(&network, 1, MemoryDisk::new(), options);
    let refused = ProposeError::TooLarge { bytes: 5, max: 4 };
    assert_eq!(member.propose(b"12345"), Err(refused));
    assert_eq!(refused.to_string(), "command of 5 bytes, at most 4 are allowed");
}

#[test]
fn many_clients_on_real_disks_are_each_answered_once() {
    let folder = tempfile::tempdir().unwrap();
    let members = local::start(folder.path(), 3, &patient(), |_| Journal::default()).unwrap();
    let mut replies: Vec<usize> = thread::scope(|scope| {
        let clients = (0..12).map(|client| {
            let handle = members[client % 3].handle();
            scope.spawn(move || {
                let propose = |_| handle.propose_blocking(Bytes::from(vec![7; 2000])).unwrap();
                (0..25).map(propose).collect::<Vec<_>>()
            })
        });
        let clients: Vec<_> = clients.collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    replies.sort_unstable();
    assert_eq!(replies, (1..=300).collect::<Vec<_>>());
}

#[test]
fn a_journal_is_deterministic() {
    let slots: Vec<_> = (0..5).map(|n| vec![Bytes::from(vec![n]); usize::from(n)]).collect();
    testing::check_deterministic(Journal::default, &slots, |journal| journal.0.clone());
}

/// Runs a future that needs nothing but to be woken.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut context = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => thread::park(),
        }
    }
}

/// What peers send is read in the driver's runtime: requests that come without pause must not keep
/// it from running.
#[test]
fn tasks_of_the_drivers_runtime_run_beside_requests_and_end_with_the_member() {
    let network = LocalNetwork::new();
    let member = Member::start(&network, 1, MemoryDisk::new(), patient());
    let (enough, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (turn, turns) = mpsc::channel();
    let end = NoteDrop(Arc::clone(&ended));
    ask_without_pause(member.running.handle(), &enough);
    member.running.io().spawn(async move {
        let _end = end;
        loop {
            turn.send(thread::current().name().map(str::to_owned)).unwrap();
            tokio::task::yield_now().await;
        }
    });
    for _ in 0..1000 {
        let name = turns.recv_timeout(PATIENCE).expect("a turn in time");
        assert_eq!(name.as_deref(), Some("synod-driver"));
    }
    enough.store(true, Ordering::Relaxed);
    assert!(!ended.load(Ordering::Relaxed));
    member.running.handle().shutdown();
    assert!(matches!(member.running.join(), Exit::Stopped));
    assert!(ended.load(Ordering::Relaxed));
}

/// Asks the member something; when it answers, the next question is there already.
fn ask_without_pause(handle: &Handle<Journal>, enough: &Arc<AtomicBool>) {
    if enough.load(Ordering::Relaxed) {
        return;
    }
    let (again, enough) = (handle.clone(), Arc::clone(enough));
    let asked = handle.query(Guarantee::Serializable, move |_| ask_without_pause(&again, &enough));
    // It is asked when it is polled first. Nobody waits for the answer.
    let _ = pin!(asked).poll(&mut Context::from_waker(Waker::noop()));
}

/// Notes that it was dropped.
struct NoteDrop(Arc<AtomicBool>);

impl Drop for NoteDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
