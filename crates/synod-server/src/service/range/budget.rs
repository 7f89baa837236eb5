//! What answers to ranges may hold in memory, all together.

use std::sync::Arc;
use std::time::Duration;

use synod_etcd::Refusal;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tonic::Code;

use crate::config::RangeLimits;

/// The member's budget. Who comes first is served first; short answers have a part of their own,
/// so that long ones do not keep them waiting.
#[derive(Debug)]
pub(crate) struct RangeBudget {
    limits: RangeLimits,
    short: Lane,
    long: Lane,
    /// Nobody waits longer.
    patience: Duration,
}

#[derive(Debug)]
struct Lane {
    bytes: u64,
    room: Arc<Semaphore>,
}

/// A part of the budget, lent until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    units: OwnedSemaphorePermit,
}

/// The budget is counted in these.
const UNIT_BYTES: u64 = 1 << 10;
/// Up to so many bytes, an answer is short.
const SHORT_BYTES: u64 = 64 << 10;
/// This part of the budget is for short answers.
const SHORT_PART: u64 = 8;

impl RangeBudget {
    pub(crate) fn new(limits: RangeLimits, patience: Duration) -> Self {
        let short = limits.member_bytes / SHORT_PART;
        let long = limits.member_bytes - short;
        Self { limits, short: Lane::new(short), long: Lane::new(long), patience }
    }

    pub(crate) const fn limits(&self) -> RangeLimits {
        self.limits
    }

    /// Bytes that are lent.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.short.held_bytes() + self.long.held_bytes()
    }

    /// Waits for so many bytes, for a bounded time.
    pub(crate) async fn reserve(&self, bytes: u64) -> Result<Held, Refusal> {
        if bytes > self.limits.request_bytes {
            return Err(self.too_large(bytes));
        }
        let lane = if bytes <= SHORT_BYTES { &self.short } else { &self.long };
        let units = units(bytes);
        if let Ok(units) = Arc::clone(&lane.room).try_acquire_many_owned(units) {
            return Ok(Held { units });
        }
        let room = Arc::clone(&lane.room).acquire_many_owned(units);
        match timeout(self.patience, room).await {
            Ok(units) => Ok(Held { units: units.expect("nobody closes the semaphore") }),
            Err(_) => Err(self.exhausted(lane, bytes)),
        }
    }

    fn too_large(&self, bytes: u64) -> Refusal {
        let limit = self.limits.request_bytes;
        Refusal::own(
            Code::ResourceExhausted,
            format!(
                "synod: the answer takes {bytes} bytes of memory, and {limit} is the limit of a \
                 request: ask for fewer keys at a time, with a limit, or raise \
                 --max-range-request-bytes"
            ),
        )
    }

    fn exhausted(&self, lane: &Lane, bytes: u64) -> Refusal {
        Refusal::own(
            Code::ResourceExhausted,
            format!(
                "synod: ranges that are being answered hold {} of {} bytes, and {bytes} more did \
                 not come free within {:?}: ask again later, ask another member, or raise \
                 --max-range-bytes",
                lane.held_bytes(),
                lane.bytes,
                self.patience
            ),
        )
    }
}

impl Held {
    /// Takes a part out, which comes back apart from the rest: as much as there is of so many
    /// bytes.
    pub(super) fn split(&mut self, bytes: u64) -> Self {
        let wanted = usize::try_from(units(bytes)).unwrap_or(usize::MAX);
        let count = wanted.min(self.units.num_permits());
        Self { units: self.units.split(count).expect("no more than there are") }
    }
}

impl Lane {
    fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes / UNIT_BYTES).unwrap_or(Semaphore::MAX_PERMITS);
        Self { bytes, room: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))) }
    }

    fn held_bytes(&self) -> u64 {
        let free = u64::try_from(self.room.available_permits()).unwrap_or(u64::MAX);
        (self.bytes / UNIT_BYTES).saturating_sub(free) * UNIT_BYTES
    }
}

/// How many units so many bytes are, rounded up. The limits are far below what overflows.
pub(super) fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RangeLimits = RangeLimits { request_bytes: 1 << 20, member_bytes: 2 << 20 };

    fn budget() -> RangeBudget {
        RangeBudget::new(LIMITS, Duration::from_secs(5))
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_lent_comes_back() {
        let budget = budget();
        let (short, long) =
            (budget.reserve(1).await.unwrap(), budget.reserve(1 << 20).await.unwrap());
        assert_eq!(budget.held_bytes(), (1 << 20) + 1024);
        drop((short, long));
        assert_eq!(budget.held_bytes(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_comes_back_apart_from_the_rest() {
        let budget = budget();
        let mut all = budget.reserve(10 << 10).await.unwrap();
        let part = all.split(4 << 10);
        drop(all);
        assert_eq!(budget.held_bytes(), 4 << 10);
        let (mut all, nothing) = (part, budget.reserve(0).await.unwrap());
        let part = all.split(1 << 20);
        drop((all, nothing));
        assert_eq!(budget.held_bytes(), 4 << 10);
        drop(part);
        assert_eq!(budget.held_bytes(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_with_limit_value_and_way_out() {
        let budget = budget();
        let _held = budget.reserve(1 << 20).await.unwrap();
        let refusal = budget.reserve(1 << 20).await.unwrap_err();
        assert_eq!(refusal.code(), Code::ResourceExhausted);
        assert_eq!(
            refusal.text(),
            "synod: ranges that are being answered hold 1048576 of 1835008 bytes, and 1048576 \
             more did not come free within 5s: ask again later, ask another member, or raise \
             --max-range-bytes"
        );
        let refusal = budget.reserve((1 << 20) + 1).await.unwrap_err();
        assert!(refusal.text().contains("1048577 bytes of memory, and 1048576 is the limit"));
    }

    /// Who waits for much is not passed by those who want less; short answers do not wait for
    /// long ones at all.
    #[tokio::test(start_paused = true)]
    async fn waiting_is_fair() {
        let budget = Arc::new(budget());
        let first = budget.reserve(1 << 20).await.unwrap();
        let reserve = |bytes| {
            let budget = Arc::clone(&budget);
            tokio::spawn(async move { budget.reserve(bytes).await.unwrap() })
        };
        let large = reserve(1 << 20);
        tokio::task::yield_now().await;
        let small = reserve(SHORT_BYTES + 1);
        tokio::task::yield_now().await;
        assert!(!large.is_finished() && !small.is_finished());
        drop(budget.reserve(SHORT_BYTES).await.unwrap());
        drop(first);
        let _both = (large.await.unwrap(), small.await.unwrap());
    }
}
