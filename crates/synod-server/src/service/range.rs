//! Answers to ranges, however long, in a memory that is bounded.
//!
//! ```text
//!   measure (index only) ──▶ how long is it? ──▶ reserve ──▶ read a page ──▶ client takes it ─┐
//!                                                              ▲                              │
//!                                                              └────── room in the window ◀───┘
//! ```
//!
//! A short answer is read at once. A longer one has a *window*: so much of it was read and not yet
//! taken by the connection, whatever its length; the [`Feed`] reads on when there is room. What all
//! answers of the member hold is what the [`RangeBudget`] has lent; it comes back when the last
//! byte is gone, or the client.
//!
//! What commands that write tell is put together while they are applied: see [`write`].
//!
//! `docs/decisions/0018-ranges.md` tells why this way.

mod body;
mod budget;
mod feed;
mod whole;
mod write;

use std::sync::Arc;
use std::time::Instant;

use synod_etcd::Refusal;
use synod_etcd::response::pieces::{self, Pieces};
use synod_kv::{Caller as StoreCaller, OpPages, Range, ReadTxnError, Reader, Txn, TxnPages};
use tonic::Code;

use self::body::RangeBody;
pub(crate) use self::budget::{Held, RangeBudget};
use self::feed::{Feed, Shape, read_at_once};
pub(crate) use self::whole::{AsJson, lent};
pub(super) use self::write::write;
use super::access::Caller;
use super::{Context, refusal};
use crate::engine::{EngineError, RedbEngine};

/// Bytes of a page.
const PAGE_BYTES: u64 = 256 << 10;
/// Bytes of the list that an order is given at first. Most need no more.
const LIST_BYTES: u64 = 1 << 20;
/// As etcd: more than this is no message.
const MESSAGE_BYTES_MAX: u64 = (1 << 31) - 1;

/// An answer that was measured, and what its lists hold.
struct Measured {
    pieces: Pieces<RedbEngine>,
    list: Option<Held>,
}

/// Answers a range.
pub(super) async fn range(
    context: &Arc<Context>,
    caller: &Caller,
    range: Range,
    short: bool,
) -> Result<RangeBody, Refusal> {
    let start = Instant::now();
    let answer = read(context, caller, range, short).await;
    context.metrics.range_since(start, answer.is_ok());
    answer
}

async fn read(
    context: &Arc<Context>,
    caller: &Caller,
    range: Range,
    short: bool,
) -> Result<RangeBody, Refusal> {
    let stamp = context.stamp();
    let sorted = range.is_sorted();
    let measure = move |reader: &Reader<RedbEngine>, who: &StoreCaller, list_bytes_max| {
        let pages = reader.measure(who, range.clone(), pieces::weigh, list_bytes_max);
        pages.map(|pages| pieces::range(stamp, pages)).map_err(ReadTxnError::from)
    };
    let measured = measured(context, caller, short, sorted, measure).await?;
    answer(context, measured, short).await
}

/// Answers a transaction that only reads.
pub(super) async fn txn(
    context: &Arc<Context>,
    caller: &Caller,
    txn: Txn,
    short: bool,
) -> Result<RangeBody, Refusal> {
    let stamp = context.stamp();
    let sorted = has_order(&txn);
    let metrics = Arc::clone(&context.metrics);
    let measure = move |reader: &Reader<RedbEngine>, who: &StoreCaller, list_bytes_max| {
        let pages = reader.measure_txn(who, &txn, pieces::weigh, list_bytes_max)?;
        metrics.operations.read_txn(ranges(&pages));
        Ok(pieces::txn(stamp, pages))
    };
    let measured = measured(context, caller, short, sorted, measure).await?;
    answer(context, measured, short).await
}

/// How many ranges a transaction has, with those of transactions in it.
fn ranges<E>(txn: &TxnPages<E>) -> u64 {
    let each = txn.ops.iter().map(|op| match op {
        OpPages::Range(_) => 1,
        OpPages::Txn(txn) => ranges(txn),
    });
    each.sum()
}

