//! Measures leases in memory: what one costs, and how fast many are granted, renewed and ended.
//!
//! `cargo run --release -p synod-kv --example leases [LEASES]`

use std::convert::Infallible;
use std::time::Instant;

use bytes::Bytes;
use synod_kv::{
    Assign, Caller, Command, Engine, EngineView, FlushLimits, Flusher, Key, LeaseExpire,
    LeaseGrant, LeaseIds, MemoryEngine, Put, Store, WriteBatch,
};

/// What a leader asks for at once.
const EXPIRE_MAX: usize = 1024;

/// An engine that keeps nothing, so that only the store's own memory is measured.
#[derive(Debug)]
struct Nowhere;

impl Engine for Nowhere {
    type Error = Infallible;

    fn get(&self, _: &[u8]) -> Result<Option<Bytes>, Infallible> {
        Ok(None)
    }

    fn scan(&self, _: &[u8], _: &[u8], _: usize) -> Result<Vec<(Bytes, Bytes)>, Infallible> {
        Ok(Vec::new())
    }

    fn write(&self, _: WriteBatch) -> Result<(), Infallible> {
        Ok(())
    }

    fn bytes_on_disk(&self) -> Result<u64, Infallible> {
        Ok(0)
    }

    fn view(&self) -> Result<Box<dyn EngineView<Infallible>>, Infallible> {
        MemoryEngine::new().view()
    }

    fn stage(&self, _: Vec<(Bytes, Bytes)>) -> Result<(), Infallible> {
        Ok(())
    }

    fn staged(&self) -> Result<Box<dyn EngineView<Infallible>>, Infallible> {
        self.view()
    }

    fn switch(&self) -> Result<(), Infallible> {
        Ok(())
    }

    fn sweep(&self) -> Result<(), Infallible> {
        Ok(())
    }

    fn forget_former(&self) -> Result<(), Infallible> {
        Ok(())
    }
}

struct Member {
    store: Store<Nowhere>,
    flusher: Flusher<Nowhere>,
}

impl Member {
    fn apply(&mut self, time_ms: u64, command: &Command) {
        let slot = self.store.applied_slot();
        let reply = self.store.apply(slot, time_ms, &command.encode());
        reply.expect("memory does not fail").result.expect("nothing is refused");
        self.store.slot_applied(slot, time_ms, [0; 2]);
        // Often, so that what waits does not count as memory of leases.
        if self.store.overlay_bytes() > 1 << 20 {
            self.flush();
        }
    }

    fn flush(&mut self) {
        while self.flusher.flush(FlushLimits::default()).expect("memory does not fail").more {}
    }
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn now() -> Instant {
    Instant::now()
}

/// Memory of the process, in bytes; 0 where that cannot be told.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0_usize) * 4096
}

/// Runs a step; prints what one of `count` costs in time and memory.
fn measure(name: &str, count: usize, step: impl FnOnce()) {
    let (before, start) = (resident(), now());
    step();
    let span = start.elapsed() / u32::try_from(count).expect("a small count");
    let bytes = resident().saturating_sub(before) / count;
    println!("{name:44} {span:>9.2?} each, {bytes:>5} more bytes each");
}

fn ids(ids: Vec<i64>) -> LeaseIds {
    LeaseIds::new(ids).expect("no more than a command may name")
}

fn main() {
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(1_000_000);
    let (store, flusher) = Store::open(Nowhere).expect("memory does not fail");
    let mut member = Member { store, flusher };
    let spread = |number: usize| i64::try_from(10 + number % 100).expect("a small number");
    measure("grant", count, || {
        for number in 0..count {
            let grant = LeaseGrant { id: 0, ttl: spread(number), ttl_min: 2 };
            member.apply(1, &Command::LeaseGrant(grant));
        }
        member.flush();
    });
    let all = member.store.reader().leases(&Caller::Internal).expect("members may");
    measure("keep-alive, 1000 per command", count, || {
        for chunk in all.chunks(1000) {
            member.apply(5000, &Command::LeaseKeepAlive { ids: ids(chunk.to_vec()) });
        }
        member.flush();
    });
    measure("put of a key on each lease", count, || {
        for (number, id) in all.iter().enumerate() {
            let key = Key::new(Bytes::from(format!("/lock/{number:09}"))).expect("not empty");
            let put = Put { lease: Assign::Set(*id), ..Put::new(key, Bytes::new()) };
            member.apply(6000, &Command::Put(put));
        }
        member.flush();
    });
    measure("expiry, 1024 per command, with the key", count, || {
        let reader = member.store.reader();
        while let Some(due) = reader.next_lease_due() {
            let due = due.max(member.store.time_ms());
            let over = ids(reader.leases_due(due, EXPIRE_MAX, 10_000));
            member.apply(due, &Command::LeaseExpire(LeaseExpire { ids: over, by: (1, 1) }));
        }
        member.flush();
    });
}