/// Answers a range in many messages.
pub(super) async fn stream(
    context: &Arc<Context>,
    caller: &Caller,
    range: Range,
) -> Result<RangeBody, Refusal> {
    let pages = context
        .read(caller, false, move |context, who| {
            let pages = context.reader.count_only_then_read(who, range, pieces::weigh);
            pages.map_err(|error| context.refuse(refusal::of_range(error)))
        })
        .await?;
    let facts = pages.facts();
    let window = context.ranges.reserve(window_bytes(context)).await?;
    let shape = Shape::Messages { stamp: context.stamp(), facts, is_first: true };
    Feed::new(context, Pieces::stream(pages), None, window, shape).start().await
}

/// Measures, with as long a list as is needed and there may be.
async fn measured<M>(
    context: &Arc<Context>,
    caller: &Caller,
    short: bool,
    sorted: bool,
    measure: M,
) -> Result<Measured, Refusal>
where
    M: Fn(
            &Reader<RedbEngine>,
            &StoreCaller,
            u64,
        ) -> Result<Pieces<RedbEngine>, ReadTxnError<EngineError>>
        + Clone
        + Send
        + 'static,
{
    let most = context.ranges.limits().request_bytes - window_bytes(context);
    let mut list_bytes = if sorted { LIST_BYTES.min(most) } else { 0 };
    loop {
        let list = match list_bytes {
            0 => None,
            bytes => Some(context.ranges.reserve(bytes).await?),
        };
        let measure = measure.clone();
        let pieces = context
            .read(caller, short, move |context, who| {
                match measure(&context.reader, who, list_bytes) {
                    Ok(pieces) => Ok(Some(pieces)),
                    Err(ReadTxnError::ListTooLarge { .. }) => Ok(None),
                    Err(error) => Err(context.refuse(refusal::of_txn(error))),
                }
            })
            .await?;
        match pieces {
            Some(pieces) => return Ok(Measured { pieces, list }),
            None if list_bytes == most => return Err(list_too_large(most)),
            None => list_bytes = most.min(4 * list_bytes),
        }
    }
}

async fn answer(
    context: &Arc<Context>,
    measured: Measured,
    short: bool,
) -> Result<RangeBody, Refusal> {
    let Measured { mut pieces, list } = measured;
    let len = pieces.len();
    if len <= PAGE_BYTES {
        let held = context.ranges.reserve(len).await?;
        return read_at_once(context, pieces, list, held, short).await;
    }
    if len > MESSAGE_BYTES_MAX {
        return Err(message_too_large(len));
    }
    for range in pieces.ranges() {
        range.hold().map_err(|error| context.refuse(refusal::of_range(error)))?;
    }
    let window = context.ranges.reserve(window_bytes(context).min(len)).await?;
    Feed::new(context, pieces, list, window, Shape::Message { is_first: true }).start().await
}

/// How much of a long answer is in memory: pages on their way, or one value and a page.
fn window_bytes(context: &Context) -> u64 {
    let value = u64::try_from(context.limits.request_bytes_max).unwrap_or(u64::MAX);
    value + 2 * PAGE_BYTES
}

/// Whether a range of the transaction, or of one within it, needs a list.
fn has_order(txn: &Txn) -> bool {
    use synod_kv::Op;
    txn.success().iter().chain(txn.failure()).any(|op| match op {
        Op::Range(range) => range.is_sorted(),
        Op::Txn(nested) => has_order(nested),
        Op::Put(_) | Op::DeleteRange(_) => false,
    })
}

fn list_too_large(limit: u64) -> Refusal {
    Refusal::own(
        Code::ResourceExhausted,
        format!(
            "synod: to put the keys in this order takes a list of more than {limit} bytes, which \
             is the limit of a request: ask with a limit, in the order of keys upward, or raise \
             --max-range-request-bytes"
        ),
    )
}

/// In etcd's words, with a way out.
fn message_too_large(len: u64) -> Refusal {
    Refusal::own(
        Code::ResourceExhausted,
        format!("grpc: trying to send message larger than max ({len} vs. {MESSAGE_BYTES_MAX})"),
    )
    .with_detail("ask for fewer keys at a time, with a limit, or by RangeStream".to_owned())
}
